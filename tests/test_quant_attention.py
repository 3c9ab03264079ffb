"""Attention in a captured graph: matrix products and a softmax that equal PyTorch's fused operator."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.quant.capture import capture
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_networks import noise

REWRITTEN = {"transpose.int", "matmul.default", "mul.Tensor", "add.Tensor", "softmax.int"}


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.options = options

    def forward(self, query, key, value, *mask):
        return functional.scaled_dot_product_attention(query, key, value, *mask, **self.options)


def operators(captured):
    return {
        str(node.target).removeprefix("aten.") for node in captured.module.graph.nodes if node.op == "call_function"
    }


def queries(length=5, memory=7, heads=2):
    return noise((1, heads, length, 8)), noise((1, heads, memory, 8), 1), noise((1, heads, memory, 4), 2)


def same(network, *inputs):
    captured = capture(network, inputs)
    with torch.no_grad():
        torch.testing.assert_close(captured.module(*inputs)[0], network(*inputs), rtol=0, atol=2e-6)
    return operators(captured)


@settings(max_examples=15, deadline=None)
@given(
    length=st.integers(1, 6), memory=st.integers(1, 6), causal=st.booleans(), scale=st.sampled_from([None, 0.1, 0.5])
)
def test_attention_of_any_length_equals_the_fused_operator(length, memory, causal, scale):
    found = same(Attention(is_causal=causal, scale=scale), *queries(length, memory))
    assert found <= REWRITTEN
    assert ("add.Tensor" in found) is causal


def test_a_scale_of_zero_is_a_scale():
    same(Attention(scale=0.0), *queries())


def test_a_bool_mask_hides():
    mask = torch.tensor([[True, False, True, True, False, True, True]]).expand(5, 7)
    found = same(Attention(), *queries(), mask)
    assert found <= REWRITTEN | {"where.self", "expand.default"}


def test_a_float_mask_is_added():
    found = same(Attention(), *queries(), noise((5, 7), 3))
    assert found <= REWRITTEN | {"maximum.default"}


def test_a_float_mask_of_infinities_stays_finite():
    mask = torch.zeros(5, 7).masked_fill(torch.ones(5, 7, dtype=torch.bool).triu(3), float("-inf"))
    captured = capture(Attention(), (*queries(), mask))
    shown = torch.fx.Interpreter(captured.module)
    seen = []
    shown.run_node = lambda node: (seen.append((node, value := torch.fx.Interpreter.run_node(shown, node))), value)[1]
    shown.run(*queries(), mask)
    after = [value for node, value in seen if node.op == "call_function" and node.target is torch.ops.aten.add.Tensor]
    assert len(after) == 1 and torch.isfinite(after[0]).all()
    same(Attention(), *queries(), mask)


def test_a_mask_of_constants_is_computed_now():
    class Windowed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("near", (torch.arange(6)[:, None] - torch.arange(6)).abs() < 3)

        def forward(self, query, key, value):
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=self.near)

    assert same(Windowed(), *queries(6, 6)) <= REWRITTEN


def test_grouped_queries_are_left_to_the_fused_operator():
    query, key, value = queries(5, 5, 4)
    found = same(Attention(enable_gqa=True), query, key[:, :2], value[:, :2])
    assert found == {"scaled_dot_product_attention.default"}


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention, self.options = nn.MultiheadAttention(16, 4, batch_first=True), options

    def forward(self, x):
        return self.attention(x, x, x, **self.options)[0]


CAUSAL = torch.ones(6, 6, dtype=torch.bool).triu(1)
OPTIONS = {
    "weights": {},
    "no weights": {"need_weights": False},
    "a mask": {"need_weights": False, "attn_mask": CAUSAL},
    "causal": {"need_weights": False, "attn_mask": CAUSAL, "is_causal": True},
    "padding": {"need_weights": False, "key_padding_mask": torch.tensor([[False] * 4 + [True] * 2])},
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_multi_head_attention_equals_itself(kind):
    found = same(SelfAttention(**OPTIONS[kind]), noise((1, 6, 16)))
    assert "scaled_dot_product_attention.default" not in found
    assert {"linear.default", "softmax.int"} <= found


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_layer_equals_itself_and_has_no_fused_kernel(norm_first):
    layer = nn.TransformerEncoderLayer(16, 4, 32, activation="gelu", batch_first=True, norm_first=norm_first)
    found = same(layer.eval(), noise((1, 6, 16)))
    assert {"linear.default", "softmax.int", "layer_norm.default", "gelu.default"} <= found
    assert not any("transformer" in name or "attention" in name for name in found)
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_a_hidden_position_weighs_nothing_however_large_its_score(precision) -> None:
    query, value = torch.full((1, 1, 3, 4), 6.0), torch.eye(3).reshape(1, 1, 3, 3)
    key = torch.tensor([-6.0, 0.0, 6.0]).reshape(1, 1, 3, 1).expand(1, 1, 3, 4).contiguous()
    network = Attention(is_causal=True)  # the last key scores 72 above the second, and is hidden from it
    captured = capture(network, (query, key, value))
    program = captured.module
    if precision == "int8":
        quantized = quantize(captured, [(query, key, value)], Scheme(calibration="minmax"))
        program = quantized.program.module(check_guards=False)
        assert {op.operator for op in quantized.float_operators} == {"aten.add.Tensor", "aten.softmax.int"}
    weights = program(query, key, value)[0][0, 0]
    torch.testing.assert_close(weights, torch.eye(3), atol=1 / 256, rtol=0)
    assert torch.equal(weights.triu(1), torch.zeros(3, 3))

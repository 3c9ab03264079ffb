"""MACs against closed forms, against PyTorch's own counter, and between a program and its artifacts."""

import numpy as np
import onnx
import pytest
import torch

# Registers torch.ops.quantized_decomposed.
import torch.ao.quantization.fx._decomposed
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from offramp.models.care_transformer import S0, XXS, CareTransformer
from offramp.runtime.macs import count_onnx, count_program, count_tflite
from offramp.runtime.macs.formulas import attention, einsum, matmul
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

quantized = torch.ops.quantized_decomposed


class Small(nn.Module):
    """Convolution, depthwise with stride, pointwise, linear: every factor of the counts differs."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, padding=2)
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.head = nn.Sequential(nn.Conv2d(8, 12, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(12, 7)

    def forward(self, image):
        return self.classify(self.head(self.depthwise(self.stem(image).relu()).relu()))


SMALL_BY_MODULE = {
    "stem": 8 * 3 * 5 * 5 * 16 * 20,
    "depthwise": 8 * 3 * 3 * 8 * 10,
    "head.0": 12 * 8 * 8 * 10,
    "classify": 7 * 12,
}
SMALL_IMAGE = torch.zeros(1, 3, 16, 20)


def export(network, *inputs, **options):
    return torch.export.export(network.eval(), inputs, **options)


def flops(network, *inputs):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(*inputs)
    return counter.get_total_flops()


def test_a_small_network_by_module():
    count = count_program(export(Small(), SMALL_IMAGE))
    assert count.by_module == SMALL_BY_MODULE
    assert count.total == sum(SMALL_BY_MODULE.values())
    assert count.by_bits == {32: count.total}
    assert count.uncounted == ()
    assert str(count) == f"{count.total:,} MACs"


def test_parameters_and_weight_bytes_of_a_float_program():
    network = Small()
    count = count_program(export(network, SMALL_IMAGE))
    assert count.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert count.weight_bytes == 4 * (8 * 3 * 5 * 5 + 8 * 3 * 3 + 12 * 8 + 7 * 12)


@pytest.mark.parametrize("decompose", [None, {}, "all"], ids=["training", "inference", "core aten"])
def test_every_spelling_of_a_program_counts_the_same(decompose):
    program = export(CareTransformer(XXS), torch.zeros(1, 1, 32, 32))
    if decompose is not None:
        program = program.run_decompositions() if decompose == "all" else program.run_decompositions(decompose)
    assert count_program(program).total * 2 == flops(CareTransformer(XXS), torch.zeros(1, 1, 32, 32))


@pytest.mark.slow
def test_care_s0_matches_the_paper_and_pytorch():
    network = CareTransformer(S0)
    count = count_program(export(network, torch.zeros(1, 3, 224, 224)))
    assert 2 * count.total == flops(network, torch.zeros(1, 3, 224, 224))
    assert round(count.total / 1e9, 1) == 0.7  # CARE-S0 as published: 0.7 GMACs, 7.3 M parameters
    assert round(count.parameters / 1e6, 1) == 7.3


_PLAIN = nn.Conv1d, nn.Conv2d, nn.Conv3d
_TRANSPOSED = nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_convolutions_of_any_shape_match_pytorch(data):
    draw, rank = data.draw, data.draw(st.integers(1, 3))
    small = st.integers(1, 3)
    groups = draw(small)
    channels, filters = groups * draw(small), groups * draw(small)
    kernel, stride, dilation = (tuple(draw(small) for _ in range(rank)) for _ in range(3))
    image = tuple(draw(st.integers(3, 7)) for _ in range(rank))
    transposed = draw(st.booleans())
    assume(all(size > d * (k - 1) for size, d, k in zip(image, dilation, kernel)))
    kinds = (
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        if transposed
        else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    )
    network = kinds[rank - 1](channels, filters, kernel, stride, groups=groups, dilation=dilation)
    x = torch.zeros(draw(small), channels, *image)
    program = export(network, x)
    wanted = flops(network, x)
    assert 2 * count_program(program).total == wanted
    assert 2 * count_program(program.run_decompositions()).total == wanted


@given(st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_matmul_of_broadcast_batches_counts_every_product(batch, m, k, n, right_is_plain):
    left, right = (*batch, m, k), (k, n) if right_is_plain else (*batch, k, n)
    products = (torch.ones(left).unsqueeze(-1) * torch.ones(right).unsqueeze(-3)).numel()
    assert matmul(left, right) == products


def test_matmul_of_vectors():
    assert matmul((5,), (5,)) == 5
    assert matmul((3, 5), (5,)) == 3 * 5
    assert matmul((5,), (2, 5, 4)) == 2 * 5 * 4


def test_attention_counts_both_products():
    class Attention(nn.Module):
        def forward(self, q, k, v):
            return functional.scaled_dot_product_attention(q, k, v)

    q, k, v = torch.zeros(2, 3, 5, 8), torch.zeros(2, 3, 7, 8), torch.zeros(2, 3, 7, 4)
    program = export(Attention(), q, k, v)
    wanted = 2 * 3 * 5 * 7 * 8 + 2 * 3 * 5 * 7 * 4
    assert attention(q.shape, k.shape, v.shape) == wanted
    assert count_program(program).total == wanted
    assert count_program(program.run_decompositions()).total == wanted


def test_recurrent_layers_count_every_step():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(4, 6, num_layers=2, batch_first=True)
            self.gru = nn.GRU(6, 5, bidirectional=True, batch_first=True)

        def forward(self, x):
            return self.gru(self.lstm(x)[0])[0]

    count = count_program(export(Recurrent(), torch.zeros(2, 9, 4)))
    lstm = 9 * 2 * (4 * 6 * (4 + 6) + 4 * 6 * (6 + 6))
    gru = 9 * 2 * 2 * (3 * 5 * (6 + 5))
    assert (count.by_module, count.uncounted) == ({"lstm": lstm, "gru": gru}, ())


def test_einsum_of_two_operands():
    assert einsum("bij,bkj->bik", [(2, 3, 5), (2, 7, 5)]) == 2 * 3 * 7 * 5
    with pytest.raises(ValueError, match="only two operands"):
        einsum("i,i,i->", [(2,), (2,), (2,)])


def test_a_free_batch_size_counts_as_one():
    batch = {"image": {0: torch.export.Dim.DYNAMIC}}
    program = export(Small(), torch.zeros(4, 3, 16, 20), dynamic_shapes=batch)
    assert count_program(program).by_module == SMALL_BY_MODULE


def test_pooling_norms_and_embeddings_are_free():
    class Free(nn.Module):
        def __init__(self):
            super().__init__()
            self.look_up, self.norm = nn.Embedding(10, 6), nn.LayerNorm(6)

        def forward(self, tokens):
            return functional.softmax(functional.avg_pool1d(self.norm(self.look_up(tokens)), 2), -1).mean(1)

    count = count_program(export(Free(), torch.zeros(1, 4, dtype=torch.long)))
    assert (count.total, count.uncounted, count.parameters) == (0, (), 10 * 6 + 6 + 6)


def test_an_operator_without_a_rule_is_reported_not_zeroed():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.odd, self.linear = nn.Bilinear(2, 3, 4), nn.Linear(4, 5)

        def forward(self, x, y):
            return self.linear(torch.ops.aten._trilinear(x, self.odd.weight, y, [1, 3], [0], [1, 2], [2, 3]))

    count = count_program(export(Odd(), torch.zeros(1, 2), torch.zeros(1, 3)))
    assert [name.split(" ")[0] for name in count.uncounted] == ["aten._trilinear.default"]
    assert str(count) == f"at least {5 * 4} MACs"


class Quantized(nn.Module):
    """int8 around a convolution; a product of int8 activations; one with a float side; a float linear layer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randint(-127, 128, (8, 3, 3, 3), dtype=torch.int8))
        self.register_buffer("scale", torch.rand(8))
        self.register_buffer("zero", torch.zeros(8, dtype=torch.int64))
        self.register_buffer("bias", torch.randint(-999, 999, (8,), dtype=torch.int32))
        self.linear = nn.Linear(8, 4)

    def forward(self, image):
        codes = quantized.quantize_per_tensor(image, 0.1, 3, -128, 127, torch.int8)
        x = quantized.dequantize_per_tensor(codes, 0.1, 3, -128, 127, torch.int8)
        weight = quantized.dequantize_per_channel(self.weight, self.scale, self.zero, 0, -127, 127, torch.int8)
        bias = quantized.dequantize_per_channel(self.bias, self.scale, self.zero, 0, -(2**31), 2**31 - 1, torch.int32)
        y = functional.conv2d(x, weight, bias, padding=1)
        codes = quantized.quantize_per_tensor(y, 0.2, 0, -128, 127, torch.int8)
        y = quantized.dequantize_per_tensor(codes, 0.2, 0, -128, 127, torch.int8).flatten(2)  # (1, 8, 36)
        same = y.transpose(1, 2) @ torch.cat(y.chunk(2, 1), 1)  # (1, 36, 36)
        mixed = y @ same  # (1, 8, 36)
        return self.linear(mixed.transpose(1, 2))


@pytest.mark.parametrize("decompose", [False, True])
def test_bits_follow_the_integer_codes(decompose):
    program = export(Quantized(), torch.zeros(1, 3, 6, 6))
    count = count_program(program.run_decompositions() if decompose else program)
    convolution, same, mixed, linear = 8 * 3 * 3 * 3 * 6 * 6, 36 * 8 * 36, 8 * 36 * 36, 36 * 8 * 4
    assert count.by_bits == {8: convolution + same, 32: mixed + linear}
    assert count.weight_bytes == 8 * 3 * 3 * 3 + 4 * 8 * 4
    assert count.parameters == 8 * 3 * 3 * 3 + 8 + 8 * 4 + 4


def test_four_bit_codes_count_as_four_bits_beside_eight():
    class Narrow(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.randint(-8, 8, (5, 6), dtype=torch.int8))

        def forward(self, x):
            codes = quantized.quantize_per_tensor(x, 0.1, 0, -8, 7, torch.int8)
            x = quantized.dequantize_per_tensor(codes, 0.1, 0, -8, 7, torch.int8)
            return functional.linear(x, quantized.dequantize_per_tensor(self.weight, 0.1, 0, -8, 7, torch.int8))

    assert count_program(export(Narrow(), torch.zeros(2, 6))).by_bits == {4: 2 * 5 * 6}


def export_onnx(network, example, path):
    torch.onnx.export(network.eval(), example, path, dynamo=True, external_data=False, verbose=False)
    return path


def test_onnx_agrees_with_the_program(tmp_path):
    program = count_program(export(Small(), SMALL_IMAGE))
    count = count_onnx(export_onnx(Small(), (SMALL_IMAGE,), tmp_path / "small.onnx"))
    assert sorted(operation.macs for operation in count.operations) == sorted(SMALL_BY_MODULE.values())
    assert (count.parameters, count.weight_bytes) == (program.parameters, program.weight_bytes)
    assert (count.by_bits, count.uncounted) == ({32: program.total}, ())


def test_onnx_agrees_on_a_network_with_attention(tmp_path):
    example = torch.zeros(1, 1, 32, 32)
    count = count_onnx(export_onnx(CareTransformer(XXS), (example,), tmp_path / "care.onnx"))
    assert (count.total, count.uncounted) == (count_program(export(CareTransformer(XXS), example)).total, ())


def onnx_file(path, nodes, inputs, constants):
    """A graph of `nodes`; inputs as name -> shape; the last node's output is the graph's."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_empty_tensor_value_info(nodes[-1].output[0])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_onnx_codes_count_as_eight_bits_and_modules_are_named(tmp_path):
    node = helper.make_node
    path = onnx_file(
        tmp_path / "qdq.onnx",
        [
            node("QuantizeLinear", ["x", "s", "z"], ["x8"]),
            node("DequantizeLinear", ["x8", "s", "z"], ["xf"]),
            node("DequantizeLinear", ["w", "s", "z"], ["wf"]),
            node("Transpose", ["wf"], ["wt"]),
            node("Gemm", ["xf", "wt"], ["y"]),
            node("MatMul", ["y", "v"], ["out"]),
        ],
        {"x": ["batch", 6]},
        {
            "s": np.float32(0.1),
            "z": np.int8(0),
            "w": np.zeros((5, 6), np.int8),
            "v": np.zeros((5, 3), np.float32),
        },
    )
    count = count_onnx(path, modules={"y": "hidden", "out": "head"})
    assert count.by_bits == {8: 5 * 6, 32: 3 * 5}
    assert count.by_module == {"hidden": 5 * 6, "head": 3 * 5}
    assert (count.weight_bytes, count.parameters) == (5 * 6 + 4 * 5 * 3, 5 * 6 + 5 * 3)
    assert count_onnx(path, sizes={"batch": 4}).total == 4 * (5 * 6 + 3 * 5)


def test_onnx_operators_without_a_rule_are_reported(tmp_path):
    node = helper.make_node
    weight = {"w": np.zeros((5, 6, 3, 3), np.float32)}
    other = onnx_file(tmp_path / "other.onnx", [node("Det", ["x"], ["y"])], {"x": [1, 6, 9, 9]}, weight)
    assert count_onnx(other).uncounted == ("Det (y)",)
    assert str(count_onnx(other)) == "at least 0 MACs"


@pytest.fixture(scope="module")
def tflite_files(tmp_path_factory):
    """The small network as float and as int8 files."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    folder = tmp_path_factory.mktemp("macs")
    paths = folder / "float.tflite", folder / "int8.tflite"
    litert_torch.convert(Small().eval(), (), {"image": SMALL_IMAGE}).export(str(paths[0]))
    work = quantizer.Quantizer(str(paths[0]), recipe.static_wi8_ai8())
    image = np.random.default_rng(0).standard_normal(SMALL_IMAGE.shape).astype(np.float32)
    work.quantize(work.calibrate({"serving_default": [{"image": image}]})).export_model(str(paths[1]))
    return paths


def test_tflite_agrees_with_the_program(tflite_files):
    program = count_program(export(Small(), SMALL_IMAGE))
    for path, bits in zip(tflite_files, (32, 8)):
        count = count_tflite(path)
        assert sorted(operation.macs for operation in count.operations) == sorted(SMALL_BY_MODULE.values())
        assert (count.by_bits, count.uncounted) == ({bits: program.total}, ())
        assert count.parameters == program.parameters
        assert count.weight_bytes == program.weight_bytes * bits // 32


def test_tflite_agrees_on_products_of_activations_and_transposed_convolutions(tmp_path):
    import litert_torch

    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 6, 2, stride=2)

        def forward(self, x):
            y = self.up(x).flatten(2)
            return y @ y.transpose(1, 2)

    example, path = torch.zeros(1, 4, 5, 7), tmp_path / "products.tflite"
    litert_torch.convert(Products().eval(), (example,)).export(str(path))
    assert count_tflite(path).total == 4 * 5 * 7 * 6 * 2 * 2 + 6 * (10 * 14) * 6

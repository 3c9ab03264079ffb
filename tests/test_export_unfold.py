"""The second spelling of weights: every code comes back from its real value, and the program computes the same."""

import sys
from pathlib import Path

import pytest
import torch
import torch.ao.quantization.fx._decomposed
from hypothesis import given
from hypothesis import strategies as st
from offramp.export.unfold import unfold
from offramp.quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

Q = torch.ops.quantized_decomposed
CODES = torch.arange(-127, 128, dtype=torch.int8)
FORM = (-127, 127, torch.int8)
scales = st.floats(2.0**-40, 2.0**20, width=32)


@given(scales)
def test_every_code_comes_back_from_its_real_value(scale):
    real = Q.dequantize_per_tensor(CODES, scale, 0, *FORM)
    assert torch.equal(Q.quantize_per_tensor(real, scale, 0, *FORM), CODES)


@given(st.lists(scales, min_size=1, max_size=4), st.sampled_from([0, 1]))
def test_every_code_comes_back_in_every_channel(each, axis):
    codes = CODES.repeat(len(each), 1)
    codes = codes if axis == 0 else codes.t().contiguous()
    form = (torch.tensor(each), torch.zeros(len(each), dtype=torch.int64), axis, *FORM)
    real = Q.dequantize_per_channel(codes, *form)
    assert torch.equal(Q.quantize_per_channel(real, *form), codes)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.up, self.linear = nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2), nn.Linear(4, 2)

    def forward(self, x):
        x = self.conv(x).relu()
        return self.linear((x + self.up(x)[..., 1:, 1:] * 0.5).mean((2, 3)))


@pytest.fixture(scope="module")
def program():
    torch.manual_seed(0)
    return quantized(Small(), (1, 3, 8, 8))


def test_the_unfolded_module_gives_equal_bits(program):
    module = unfold(program.program)
    for seed in range(5):
        x = noise((1, 3, 8, 8), seed)
        assert torch.equal(module(x)[0], program(x)[0])


def test_weights_stand_behind_a_quantize_and_biases_are_plain_numbers(program):
    module = unfold(program.program)
    stored = {node: node for node in module.graph.nodes if node.op == "get_attr"}
    for node in module.graph.nodes:
        if node.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS):
            assert node.args[0] not in stored
        if str(node.target).endswith(("conv2d.default", "linear.default", "conv_transpose2d.input")):
            assert node.args[2] in stored
            assert getattr(module, node.args[2].target).dtype == torch.float32
    assert not any(buffer.dtype == torch.int32 for name, buffer in module.named_buffers() if name in _read(module))


def _read(module):
    return {node.target for node in module.graph.nodes if node.op == "get_attr"}


def test_every_reader_has_a_dequantize_of_its_own(program):
    module = unfold(program.program)
    dequantizers = [node for node in module.graph.nodes if node.target is DEQUANTIZE]
    assert all(len(node.users) == 1 for node in dequantizers)
    codes = [node for node in module.graph.nodes if node.target is QUANTIZE and node.name == "relu_codes"]
    assert len(codes) == 1 and len(codes[0].users) == 2


def test_the_program_itself_is_left_as_it_was(program):
    before = program.program.graph_module.code
    unfold(program.program)
    assert program.program.graph_module.code == before

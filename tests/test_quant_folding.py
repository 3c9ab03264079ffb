"""Batch norms folded away: exact to rounding for every shape, and left alone where folding would change the network."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.quant.capture import capture
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, randomise

NORMS = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def folded(network, shape):
    """The operators left, after holding the graph against the network to 1e-5 of its size."""
    x = noise(shape)
    captured = capture(randomise(network), (x,))
    with torch.no_grad():
        wanted = network(x)
    room = 1e-5 * max(1.0, float(wanted.abs().max()))
    torch.testing.assert_close(captured.module(x)[0], wanted, rtol=0, atol=room)
    return [
        str(node.target).removeprefix("aten.").partition(".")[0]
        for node in captured.module.graph.nodes
        if node.op == "call_function"
    ]


small = st.integers(1, 3)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_convolution_takes_the_norm_behind_it(data):
    draw, rank = data.draw, data.draw(st.integers(1, 2))
    groups, kernel, stride, padding = draw(small), draw(small), draw(small), draw(st.integers(0, 2))
    inputs, outputs, bias = groups * draw(small), groups * draw(small), draw(st.booleans())
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[rank]
    layer = kind(inputs, outputs, kernel, stride, padding, dilation=draw(small), groups=groups, bias=bias)
    network = nn.Sequential(layer, NORMS[rank](outputs, affine=draw(st.booleans())))
    assert folded(network, (2, inputs, *[8] * rank)) == [f"conv{rank}d"]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_transposed_convolution_takes_the_norm_behind_it(data):
    draw, rank = data.draw, data.draw(st.integers(1, 2))
    groups, kernel, stride = draw(small), draw(small), draw(small)
    inputs, outputs = groups * draw(small), groups * draw(small)
    kind = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}[rank]
    layer = kind(inputs, outputs, kernel, stride, groups=groups, bias=draw(st.booleans()))
    network = nn.Sequential(layer, NORMS[rank](outputs))
    assert folded(network, (2, inputs, *[5] * rank)) == [f"conv_transpose{rank}d"]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_convolution_without_padding_takes_the_norm_before_it(data):
    draw, rank = data.draw, data.draw(st.integers(1, 2))
    groups, kernel, stride = draw(small), draw(small), draw(small)
    inputs, outputs = groups * draw(small), groups * draw(small)
    layer = {1: nn.Conv1d, 2: nn.Conv2d}[rank](inputs, outputs, kernel, stride, groups=groups, bias=draw(st.booleans()))
    assert folded(nn.Sequential(NORMS[rank](inputs), layer), (2, inputs, *[6] * rank)) == [f"conv{rank}d"]


def test_a_norm_before_a_padded_convolution_stays_an_affine_map():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1))
    assert folded(network, (1, 3, 5, 5)) == ["mul", "add", "conv2d"]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_in_words_counts_as_padding(padding):
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=padding))
    assert folded(network, (1, 3, 5, 5)) == (["mul", "add", "conv2d"] if padding == "same" else ["conv2d"])


def test_linear_layers_take_the_norm_on_either_side():
    assert folded(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), (4, 6)) == ["linear"]
    assert folded(nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 5, bias=False)), (4, 6)) == ["linear"]


def test_a_norm_over_the_positions_of_a_linear_layer_stays():
    # (N, 5, 7): the norm's channels are the middle axis, the layer's the last.
    assert folded(nn.Sequential(nn.Linear(6, 7), nn.BatchNorm1d(5)), (4, 5, 6)) == ["linear", "mul", "add"]
    assert folded(nn.Sequential(nn.BatchNorm1d(5), nn.Linear(6, 7)), (4, 5, 6)) == ["mul", "add", "linear"]


def test_any_other_norm_is_one_product_and_one_sum():
    assert folded(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.ReLU()), (1, 3, 5, 5)) == [
        "relu",
        "mul",
        "add",
        "relu",
    ]
    assert folded(nn.Sequential(nn.Conv3d(2, 3, 1), nn.BatchNorm3d(3)), (1, 2, 3, 3, 3)) == ["conv3d", "mul", "add"]


class Shared(nn.Module):
    """One norm behind two convolutions, and one convolution before two norms."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.twice, self.first, self.second = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.norm(self.left(x)) + self.norm(self.right(x))
        return self.first(self.twice(y)) + self.second(self.twice(y))


def test_a_norm_or_a_convolution_used_twice_folds_at_each_use():
    network = Shared()
    assert folded(network, (1, 3, 6, 6)) == ["conv2d", "conv2d", "add", "conv2d", "conv2d", "add"]


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(x)
        return y + self.norm(y)


def test_a_convolution_that_others_read_keeps_its_values():
    assert folded(ReadTwice(), (1, 3, 5, 5)) == ["conv2d", "mul", "add", "add"]


def test_a_norm_read_by_two_convolutions_folds_into_both_or_neither():
    class Two(nn.Module):
        def __init__(self, padding):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)
            self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3, padding=padding)

        def forward(self, x):
            x = self.norm(x)
            return self.left(x).mean() + self.right(x).mean()

    assert folded(Two(0), (1, 3, 6, 6)).count("mul") == 0
    assert folded(Two(1), (1, 3, 6, 6)).count("mul") == 1


def test_a_norm_without_running_statistics_is_left_alone():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    x = noise((2, 3, 5, 5))
    captured = capture(network, (x,))
    assert torch.equal(captured.module(x)[0], network(x))
    assert "aten.batch_norm.default" in {str(node.target) for node in captured.module.graph.nodes}

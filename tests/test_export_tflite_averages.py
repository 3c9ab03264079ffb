"""Averages of codes in TFLite: rounded once, by products with equal weights that no count takes for parameters."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.export.tflite import to_tflite
from offramp.runtime.macs.program import count_program
from offramp.runtime.macs.tflite_file import count_tflite
from offramp.runtime.tflite_graph import read_tflite
from offramp.runtime.tflite_session import TfliteSession
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

IMAGE = (1, 6, 4, 4)


class Mean(nn.Module):
    def __init__(self, *axes, keep=False):
        super().__init__()
        self.axes, self.keep = axes, keep

    def forward(self, x):
        return x.mean(self.axes, self.keep)


AVERAGES = {
    "over positions": Mean(2, 3),
    "over positions, kept": Mean(-1, -2, keep=True),
    "over the last": Mean(3),
    "over the last, kept": Mean(-1, keep=True),
    "pooling": nn.AvgPool2d(2),
    "pooling over all positions": nn.AvgPool2d(4),
    "pooling in the one window that fits": nn.AvgPool2d(3),
    "pooling in the one window that fits with padding": nn.AvgPool2d(3, 4, 1),
    "pooling with strides and padding": nn.AvgPool2d(3, 1, 1),
    "pooling in ceil mode that nothing overhangs": nn.AvgPool2d(2, ceil_mode=True),
}


@pytest.fixture(scope="module", params=AVERAGES)
def average(request, tmp_path_factory):
    program = quantized(AVERAGES[request.param], IMAGE)
    path = tmp_path_factory.mktemp("average") / "net.tflite"
    names = {"input_names": program.input_names, "output_names": program.output_names}
    to_tflite(program.program, path, **names, precision="int8")
    return program, path


def wrong(program, path, xnnpack):
    """Share of codes that differ from the program's."""
    session, off = TfliteSession(path, xnnpack=xnnpack), []
    for seed in range(50):
        x = noise(IMAGE, seed)
        given = session.run({program.input_names[0]: x.numpy()})[program.output_names[0]]
        off.append(np.abs(given - program(x)[0].numpy()) / program.output_steps()[0] > 0.5)
    return np.mean(off)


def test_xnnpack_gives_the_codes_of_the_program(average):
    assert wrong(*average, xnnpack=True) == 0


def test_plain_kernels_nearly_do(average):
    assert wrong(*average, xnnpack=False) < 0.02


def test_the_products_are_neither_counted_nor_taken_for_weights(average):
    program, path = average
    names = {operator.name for operator in read_tflite(path).operators}
    assert names & {"DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} and not names & {"MEAN", "AVERAGE_POOL_2D"}
    count = count_tflite(path)
    assert (count.total, count.parameters, count.uncounted) == (0, 0, ())
    assert count_program(program.program).total == 0


@pytest.mark.parametrize("network", [Mean(2, 3), nn.AvgPool2d(4), nn.AvgPool2d(3), nn.AvgPool2d(3, 4, 1)])
def test_no_convolution_is_as_wide_as_the_image(network, tmp_path):
    """XNNPACK is slow at those."""
    program = quantized(network, IMAGE)
    names = {"input_names": program.input_names, "output_names": program.output_names}
    to_tflite(program.program, tmp_path / "net.tflite", **names, precision="int8")
    assert "DEPTHWISE_CONV_2D" not in {operator.name for operator in read_tflite(tmp_path / "net.tflite").operators}


def test_windows_that_hold_fewer_values_keep_their_pooling(tmp_path):
    program = quantized(nn.AvgPool2d(3, 1, 1, count_include_pad=False), IMAGE)
    path = tmp_path / "net.tflite"
    names = {"input_names": program.input_names, "output_names": program.output_names}
    to_tflite(program.program, path, **names, precision="int8")
    x = torch.full(IMAGE, 0.5)
    given = TfliteSession(path).run({program.input_names[0]: x.numpy()})[program.output_names[0]]
    np.testing.assert_allclose(given, program(x)[0].numpy(), atol=program.output_steps()[0] * 1.001)

"""Weights of few bits in finer steps: the same numbers, and requantization that rounds once."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.export.tflite import to_tflite
from offramp.runtime.constants import compare_constants
from offramp.runtime.tflite_session import TfliteSession, read_weights
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized, randomise

IMAGE = (1, 8, 6, 6)


def program_of(weight_bits, gain):
    """Two convolutions; the gain of the first makes the steps of its sums small or large beside its codes."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(8, 16, 3, groups=8), nn.Conv2d(16, 16, 1), nn.Conv2d(16, 4, 1))
    randomise(layers)
    with torch.no_grad():
        layers[1].weight.mul_(gain)
    return quantized(layers, IMAGE, weight_bits=weight_bits, rounding="nearest", correct_bias=False)


def written(program, path):
    names = {"input_names": program.input_names, "output_names": program.output_names}
    return to_tflite(program.program, path, **names, precision=program.scheme.name)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7])
def test_the_numbers_stay_to_the_last_bit(bits, tmp_path):
    program = program_of(bits, 1.0)
    artifact = written(program, tmp_path / "net.tflite")
    assert compare_constants(program, artifact).holds
    ours, stored = program.constants()["1_weight"], read_weights(artifact.path)["1_weight"]
    np.testing.assert_array_equal(ours.dequantize(), stored.dequantize())
    steps = ours.scale / stored.scale
    assert set(steps) <= {1.0, 2.0 ** (8 - max(bits, 2))}
    assert np.abs(stored.codes.astype(int)).max() <= 127


def test_eight_bits_stay_as_they_are(tmp_path):
    program = program_of(8, 1.0)
    stored = read_weights(written(program, tmp_path / "net.tflite").path)
    assert all(stored[name] == program.constants()[name] for name in ("0_weight", "1_weight", "2_weight"))


@pytest.mark.parametrize("xnnpack", [False, True])
def test_ternary_sums_are_rounded_once(tmp_path, xnnpack):
    program = program_of(2, 1.0)
    session = TfliteSession(written(program, tmp_path / "net.tflite").path, xnnpack=xnnpack)
    step, off = program.output_steps()[0], []
    for seed in range(40):
        x = noise(IMAGE, 300 + seed)
        given = session.run({program.input_names[0]: x.numpy()})[program.output_names[0]]
        off.append(np.abs(given - program(x)[0].numpy()) / step > 0.5)
    assert np.mean(off) < 0.02


def test_buffers_that_nothing_reads_are_dropped(tmp_path):
    eight, few = (written(program_of(bits, 1.0), tmp_path / f"{bits}.tflite").size_bytes for bits in (8, 2))
    assert few <= eight + 512


class Tied(nn.Module):
    """One convolution, used twice."""

    def __init__(self):
        super().__init__()
        self.first, self.twice, self.last = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1)

    def forward(self, x):
        return self.last(self.twice(self.twice(self.first(x)).relu()).relu())


def test_a_weight_that_two_layers_share_is_refined_once_for_each(tmp_path):
    torch.manual_seed(0)
    network = Tied()
    randomise(network)
    program = quantized(network, IMAGE, weight_bits=2, rounding="nearest", correct_bias=False)
    artifact = written(program, tmp_path / "net.tflite")
    assert compare_constants(program, artifact).holds

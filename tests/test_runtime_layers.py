"""The per-layer table: multiply-accumulates by closed form, errors by their definition."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.quant.capture import capture, to_program
from offramp.runtime.layers import layer_table, with_errors
from offramp.runtime.reference import program_values, run_reference
from offramp.runtime.samples import Samples
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

SAMPLES = Samples({"image": noise((3, 3, 8, 8)).numpy()}, None, "noise")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.head = nn.Linear(4, 2)

    def forward(self, image):
        return self.head(self.stem(image).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def programs():
    captured = capture(Net().eval(), (torch.zeros(1, 3, 8, 8),))
    return to_program(captured.module, captured.example_inputs), quantized(Net(), (1, 3, 8, 8)).program


@pytest.mark.parametrize(("place", "precision"), [(0, "float32"), (1, "int8")])
def test_layers_that_multiply_are_listed_in_order(programs, place, precision):
    layers = layer_table(programs[place])
    assert [(layer.module, layer.operator) for layer in layers] == [
        ("stem", "aten.conv2d.default"),
        ("head", "aten.linear.default"),
    ]
    assert [layer.macs for layer in layers] == [4 * 3 * 3 * 3 * 8 * 8, 2 * 4]
    assert {layer.precision for layer in layers} == {precision}
    assert all(layer.sqnr_db is None for layer in layers)


def test_the_error_is_signal_over_noise_summed_over_samples(programs):
    floating, int8 = (run_reference(program, ("image",), ("output",), SAMPLES) for program in programs)
    layers = with_errors(layer_table(programs[1]), floating, int8, SAMPLES)
    signal = noise_power = 0.0
    for sample in SAMPLES:
        exact, coded = (
            next(v.data for v in program_values(reference, sample) if v.name == "linear")
            for reference in (floating, int8)
        )
        signal, noise_power = signal + np.sum(exact**2.0), noise_power + np.sum((exact - coded) ** 2.0)
    assert layers[1].sqnr_db == pytest.approx(10 * np.log10(signal / noise_power), rel=1e-5)
    assert 20 < layers[1].sqnr_db < 60


def test_values_without_error_have_no_figure(programs):
    floating = run_reference(programs[0], ("image",), ("output",), SAMPLES)
    layers = with_errors(layer_table(programs[0]), floating, floating, SAMPLES)
    assert [layer.sqnr_db for layer in layers] == [None, None]

"""The program's outputs and values, which artifacts are held against."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.quant.capture import capture, to_program
from offramp.runtime.reference import program_values, run_reference
from offramp.runtime.samples import Samples
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

SAMPLES = Samples({"x": noise((3, 6)).numpy()}, None, "noise")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x):
        return self.second(self.first(x).relu())


@pytest.fixture(scope="module")
def floating():
    captured = capture(Net().eval(), (torch.zeros(1, 6),))
    return run_reference(to_program(captured.module, captured.example_inputs), ("x",), ("y",), SAMPLES)


@pytest.fixture(scope="module")
def int8():
    return run_reference(quantized(Net(), (1, 6)).program, ("x",), ("y",), SAMPLES)


def test_outputs_are_those_of_the_network_one_sample_at_a_time(floating):
    expected = torch.cat([Net()(torch.from_numpy(sample["x"])) for sample in SAMPLES])
    np.testing.assert_allclose(floating.outputs["y"], expected.detach().numpy(), rtol=1e-6, atol=1e-6)
    assert floating.steps == {"y": None}


def test_a_quantized_output_is_whole_steps(int8):
    codes = int8.outputs["y"] / int8.steps["y"]
    np.testing.assert_allclose(codes, codes.round(), atol=1e-3)
    assert 2 < np.unique(codes.round()).size <= 12


def test_values_come_in_order_under_their_modules(floating):
    values = program_values(floating, next(iter(SAMPLES)))
    assert [(value.name, value.module) for value in values] == [
        ("linear", "first"),
        ("relu", ""),
        ("linear_1", "second"),
    ]
    np.testing.assert_allclose(values[1].data, np.maximum(values[0].data, 0))
    np.testing.assert_array_equal(values[-1].data, floating.outputs["y"][:1])
    assert all(value.step is None for value in values)


def test_quantized_values_are_codes_as_they_are_meant(int8):
    values = {value.name: value for value in program_values(int8, next(iter(SAMPLES)))}
    assert "x" in values  # the input is quantized too, and belongs to the network itself
    assert values["x"].module == ""
    for value in values.values():
        if value.step is not None:
            codes = value.data / value.step
            np.testing.assert_allclose(codes, codes.round(), atol=1e-3)
    np.testing.assert_array_equal(values["linear_1"].data, int8.outputs["y"][:1])


def test_a_replacement_is_what_later_operators_read(floating):
    sample = next(iter(SAMPLES))
    zero = program_values(floating, sample, lambda v: np.zeros_like(v.data) if v.name == "relu" else None)
    np.testing.assert_allclose(zero[-1].data[0], Net().second.bias.detach().numpy(), rtol=1e-6)
    assert np.abs(zero[1].data).max() > 0  # the value itself is shown as the program computed it

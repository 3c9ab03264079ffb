"""Differences from a constant and quotients of one in TFLite: LiteRT's converter must not turn them round."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.export.tflite import to_tflite
from offramp.quant.capture import capture, to_program
from offramp.runtime.tflite_graph import read_tflite
from offramp.runtime.tflite_session import TfliteSession
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

IMAGE = (1, 3, 6, 5)


class BetweenConvolutions(nn.Module):
    """Two convolutions, and what is computed of a constant and a value between them: the converter moves layouts."""

    def __init__(self, compute, *shape):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.compute = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1), compute
        self.register_buffer("constant", 0.5 + torch.rand(shape))

    def forward(self, x):
        return self.second(self.compute(self.constant, self.first(x)))


class Transposed(BetweenConvolutions):
    """The same behind a change of layout of the network's own."""

    def forward(self, x):
        return self.compute(self.constant, self.first(x).transpose(2, 3)).flatten(2) @ torch.ones(30, 2)


COMPUTATIONS = {
    "constant - x": lambda c, x: c - x,
    "relu(constant - x)": lambda c, x: (c - x).relu(),
    "1 - x": lambda c, x: 1 - x,
    "constant / x": lambda c, x: c / (1.5 + x.sigmoid()),
    "1 / x": lambda c, x: 1 / (1.5 + x.sigmoid()),
    "1 / x, codes": lambda c, x: torch.reciprocal(1.5 - x.sigmoid()),
    "constant / x, codes": lambda c, x: c / (1.5 - x.sigmoid()),
    "1 / x, below 0": lambda c, x: torch.reciprocal(-1.5 - x.sigmoid()),
    "x - constant": lambda c, x: x - c,
    "x / constant": lambda c, x: x / c,
}


@pytest.mark.parametrize("network", [BetweenConvolutions, Transposed])
@pytest.mark.parametrize("shape", [(), (8, 1, 1)])
@pytest.mark.parametrize("name", COMPUTATIONS)
def test_the_order_is_kept_in_float(network, shape, name, tmp_path):
    module, path, x = network(COMPUTATIONS[name], *shape).eval(), tmp_path / "net.tflite", noise(IMAGE)
    captured = capture(module, (x,), ("x",), ("y",))
    program = to_program(captured.module, captured.example_inputs)
    to_tflite(program, path, input_names=("x",), output_names=("y",), precision="float32")
    wanted = module(x).detach().numpy()
    np.testing.assert_allclose(TfliteSession(path).run({"x": x.numpy()})["y"], wanted, atol=2e-5)


def written(name, path):
    """The quantized program of a computation between convolutions, and its file."""
    program = quantized(BetweenConvolutions(COMPUTATIONS[name], 8, 1, 1), IMAGE)
    names = {"input_names": program.input_names, "output_names": program.output_names}
    to_tflite(program.program, path, **names, precision="int8")
    return program


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_the_order_is_kept_between_codes(name, tmp_path):
    path, x = tmp_path / "net.tflite", noise(IMAGE, 5)
    program = written(name, path)
    (found,) = TfliteSession(path).run({program.input_names[0]: x.numpy()}).values()
    # An integer division may round to the next code, and so what reads it.
    np.testing.assert_allclose(
        found, program(x)[0].numpy(), rtol=0, atol=1.01 * program.activations()["conv2d_1"].scale
    )


def test_a_difference_between_codes_stays_one_operator(tmp_path):
    path = tmp_path / "net.tflite"
    written("constant - x", path)
    assert {"SUB"} == {operator.name for operator in read_tflite(path).operators} & {"SUB", "ADD", "NEG", "MUL"}

"""ELU in TFLite: one operator, whose codes are those of the program."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.export.tflite import to_tflite
from offramp.runtime.tflite_graph import read_tflite
from offramp.runtime.tflite_session import TfliteSession
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized, randomise

IMAGE = (1, 4, 5, 5)
NAMES = (("input",), ("y",))


def network(alpha):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ELU(alpha), nn.Conv2d(4, 4, 1))
    randomise(layers)
    return layers


def written(program, names, path, precision):
    to_tflite(program, path, input_names=names[0], output_names=names[1], precision=precision)
    return {operator.name for operator in read_tflite(path).operators}


def test_between_codes_it_is_one_operator_and_exact(tmp_path):
    program, path = quantized(network(1.0), IMAGE), tmp_path / "net.tflite"
    names = program.input_names, program.output_names
    operators = written(program.program, names, path, "int8")
    assert "ELU" in operators and not operators & {"EXP", "SUB", "SELECT", "SELECT_V2", "GREATER_EQUAL"}
    session = TfliteSession(path)
    for seed in range(20):
        x = noise(IMAGE, seed)
        np.testing.assert_array_equal(session.run({names[0][0]: x.numpy()})[names[1][0]], program(x)[0].numpy())


def test_in_float_too(tmp_path):
    layers, path = network(1.0).eval(), tmp_path / "net.tflite"
    x = noise(IMAGE)
    operators = written(torch.export.export(layers, (x,)), NAMES, path, "float32")
    assert "ELU" in operators and "EXP" not in operators
    wanted = layers(x).detach().numpy()
    np.testing.assert_allclose(TfliteSession(path).run({"input": x.numpy()})["y"], wanted, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_another_alpha_stays_spelled_out(alpha, tmp_path):
    layers, path = network(alpha).eval(), tmp_path / "net.tflite"
    x = noise(IMAGE)
    assert "ELU" not in written(torch.export.export(layers, (x,)), NAMES, path, "float32")
    wanted = layers(x).detach().numpy()
    np.testing.assert_allclose(TfliteSession(path).run({"input": x.numpy()})["y"], wanted, atol=1e-5)

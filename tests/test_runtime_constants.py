"""Reading integers back: what is compared, what counts as the same constant, and what is missing."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.benchmarks.faults import change_activation, change_constant
from offramp.export.artifact import SUFFIX
from offramp.export.write import write_artifact
from offramp.quant.codes import IntegerTensor
from offramp.runtime import constants
from offramp.runtime.constants import ConstantsCheck, compare_constants
from offramp.runtime.session import open_session
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import Recurrent, noise, quantized

SHAPE = (1, 3, 8, 8)


class Net(nn.Module):
    """Two weighted layers, and a constant for each channel: (1, 4, 1, 1) in PyTorch, channels last in TFLite."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 2)
        self.gain = nn.Parameter(torch.rand(1, 4, 1, 1) + 0.5)

    def forward(self, image):
        return self.head((self.conv(image).relu() * self.gain).mean((2, 3)))


@pytest.fixture(scope="module")
def program():
    return quantized(Net(), SHAPE)


@pytest.fixture(scope="module")
def artifacts(program, tmp_path_factory):
    folder = tmp_path_factory.mktemp("constants")
    names = {"input_names": ("image",), "output_names": ("output",), "precision": "int8"}
    return {t: write_artifact(t, program.program, folder / f"net{s}", **names) for t, s in SUFFIX.items()}


@pytest.mark.parametrize("target", [target for target in SUFFIX if target != "c"])  # C: test_runtime_c.py
def test_every_constant_and_activation_is_compared(program, artifacts, target):
    check = compare_constants(program, artifacts[target])
    assert check.holds
    assert check.differing == check.missing == ()
    assert sorted(program.constants()) == ["conv_bias", "conv_weight", "gain_1", "head_bias", "head_weight"]
    assert sorted(program.activations()) == ["image", "linear", "mean", "mul", "relu"]
    assert check.compared == check.identical == 5 + 5


class Twice(nn.Module):
    """A layer that is run twice on the same values: TFLite's converter keeps one of the runs and its constants."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x).sigmoid() + self.layer(x).tanh()


@pytest.mark.parametrize("target", [target for target in SUFFIX if target != "c"])
def test_equal_computations_may_be_kept_once(tmp_path, target):
    program = quantized(Twice(), (1, 4))
    names = {"input_names": ("x",), "output_names": ("output",), "precision": "int8"}
    artifact = write_artifact(target, program.program, tmp_path / f"net{SUFFIX[target]}", **names)
    assert sorted(program.constants()) == ["layer_bias", "layer_bias_1", "layer_weight"]
    assert compare_constants(program, artifact).holds
    change_constant(artifact.path, "layer_weight", 2.0)
    assert not compare_constants(program, artifact).holds


@pytest.mark.parametrize("target", [target for target in SUFFIX if target != "c"])
def test_a_weight_of_many_layers_is_held_once(tmp_path, target):
    program = quantized(Recurrent(12, 6), (1, 12))
    names = {"input_names": program.input_names, "output_names": program.output_names, "precision": "int8"}
    artifact = write_artifact(target, program.program, tmp_path / f"net{SUFFIX[target]}", **names)
    check = compare_constants(program, artifact)
    assert check.holds and check.compared == check.identical == 1 + 6 + 7  # weight, biases, activations
    codes = program.constants()["layer_weight"].codes
    files = [path for path in [artifact.path, *artifact.path.rglob("*")] if path.is_file()]
    content = b"".join(path.read_bytes() for path in files)
    assert content.count(codes.tobytes()) + content.count(np.ascontiguousarray(codes.T).tobytes()) == 1
    x = noise((1, 12), 3)
    (found,) = open_session(artifact.path).run({program.input_names[0]: x.numpy()}).values()
    np.testing.assert_array_equal(found, program(x)[0].numpy())


@pytest.mark.parametrize("target", [target for target in SUFFIX if target != "c"])
def test_constants_of_a_bare_sequential_keep_their_names(tmp_path, target):
    """Its layers are 0, 1, 2: Core ML renames what begins with a digit."""
    torch.manual_seed(0)
    program = quantized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)), SHAPE)
    names = {"input_names": program.input_names, "output_names": program.output_names, "precision": "int8"}
    check = compare_constants(
        program, write_artifact(target, program.program, tmp_path / f"net{SUFFIX[target]}", **names)
    )
    assert check.holds and check.compared == check.identical == 4 + 4
    assert sorted(program.constants()) == ["0_bias", "0_weight", "3_bias", "3_weight"]


def test_scales_at_an_integer_border_are_compared_too(program, tmp_path):
    names = {"input_names": ("image",), "output_names": ("output",), "precision": "int8", "integer_io": True}
    artifact = write_artifact("tflite", program.program, tmp_path / "net.tflite", **names)
    assert compare_constants(program, artifact) == ConstantsCheck(10, 10, (), ())
    change_activation(artifact.path, "output", 1.01)
    assert compare_constants(program, artifact) == ConstantsCheck(10, 9, ("linear",), ())


def stored_as(monkeypatch, program, **changes):
    """Compares with an artifact that holds the program's own constants, some of them changed; None leaves one out."""
    integers = {name: value for name, value in {**program.constants(), **changes}.items() if value is not None}
    scales = {name: (affine.scale, affine.zero_point) for name, affine in program.activations().items()}
    monkeypatch.setitem(constants._READERS, "onnx", lambda path: constants._Stored(integers, scales, {}))
    return lambda artifact: compare_constants(program, artifact)


def test_a_constant_may_lie_channels_last_or_without_ones(program, artifacts, monkeypatch):
    gain = program.constants()["gain_1"]
    assert gain.codes.shape == (1, 4, 1, 1)
    for codes in (gain.codes.transpose(0, 2, 3, 1), gain.codes.reshape(4), gain.codes.reshape(4, 1, 1)):
        compare = stored_as(monkeypatch, program, gain_1=replace(gain, codes=codes))
        assert compare(artifacts["onnx"]).holds


def test_one_code_one_scale_or_one_zero_point_is_enough(program, artifacts, monkeypatch):
    weight = program.constants()["conv_weight"]
    codes, scale, zero_point = weight.codes.copy(), weight.scale.copy(), weight.zero_point.copy()
    codes[0, 0, 0, 0] += 1
    scale[1] = np.nextafter(scale[1], np.float32(1))
    zero_point[2] = 1
    for changed in (
        replace(weight, codes=codes),
        replace(weight, scale=scale),
        replace(weight, zero_point=zero_point),
        replace(weight, codes=weight.codes.transpose(1, 0, 2, 3)),
    ):
        check = stored_as(monkeypatch, program, conv_weight=changed)(artifacts["onnx"])
        assert not check.holds
        assert check == ConstantsCheck(10, 9, ("conv_weight",), ())


def test_a_weight_that_is_not_there_is_missing_and_a_bias_is_not(program, artifacts, monkeypatch):
    check = stored_as(monkeypatch, program, conv_weight=None, conv_bias=None)(artifacts["onnx"])
    assert not check.holds
    assert check == ConstantsCheck(8, 8, (), ("conv_weight",))


def test_other_names_are_no_fault(program, artifacts, monkeypatch):
    other = IntegerTensor(np.ones(1, np.int8), np.float32(1), np.int32(0), None)
    assert stored_as(monkeypatch, program, stranger=other)(artifacts["onnx"]).compared == 10


def test_a_bias_that_core_ml_keeps_in_float_is_compared(program, artifacts):
    path = artifacts["coreml"].path
    change_constant(path, "b_conv_bias", 1.001, "values")
    assert compare_constants(program, artifacts["coreml"]).differing == ("conv_bias",)

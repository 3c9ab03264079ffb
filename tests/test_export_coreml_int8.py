"""Quantized programs through `to_coreml`: the integers read back from the package are those that went in."""

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from offramp.errors import UnsupportedOperator
from offramp.export.coreml import to_coreml
from offramp.runtime.coreml_session import CoremlSession, read_activation_scales, read_weights
from offramp.runtime.mil import load_program
from torch import nn
from torch.nn import functional

Q = torch.ops.quantized_decomposed
WEIGHT_RANGE = (-127, 127, torch.int8)
CODE_RANGE = (-128, 127, torch.int8)
BIAS_RANGE = (-(2**31), 2**31 - 1, torch.int32)


def through_codes(x, scale, zero_point):
    codes = Q.quantize_per_tensor.default(x, scale, zero_point, *CODE_RANGE)
    return Q.dequantize_per_tensor.default(codes, scale, zero_point, *CODE_RANGE)


class QuantizedLayer(nn.Module):
    """Weights as int8 codes per output channel, and a bias as int32 codes, in the canonical form."""

    def __init__(self, shape, input_scale, seed):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.register_buffer("codes", torch.randint(-127, 128, shape, generator=draw).to(torch.int8))
        self.register_buffer("scales", torch.rand(shape[0], generator=draw) * 0.01 + 0.001)
        self.register_buffer("zeros", torch.zeros(shape[0], dtype=torch.int64))
        self.register_buffer("bias", torch.randint(-9000, 9000, shape[:1], generator=draw).to(torch.int32))
        self.register_buffer("bias_scales", self.scales * input_scale)

    def real(self):
        weight = Q.dequantize_per_channel.default(self.codes, self.scales, self.zeros, 0, *WEIGHT_RANGE)
        return weight, Q.dequantize_per_channel.default(self.bias, self.bias_scales, self.zeros, 0, *BIAS_RANGE)


class QuantizedConv(QuantizedLayer):
    def forward(self, x):
        return functional.conv2d(x, *self.real(), padding=1)


class QuantizedLinear(QuantizedLayer):
    def forward(self, x):
        return functional.linear(x, *self.real())


class QuantizedNet(nn.Module):
    """conv, ReLU, mean, linear with int8 activations of several scales; zero point -128 after the ReLU."""

    def __init__(self):
        super().__init__()
        self.conv = QuantizedConv((8, 3, 3, 3), 0.02, 0)
        self.twin = QuantizedConv((8, 8, 3, 3), 0.013, 0)
        self.classify = QuantizedLinear((5, 8), 0.007, 2)

    def forward(self, x):
        x = through_codes(x, 0.02, 3)
        x = through_codes(torch.relu(self.conv(x)), 0.013, -128)
        x = through_codes(x + through_codes(self.twin(x), 0.031, 5), 0.037, -7)
        return through_codes(self.classify(through_codes(x.mean((2, 3)), 0.007, -128)), 0.03, 1)


@pytest.fixture(scope="module")
def quantized(tmp_path_factory):
    net = QuantizedNet().eval()
    program = torch.export.export(net, (torch.zeros(1, 3, 8, 8),))
    path = tmp_path_factory.mktemp("int8") / "net.mlpackage"
    artifact = to_coreml(program, path, input_names=["image"], output_names=["scores"], precision="int8")
    return net, artifact


def test_int8_weights_read_back_identical(quantized):
    net, artifact = quantized
    weights = read_weights(artifact.path)
    assert set(weights) == {"conv_codes", "twin_codes", "classify_codes"}
    for name, tensor in weights.items():
        assert artifact.modules[name] == name.removesuffix("_codes")
        layer = net.get_submodule(name.removesuffix("_codes"))
        assert tensor.axis == 0
        assert tensor.codes.dtype == np.int8
        np.testing.assert_array_equal(tensor.codes, layer.codes.numpy())
        np.testing.assert_array_equal(tensor.scale, layer.scales.numpy())
        np.testing.assert_array_equal(tensor.zero_point, layer.zeros.numpy())


def test_activation_scales_read_back_identical(quantized):
    _, artifact = quantized
    expected = {
        "image": (0.02, 3),
        "relu": (0.013, -128),
        "conv2d_1": (0.031, 5),
        "add": (0.037, -7),
        "mean": (0.007, -128),
        "linear": (0.03, 1),
    }
    found = read_activation_scales(artifact.path)
    assert found == {name: (float(np.float32(scale)), zero, "int8") for name, (scale, zero) in expected.items()}


def test_biases_are_the_float_numbers_of_the_program(quantized):
    net, artifact = quantized
    constants = {
        op.outputs[0].name: op.inputs["val"] for op in load_program(artifact.path).operations if op.type == "const"
    }
    for name in ("conv", "twin", "classify"):
        expected = net.get_submodule(name).real()[1].numpy()
        np.testing.assert_array_equal(constants[f"b_{name}_bias"], expected)
    assert artifact.details["biases"].startswith("3 int32 biases")


def test_int8_outputs_are_within_one_code(quantized):
    net, artifact = quantized
    session = CoremlSession(artifact.path, native=False)
    for seed in range(5):
        x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        steps = (session.run({"image": x.numpy()})["scores"] - net(x).numpy()) / 0.03
        assert np.abs(steps).max() < 1.001


def test_every_quantized_value_has_its_module(quantized):
    _, artifact = quantized
    modules = {
        op.outputs[0].name: (op.type, artifact.modules.get(op.outputs[0].name)) for op in _computed(artifact.path)
    }
    assert None not in {path for _, path in modules.values()}
    assert {path for kind, path in modules.values() if kind == "conv"} == {"conv", "twin"}
    assert {path for kind, path in modules.values() if kind == "linear"} == {"classify"}


def _computed(path):
    return [op for op in load_program(path).operations if op.type != "const"]


def test_quantizing_to_part_of_the_range_is_refused(tmp_path):
    class Narrow(nn.Module):
        def forward(self, x):
            codes = Q.quantize_per_tensor.default(x, 0.1, 0, -127, 127, torch.int8)
            return Q.dequantize_per_tensor.default(codes, 0.1, 0, -127, 127, torch.int8)

    program = torch.export.export(nn.Sequential(Narrow()), (torch.zeros(1, 4),))
    with pytest.raises(
        UnsupportedOperator, match=r"^0: coreml has no form of .*quantize_per_tensor.default to -127..127"
    ):
        to_coreml(program, tmp_path / "a.mlpackage", input_names=["x"], output_names=["y"], precision="int8")

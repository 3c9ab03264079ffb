"""The bytes of an int8 artifact, target by target: what few bits need must not change them.

The program is made of fixed numbers, so that its file depends on this project and on its converters only; with other
versions of those there is nothing to compare.
"""

import hashlib
from importlib.metadata import version

import pytest
import torch
import torch.ao.quantization.fx._decomposed
from offramp.export.artifact import SUFFIX
from offramp.export.write import write_artifact
from torch import nn
from torch.nn import functional

Q = torch.ops.quantized_decomposed
CODES, WEIGHTS, BIASES = (-128, 127, torch.int8), (-127, 127, torch.int8), (-(2**31) + 1, 2**31 - 1, torch.int32)
# Target -> (package, version) of what writes it, and the first 16 digits of the SHA-256.
GOLDEN = {
    "onnx": (("onnx", "1.23.2"), "2ae317288fb1299f"),
    "coreml": (("coremltools", "9.0"), "39261a726dc232f6"),
    "tflite": (("litert-torch", "0.10.0"), "7f465f89a6998277"),
}


def through(x, scale, zero_point):
    codes = Q.quantize_per_tensor.default(x, scale, zero_point, *CODES)
    return Q.dequantize_per_tensor.default(codes, scale, zero_point, *CODES)


class Layer(nn.Module):
    """Integer weights that count up, scales of 2^-7 to 2^-9."""

    def __init__(self, shape, scale):
        super().__init__()
        size = torch.Size(shape).numel()
        self.register_buffer("weight", ((torch.arange(size) * 37) % 255 - 127).to(torch.int8).reshape(shape))
        self.register_buffer("weight_scale", 2.0 ** (-7 - torch.arange(shape[0]) % 3))
        self.register_buffer("zeros", torch.zeros(shape[0], dtype=torch.int64))
        self.register_buffer("bias", (torch.arange(shape[0]) * 100 - 150).to(torch.int32))
        self.register_buffer("bias_scale", self.weight_scale * scale)

    def real(self):
        weight = Q.dequantize_per_channel.default(self.weight, self.weight_scale, self.zeros, 0, *WEIGHTS)
        return weight, Q.dequantize_per_channel.default(self.bias, self.bias_scale, self.zeros, 0, *BIASES)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = Layer((4, 3, 3, 3), 2.0**-5), Layer((5, 4), 2.0**-4)

    def forward(self, image):
        x = functional.conv2d(through(image, 2.0**-5, 3), *self.conv.real(), padding=1).relu()
        x = through(x, 2.0**-4, -128)
        return through(functional.linear(through(x.mean((2, 3)), 2.0**-4, -128), *self.head.real()), 2.0**-3, 1)


def digest(path):
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


@pytest.mark.parametrize("target", GOLDEN)
def test_an_int8_artifact_keeps_its_bytes(target, tmp_path):
    (package, wanted), golden = GOLDEN[target]
    if version(package) != wanted or not torch.__version__.startswith("2.13.0"):
        pytest.skip(f"the bytes are those of {package} {wanted} and torch 2.13.0")
    program = torch.export.export(Net().eval(), (torch.zeros(1, 3, 6, 6),))
    path = tmp_path / f"net{SUFFIX[target]}"
    names = {"input_names": ("image",), "output_names": ("scores",)}
    write_artifact(target, program, path, **names, precision="int8")
    assert digest(path) == golden

"""Programs of 1 to 8 bits in every target: executed, held against the program, integers and scales read back."""

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.export.artifact import SUFFIX, is_quantized
from offramp.export.write import write_artifact
from offramp.quant.scheme import bits_named
from offramp.runtime.islands import find_islands
from offramp.runtime.macs import count_file, count_program
from offramp.runtime.reference import run_reference
from offramp.runtime.samples import Samples
from offramp.runtime.verify import verify_artifact
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

SHAPE = (1, 3, 12, 12)
SAMPLES = Samples({"image": noise((8, *SHAPE[1:]), 7).numpy()}, None, "noise", drawn=True)
NAMES = {"input_names": ("image",), "output_names": ("scores",)}
SCHEMES = ("w3a8", "w4a8", "w4a4", "w2a4", "ternary", "binary-weights", "binary")
PRODUCTS = {"Conv", "Gemm", "MatMul", "CONV_2D", "FULLY_CONNECTED", "conv", "linear"}


class Net(nn.Module):
    """Padded, strided and residual convolutions and a hidden linear layer; the first and the last keep 8 bits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.body, self.down = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.hidden, self.head = nn.Linear(32, 24), nn.Linear(24, 4)

    def forward(self, image):
        x = self.stem(image).relu()
        x = self.down(self.body(x) + x).relu()
        return self.head(self.hidden(x.mean((2, 3))).relu())


@cache
def program_of(scheme):
    weight, activation = bits_named(scheme)
    return quantized(Net(), SHAPE, weight_bits=weight, activation_bits=activation)


@cache
def reference_of(scheme):
    return run_reference(program_of(scheme).program, *NAMES.values(), SAMPLES)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(target, scheme) -> artifact, written once."""
    folder, made = tmp_path_factory.mktemp("few"), {}

    def file(target, scheme):
        if (target, scheme) not in made:
            path = folder / f"{scheme}{SUFFIX[target]}"
            program = program_of(scheme)
            assert program.scheme.name == scheme
            made[target, scheme] = write_artifact(target, program.program, path, **NAMES, precision=scheme)
        return made[target, scheme]

    return file


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("target", SUFFIX)
def test_every_scheme_is_verified_and_runs_on_integers(target, scheme, files):
    program, artifact = program_of(scheme), files(target, scheme)
    verdict = verify_artifact(artifact, reference_of(scheme), SAMPLES, program, older_runtime=False)
    assert verdict.reasons == ()
    weights = {name for name, tensor in program.constants().items() if tensor.codes.dtype == np.int8}
    assert verdict.constants.compared >= len(weights) + len(program.layers)
    report = find_islands(artifact.path, artifact.modules)
    assert [island for island in report.islands if island.operator in PRODUCTS] == []
    assert report.integer_mac_share == 1.0


@pytest.mark.parametrize("target", SUFFIX)
def test_two_exports_are_equal_to_the_byte(target, files, tmp_path):
    path = tmp_path / f"binary{SUFFIX[target]}"
    again = write_artifact(target, program_of("binary").program, path, **NAMES, precision="binary")
    assert again.sha256 == files(target, "binary").sha256


WANTED = {
    ("onnx", "w4a8"): "3 of 4 bits as INT4 (cast to int8 as the file is loaded); 2 of 8 bits as int8",
    ("onnx", "ternary"): "3 of 2 bits as INT2 (cast to int8 as the file is loaded); 2 of 8 bits as int8",
    ("onnx", "binary"): "3 of 1 bit as INT2 (cast to int8 as the file is loaded); 2 of 8 bits as int8",
    ("coreml", "w3a8"): "3 of 3 bits as int4; 2 of 8 bits as int8",
    ("coreml", "ternary"): "3 of 2 bits as 2-bit indices of a palette; 2 of 8 bits as int8",
    ("coreml", "binary"): "3 of 1 bit as 1-bit indices of a palette; 2 of 8 bits as int8",
    ("tflite", "w4a8"): "1 of 4 bits as INT4; 2 of 4 bits as int8; 2 of 8 bits as int8",
    ("tflite", "binary"): "1 of 1 bit as INT4; 2 of 1 bit as int8; 2 of 8 bits as int8",
}


@pytest.mark.parametrize(("target", "scheme"), WANTED)
def test_how_weights_are_stored_is_said(target, scheme, files):
    assert files(target, scheme).details["weights"] == WANTED[target, scheme]


def test_the_oldest_reader_is_raised_only_where_the_form_needs_it(files):
    opsets = {scheme: files("onnx", scheme).details["opset"] for scheme in ("int8", "w4a8", "binary")}
    assert opsets == {"int8": "20", "w4a8": "21", "binary": "25"}
    systems = {scheme: files("coreml", scheme).details["minimum_target"] for scheme in ("int8", "w4a8", "binary")}
    assert systems == {"int8": "iOS17", "w4a8": "iOS18", "binary": "iOS18"}
    assert all("weights" not in files(target, "int8").details for target in SUFFIX)


def test_packed_weights_shrink_the_file(files):
    sizes = {s: files("onnx", s).size_bytes for s in ("int8", "w4a8", "ternary")}
    assert sizes["ternary"] < sizes["w4a8"] < sizes["int8"]
    assert files("coreml", "binary-weights").size_bytes < files("coreml", "ternary").size_bytes
    assert files("tflite", "w4a8").size_bytes < files("tflite", "int8").size_bytes


STORED = {  # bits of one weight of the three layers between the first and the last
    ("onnx", "w4a8"): (4, 4, 4), ("onnx", "ternary"): (2, 2, 2), ("onnx", "binary"): (2, 2, 2),
    ("coreml", "w4a8"): (4, 4, 4), ("coreml", "ternary"): (2, 2, 2), ("coreml", "binary"): (1, 1, 1),
    ("tflite", "w4a8"): (8, 8, 4),
    ("tflite", "w4a4"): (8, 8, 4), ("tflite", "binary"): (8, 8, 4),
}  # fmt: skip
SIZES = (16 * 16 * 9, 32 * 16 * 9, 24 * 32)
BORDER = 8 * (16 * 3 * 9 + 4 * 24)


@pytest.mark.parametrize(("target", "scheme"), STORED)
def test_files_count_weights_by_the_bits_that_they_store(target, scheme, files):
    count, program = count_file(files(target, scheme).path), count_program(program_of(scheme).program)
    assert count.weight_bits == BORDER + sum(size * bits for size, bits in zip(SIZES, STORED[target, scheme]))
    assert count.weight_bytes * 8 == count.weight_bits
    assert (count.total, count.parameters, count.uncounted) == (program.total, program.parameters, ())
    assert count.by_bits == {8: program.total}  # every engine multiplies int8


@pytest.mark.parametrize(
    ("precision", "quantized_program"),
    [("float32", False), ("float16", False), ("int8", True), ("w4a8", True), ("binary", True), ("mixed", True)],
)
def test_every_name_but_a_float_s_means_the_quantized_program(precision, quantized_program):
    assert is_quantized(precision) is quantized_program

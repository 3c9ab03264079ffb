"""Few bits in Core ML: which forms hold the codes, which systems read them, and which quantizers are refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from offramp.errors import BadInput, UnsupportedOperator
from offramp.export.coreml import to_coreml
from offramp.runtime.coreml_session import CoremlSession, read_activation_scales, read_weights
from offramp.runtime.mil import load_program
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_networks import noise, quantized

Q = torch.ops.quantized_decomposed
NAMES = {"input_names": ("x",), "output_names": ("y",)}


def program_of(weight):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    return quantized(net, (1, 8), weight_bits=weight)


FORMS = {4: ("constexpr_blockwise_shift_scale", "int4"), 3: ("constexpr_blockwise_shift_scale", "int4"),
         2: ("constexpr_lut_to_dense", "uint2"), 1: ("constexpr_lut_to_dense", "uint1")}  # fmt: skip


@pytest.mark.parametrize("bits", FORMS)
def test_weights_are_packed_and_read_back(bits, tmp_path):
    program = program_of(bits)
    artifact = to_coreml(program.program, tmp_path / "a.mlpackage", **NAMES, precision=program.scheme.name)
    operations = [o for o in load_program(artifact.path).operations if o.outputs[0].name.endswith("2_weight")]
    form, dtype = FORMS[bits]
    assert [operation.type for operation in operations] == [form]
    assert operations[0].stored_types["indices" if "lut" in form else "data"] == dtype
    theirs, ours = read_weights(artifact.path), program.constants()
    for weight, tensor in ours.items():
        if tensor.codes.dtype == np.int8:
            assert tensor == next(t for n, t in theirs.items() if n.endswith(weight))


def test_an_older_system_is_given_int8_on_request(tmp_path):
    program = program_of(1)
    path = tmp_path / "a.mlpackage"
    artifact = to_coreml(program.program, path, **NAMES, precision="binary-weights", minimum_target="iOS17")
    assert artifact.details["minimum_target"] == "iOS17"
    assert artifact.details["weights"] == "1 of 1 bit as int8; 2 of 8 bits as int8"
    x = noise((1, 8))
    got = CoremlSession(path, native=False).run({"x": x.numpy()})["y"]
    assert np.abs(got - program(x)[0].numpy()).max() <= program.output_steps()[0] * 1.001


class Narrow(nn.Module):
    """A value of 4 bits behind one of 8, with a clamp to `high` before the narrow quantize."""

    def __init__(self, high):
        super().__init__()
        self.high = high

    def forward(self, x):
        x = Q.dequantize_per_tensor(
            Q.quantize_per_tensor(x, 0.1, 3, -128, 127, torch.int8), 0.1, 3, -128, 127, torch.int8
        )
        x = torch.clamp(x, -1.1, self.high)
        codes = Q.quantize_per_tensor(x, 0.1, 3, -8, 7, torch.int8)
        return Q.dequantize_per_tensor(codes, 0.1, 3, -8, 7, torch.int8)


def test_few_codes_are_taken_behind_a_clamp_to_the_same_limits(tmp_path):
    program = torch.export.export(Narrow(0.4), (torch.zeros(1, 64),))
    artifact = to_coreml(program, tmp_path / "a.mlpackage", **NAMES, precision="w4a4")
    assert {scale[:2] for scale in read_activation_scales(artifact.path).values()} == {(float(np.float32(0.1)), 3)}
    x = torch.linspace(-2, 2, 64).reshape(1, 64)
    got = CoremlSession(artifact.path, native=False).run({"x": x.numpy()})["y"]
    np.testing.assert_allclose(got, program.module()(x).numpy(), atol=1e-6)
    assert len(np.unique(got.round(4))) == 16


def test_few_codes_behind_other_limits_are_refused(tmp_path):
    program = torch.export.export(Narrow(0.5), (torch.zeros(1, 4),))
    with pytest.raises(UnsupportedOperator, match=r"quantize_per_tensor.default to -8..7; .*or clamp to the limits"):
        to_coreml(program, tmp_path / "a.mlpackage", **NAMES, precision="w4a4")


def test_a_precision_that_is_no_scheme_is_refused(tmp_path):
    program = torch.export.export(nn.Linear(4, 2), (torch.zeros(1, 4),))
    with pytest.raises(
        BadInput, match=r"precision must be float32, float16 or a scheme's name \(int8, w4a8\), got half"
    ):
        to_coreml(program, tmp_path / "a.mlpackage", **NAMES, precision="half")

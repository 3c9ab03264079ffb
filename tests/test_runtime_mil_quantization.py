"""quantize, dequantize and the compressed forms of constants, against the definitions in coremltools' documentation."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offramp.runtime.mil import Evaluator, load_program
from offramp.runtime.mil.blobs import unpack, unpack_bits
from offramp.runtime.mil.quantization import quantize

sys.path.append(str(Path(__file__).parent))
from mil_programs import Case, compare, save

GENERATOR = np.random.default_rng(3)
INPUTS = {"x": (GENERATOR.integers(-300, 300, size=(2, 4, 6)) * 0.25).astype(np.float32)}  # many ties of rounding
CODES = GENERATOR.integers(-128, 128, size=(4, 6)).astype(np.int8)
SCALES = np.float32([0.1, 0.25, 0.5, 3e-3])
ZEROS = np.int8([0, -128, 5, 127])


def through(mb, x, dtype, **settings):
    codes = mb.quantize(input=x, output_dtype=dtype, **settings)
    return mb.dequantize(input=codes, **settings)


def affine(x, scale, zero, low, high):
    """The documented formula, clip(round(x / scale) + zero), and back."""
    codes = np.clip(np.round(x.numpy() / scale) + zero, low, high)
    return ((codes - zero) * scale).astype(np.float32)


ACTIVATIONS = [
    Case(
        "int8",
        ("x",),
        lambda mb, x: through(mb, x, "int8", scale=np.float32(0.5), zero_point=np.int8(3)),
        lambda x: affine(x, np.float32(0.5), 3, -128, 127),
    ),
    Case(
        "uint8",
        ("x",),
        lambda mb, x: through(mb, x, "uint8", scale=np.float32(0.5), zero_point=np.uint8(130)),
        lambda x: affine(x, np.float32(0.5), 130, 0, 255),
    ),
    Case(
        "no_zero_point",
        ("x",),
        lambda mb, x: through(mb, x, "int8", scale=np.float32(0.3)),
        lambda x: affine(x, np.float32(0.3), 0, -128, 127),
    ),
    Case(
        "per_channel",
        ("x",),
        lambda mb, x: through(mb, x, "int8", scale=SCALES, zero_point=ZEROS, axis=1),
        lambda x: affine(x, SCALES[:, None], ZEROS[:, None].astype(np.float32), -128, 127),
    ),
]


def test_activations_round_half_to_even_and_clip(tmp_path):
    compare(ACTIVATIONS, INPUTS, tmp_path / "cases.mlpackage")


@given(st.lists(st.integers(-300, 300), min_size=1, max_size=30), st.integers(-128, 127))
def test_quantize_rounds_ties_to_even(halves, zero_point):
    values = torch.tensor(halves, dtype=torch.float32) / 2
    codes = quantize(values, torch.tensor(1.0), torch.tensor(zero_point, dtype=torch.int8), output_dtype="int8")
    assert codes.tolist() == [min(max(round(h / 2) + zero_point, -128), 127) for h in halves]


@given(st.sampled_from([1, 2, 3, 4, 6, 8]), st.data())
def test_packed_bits_come_back(bits, data):
    values = data.draw(st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=40))
    stream = "".join(format(v, f"0{bits}b")[::-1] for v in values)
    packed = bytes(int(stream[i : i + 8].ljust(8, "0")[::-1], 2) for i in range(0, len(stream), 8))
    assert unpack_bits(np.frombuffer(packed, np.uint8), bits, len(values)).tolist() == values


def test_int4_keeps_its_sign():
    assert unpack(bytes([0x8F, 0x70]), "int4", (2, 2)).tolist() == [[-1, -8], [0, 7]]


def test_affine_dequantize_gives_scale_times_code_minus_zero_point(tmp_path):
    cases = [
        Case(
            "channels",
            ("x",),
            lambda mb, x: mb.matmul(
                x=x,
                y=mb.constexpr_affine_dequantize(quantized_data=CODES, scale=SCALES, zero_point=ZEROS, axis=0),
                transpose_y=True,
            ),
            lambda x: x @ torch.from_numpy((CODES - ZEROS[:, None].astype(np.float32)) * SCALES[:, None]).T,
        ),
    ]
    compare(cases, INPUTS, tmp_path / "cases.mlpackage")


INDICES = GENERATOR.integers(0, 4, size=(4, 6)).astype(np.uint8)
LUT = np.float32([-1.5, 0.25, 1, 7])
MASK = GENERATOR.integers(0, 2, size=(4, 6)).astype(np.uint8)
KEPT = GENERATOR.normal(size=int(MASK.sum())).astype(np.float32)


def constant(path, build, target):
    """Saves `x + build(mb)` and evaluates it for x = 0."""
    case = Case("constant", ("x",), lambda mb, x: mb.add(x=x, y=build(mb)), None)
    zeros = {"x": np.zeros((1,), np.float32)}
    program = load_program(save([case], zeros, path / "constant.mlpackage", target=target))
    return Evaluator(program).run(zeros)["out_constant"]


def packed(values, bits):
    stream = np.unpackbits(values.reshape(-1, 1), axis=1, bitorder="little")[:, :bits].reshape(-1)
    return np.packbits(stream, bitorder="little")


def test_ios16_table_and_mask_are_unpacked(tmp_path):
    shape = np.uint32([4, 6])
    table = constant(
        tmp_path, lambda mb: mb.constexpr_lut_to_dense(indices=packed(INDICES, 2), lut=LUT, shape=shape), "iOS16"
    )
    np.testing.assert_array_equal(table, LUT[INDICES])
    sparse = constant(
        tmp_path, lambda mb: mb.constexpr_sparse_to_dense(nonzero_data=KEPT, mask=packed(MASK, 1), shape=shape), "iOS16"
    )
    expected = np.zeros((4, 6), np.float32)
    expected[MASK == 1] = KEPT
    np.testing.assert_array_equal(sparse, expected)


def test_ios18_forms_work_in_blocks(tmp_path):
    from coremltools.converters.mil.mil import types

    two_bits = types.np_uint2_dtype
    four_bits = types.np_int4_dtype
    lut = np.stack([LUT, -2 * LUT]).reshape(2, 1, 4, 1)
    table = constant(tmp_path, lambda mb: mb.constexpr_lut_to_dense(indices=INDICES.astype(two_bits), lut=lut), "iOS18")
    np.testing.assert_array_equal(table, np.concatenate([LUT[INDICES[:2]], -2 * LUT[INDICES[2:]]]))
    vectors = np.float32([[[[1, 10], [2, 20], [3, 30], [4, 40]]]])
    table = constant(
        tmp_path,
        lambda mb: mb.constexpr_lut_to_dense(indices=INDICES.astype(two_bits), lut=vectors, vector_axis=0),
        "iOS18",
    )
    np.testing.assert_array_equal(table[0::2], INDICES + 1)
    np.testing.assert_array_equal(table[1::2], (INDICES + 1) * 10)
    codes = (CODES >> 4).astype(np.int8)
    scale = GENERATOR.uniform(0.1, 1, size=(4, 2)).astype(np.float32)
    blocks = constant(
        tmp_path, lambda mb: mb.constexpr_blockwise_shift_scale(data=codes.astype(four_bits), scale=scale), "iOS18"
    )
    np.testing.assert_allclose(blocks, codes * np.repeat(scale, 3, axis=1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_codes_are_released_in_their_own_type(dtype, tmp_path):
    case = Case("codes", ("x",), lambda mb, x: through(mb, x, dtype, scale=np.float32(0.5)), None)
    path = save([case], INPUTS, tmp_path / "codes.mlpackage")
    values = Evaluator(load_program(path)).intermediates(INPUTS)
    assert {array.dtype.name for name, array in values.items() if name.startswith("quantize")} == {dtype}

"""Activation codes: zero is exact, the error is half a step, and the codes are PyTorch's own."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.ao.quantization.fx._decomposed
from hypothesis import given
from hypothesis import strategies as st
from offramp.quant.affine import QMAX, QMIN, SOFTMAX_OUTPUT, TANH_OUTPUT, Affine, affine_of_range, fake_quantize

sys.path.append(str(Path(__file__).parent))
from small_networks import noise

Q = torch.ops.quantized_decomposed
ends = st.floats(-1e6, 1e6, allow_nan=False, width=32)


@given(ends, ends)
def test_every_range_holds_zero_and_itself_to_half_a_step(a, b):
    low, high = min(a, b), max(a, b)
    affine = affine_of_range(low, high)
    assert QMIN <= affine.zero_point <= QMAX
    assert affine.low <= 0 <= affine.high
    assert np.float32(affine.scale) == affine.scale > 0
    room = affine.scale * (0.5 + 1e-4)
    assert affine.low - room <= low and high <= affine.high + room


@given(ends, ends)
def test_zero_is_exact(a, b):
    affine = affine_of_range(min(a, b), max(a, b))
    assert fake_quantize(np.array([0.0, -0.0]), affine).tolist() == [0.0, 0.0]


@given(ends, ends, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_error_inside_the_range_is_half_a_step(a, b, shares):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    affine = affine_of_range(low, high)
    values = low + np.array(shares) * (high - low)
    error = np.abs(fake_quantize(values, affine) - values)
    rounding = np.finfo(np.float32).eps * max(-low, high)  # the scale is a float32 number
    assert error.max() <= affine.scale / 2 + rounding


@given(ends, ends, st.integers(0, 1000))
def test_codes_are_those_of_pytorch(a, b, seed):
    affine = affine_of_range(min(a, b), max(a, b))
    x = noise((256,), seed) * (abs(a) + abs(b)) / 2
    form = (affine.scale, affine.zero_point, QMIN, QMAX, torch.int8)
    codes = Q.quantize_per_tensor(x, *form)
    real = Q.dequantize_per_tensor(codes, *form)
    # PyTorch multiplies by the reciprocal in float32; only a value midway between two codes may fall to the other.
    ours = fake_quantize(x.double().numpy(), affine)
    off = np.abs(ours - real.double().numpy()) > affine.scale / 2
    midway = np.abs((x.double().numpy() / affine.scale) % 1 - 0.5) < 1e-4
    assert not (off & ~midway).any()


@pytest.mark.parametrize("value", [0.0, -0.0])
def test_a_value_that_is_always_zero_gets_a_scale_all_the_same(value):
    assert affine_of_range(value, value) == Affine(1 / 128, 0)


@pytest.mark.parametrize(("low", "high", "zero_point"), [(0, 1, -128), (-1, 0, 127), (2, 6, -128), (-255, 255, 0)])
def test_zero_points_of_plain_ranges(low, high, zero_point):
    affine = affine_of_range(low, high)
    assert affine.zero_point == zero_point
    assert affine.scale == np.float32((max(high, 0) - min(low, 0)) / 255)


def test_the_fixed_outputs_span_what_their_functions_give():
    assert (SOFTMAX_OUTPUT.low, SOFTMAX_OUTPUT.high) == (0.0, 255 / 256)
    assert (TANH_OUTPUT.low, TANH_OUTPUT.high) == (-1.0, 127 / 128)


@given(st.lists(ends, min_size=1, max_size=40), ends, ends, st.sampled_from([3, 4, 8]))
def test_codes_and_what_they_mean_are_pytorchs(values, a, b, bits):
    affine = affine_of_range(min(a, b), max(a, b), bits)
    real = np.array(values, np.float32)
    meaning = (affine.scale, affine.zero_point, affine.qmin, affine.qmax, torch.int8)
    codes = Q.quantize_per_tensor(torch.from_numpy(real), *meaning)
    np.testing.assert_array_equal(affine.codes(real), codes.numpy())
    np.testing.assert_array_equal(affine.real(codes.numpy()), Q.dequantize_per_tensor(codes, *meaning).numpy())

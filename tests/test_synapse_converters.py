"""Converters: levels hold both ends and 0, the error is half a step, and an ideal one changes nothing."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse.converters import FIGURE_OF_MERIT, Converter, adc_joules, adc_range
from offramp.errors import BadInput

ends = st.floats(-1e3, 1e3, allow_nan=False, width=32)
shares = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def spread(low, high, count=4001):
    return torch.linspace(low, high, count, dtype=torch.float64)


def test_an_ideal_converter_changes_no_bit():
    values = torch.tensor([1.0, -0.0, 1e-45, 3e38, math.inf, math.nan])
    found = Converter(0).convert(values, -0.5, 0.5)
    assert torch.equal(found.view(torch.int32), values.view(torch.int32))
    assert found.dtype == torch.float32
    assert Converter(0).step(-1.0, 1.0) == 0


@pytest.mark.parametrize("bits", [1, 2, 3, 8])
def test_levels_are_two_to_the_bits_evenly_spread_with_both_ends(bits):
    levels = Converter(bits).convert(spread(0.2, 1.7), 0.2, 1.7).unique()
    assert len(levels) == 2**bits
    assert (float(levels[0]), float(levels[-1])) == pytest.approx((0.2, 1.7), rel=1e-15)
    steps = levels.diff()
    torch.testing.assert_close(steps, torch.full_like(steps, 1.5 / (2**bits - 1)))
    assert Converter(bits).step(0.2, 1.7) == 1.5 / (2**bits - 1)


@pytest.mark.parametrize("bits", [2, 3, 8])
def test_a_symmetric_range_has_zero_among_one_level_less(bits):
    levels = Converter(bits).convert(spread(-0.7, 0.7), -0.7, 0.7).unique()
    assert len(levels) == 2**bits - 1
    assert 0.0 in levels.tolist()
    assert torch.equal(levels, -levels.flip(0))
    assert (float(levels[0]), float(levels[-1])) == (-0.7, 0.7)
    assert Converter(bits).step(-0.7, 0.7) == 1.4 / (2**bits - 2)


@pytest.mark.parametrize("bits", [1, 2, 5, 12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_exact_where_a_range_is_symmetric_or_starts_at_zero(bits, dtype):
    for high in (0.1, 0.7, 1 / 3, 1e-6, 123.456):
        values = torch.tensor([-1e3, 1e3], dtype=dtype)
        assert Converter(bits).convert(values, 0.0, high).tolist() == torch.tensor([0.0, high], dtype=dtype).tolist()
        assert (
            Converter(bits).convert(values, -high, high).tolist() == torch.tensor([-high, high], dtype=dtype).tolist()
        )


def test_one_bit_of_a_symmetric_range_is_the_sign_with_zero_positive():
    values = torch.tensor([-2.0, -1e-30, -0.0, 0.0, 1e-3, 2.0, math.nan])
    found = Converter(1).convert(values, -0.5, 0.5)
    assert found[:-1].tolist() == [-0.5, -0.5, 0.5, 0.5, 0.5, 0.5]
    assert math.isnan(found[-1])
    assert Converter(1).step(-0.5, 0.5) == 1.0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(deadline=None)
@given(st.integers(1, 12), ends, ends, shares)
def test_the_error_inside_the_range_is_half_a_step(dtype, bits, a, b, places):
    low, high = min(a, b), max(a, b)
    values = (low + torch.tensor(places, dtype=torch.float64) * (high - low)).clamp(low, high).to(dtype)
    found = Converter(bits).convert(values, low, high)
    assert found.dtype == dtype
    rounding = 4 * torch.finfo(dtype).eps * max(abs(low), abs(high))
    assert float((found - values).abs().max()) <= Converter(bits).step(low, high) / 2 + rounding
    assert low - rounding <= float(found.min()) and float(found.max()) <= high + rounding


@settings(deadline=None)
@given(st.integers(2, 16), st.floats(2**-20, 1e3, width=32), st.lists(st.floats(-2, 2), min_size=1, max_size=20))
def test_conversion_of_a_symmetric_range_is_odd(bits, high, places):
    values = torch.tensor(places) * high
    converter = Converter(bits)
    assert torch.equal(converter.convert(values, -high, high), -converter.convert(-values, -high, high))


@settings(deadline=None)
@given(st.integers(1, 16), ends, ends, shares)
def test_levels_are_kept_by_a_second_conversion(bits, a, b, places):
    low, high = min(a, b), max(a, b)
    converter = Converter(bits)
    once = converter.convert(low + torch.tensor(places, dtype=torch.float64) * (high - low), low, high)
    again = converter.convert(once, low, high)
    torch.testing.assert_close(again, once, rtol=0.0, atol=1e-12 * max(abs(low), abs(high)))


def test_outside_the_range_values_are_its_ends():
    values = torch.tensor([-math.inf, -7.0, 7.0, math.inf])
    assert Converter(4).convert(values, -1.25, 3.5).tolist() == [-1.25, -1.25, 3.5, 3.5]


def test_every_array_may_have_a_range_of_its_own():
    values = torch.stack([spread(-2, 2), spread(-2, 2)])
    low, high = torch.tensor([[-1.0], [0.0]]), torch.tensor([[1.0], [0.5]])
    found = Converter(3).convert(values, low, high)
    assert torch.equal(found[0], Converter(3).convert(values[0], -1.0, 1.0))
    assert torch.equal(found[1], Converter(3).convert(values[1], 0.0, 0.5))
    mixed = Converter(3).convert(values.float(), -1.0, high.double())
    assert mixed.dtype == torch.float32
    assert torch.equal(mixed[0], Converter(3).convert(values[0].float(), -1.0, 1.0))


@pytest.mark.parametrize("bits", [1, 8])
def test_an_empty_range_has_one_level(bits):
    values = torch.tensor([-1.0, 0.0, 2.0])
    assert Converter(bits).convert(values, 0.0, 0.0).tolist() == [0.0, 0.0, 0.0]
    assert Converter(bits).convert(values, 0.25, 0.25).tolist() == [0.25, 0.25, 0.25]


def test_the_range_of_all_sums_is_the_largest():
    sums = torch.tensor([[0.5, -3.0], [2.0, 0.0]])
    assert float(adc_range(sums, 1.0)) == 3.0
    assert adc_range(sums).dim() == 0


@pytest.mark.parametrize(
    ("share", "high"), [(0.25, 1.0), (0.26, 2.0), (0.5, 2.0), (0.75, 3.0), (0.99, 4.0), (1e-9, 1.0)]
)
def test_a_range_is_the_smallest_that_holds_its_share(share, high):
    assert float(adc_range(torch.tensor([4.0, -1.0, 2.0, -3.0]), share)) == high


def test_sums_that_are_all_zero_convert_to_zero():
    sums = torch.zeros(5)
    high = adc_range(sums, 0.9)
    assert Converter(8).convert(sums, -high, high).tolist() == [0.0] * 5


def test_energy_doubles_with_each_bit():
    assert adc_joules(8) == FIGURE_OF_MERIT * 256
    assert adc_joules(5, 30e-15) == pytest.approx(0.96e-12)
    assert adc_joules(9) == 2 * adc_joules(8)
    assert adc_joules(0) == 0.0


@pytest.mark.parametrize("bits", [-1, 17])
def test_bits_have_bounds(bits):
    message = f"^bits {bits}: a converter must have 1 to 16, or 0 for an ideal one$"
    with pytest.raises(BadInput, match=message):
        Converter(bits)
    with pytest.raises(BadInput, match=message):
        adc_joules(bits)


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.5), (math.nan, 1.0), (-math.inf, math.inf)])
def test_a_range_must_be_finite_and_in_order(low, high):
    with pytest.raises(BadInput, match=f"^range {low:g} to {high:g}: must be finite, and low at most high$"):
        Converter(8).convert(torch.zeros(3), low, high)
    with pytest.raises(BadInput, match=f"^range {low:g} to {high:g}: "):
        Converter(8).convert(torch.zeros(2), torch.tensor([0.0, low]), torch.tensor([1.0, high]))


def test_what_calibrates_a_range_is_checked():
    for share in (0.0, 1.5, math.nan):
        with pytest.raises(BadInput, match=f"^share {share:g}: must be above 0 and at most 1$"):
            adc_range(torch.ones(3), share)
    with pytest.raises(BadInput, match=r"^partial sums: none were observed; run samples"):
        adc_range(torch.ones(0), 1.0)
    with pytest.raises(BadInput, match=r"^partial sum inf: must be finite$"):
        adc_range(torch.tensor([1.0, -math.inf]), 1.0)
    with pytest.raises(BadInput, match=r"^figure_of_merit -1: must be a finite number of joules, 0 or more$"):
        adc_joules(8, -1.0)

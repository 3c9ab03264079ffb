"""Choosing ranges: four methods on histograms whose best range is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.quant.affine import affine_of_range, fake_quantize
from offramp.quant.calibration import choose_range
from offramp.quant.observe import BINS, Observed
from offramp.quant.scheme import CALIBRATIONS, Scheme


def observed(low, high, counts):
    histogram = np.zeros(BINS, np.int64)
    for place, count in counts.items():
        histogram[place] = count
    return Observed(low, high, histogram)


def uniform(low, high):
    return Observed(low, high, np.full(BINS, 100, np.int64))


def normal_with_outlier(outlier=100.0):
    """A standard normal cut at 4, and one value far outside."""
    spot = Observed(-4.0, outlier)
    density = np.exp(-(spot.centres**2) / 2) * (spot.centres < 4)
    spot.histogram = np.round(1e6 * density / density.sum()).astype(np.int64)
    spot.histogram[-1] = 1
    return spot


@pytest.mark.parametrize("method", CALIBRATIONS)
def test_a_uniform_distribution_keeps_its_range(method):
    low, high = choose_range(uniform(-1.0, 3.0), Scheme(calibration=method, percentile=100))
    assert low == pytest.approx(-1.0, abs=0.03) and high == pytest.approx(3.0, abs=0.06)


def test_minmax_keeps_the_outlier():
    assert choose_range(normal_with_outlier(), Scheme(calibration="minmax")) == (-4.0, 100.0)


def test_percentile_drops_half_of_the_excluded_share_at_each_end():
    low, high = choose_range(uniform(-1.0, 1.0), Scheme(calibration="percentile", percentile=90))
    bin_width = 2 / BINS
    assert low == pytest.approx(-0.9, abs=bin_width) and high == pytest.approx(0.9, abs=bin_width)


def test_percentile_clips_an_outlier():
    _, high = choose_range(normal_with_outlier(), Scheme(calibration="percentile", percentile=99.99))
    assert 3.5 < high < 4.5


def test_percentile_100_is_minmax():
    for spot in (normal_with_outlier(), uniform(-2.0, 5.0), observed(-1, 1, {0: 1, BINS - 1: 1})):
        assert choose_range(spot, Scheme(calibration="percentile", percentile=100)) == (spot.low, spot.high)


def error_of(spot, low, high):
    rounded = fake_quantize(spot.centres, affine_of_range(low, high))
    return float(np.dot(spot.histogram, (rounded - spot.centres) ** 2))


@pytest.mark.parametrize("outlier", [8.0, 20.0, 100.0])
def test_mse_clips_an_outlier_as_far_as_pays(outlier):
    spot = normal_with_outlier(outlier)
    low, high = choose_range(spot, Scheme(calibration="mse"))
    grid = [(a, b * outlier) for a in np.linspace(-4, -0.8, 17) for b in np.linspace(0.2, 1, 41)]
    assert error_of(spot, low, high) <= 1.03 * min(error_of(spot, *ends) for ends in grid)
    assert high < 0.6 * outlier


def test_entropy_clips_an_outlier():
    low, high = choose_range(normal_with_outlier(20.0), Scheme(calibration="entropy"))
    assert -4.0 <= low < -2.5 and high < 5.0


ranges = st.tuples(st.floats(-100, 99), st.floats(0.01, 100)).map(lambda pair: (pair[0], pair[0] + pair[1]))
histograms = st.dictionaries(st.integers(0, BINS - 1), st.integers(1, 10**6), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None)
@given(ranges, histograms)
def test_mse_is_never_worse_than_the_whole_range(span, counts):
    spot = observed(*span, counts | {0: 1, BINS - 1: 1})
    chosen = choose_range(spot, Scheme(calibration="mse"))
    assert error_of(spot, *chosen) <= error_of(spot, *span)


@settings(max_examples=40, deadline=None)
@given(ranges, histograms, st.sampled_from(CALIBRATIONS))
def test_every_method_stays_within_the_observed_range_and_zero(span, counts, method):
    spot = observed(*span, counts | {0: 1, BINS - 1: 1})
    low, high = choose_range(spot, Scheme(calibration=method))
    assert min(spot.low, 0) <= low <= high <= max(spot.high, 0)


@pytest.mark.parametrize("method", CALIBRATIONS)
@pytest.mark.parametrize("value", [-2.5, 0.0, 7.0])
def test_a_constant_value_is_its_own_range(method, value):
    assert choose_range(Observed(value, value), Scheme(calibration=method)) == (value, value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_bits": 9, "percentile": 0}, r"1 to 8, got 9; percentile must be in \(50, 100\], got 0"),
        ({"activation_bits": 2}, "activation bits must be 1 or 3 to 8, got 2"),
        ({"layers": (("stem", 4, 0),)}, "activation bits must be 1 or 3 to 8, got 0"),
        ({"border_bits": 2}, "first and last layer must be 3 to 8, got 2"),
        ({"calibration": "guess"}, "calibration must be one of minmax, percentile, mse, entropy, got guess"),
        ({"samples": 0}, "samples must be 1 or more, got 0"),
    ],
)
def test_a_scheme_says_all_that_is_wrong_at_once(options, message):
    with pytest.raises(BadInput, match=message):
        Scheme(**options)


def test_a_scheme_reads_back_from_json():
    scheme = Scheme(calibration="entropy", percentile=99.5, samples=3, keep_float=("head", "stem.0"))
    assert Scheme.from_json(scheme.to_json()) == scheme
    assert scheme.name == "int8"

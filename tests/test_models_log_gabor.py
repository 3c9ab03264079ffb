"""Log-Gabor dictionaries: what each kernel's spectrum shows, and how alike kernels are."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.log_gabor import (
    HETEROGENEOUS,
    HOMOGENEOUS,
    LogGabors,
    coherence,
    effective_rank,
    orientations_of,
)

DEGREES = st.floats(5, 40)


def apart(first, second):
    """Angles between orientations, of which opposite ones are the same."""
    return ((first - second + math.pi / 2) % math.pi - math.pi / 2).abs()


@settings(max_examples=10, deadline=None)
@given(size=st.integers(5, 16), orientations=st.integers(1, 6), degrees=st.lists(DEGREES, min_size=1, max_size=3))
def test_kernels_have_unit_norm_and_zero_mean(size, orientations, degrees):
    bank = LogGabors(orientations, tuple(map(math.radians, degrees)), size)
    kernels = bank.kernels()
    assert kernels.shape == (len(bank), size, size) == (2 * orientations * len(degrees), size, size)
    torch.testing.assert_close(kernels.flatten(1).norm(dim=1), torch.ones(len(bank), dtype=torch.float64))
    assert kernels.mean((1, 2)).abs().max() < 1e-15


@pytest.mark.parametrize(("bank", "shape"), [(HETEROGENEOUS, (12, 6)), (HOMOGENEOUS, (72, 1))])
def test_dictionaries_of_the_paper_have_144_kernels_turned_as_asked(bank, shape):
    kernels = bank.kernels()
    assert kernels.shape == (144, 12, 12) and shape[0] * shape[1] * 2 == 144
    found, _ = orientations_of(kernels)
    wanted = torch.arange(shape[0]) * math.pi / shape[0]
    assert apart(found.reshape(shape[0], -1), wanted[:, None]).max() < math.radians(3.1)


def test_bandwidth_is_that_of_the_spectrum_where_a_kernel_is_large_enough_to_hold_it():
    """The power of exp(cos / B^2) is nearly a Gaussian of deviation B / sqrt(2)."""
    degrees = (5.0, 10.0, 20.0, 30.0)
    bank = LogGabors(3, tuple(map(math.radians, degrees)), size=64, frequency=0.25)
    found = orientations_of(bank.kernels())[1].reshape(3, 4, 2) * math.sqrt(2)
    wanted = torch.deg2rad(torch.tensor(degrees)).double()[:, None]
    assert ((found - wanted).abs() / wanted).max() < 0.06


def test_at_12_pixels_bandwidths_still_come_in_order():
    """From 10 degrees on; where 12 pixels hold no less, one of 5 degrees is as wide as one of 10."""
    _, spread = orientations_of(HETEROGENEOUS.kernels())
    steps = spread.reshape(12, 6, 2).diff(dim=1)
    assert (steps[:, 1:] > 0).all() and steps[:, 0].min() > -math.radians(0.2)
    _, even_spread = orientations_of(HOMOGENEOUS.kernels())
    assert spread.std() > 4 * even_spread.std()


def test_the_narrowest_bandwidth_does_not_overflow():
    """exp(1 / B^2) is 10^57 at 5 degrees, and beyond every float64 at 1."""
    assert torch.isfinite(LogGabors(2, (math.radians(1),)).kernels()).all()


def test_the_two_phases_are_even_and_odd_about_the_centre():
    """In an odd size, the centre is a pixel; the small rest is the Nyquist row, the other the single lobe's edge."""
    even, odd = LogGabors(1, (0.3,), size=13, frequency=0.25).kernels()
    assert (even - even.flip(0, 1)).norm() < 1e-6
    assert (odd + odd.flip(0, 1)).norm() < 1e-6
    assert abs((even * odd).sum()) < 1e-6


@pytest.mark.parametrize("bank", [HETEROGENEOUS, HOMOGENEOUS])
def test_kernels_are_nearly_alike(bank):
    """The coherence of both dictionaries is 0.994; 144 kernels span about a dozen directions."""
    assert coherence(bank.kernels()) == pytest.approx(0.994, abs=0.001)
    assert 10 < effective_rank(bank.kernels()) < 13


def test_signs_of_kernels_still_tell_bandwidths_apart():
    """At one orientation, kernels of neighbouring bandwidths are less alike as ±1 than as real numbers."""
    kernels = HETEROGENEOUS.kernels()
    both = [each.reshape(12, 6, 2, 144) for each in (kernels, torch.where(kernels >= 0, 1.0, -1.0) / 12)]
    real, signs = ((each[:, 1:] * each[:, :-1]).sum(3).mean() for each in both)
    assert real == pytest.approx(0.98, abs=0.01) and signs == pytest.approx(0.76, abs=0.02)


def test_coherence_and_rank_of_orthogonal_and_of_equal_kernels():
    apart_all = torch.eye(4).reshape(4, 2, 2) * 3
    assert coherence(apart_all) == 0 and effective_rank(apart_all) == pytest.approx(4)
    same = torch.stack([apart_all[0], -2 * apart_all[0]])
    assert coherence(same) == pytest.approx(1) and effective_rank(same) == pytest.approx(1)


def test_kernels_that_cannot_be_made_are_refused():
    with pytest.raises(BadInput, match=r"0 orientations, 1 bandwidths and size 12; give at least 1, 1 and 3"):
        LogGabors(0, (0.1,))
    with pytest.raises(BadInput, match=r"must be above 0, got \(0.1, -0.2, 0.4, 0.4\)"):
        LogGabors(2, (0.1, -0.2))
    with pytest.raises(BadInput, match=r"must be above 0, got .*nan"):
        LogGabors(2, (math.nan,))

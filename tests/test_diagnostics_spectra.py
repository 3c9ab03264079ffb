"""Figures of spectra: against closed forms, and what they do not depend on."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.diagnostics.spectra import TOP, centred, peak_to_rms, spectrum_of
from offramp.errors import BadInput


def test_a_matrix_of_rank_one_has_one_direction():
    found = spectrum_of(torch.outer(torch.arange(1.0, 5), torch.arange(1.0, 8)))
    assert found.entropy == pytest.approx(0, abs=1e-9) and found.effective_rank == pytest.approx(1)
    assert found.top_energy == pytest.approx(1) and found.quantile_ratio > 1


@pytest.mark.parametrize("n", [2, 12, 40])
def test_an_orthogonal_matrix_uses_every_direction_alike(n):
    q, _ = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    found = spectrum_of(3 * q)
    assert found.entropy == pytest.approx(1) and found.effective_rank == pytest.approx(n)
    assert found.top_energy == pytest.approx(min(1, TOP / n)) and found.quantile_ratio == pytest.approx(1)


def test_figures_of_a_diagonal_are_those_of_its_squares():
    """Singular values 2 and 1: q = 4/5, 1/5; quantiles at 1.25 and 1.75."""
    found = spectrum_of(torch.diag(torch.tensor([1.0, 2.0])))
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    assert found.entropy == pytest.approx(entropy / math.log(2))
    assert found.effective_rank == pytest.approx(math.exp(entropy))
    assert found.quantile_ratio == pytest.approx(1.75 / 1.25)


def test_a_quarter_of_zeros_makes_the_ratio_infinite():
    assert spectrum_of(torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]))).quantile_ratio == math.inf


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 10_000), st.floats(1e-6, 1e6))
def test_figures_know_no_scale_and_no_rotation(rows, columns, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator, dtype=torch.float64))
    first, second = spectrum_of(matrix), spectrum_of(scale * turn @ matrix)
    assert second.effective_rank == pytest.approx(first.effective_rank, rel=1e-6)
    assert 1 <= first.effective_rank <= min(rows, columns) + 1e-9 and 0 <= first.entropy <= 1 + 1e-9


def test_centring_takes_a_shared_constant_away():
    """Sign descent on one-hot facts: every weight moves by the same, the diagonal the other way."""
    matrix = 2 * torch.eye(20) - torch.ones(20, 20)
    assert spectrum_of(matrix).effective_rank < 10
    plain = centred(matrix)
    assert plain.sum(0).abs().max() < 1e-5 and plain.sum(1).abs().max() < 1e-5
    assert spectrum_of(plain).effective_rank == pytest.approx(19, rel=1e-4)


def test_the_peak_is_told_in_root_mean_squares():
    assert peak_to_rms(torch.tensor([[1.0, -1.0], [1.0, -1.0]])) == pytest.approx(1)
    assert peak_to_rms(torch.tensor([0.0, 0.0, 0.0, -4.0])) == pytest.approx(2)


def test_what_has_no_spectrum_is_refused():
    with pytest.raises(BadInput, match=r"needs a matrix of two rows and columns or more, got \(1, 3\)"):
        spectrum_of(torch.ones(1, 3))
    with pytest.raises(BadInput, match=r"got \(2, 3, 3\)"):
        spectrum_of(torch.ones(2, 3, 3))
    with pytest.raises(BadInput, match=r"finite weights, got NaN or infinity; lower the learning rate"):
        spectrum_of(torch.tensor([[1.0, math.nan], [0.0, 1.0]]))
    with pytest.raises(BadInput, match=r"a matrix that is not zero; train it first"):
        spectrum_of(torch.zeros(3, 3))
    with pytest.raises(BadInput, match=r"weights that are not all zero, got none"):
        peak_to_rms(torch.zeros(3))

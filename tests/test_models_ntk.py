"""Closed forms of wide networks against direct solves of the kernels, Monte Carlo, and known values."""

from math import log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.ntk import APART, networks_needed, nngp, predict, share_decoded, tangent, thresholds


def direct(k, ones):
    """Mean and deviation by the kernels of training and test inputs, solved as matrices."""
    inputs = np.vstack([np.eye(k), np.r_[np.ones(ones), np.zeros(k - ones)] / sqrt(ones)])
    cosines = inputs @ inputs.T
    theta, before = (np.vectorize(kernel)(cosines) for kernel in (tangent, nngp))
    weights = np.linalg.solve(theta[:k, :k], theta[:k, k])
    variance = before[k, k] + weights @ before[:k, :k] @ weights - 2 * weights @ before[:k, k]
    return weights * sqrt(ones), sqrt(max(variance, 0) * ones / k)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 20).flatmap(lambda k: st.tuples(st.just(k), st.integers(1, k))))
def test_closed_forms_equal_a_direct_solve_of_the_kernels(sizes):
    k, ones = sizes
    means, deviation = direct(k, ones)
    found = predict(k, ones)
    assert means[:ones] == pytest.approx([found.one] * ones, abs=1e-9)
    assert means[ones:] == pytest.approx([found.zero] * (k - ones), abs=1e-9)
    assert found.deviation == pytest.approx(deviation, abs=1e-6)


def test_kernels_have_their_known_values():
    assert (nngp(1.0), tangent(1.0)) == (0.5, 1.0)
    assert nngp(0.0) == pytest.approx(APART) == tangent(0.0)
    assert (nngp(-1.0), tangent(-1.0)) == (pytest.approx(0.0), pytest.approx(0.0))


def test_kernels_are_the_averages_over_random_features():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(400_000, 2, generator=generator, dtype=torch.float64)
    for cosine in (0.3, 0.8):
        first, second = (
            torch.relu(weights[:, 0]),
            torch.relu(cosine * weights[:, 0] + sqrt(1 - cosine**2) * weights[:, 1]),
        )
        both = ((first > 0) & (second > 0)).double().mean().item()
        average = (first * second).mean().item()
        assert average == pytest.approx(nngp(cosine), abs=5e-3)
        assert average + cosine * both == pytest.approx(tangent(cosine), abs=8e-3)


@pytest.mark.parametrize(("ones", "one", "zero", "deviation"), [(2, 0.564, -0.0113, 0.256), (4, 0.335, -0.0365, 0.335)])
def test_eight_bits_have_their_known_means(ones, one, zero, deviation):
    found, norm = predict(8, ones), sqrt(ones)
    assert (found.one / norm, found.zero / norm) == (pytest.approx(one, abs=5e-4), pytest.approx(zero, abs=5e-5))
    assert found.deviation / norm * sqrt(8) == pytest.approx(deviation, abs=5e-4)


@settings(deadline=None)
@given(st.integers(2, 30).flatmap(lambda k: st.tuples(st.just(k), st.integers(2, k))))
def test_the_sign_of_the_mean_tells_the_bit(sizes):
    found = predict(*sizes)
    assert found.zero < 0 < found.one and found.margin("midpoint") > found.margin("sign") > 0


def test_training_inputs_are_learnt_without_spread():
    found = predict(8, 1)
    assert found.one == pytest.approx(1) and found.zero == pytest.approx(0, abs=1e-12)
    assert found.deviation == pytest.approx(0, abs=1e-7)


def test_ensembles_grow_as_the_square_of_the_bits():
    assert [networks_needed(k, "sign") for k in (8, 16, 32)] == [1354, 2724, 7044]
    for rule, limit in (("sign", 22), ("midpoint", 1)):
        assert all(networks_needed(k, rule) < limit * k**2 for k in (8, 16, 32, 64))
    found, factor = predict(8, 2), 8 * log(2) + log(8 / 0.05)
    assert networks_needed(8, "sign") >= 2 * (found.deviation / found.zero) ** 2 * factor


def test_more_networks_decode_more_and_the_midpoint_more_than_the_sign():
    shares = [share_decoded(6, n) for n in (1, 2, 5, 10, 25)]
    assert shares == sorted(shares) and shares[-1] > 0.999
    assert all(share_decoded(6, n, "sign") < share for n, share in zip((1, 2, 5, 10, 25), shares))
    assert share_decoded(6, networks_needed(6)) > 1 - 0.05 / 63


def test_thresholds_lie_between_the_means():
    for rule in ("sign", "midpoint"):
        table = thresholds(8, rule)
        assert len(table) == 9 and table[0] == 0 and table[1] == pytest.approx(0.5)
    assert thresholds(8, "sign")[2:].tolist() == [0.0] * 7
    assert all(predict(8, m).zero < thresholds(8)[m] < predict(8, m).one for m in range(1, 9))


def test_faults_are_named():
    with pytest.raises(BadInput, match="decoding rule median: unknown; give sign or midpoint"):
        thresholds(4, "median")
    with pytest.raises(BadInput, match=r"ensemble of k 1, failure 0\.05: give 2 bits or more and a"):
        networks_needed(1)

"""How strongly each modality's encoder learns: shares of a batch, factors, and the scaling of gradients, by formula."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offramp.models.modality_balance import (
    Asymmetric,
    Balanced,
    Constant,
    asymmetry,
    dependence,
    inverse_variance,
    scale_gradient,
)

LABELS = torch.tensor([0, 1, 2])


def confident(odds):
    """Three samples of three classes whose label has `odds` to one against each other class."""
    return math.log(odds) * torch.eye(3)


def entropy(odds):
    shares = [odds / (odds + 2), 1 / (odds + 2), 1 / (odds + 2)]
    return -sum(share * math.log(share) for share in shares)


def random_pair(seed, *shape):
    draws = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draws), 3 * torch.randn(*shape, generator=draws)


def test_scaling_leaves_values_and_multiplies_their_gradient():
    features = torch.randn(4, 3, requires_grad=True)
    scaled = scale_gradient(features, torch.tensor(1.75))
    assert torch.equal(scaled, features)
    weights = torch.randn(4, 3)
    (scaled * weights).sum().backward()
    assert torch.equal(features.grad, 1.75 * weights)


def test_dependence_is_the_share_of_mean_absolute_logits():
    alone = torch.tensor([[1.0, -3.0], [2.0, 0.0]]), torch.tensor([[-0.5, 0.5], [0.5, -0.5]])
    assert dependence(alone).tolist() == pytest.approx([3 / 4, 1 / 4])


def test_inverse_variance_is_the_share_of_inverse_entropies():
    first, second = entropy(4), entropy(2)
    expected = (1 / first) / (1 / first + 1 / second)
    assert 0.3 < first / (first + second) < 0.7
    found = inverse_variance((confident(4), confident(2)))
    assert found.tolist() == pytest.approx([expected, 1 - expected])


def test_the_clamp_bounds_inverse_variances_at_7_to_3():
    found = inverse_variance((confident(1e6), confident(1.0)))
    # Shares of the entropy are about 0 and 1, clamped to 0.3 and 1.
    assert found.tolist() == pytest.approx([(1 / 0.3) / (1 / 0.3 + 1), 1 / (1 / 0.3 + 1)], abs=1e-4)
    assert inverse_variance((confident(1e-9), confident(1e-9))).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("share", [dependence, inverse_variance])
def test_views_that_say_nothing_or_everything_are_equal(share):
    for logits in (torch.zeros(3, 3), 1e4 * torch.eye(3)):
        assert share((logits, logits)).tolist() == [0.5, 0.5]


def test_coefficients_are_a_softmax_of_the_others_dependence_times_ones_own_share():
    found = asymmetry(torch.tensor([0.8, 0.2]), torch.tensor([0.6, 0.4]), 4.0)
    expected = 1 / (1 + math.exp(4 * (0.8 * 0.4 - 0.2 * 0.6)))
    assert found.tolist() == pytest.approx([expected, 1 - expected])


@given(st.floats(0.01, 0.99), st.floats(0.3, 0.7), st.sampled_from([1.0, 4.0, 8.0]))
def test_a_view_is_boosted_where_its_dependence_is_below_its_share_of_inverse_variance(d, q, temperature):
    own, other = asymmetry(torch.tensor([d, 1 - d]), torch.tensor([q, 1 - q]), temperature).tolist()
    assert own + other == pytest.approx(1)
    if abs(d - q) > 1e-3:
        assert (own > other) == (d / (1 - d) < q / (1 - q))


def test_equal_views_are_the_fixed_point():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert Asymmetric(8.0)((logits, logits), LABELS).tolist() == [1.5, 1.5]
    assert Constant(1.5)((logits, logits), LABELS).tolist() == [1.5, 1.5]
    assert Constant()((logits, logits), LABELS).tolist() == [1.0, 1.0]


def test_asymmetric_factors_are_one_and_the_coefficients():
    pair = random_pair(0, 6, 3)
    expected = 1 + asymmetry(dependence(pair), inverse_variance(pair), 4.0)
    assert torch.equal(Asymmetric(4.0)(pair, LABELS.repeat(2)), expected)


def test_balance_slows_down_the_view_that_is_ahead():
    ahead, behind = 8 / 10, 2 / 4  # probabilities of labels
    found = Balanced(0.5)((confident(8), confident(2)), LABELS)
    assert found.tolist() == pytest.approx([1 - math.tanh(0.5 * ahead / behind), 1.0])
    assert Balanced(0.5)((confident(2), confident(8)), LABELS).tolist() == pytest.approx(found.flip(0).tolist())
    assert Balanced(0.5)((confident(2), confident(2)), LABELS).tolist() == [1, 1]


@pytest.mark.parametrize("factors", [Constant(1.5), Asymmetric(4.0), Balanced(0.5)])
@given(seed=st.integers(0, 50))
def test_swapped_views_have_swapped_factors(factors, seed):
    first, second = random_pair(seed, 6, 3)
    labels = LABELS.repeat(2)
    assert torch.allclose(factors((first, second), labels), factors((second, first), labels).flip(0), atol=1e-6)


@pytest.mark.parametrize("factors", [Constant(1.5), Asymmetric(4.0), Balanced(0.5)])
def test_a_stack_of_batches_has_each_batchs_factors(factors):
    first, second = random_pair(0, 4, 6, 3)
    labels = torch.stack([LABELS.repeat(2).roll(shift) for shift in range(4)])
    each = [factors((a, b), y) for a, b, y in zip(first, second, labels)]
    assert torch.allclose(factors((first, second), labels), torch.stack(each), atol=1e-6)

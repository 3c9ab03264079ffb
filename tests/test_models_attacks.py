"""Attacks and noise: closed forms on a linear model, and what every attacked image keeps to."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.attacks import (
    PIXELS,
    box_of,
    fgsm,
    gaussian_noise,
    pgd,
    slopes,
    uniform_noise,
    zero_slope_share,
)
from offramp.models.data import Preprocessing
from torch import nn
from torch.nn import functional

SIZES = st.floats(0, 1)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def case(classes: int = 3, pixels: int = 6, count: int = 5):
    """A linear model, samples from 0 to 1 and targets."""
    source = draws(1)
    matrix = torch.randn(classes, pixels, generator=source)
    return matrix, torch.rand(count, pixels, generator=source), torch.arange(count) % classes


def test_slopes_of_a_linear_model_are_its_matrix_times_the_error():
    matrix, samples, targets = case()
    error = (samples @ matrix.T).softmax(1) - torch.eye(3)[targets]
    found = slopes(lambda x: x @ matrix.T, samples, targets)
    assert torch.allclose(found, error @ matrix, atol=1e-6) and not found.requires_grad


def test_fgsm_is_one_step_along_the_sign():
    matrix, samples, targets = case()
    error = (samples @ matrix.T).softmax(1) - torch.eye(3)[targets]
    expected = (samples + 0.1 * (error @ matrix).sign()).clamp(0, 1)
    assert torch.equal(fgsm(lambda x: x @ matrix.T, samples, targets, 0.1), expected)


@pytest.mark.parametrize("start", [None, 3])
def test_pgd_on_two_linear_classes_ends_at_the_worst_corner(start):
    """The slope's sign is that of the difference of the two rows, wherever the attack is."""
    matrix, samples, targets = case(2, 6, 4)
    towards = (matrix[1 - targets] - matrix[targets]).sign()
    found = pgd(lambda x: x @ matrix.T, samples, targets, 0.2, draws=None if start is None else draws(start))
    assert torch.allclose(found, (samples + 0.2 * towards).clamp(0, 1), atol=1e-6)


def test_attacks_on_preprocessed_inputs_are_those_on_pixels():
    preprocessing = Preprocessing(1.0, (0.3, 0.5), (0.2, 0.4))
    pixels = torch.rand(3, 2, 4, 4, generator=draws())
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))
    seen, targets, box = preprocessing.apply(pixels), torch.arange(3), box_of(preprocessing)
    for attack in (fgsm, pgd):
        found = attack(inner, seen, targets, 0.1, box=box)
        expected = attack(lambda x: inner(preprocessing.apply(x)), pixels, targets, 0.1)
        assert torch.allclose(found, preprocessing.apply(expected), atol=1e-5)
    assert torch.allclose(box.low.flatten(), torch.tensor([-1.5, -1.25]))
    assert torch.allclose(box.high.flatten(), torch.tensor([3.5, 1.25]))


@settings(deadline=None, max_examples=25)
@given(epsilon=SIZES, seed=st.integers(0, 99), starts=st.booleans())
def test_an_attacked_sample_stays_near_and_in_the_box(epsilon, seed, starts):
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    samples, targets = torch.rand(4, 6), torch.arange(4) % 3
    found = pgd(network, samples, targets, epsilon, steps=3, draws=draws(seed) if starts else None)
    for attacked in (found, fgsm(network, samples, targets, epsilon)):
        assert (attacked - samples).abs().max() <= epsilon + 1e-6
        assert attacked.min() >= 0 and attacked.max() <= 1


@settings(deadline=None, max_examples=25)
@given(epsilon=SIZES, seed=st.integers(0, 99))
def test_a_step_never_lowers_the_loss_of_two_linear_classes(epsilon, seed):
    matrix = torch.randn(2, 6, generator=draws(seed))
    samples, targets = torch.rand(4, 6, generator=draws(seed)), torch.arange(4) % 2

    def losses(images):
        return functional.cross_entropy(images @ matrix.T, targets, reduction="none")

    attacked = fgsm(lambda x: x @ matrix.T, samples, targets, epsilon)
    assert (losses(attacked) >= losses(samples) - 1e-6).all()


def test_noise_has_the_mean_and_spread_it_states():
    grey = torch.full((200, 400), 0.5)
    brighter, noisy = uniform_noise(grey, 0.2, draws()) - grey, gaussian_noise(grey, 0.05, draws()) - grey
    assert brighter.min() >= 0 and brighter.max() <= 0.2 and abs(brighter.mean().item() - 0.1) < 1e-3
    assert abs(brighter.std().item() - 0.2 / math.sqrt(12)) < 1e-3
    assert abs(noisy.mean().item()) < 1e-3 and abs(noisy.std().item() - 0.05) < 1e-3
    strong = gaussian_noise(grey, 3.0, draws())
    assert strong.min() == 0 and strong.max() == 1
    assert torch.equal(gaussian_noise(grey, 0.05, draws(5)), gaussian_noise(grey, 0.05, draws(5)))


def test_a_dead_network_is_seen_to_mask_its_slopes():
    dead = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    nn.init.constant_(dead[0].bias, -100.0)
    _, samples, targets = case()
    assert zero_slope_share(dead, samples, targets) == 1.0
    matrix = torch.randn(3, 6, generator=draws())
    matrix[:, :2] = 0  # two of six pixels are never read
    assert zero_slope_share(lambda x: x @ matrix.T, samples, targets) == pytest.approx(2 / 6)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda *a: fgsm(*a, -0.1), "attack: its size must be 0 or more, got -0.1"),
        (lambda *a: pgd(*a, math.nan), "attack: its size must be 0 or more, got nan"),
        (lambda *a: pgd(*a, 0.1, steps=0), "attack: steps must be 1 or more and step 0 or more, got 0 and 0.02"),
        (lambda _, x, __: uniform_noise(x, -1.0, draws()), "attack: its size must be 0 or more, got -1"),
        (lambda _, x, __: gaussian_noise(x, -1.0, draws(), PIXELS), "attack: its size must be 0 or more, got -1"),
    ],
)
def test_a_size_below_zero_is_refused(call, line):
    matrix, samples, targets = case()
    with pytest.raises(BadInput, match=f"^{line}$"):
        call(lambda x: x @ matrix.T, samples, targets)

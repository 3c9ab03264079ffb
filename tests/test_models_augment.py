"""Shift, flip and mixup do to a batch what their names say."""

import pytest
import torch
from offramp.models.augment import Mixture, augment, draw_mixture, flip, shift
from offramp.models.objectives.classification import cross_entropy
from offramp.models.recipe import Recipe
from torch import nn

EVERYTHING = Recipe(epochs=4, batch_size=8, mixup=0.4, ema=0.9, shift_pixels=1, flip=True, threads=1)
PLAIN = Recipe(epochs=2, batch_size=8, threads=1)


EVERYTHING = Recipe(mixup=0.4, shift_pixels=1, flip=True)


def test_shift_moves_each_image_whole_and_fills_with_zeros():
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, 4, 4] = 1
    moved = shift(images, 2, torch.Generator().manual_seed(0))
    assert moved.sum((1, 2, 3)).tolist() == [1] * 200
    places = {tuple(place) for place in moved.nonzero()[:, 2:].tolist()}
    assert places == {(row, column) for row in range(2, 7) for column in range(2, 7)}


def test_shift_of_a_full_image_brings_zeros_in():
    moved = shift(torch.ones(50, 3, 6, 6), 1, torch.Generator().manual_seed(0))
    assert {int(total) for total in moved[:, 0].sum((1, 2))} == {36, 30, 25}
    assert torch.equal(moved[:, 0], moved[:, 2])


def test_flip_mirrors_about_half_of_the_images():
    images = torch.arange(4.0).expand(1000, 1, 2, 4)
    flipped = flip(images, torch.Generator().manual_seed(0))
    mirrored = (flipped == images.flip(3)).all(3).all(2).squeeze(1)
    assert 450 < mirrored.sum() < 550
    assert torch.equal(flipped[~mirrored], images[~mirrored])


def test_augmentation_leaves_other_inputs_and_plain_recipes_alone():
    generator = torch.Generator().manual_seed(0)
    features, images = torch.randn(4, 10), torch.randn(4, 1, 8, 8)
    assert augment(features, EVERYTHING, generator) is features
    assert augment(images, Recipe(), generator) is images


def test_mixup_draws_from_its_beta_distribution():
    generator = torch.Generator().manual_seed(0)
    shares = torch.tensor([draw_mixture(4, 0.4, generator).share for _ in range(2000)])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.01)  # of Beta(a, a)


def test_mixed_loss_is_cross_entropy_to_mixed_targets():
    logits, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 1, 0])
    mixture = Mixture(torch.tensor([4, 3, 2, 1, 0]), 0.3)
    targets = mixture(nn.functional.one_hot(labels, 3).float()) * 0.9 + 0.1 / 3
    expected = -(targets * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(cross_entropy(logits, labels, 0.1, mixture), expected)

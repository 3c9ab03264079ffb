"""Generated slices: what is drawn is where it is said to be."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.brain_midline import align, difference_score, halves_of, symmetry_index
from offramp.models.brain_phantoms import GREY, SliceRecipe, cut, draw_halves, draw_slices

BARE = SliceRecipe(64, (0.0, 0.0), fissure=0.0, lesions=0.0, noise=0.0)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_slices_follow_the_generator():
    first, again, other = (draw_slices(3, SliceRecipe(32), draws(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.images, again.images) and torch.equal(first.lines.angles, again.lines.angles)
    assert not torch.equal(first.images, other.images)
    assert first.images.shape == (3, 1, 32, 32) and first.has_lesion.shape == (3,)


@settings(deadline=None, max_examples=20)
@given(st.integers(16, 80), st.integers(0, 1000))
def test_slices_of_any_size_lie_in_range_with_their_lines_inside(size, seed):
    slices = draw_slices(2, SliceRecipe(size), draws(seed))
    assert slices.images.min() >= 0 and slices.images.max() <= 255
    assert (slices.lines.angles.abs() <= 15).all()
    assert (slices.lines.offsets.abs() <= 6 * 2**0.5 * size / 96 + 1e-4).all()


def test_without_asymmetry_a_slice_is_its_own_mirror_image_about_its_line():
    exact = cut(draw_slices(20, BARE, draws()), 0.0)
    assert symmetry_index(exact).min() > 0.98  # but for what turning blurs
    off = cut(draw_slices(20, BARE, draws()), 5.0)
    assert (symmetry_index(off) < symmetry_index(exact)).all()


def test_asymmetry_grows_with_its_share():
    index = [
        symmetry_index(cut(draw_slices(20, SliceRecipe(64, (a, a), 0.0, 0.0, noise=0.0), draws()), 0.0)).mean().item()
        for a in (0.0, 0.25, 1.0)
    ]
    assert index[0] > index[1] > index[2]


def test_the_fissure_is_the_middle_row():
    with_it = align(*_of(draw_slices(10, SliceRecipe(65, (0.0, 0.0), 1.0, 0.0, noise=0.0), draws())))
    rows = with_it[:, 0, :, 24:40].mean((0, 2))
    assert rows.argmin() in range(30, 35) or rows[32] < 0.7 * rows[26]
    assert rows[32] < 0.7 * rows[28] and rows[32] < 0.7 * rows[36]


def _of(slices):
    return slices.images, slices.lines


def test_a_lesion_is_in_one_half_and_nuclei_are_in_both():
    recipe = SliceRecipe(96, (0.0, 0.0), fissure=0.0, noise=0.0, nuclei=2)
    halves, has_lesion = draw_halves(60, recipe, draws())
    scores = difference_score(halves)
    assert 20 < has_lesion.sum() < 40
    assert scores[has_lesion == 1].min() > scores[has_lesion == 0].max()
    assert halves.upper.max() > 1.5 * GREY and halves.upper.shape == (60, 1, 48, 96)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_lesions_come_with_their_probability(share):
    assert draw_slices(20, SliceRecipe(32, lesions=share), draws()).has_lesion.tolist() == [share] * 20


def test_an_axis_error_turns_every_other_slice_the_other_way():
    slices = draw_slices(2, SliceRecipe(64, noise=0.0), draws())
    for place, sign in enumerate((1, -1)):
        lines = type(slices.lines)(slices.lines.angles + 5.0 * sign, slices.lines.offsets)
        expected = halves_of(align(slices.images, lines)).upper[place]
        torch.testing.assert_close(cut(slices, 5.0).upper[place], expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 8}, r"brain phantoms: size must be at least 16 pixels, got 8"),
        ({"asymmetry": (1.0, 0.5)}, r"asymmetry must be 0 or more, low before high, got 1 to 0\.5"),
        ({"asymmetry": (-1.0, 0.5)}, r"asymmetry must be 0 or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(BadInput, match=message):
        SliceRecipe(**options)

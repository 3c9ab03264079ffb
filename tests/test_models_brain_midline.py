"""Lines in normal form, alignment, and what finds a midline without learning."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.brain_midline import (
    Halves,
    Lines,
    align,
    angle_errors,
    difference_score,
    ends_of,
    halves_of,
    line_between,
    mirror_search,
    principal_axis,
    symmetry_index,
)
from offramp.models.brain_phantoms import SliceRecipe, draw_slices
from sklearn.datasets import load_digits

PLACES = st.floats(-500, 500)


def symmetric(angle, offset, size=41):
    """Two blobs on a line, and two beside it, all alike on both sides of it and of no other within 20 degrees."""
    y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = cos * x + sin * y, cos * y - sin * x - offset
    blobs = [(-8, 0, 1.0), (5, 0, 1.0), (2, 6, 0.7), (2, -6, 0.7)]
    return sum(h * torch.exp(-((along - u) ** 2) / 12 - (across - v) ** 2 / 8) for u, v, h in blobs)[None, None]


@settings(deadline=None)
@given(PLACES, PLACES, PLACES, PLACES)
def test_both_points_lie_on_their_line_and_its_ends_give_it_back(x1, y1, x2, y2):
    if math.hypot(x2 - x1, y2 - y1) < 0.5:
        return
    angle, offset = line_between((x1, y1), (x2, y2), 290)
    assert -90 <= angle < 90
    normal = -math.sin(math.radians(angle)), math.cos(math.radians(angle))
    for x, y in ((x1, y1), (x2, y2)):
        assert normal[0] * (x - 144.5) + normal[1] * (y - 144.5) == pytest.approx(offset, abs=1e-6)
    again = line_between(*ends_of(angle, offset, 290), 290)
    assert angle_errors(torch.tensor([again[0]]), torch.tensor([angle])).item() < 1e-3
    if abs(angle) < 89.9:
        assert again[1] == pytest.approx(offset, abs=1e-2)


def test_swapped_points_are_one_line_and_the_data_sets_example_is_nearly_level():
    first, second = (49.1, 143.9), (243.1, 146.1)
    angle, offset = line_between(first, second, 290)
    assert line_between(second, first, 290) == pytest.approx((angle, offset))
    assert angle == pytest.approx(math.degrees(math.atan(2.2 / 194))) and abs(offset) < 1


def test_a_vertical_line_needs_no_slope():
    assert line_between((10.0, 0.0), (10.0, 50.0), 101) == pytest.approx((-90.0, -40.0))


@pytest.mark.parametrize("second", [(3.0, 4.0), (float("inf"), 0.0), (float("nan"), 0.0)])
def test_a_degenerate_line_is_refused(second):
    with pytest.raises(BadInput, match=r"a line from \(3\.0, 4\.0\) to .* has no direction; give two points th"):
        line_between((3.0, 4.0), second, 10)


def test_half_a_turn_is_the_same_line_with_the_normal_turned_around():
    found = Lines(torch.tensor([30.0, 210.0, -150.0, 390.0, 90.0]), torch.tensor([2.0, 2.0, 2.0, 2.0, 1.0])).canonical()
    assert found.angles.tolist() == [30, 30, 30, 30, -90]
    assert found.offsets.tolist() == [2, -2, -2, 2, -1]
    assert angle_errors(torch.tensor([89.0, -60.0]), torch.tensor([-89.0, 30.0])).tolist() == [2, 90]


@pytest.mark.parametrize(("angle", "offset"), [(0.0, 3.0), (12.0, -4.0), (-90.0, 5.0), (60.0, 2.0)])
def test_alignment_brings_the_line_to_the_middle_row(angle, offset):
    """Pixels show their distance from the line, which becomes their distance from the middle row."""
    size = 31
    y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
    radians = math.radians(angle)
    distances = (math.cos(radians) * y - math.sin(radians) * x - offset)[None, None]
    aligned = align(distances, Lines(torch.tensor([angle]), torch.tensor([offset])))[0, 0, 11:20, 11:20]
    torch.testing.assert_close(aligned, torch.arange(-4.0, 5.0)[:, None].expand(9, 9), atol=1e-4, rtol=0)


def test_a_level_line_is_moved_by_what_crosses_the_middle_column():
    """As the authors' follow-up: the middle between both borders goes to the centre."""
    picture = torch.zeros(1, 1, 21, 21)
    picture[0, 0, 13, 10] = 1
    line = line_between((0.0, 8.0), (20.0, 18.0), 21)  # crosses the middle column in row 13
    aligned = align(picture, Lines(*(torch.tensor([value]) for value in line)))
    assert aligned[0, 0, 10, 10].item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("size", "rows"), [(6, 3), (7, 3)])
def test_halves_of_odd_sizes_leave_the_middle_row_out(size, rows):
    picture = torch.arange(size, dtype=torch.float32)[None, None, :, None].expand(1, 1, size, size)
    halves = halves_of(picture)
    assert halves.upper[0, 0, :, 0].tolist() == list(range(rows))
    assert halves.lower[0, 0, :, 0].tolist() == list(range(size - 1, size - 1 - rows, -1))


def test_the_symmetry_index_is_one_for_equal_halves_and_minus_one_for_opposite_ones():
    draws = torch.Generator().manual_seed(0)
    half = torch.randn(4, 1, 20, 40, generator=draws)
    half -= half.mean((1, 2, 3), keepdim=True)
    other = torch.randn(4, 1, 20, 40, generator=draws)
    assert symmetry_index(Halves(half, half)).tolist() == pytest.approx([1] * 4)
    assert symmetry_index(Halves(half, -half)).tolist() == pytest.approx([-1] * 4, abs=1e-5)
    assert symmetry_index(Halves(half, other)).abs().max() < 0.2
    torch.testing.assert_close(symmetry_index(Halves(3 * half + 9, 3 * other + 9)), symmetry_index(Halves(half, other)))
    assert symmetry_index(Halves(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4))).item() == 1


def test_zeros_and_eights_are_more_symmetric_than_other_digits():
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None]
    index = symmetry_index(halves_of(images))
    means = {digit: index[torch.tensor(digits.target == digit)].mean().item() for digit in (0, 2, 5, 7, 8)}
    assert min(means[0], means[8]) > max(means[2], means[5], means[7]) + 0.05


@settings(deadline=None, max_examples=10)
@given(st.floats(-18, 18), st.floats(-5, 5))
def test_the_search_finds_the_line_of_a_symmetric_picture(angle, offset):
    found = mirror_search(symmetric(angle, offset))
    assert angle_errors(found.angles, torch.tensor([angle])).item() < 0.2
    assert found.offsets.item() == pytest.approx(offset, abs=0.1)


def test_the_search_is_within_tenths_of_the_truth_on_phantoms_and_the_principal_axis_is_not():
    slices = draw_slices(24, SliceRecipe(64), torch.Generator().manual_seed(0))
    search, axis = mirror_search(slices.images), principal_axis(slices.images)
    errors = [angle_errors(found.angles, slices.lines.angles).median().item() for found in (search, axis)]
    assert errors[0] < 0.3 < errors[1]
    assert (search.offsets - slices.lines.offsets).abs().median() < 0.1


def test_the_search_can_look_around_another_angle():
    turned = symmetric(0.0, 0.0).transpose(2, 3)
    found = mirror_search(turned, 90.0)
    assert angle_errors(found.angles, torch.tensor([90.0])).item() < 0.2 and abs(found.offsets.item()) < 0.1


def test_an_ellipse_without_texture_has_its_longer_axis_as_principal_axis():
    y, x = torch.meshgrid(*[torch.arange(61) - 30.0] * 2, indexing="ij")
    cos, sin = math.cos(math.radians(25)), math.sin(math.radians(25))
    along, across = cos * (x - 3) + sin * (y + 2), cos * (y + 2) - sin * (x - 3)
    picture = ((along / 22) ** 2 + (across / 14) ** 2 <= 1).float()[None, None]
    found = principal_axis(picture)
    assert found.angles.item() == pytest.approx(25, abs=0.5)
    assert found.offsets.item() == pytest.approx(-2 * cos - 3 * sin, abs=0.1)


def test_nothing_to_see_gives_finite_lines():
    for find in (mirror_search, principal_axis):
        found = find(torch.zeros(1, 1, 16, 16))
        assert torch.isfinite(found.angles).all() and torch.isfinite(found.offsets).all()


def test_the_largest_difference_marks_a_lesion():
    upper = torch.zeros(2, 1, 16, 32)
    upper[1, 0, 4:8, 10:14] = 1
    scores = difference_score(Halves(upper, torch.zeros(2, 1, 16, 32)), 1.0)
    assert scores[0] == 0 and 0.5 < scores[1] < 1

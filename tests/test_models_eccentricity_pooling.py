"""Pooling by eccentricity: the published windows, masks that cover all once, and plain pooling as a special case."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.eccentricity_pooling import Eccentricity, EccentricityPool, Ring
from torch.nn import functional

FIELDS = st.builds(Eccentricity, st.integers(1, 12), st.floats(0, 0.5))


@pytest.mark.parametrize(
    ("pixels_per_degree", "slope", "side", "windows"),
    [
        (30, 0.0, 806, {2}),
        (15, 0.0, 403, {2}),
        (8, 0.07, 202, [2, 3, 3, 4, 4, 5, 5, 6, 6, 7]),
        (4, 0.16, 101, [2, 3, 3, 4, 5, 5, 6, 6, 7, 8]),
        (2, 0.32, 51, [2, 3, 3, 4, 5, 5, 6, 6, 7, 8]),
    ],
)
def test_windows_are_those_of_the_paper_for_pictures_of_806_pixels(pixels_per_degree, slope, side, windows):
    found = [ring.window for ring in Eccentricity(pixels_per_degree, slope).rings(side)]
    assert found == windows if isinstance(windows, list) else set(found) == windows


@pytest.mark.parametrize(("pixels_per_degree", "slope", "side"), [(8, 0.07, 56), (4, 0.16, 28), (2, 0.32, 14)])
def test_a_picture_of_224_pixels_lies_within_the_fovea(pixels_per_degree, slope, side):
    assert Eccentricity(pixels_per_degree, slope).rings(side) == (Ring(2 * pixels_per_degree, 2),)


@settings(max_examples=40, deadline=None)
@given(FIELDS, st.integers(2, 60))
def test_every_output_has_one_window(field, side):
    masks = field.masks(side)
    assert torch.equal(sum(masks.values()), torch.ones(-(-side // 2), -(-side // 2)))
    assert all(set(mask.unique().tolist()) <= {0.0, 1.0} for mask in masks.values())


@settings(max_examples=40, deadline=None)
@given(FIELDS, st.integers(8, 60))
def test_windows_never_shrink_away_from_the_centre(field, side):
    rings = field.rings(side)
    assert [ring.outer for ring in rings] == sorted({ring.outer for ring in rings})
    assert [ring.window for ring in rings] == sorted(ring.window for ring in rings)


def test_rings_are_circles_round_the_middle_output():
    masks = Eccentricity(2, 0.32).masks(24)
    assert masks[2][6, 6] == 1 and masks[2][6, 6 + 3] == 1 and masks[2][6, 6 + 4] == 0
    assert masks[2][6 + 2, 6 + 3] == 1 and masks[2][6 + 3, 6 + 3] == 0  # at 3.6 and 4.2 of 4 pixels
    for mask in masks.values():
        assert torch.equal(mask, mask.T)


@pytest.mark.parametrize("side", [24, 25, 96])
def test_without_slope_it_is_plain_pooling(side):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    found = EccentricityPool(3, side, Eccentricity(2, 0.0))(x)
    padded = functional.pad(x, (0, side % 2, 0, side % 2))
    weights = functional.pad(torch.ones(1, 1, side, side), (0, side % 2, 0, side % 2))
    expected = functional.avg_pool2d(padded, 2) / functional.avg_pool2d(weights, 2)
    torch.testing.assert_close(found, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**16), st.integers(9, 41))
def test_each_output_is_the_mean_of_what_its_window_covers(seed, side):
    """Against TensorFlow's "same" pooling written out: (o - 1) * 2 + w - side zeros, the odd one behind."""
    draws = torch.Generator().manual_seed(seed)
    field, x = Eccentricity(1, 0.5), torch.randn(1, 1, side, side, generator=draws)
    pool, count = EccentricityPool(1, side, field), -(-side // 2)
    found, masks = pool(x), field.masks(side)
    row, column = torch.randint(count, (2,), generator=draws).tolist()
    window = next(window for window, mask in masks.items() if mask[row, column])
    before = max(0, (count - 1) * 2 + window - side) // 2
    spans = [slice(max(0, 2 * at - before), 2 * at - before + window) for at in (row, column)]
    assert found[0, 0, row, column].item() == pytest.approx(x[0, 0, spans[0], spans[1]].mean().item(), abs=1e-5)


def test_a_constant_stays_what_it_is_up_to_the_border():
    x = torch.full((1, 2, 48, 48), 3.0)
    torch.testing.assert_close(EccentricityPool(2, 48, Eccentricity(2, 0.32))(x), torch.full((1, 2, 24, 24), 3.0))


def test_masks_are_constants_that_no_file_of_weights_holds():
    pool = EccentricityPool(4, 48, Eccentricity(2, 0.32))
    assert pool.state_dict() == {} and list(pool.parameters()) == []


@pytest.mark.parametrize("arguments", [(0, 0.1), (4, -0.1), (4, 0.1, 0.0), (4, 0.1, 4.0, -1.0)])
def test_impossible_fields_are_refused(arguments):
    with pytest.raises(BadInput, match=r"eccentricity: give at least one pixel per degree, a slope of at least 0"):
        Eccentricity(*arguments)

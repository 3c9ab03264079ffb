"""The fixation loop and the asymmetry index: published figures, no place twice, and chance where maps are random."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.search_fixations import (
    Looking,
    Sharpening,
    asymmetry_index,
    in_picture,
    look,
    reaction_time_ms,
    slope_ms,
    window_at,
)
from offramp.models.search_stimuli import Trials, grid_cells

NO_SHARPENING = Sharpening(times=0)

# Mean fixations by number of items that the authors' eccNET made, easy and hard for humans, and its published index.
PUBLISHED = [
    ((8, 16, 32), (1, 1, 1), (1.17, 1.37, 1.60), 1.0),
    ((1, 6, 12), (1, 1, 1), (1, 1.40, 1.37), 1.0),
    ((3, 6, 9), (1.53, 1.86, 2.31), (2.00, 3.25, 4.31), 0.495),
    ((3, 6, 9), (1.03, 1.14, 1.31), (1.75, 2.72, 4.11), 0.789),
    ((1, 4, 8, 12), (1, 1.97, 3.63, 5.33), (1, 1, 1, 1), -1.0),
    ((1, 4, 8, 12), (1, 1, 1.03, 1.07), (1, 1.17, 1.40, 1.60), 0.791),
]


def trials_of(count=1, grid=3, cell=4, targets=None):
    """Blank pictures whose targets lie in the given cells."""
    side = grid * cell
    places = torch.zeros(count, dtype=torch.long) if targets is None else torch.tensor(targets)
    return Trials(torch.zeros(count, 1, side, side), torch.zeros(count, 1, 4, 4), grid_cells(grid, cell), places)


def random_maps(seed):
    draws = torch.Generator().manual_seed(seed)
    return lambda windows, targets: torch.rand(len(windows), 1, 12, 12, generator=draws)


@pytest.mark.parametrize(("sizes", "easy", "hard", "index"), PUBLISHED)
def test_the_index_of_the_published_fixations_is_the_published_one(sizes, easy, hard, index):
    found = asymmetry_index(slope_ms(sizes, easy), slope_ms(sizes, hard))
    assert found == pytest.approx(index, abs=0.02)  # fixations are rounded to two digits


def test_reaction_times_grow_by_a_quarter_of_a_second_a_fixation():
    assert reaction_time_ms(1) == pytest.approx(252.359 + 376.271)
    assert slope_ms((1, 3), (2, 4)) == pytest.approx(252.359)


@settings(max_examples=40, deadline=None)
@given(st.floats(-50, 200), st.floats(-50, 200))
def test_the_index_is_odd_and_within_one(easy, hard):
    assert asymmetry_index(easy, hard) == pytest.approx(-asymmetry_index(hard, easy))
    assert -1 <= asymmetry_index(easy, hard) <= 1


@pytest.mark.parametrize(
    ("easy", "hard", "least", "index"),
    [(-5, 10, 0, 1.0), (0, 0, 0, 0.0), (-1, -2, 0, 0.0), (0.9, 10, 1, 1.0), (0.9, 0.5, 1, 0.0), (10, 30, 1, 0.5)],
)
def test_slopes_that_are_none_count_as_nothing(easy, hard, least, index):
    assert asymmetry_index(easy, hard, least) == index


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**16))
def test_no_cell_is_looked_at_twice(seed):
    trials = trials_of(4, targets=[0, 3, 5, 8])
    paths = look(random_maps(seed), trials, Looking(24, sharpening=NO_SHARPENING))
    for places, count in zip(paths.places.tolist(), paths.counts.tolist()):
        visited = [(row // 4, column // 4) for row, column in places[1 : 1 + count]]
        assert len(set(visited)) == count <= 9
        assert all(place == [-1, -1] for place in places[1 + count :])
    assert paths.found.all()


def test_random_maps_find_the_target_by_chance():
    """Where every cell is as likely, the mean is (cells + 1) / 2."""
    count, cells = 400, 9
    targets = torch.arange(count) % cells
    paths = look(random_maps(0), trials_of(count, targets=targets.tolist()), Looking(24, sharpening=NO_SHARPENING))
    deviation = ((cells**2 - 1) / 12 / count) ** 0.5
    assert paths.counts.float().mean().item() == pytest.approx((cells + 1) / 2, abs=4 * deviation)


def bright_at(windows, targets):
    """Attention that is the picture itself."""
    return windows


def test_the_brightest_place_is_looked_at_first_wherever_the_window_is():
    trials = trials_of(1, targets=[7])
    for value, (row, column) in zip((3.0, 2.0, 1.0), ((0, 11), (5, 0), (10, 6))):
        trials.images[0, 0, row, column] = value
    before = trials.images.clone()
    paths = look(bright_at, trials, Looking(24, sharpening=NO_SHARPENING))
    assert paths.places[0, :4].tolist() == [[6, 6], [0, 11], [5, 0], [10, 6]]
    assert paths.counts.tolist() == [3] and paths.found.tolist() == [True]
    assert torch.equal(trials.images, before)  # painted over in a copy


def test_what_was_looked_at_is_painted_over_for_the_network():
    seen = []

    def attend(windows, targets):
        seen.append(windows.clone())
        return windows

    trials = trials_of(1, targets=[8])
    trials.images[0, 0, 0, 0], trials.images[0, 0, 11, 11] = 2.0, 1.0
    look(attend, trials, Looking(24, background=-5.0, sharpening=NO_SHARPENING))
    assert (seen[0] == 2).sum() == 1 and (seen[1] == 2).sum() == 0
    assert (seen[1] == -5).sum() == 24 * 24 - 12 * 12 + 4 * 4


def test_a_target_is_recognised_from_close_by():
    trials = trials_of(1, targets=[1])
    trials.images[0, 0, 1, 3] = 1.0  # in cell 0, at the border to cell 1
    assert look(bright_at, trials, Looking(24, reach=3, sharpening=NO_SHARPENING)).counts.tolist() == [1]
    assert look(bright_at, trials, Looking(24, reach=1, sharpening=NO_SHARPENING)).counts.tolist() != [1]


def test_a_search_ends_where_cells_leave_gaps():
    """Only a square round the fixation is ruled out where there is no cell."""
    trials = trials_of(1)
    sparse = Trials(trials.images, trials.targets, trials.cells[:2] & trials.cells[1], torch.tensor([0]))
    paths = look(random_maps(1), sparse, Looking(24, sharpening=NO_SHARPENING))
    assert paths.counts.item() == 3 and not paths.found.item()  # as many as cells, and one


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 11), st.integers(0, 11))
def test_windows_are_centred_and_maps_find_back(row, column):
    image = torch.arange(144.0).reshape(1, 12, 12)
    window = window_at(image, (row, column), Looking(24))
    assert window.shape == (1, 24, 24) and window[0, 12, 12] == image[0, row, column]
    assert torch.equal(in_picture(window[None], torch.tensor([[row, column]]), 12, 24)[0], image[0])


def test_sharpening_keeps_a_constant_and_raises_a_peak():
    flat = torch.full((1, 1, 12, 12), 0.5)
    torch.testing.assert_close(Sharpening()(flat), flat)
    peak = torch.zeros(1, 1, 24, 24)
    peak[0, 0, 12, 12] = 1
    sharp = Sharpening()(peak)
    assert sharp[0, 0, 12, 12] > 1 and sharp[0, 0, 12, 14] < 0
    assert sharp.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("window", [22, 25])
def test_pictures_wider_than_half_a_window_are_refused(window):
    with pytest.raises(BadInput, match=rf"a window of {window} pixels for pictures of 12; give an even one, at least"):
        look(bright_at, trials_of(), Looking(window))


@pytest.mark.parametrize(("sizes", "fixations"), [((1, 4), (1.0,)), ((4, 4), (1.0, 2.0)), ((), ())])
def test_a_slope_needs_two_sizes(sizes, fixations):
    with pytest.raises(BadInput, match=r"slope: got \d means of fixations for sizes .*; give one each, for two sizes"):
        slope_ms(sizes, fixations)

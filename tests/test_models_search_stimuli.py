"""Search displays: every condition holds what it says, in cells of its own, at any resolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.search_stimuli import TASKS, Item, draw_items, draw_trials, grid_cells

CONDITIONS = [(task, condition) for task in TASKS for condition in (task.easy, task.hard)]
BY_NAME = {task.name: task for task in TASKS}


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def test_there_are_six_tasks_of_two_conditions_each():
    assert len(TASKS) == 6 and len({condition.name for _, condition in CONDITIONS}) == 12
    assert all(max(task.sizes) <= task.grid**2 for task in TASKS)
    assert all(task.item <= task.view / task.grid for task in TASKS)


@pytest.mark.parametrize(("task", "condition"), CONDITIONS, ids=lambda each: each.name)
def test_every_search_has_so_many_items_and_its_target_in_its_cell(task, condition):
    for size in task.sizes:
        trials = draw_trials(task, condition, size, 3, 6, 32, draws(size))
        inked = (trials.cells[None] * trials.images.abs() > 0.05).flatten(2).any(2)
        assert inked.sum(1).tolist() == [size] * 3
        assert inked.gather(1, trials.target_cells[:, None]).all()
        assert trials.targets.shape == (3, 1, 32, 32) and trials.images.shape[2] == task.grid * task.cell(6)
        assert trials.images.abs().max() <= 1 and trials.targets.abs().amax((1, 2, 3)).min() > 0.1


@pytest.mark.parametrize(("task", "condition"), CONDITIONS, ids=lambda each: each.name)
def test_a_target_is_never_among_the_distractors(task, condition):
    for targets, distractors in condition.variants:
        assert not set(targets) & set(distractors)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_conditions_of_a_task_swap_target_and_distractor(task):
    if task.name == "lighting":  # each direction of light has both targets
        for condition in (task.easy, task.hard):
            (first, second), other = condition.variants
            assert other == (second, first)
        return
    (easy,), (hard,) = task.easy.variants, task.hard.variants
    assert set(easy[0]) <= set(hard[1]) and set(hard[0]) <= set(easy[1])


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(CONDITIONS), st.integers(0, 2**16), st.floats(4, 12))
def test_equal_seeds_give_equal_searches(of, seed, scale):
    task, condition = of
    first, again = (draw_trials(task, condition, task.sizes[0], 2, scale, 16, draws(seed), 0.1) for _ in range(2))
    assert torch.equal(first.images, again.images) and torch.equal(first.target_cells, again.target_cells)


def test_cells_of_a_grid_cover_the_picture_once():
    cells = grid_cells(3, 5)
    assert cells.shape == (9, 15, 15) and torch.equal(cells.sum(0), torch.ones(15, 15, dtype=torch.long))
    assert cells[5, 5:10, 10:].all() and cells[5].sum() == 25


def drawn(shape, degrees=0.0, side=64, scale=8.0):
    return draw_items([Item(shape, degrees)], torch.zeros(1, 2), side, scale)[0]


def area(picture, scale=8.0):
    """Square degrees."""
    return picture.abs().sum().item() / scale**2


def test_bars_have_their_size_and_turn_clockwise():
    assert area(drawn("bar")) == pytest.approx(2.0 * 0.3, rel=0.02)
    assert area(drawn("bar", 20.0)) == pytest.approx(2.0 * 0.3, rel=0.05)
    rows, columns = torch.nonzero(drawn("bar", 20.0) < -0.5).float().unbind(1)
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1] < -0.5  # its top is to the right
    torch.testing.assert_close(drawn("bar", 90.0), drawn("bar").T.contiguous(), atol=1e-4, rtol=0)


def test_arcs_have_the_length_of_their_angle():
    assert area(drawn("arc")) == pytest.approx(1.3 * 5 / 30, rel=0.06)
    assert drawn("arc").min() >= 0


def test_crosses_and_broken_crosses_differ_by_an_offset_alone():
    cross, broken = drawn("cross", scale=8.0), drawn("broken", scale=8.0)
    assert area(cross) == pytest.approx(2 * 5.5 * 0.55 - 0.55**2, rel=0.02)
    assert area(broken) == pytest.approx(area(cross), rel=0.03)
    torch.testing.assert_close(drawn("cross", 90.0), cross, atol=1e-3, rtol=0)
    torch.testing.assert_close(broken, drawn("broken", 180.0), atol=1e-3, rtol=0)


def test_letters_have_strokes_of_equal_size():
    assert area(drawn("ell")) == pytest.approx(area(drawn("tee")), rel=0.03)
    assert area(drawn("tee")) == pytest.approx(2 * 5.5 * 0.55 - 0.55**2, rel=0.03)


def test_discs_are_lit_from_where_they_are_turned_to():
    above, below = drawn("disc", scale=40.0), drawn("disc", 180.0, scale=40.0)
    assert above[:32].sum() > below[:32].sum()
    torch.testing.assert_close(above, below.flip(0), atol=0.08, rtol=0)
    assert len(above[12:52, 32].unique()) == 15  # steps of grey down the middle


def test_noise_is_in_the_search_image_only():
    task = BY_NAME["orientation"]
    clean, noisy = (draw_trials(task, task.easy, 1, 40, 4, 16, draws(), noise) for noise in (0.0, 0.2))
    assert torch.equal(clean.targets, noisy.targets)
    assert (noisy.images - clean.images).std().item() == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("items", [0, 17])
def test_more_items_than_cells_are_refused(items):
    task = BY_NAME["orientation"]
    with pytest.raises(BadInput, match=rf"orientation: {items} items; give 1 to 16, as many as the grid has cells"):
        draw_trials(task, task.easy, items, 1, 4, 16, draws())

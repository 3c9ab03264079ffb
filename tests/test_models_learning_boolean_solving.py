"""Many starts at once: each is the same whatever it runs beside, and leaves when it is done."""

import pytest
import torch
from offramp.models.boolean_tasks import full_adder
from offramp.models.learning import boolean_solving
from offramp.models.learning.boolean_projections import Iterate, start, table_of
from offramp.models.learning.boolean_search import Search, evaluate_layers
from offramp.models.learning.boolean_solving import Limits, solve
from offramp.models.learning.boolean_threshold import BooleanThreshold

TABLE = full_adder()
RULE = BooleanThreshold(iterations=50)


@pytest.fixture(scope="module")
def outcomes():
    told = []
    found = solve(*TABLE, (3, 3), RULE, [0, 1, 2, 4], Limits(1000), tell=told.append)
    return found, told


def test_each_start_has_an_outcome_in_the_order_of_seeds(outcomes):
    found, told = outcomes
    assert [each.seed for each in found] == [0, 1, 2, 4]
    assert sorted(each.seed for each in told) == [0, 1, 2, 4]
    assert [each.seconds for each in told] == sorted(each.seconds for each in told)


def test_what_is_solved_fits_every_item_in_whole_numbers(outcomes):
    solved = [each for each in outcomes[0] if each.solved]
    assert len(solved) >= 3
    for each in solved:
        assert each.gap < RULE.gap_stop and each.exact_steps <= each.steps < 1000 + 1
        assert torch.equal(evaluate_layers(each.layers, TABLE[0]), TABLE[1].double())
        assert all(torch.equal(layer, layer.round()) for layer in each.layers)


def test_a_start_comes_to_the_same_alone(outcomes):
    (alone,) = solve(*TABLE, (3, 3), RULE, [2], Limits(1000))
    beside = outcomes[0][2]
    assert (alone.solved, alone.steps) == (beside.solved, beside.steps)
    assert all(torch.equal(mine, other) for mine, other in zip(alone.layers, beside.layers))


def test_the_limits_end_a_search():
    (found,) = solve(*TABLE, (3, 3), RULE, [0], Limits(70))
    assert (found.solved, found.steps) == (False, 70)
    (found,) = solve(*TABLE, (3, 3), RULE, [0], Limits(1000, seconds=0.0))
    assert found.steps == RULE.iterations


def test_rows_that_fit_may_end_a_search():
    (found,) = solve(*TABLE, (3, 3), RULE, [1], Limits(1000, until_exact=True))
    assert found.exact and found.steps == found.exact_steps
    assert torch.equal(evaluate_layers(found.layers, TABLE[0]), TABLE[1].double())


def test_fits_are_those_of_the_rows_without_padding():
    table = table_of(*TABLE, (4, 3), 3.0)
    search = Search(table, start(table, [torch.Generator().manual_seed(seed) for seed in range(4)]), 0.2, 1e-3)
    for _ in range(12):
        search.advance(50)
        expected = [torch.equal(evaluate_layers(search.layers(k), TABLE[0]), TABLE[1].double()) for k in range(4)]
        assert search.fits().tolist() == expected
    assert any(expected)


def test_a_batch_that_shrinks_late_comes_to_the_same(outcomes, monkeypatch):
    """As on a GPU: those that are done stay in the batch until half of it is."""
    kept = []
    monkeypatch.setattr(
        Iterate, "only", lambda self, places, only=Iterate.only: kept.append(places) or only(self, places)
    )
    monkeypatch.setattr(boolean_solving, "SMALLEST", {"cpu": 0.5})
    late = solve(*TABLE, (3, 3), RULE, [0, 1, 2, 4], Limits(1000))
    assert [(each.solved, each.steps) for each in late] == [(each.solved, each.steps) for each in outcomes[0]]
    assert len(kept) <= 2

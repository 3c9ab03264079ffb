"""Tables of circuits, codes, automata and random gates are what their names say."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.models.boolean_tasks import (
    HELD_OUT,
    TASKS,
    automaton,
    automaton_data,
    bits_of,
    codes,
    full_adder,
    gates_data,
    multiplier,
    numbers_of,
    random_gates,
    random_items,
    through_gates,
)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 20), st.data())
def test_bits_are_those_of_the_number(count, data):
    number = data.draw(st.integers(0, (1 << count) - 1))
    bits = bits_of(torch.tensor([number]), count)
    assert "".join("1" if bit > 0 else "0" for bit in reversed(bits[0].tolist())) == f"{number:0{count}b}"
    assert numbers_of(bits).tolist() == [number]


def test_a_full_adder_counts():
    inputs, outputs = full_adder()
    assert numbers_of(outputs).tolist() == [(row > 0).sum().item() for row in inputs]
    assert inputs.unique(dim=0).shape == (8, 3)


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_a_multiplier_multiplies(bits):
    inputs, outputs = multiplier(bits)
    assert len(inputs) == 4**bits and len(inputs.unique(dim=0)) == 4**bits
    factors = numbers_of(inputs[:, :bits]), numbers_of(inputs[:, bits:])
    assert torch.equal(numbers_of(outputs), factors[0] * factors[1])


def test_random_items_are_different_while_there_are_enough():
    items = random_items(1 << 6, 6, draws())
    assert len(items.unique(dim=0)) == 1 << 6
    assert random_items(100, 32, draws()).shape == (100, 32)
    inputs, outputs = codes(16, 16, draws(3))
    assert len(inputs.unique(dim=0)) == 16 and inputs is outputs


@settings(deadline=None)
@given(st.integers(0, 255), st.integers(3, 12), st.integers(0, 10**6), st.booleans(), st.integers(1, 3))
def test_an_automaton_follows_its_rule(rule, cells, seed, periodic, steps):
    begin = random_items(1, cells, draws(seed))
    expected = [int(cell > 0) for cell in begin[0]]
    for _ in range(steps):
        ends = (expected[-1], expected[0]) if periodic else (0, 0)
        padded = [ends[0], *expected, ends[1]]
        expected = [rule >> (4 * padded[k] + 2 * padded[k + 1] + padded[k + 2]) & 1 for k in range(cells)]
    assert [int(cell > 0) for cell in automaton(rule, begin, steps, periodic)[0]] == expected


def test_rule_30_draws_its_triangle():
    cells = -torch.ones(1, 9)
    cells[0, 4] = 1
    rows = [automaton(30, cells, steps)[0] for steps in (1, 2, 3)]
    assert ["".join("#" if cell > 0 else "." for cell in row) for row in rows] == [
        "...###...",
        "..##..#..",
        ".##.####.",
    ]


@settings(deadline=None)
@given(st.integers(3, 12), st.floats(0, 1), st.booleans(), st.integers(0, 1000))
def test_random_neurons_are_wires_or_gates(width, share, majority, seed):
    for rows in random_gates((width, width, width), share, majority, draws(seed)):
        sizes = (rows != 0).sum(1)
        assert set(rows.unique().tolist()) <= {-1.0, 0.0, 1.0} and set(sizes.tolist()) <= {1, 3}
        constants = rows[:, -1] != 0
        assert not (constants & (sizes == 1)).any()
        assert torch.equal(constants, (sizes == 3)) if not majority else not constants.any()
        assert (rows[:, :-1] != 0).any(0).all()  # nothing is left unread


def test_gates_are_the_functions_of_their_rows():
    inputs = bits_of(torch.arange(8), 3)
    rows = torch.tensor([[1.0, 1, 0, 1], [1, 1, 0, -1], [1, 1, 1, 0], [0, -1, 0, 0]])
    high = inputs > 0
    expected = [high[:, :2].all(1), high[:, :2].any(1), high.sum(1) >= 2, ~high[:, 1]]
    assert torch.equal(through_gates([rows], inputs) > 0, torch.stack(expected, 1))


@pytest.mark.parametrize(
    "data", [automaton_data(1), gates_data(1), gates_data(1, majority=False)], ids=lambda d: d.name
)
def test_held_out_items_are_others(data):
    train, test = (set(map(tuple, part.samples.tolist())) for part in (data.train, data.test))
    assert len(train) == len(data.train) and len(test) == HELD_OUT and not train & test


@pytest.mark.parametrize("name", TASKS)
def test_tasks_follow_their_seed(name):
    first, again = (TASKS[name](2).train for _ in range(2))
    assert torch.equal(first.samples, again.samples) and torch.equal(first.labels, again.labels)

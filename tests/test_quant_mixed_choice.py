"""The integer program against brute force, and budgets as users write them."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.quant.mixed.budget import Budget, meets, packed_bytes, parse_budget, size_of
from offramp.quant.mixed.choice import choose
from offramp.quant.mixed.layers import Layer

CHOICES = ((2, 8), (4, 8), (8, 8))
LAYERS = (Layer("stem", 9, 100, CHOICES), Layer("body", 1000, 5000, CHOICES), Layer("head", 40, 40, CHOICES))

numbers = st.integers(0, 1000)


@st.composite
def programs(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    row = [st.lists(numbers, min_size=size, max_size=size) for size in sizes]
    costs = [[draw(st.floats(0, 1)) for _ in range(size)] for size in sizes]
    spends = [[draw(entry) for entry in row] for _ in range(draw(st.integers(0, 2)))]
    return costs, spends, [draw(st.integers(0, 2500)) for _ in spends]


@settings(max_examples=60, deadline=None)
@given(programs())
def test_the_choice_is_the_best_of_all(program):
    costs, spends, limits = program
    selections = product(*(range(len(row)) for row in costs))
    allowed = [
        selection
        for selection in selections
        if all(sum(row[i] for row, i in zip(spend, selection)) <= limit for spend, limit in zip(spends, limits))
    ]
    found = choose(costs, spends, limits)
    if not allowed:
        assert found is None
        return
    assert tuple(found) in allowed
    total = {selection: sum(row[i] for row, i in zip(costs, selection)) for selection in allowed}
    assert total[tuple(found)] == pytest.approx(min(total.values()), abs=1e-9)


def test_a_limit_in_large_numbers_is_kept_to_the_last_unit():
    spends = [[[3_000_000_001, 10], [3_000_000_000, 11]]]
    assert choose([[0, 1], [0, 1]], spends, [3_000_000_011]) == [1, 0]
    assert choose([[0, 5], [0, 1]], spends, [3_000_000_012]) == [0, 1]
    assert choose([[0, 5], [0, 1]], spends, [3_000_000_011]) == [1, 0]


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("size=0.25", Budget("size", 0.25)),
        ("size=.5", Budget("size", 0.5)),
        ("size=40KB", Budget("size", 40_000, True)),
        ("size=1.5KiB", Budget("size", 1536, True)),
        ("macbits=1", Budget("macbits", 1.0)),
    ],
)
def test_budgets_are_read(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("energy=3", "unknown; say size=0.25"),
        ("size", "a share above 0"),
        ("size=40", "bytes as in 40KB"),
        ("size=0", "a share above 0"),
        ("size=-1", "a share above 0"),
        ("size=3XB", "a share above 0"),
        ("macbits=40KB", "MACs of 8 by 8 bits"),
        ("latency=3ms", "save no time"),
    ],
)
def test_other_budgets_are_one_clear_line(text, words):
    with pytest.raises(BadInput, match=words) as caught:
        parse_budget(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"budget {text}: ")


def test_what_bits_cost():
    assert packed_bytes(LAYERS[0], 2) == 3  # 18 bits
    assert size_of((("stem", 2, 8), ("body", 4, 8), ("head", 8, 8)), LAYERS) == 3 + 500 + 40
    half = tuple((layer.module, 4, 8) for layer in LAYERS)
    assert meets(half, [Budget("macbits", 0.5)], LAYERS)
    assert not meets(half, [Budget("macbits", 0.49)], LAYERS)
    assert meets(half, [Budget("size", 525, True)], LAYERS)
    assert not meets(half, [Budget("size", 524, True)], LAYERS)
    assert Budget("size", 0.25).most(LAYERS) == 1049
    assert Budget("size", 0.25).told(1049, LAYERS) == "size=0.25"

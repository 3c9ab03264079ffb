"""From wanted changes to pulses: trains whose coincidences follow the product, and rounding that loses nothing."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.devices.synapse.cells import Cells
from offramp.devices.synapse.draws import Draws, Purpose
from offramp.devices.synapse.pulse_trains import (
    MOST_SLOTS,
    line_trains,
    nearest_counts,
    rounded_counts,
    single_pulses,
    trains,
)
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from small_synapses import plausible, synapse

REPEATS = 10_000
INPUTS, ERRORS = torch.tensor([1.0, -0.6, 0.0, 0.25]), torch.tensor([0.1, -0.04, 0.007, 0.0, 0.08])
RATE, STEP_SIZE = 0.2, 0.002  # ten pulses for the largest product


def repeated(seed, inputs=INPUTS, errors=ERRORS, **how):
    """Trains of one sample, ten thousand times."""
    return trains(inputs.expand(REPEATS, -1), errors.expand(REPEATS, -1), RATE, STEP_SIZE, Draws(seed), 0, **how)


def pulses_of(found):
    """int64 (batch, rows, columns): coincidences, above zero for those that raise a weight."""
    rows, columns = found.rows[:, :, None].numpy(), found.columns[:, None, :].numpy()
    return np.bitwise_count(rows & columns & 0x7FFFFFFF).astype(np.int64) * np.where((rows ^ columns) < 0, 1, -1)


# Trains


def test_the_mean_change_is_the_gradient_step():
    wanted = (-RATE * INPUTS[:, None] * ERRORS[None, :]).numpy()

    def largest(seed):
        """Standard errors by which the mean is missed; the worst of twenty cells."""
        change = pulses_of(repeated(seed)) * STEP_SIZE
        error = change.std(0) / math.sqrt(REPEATS)
        return (np.abs(change.mean(0) - wanted) / np.where(error == 0, 1e-9, error)).max()

    assert min(largest(1), largest(2)) < 4


@pytest.mark.parametrize("cell", [(0, 0), (1, 1), (3, 4), (0, 2)])
def test_coincidences_are_binomial(cell):
    def p_value(seed):
        found = repeated(seed)
        counts = np.bincount(np.abs(pulses_of(found)[:, cell[0], cell[1]]), minlength=found.slots + 1)
        chance = RATE / STEP_SIZE / found.slots * float((INPUTS[cell[0]] * ERRORS[cell[1]]).abs())
        wanted = REPEATS * stats.binom.pmf(np.arange(found.slots + 1), found.slots, chance)
        is_rare = wanted < 5
        counts, wanted = (np.append(each[~is_rare], each[is_rare].sum()) for each in (counts, wanted))
        return stats.chi2.sf(((counts - wanted) ** 2 / np.maximum(wanted, 1e-9)).sum(), len(counts) - 1)

    assert plausible(p_value)


def test_lines_are_set_with_their_probability_in_every_slot():
    values = torch.tensor([0.0, 0.1, -0.5, 0.999, 1.0, -1.5])
    found = line_trains(values.expand(REPEATS, -1), MOST_SLOTS, Draws(1), Purpose.ROW_TRAIN, 0)
    share = torch.stack([(found >> slot & 1).double().mean(0) for slot in range(MOST_SLOTS)])
    wanted = values.abs().clamp(max=1.0).double()
    # Of 186 shares the furthest is 4.5 deviations away by chance for one seed in 800.
    assert bool(((share - wanted).abs() <= 4.5 * (wanted * (1 - wanted) / REPEATS).sqrt()).all())
    assert torch.equal(found < 0, (values < 0).expand(REPEATS, -1))


@pytest.mark.parametrize("slots", [1, 2, 5, MOST_SLOTS])
def test_slots_beyond_those_asked_for_stay_empty(slots):
    found = line_trains(torch.full((50, 3), 1.0), slots, Draws(1), Purpose.ROW_TRAIN, 0)
    assert bool((found == (1 << slots) - 1).all())


@pytest.mark.parametrize(
    ("largest", "most", "slots"),
    [
        (0.0, 31, 1),
        (0.5, 31, 1),
        (1.0, 31, 1),
        (1.5, 31, 2),
        (8.0, 31, 8),
        (30.5, 31, 31),
        (500.0, 31, 31),
        (8.0, 5, 5),
    ],
)
def test_there_are_as_many_slots_as_the_largest_product_needs(largest, most, slots):
    inputs, errors = torch.tensor([[0.5, 1.0], [2.0, -4.0]]), torch.tensor([[largest / 4, 0.0], [0.0, 0.0]])
    assert trains(inputs, errors, 0.25, 0.25, Draws(1), 0, most).slots == slots


def test_probabilities_of_rows_and_columns_are_balanced():
    found = trains(torch.full((REPEATS, 1), 100.0), torch.full((REPEATS, 1), 0.001), 0.01, 0.004, Draws(2), 0)
    assert found.slots == 1
    for line in (found.rows, found.columns):  # each with the root of 0.25
        assert stats.binomtest(int((line & 1).sum()), REPEATS, 0.5).pvalue > 1e-3


def test_what_no_train_can_carry_is_cut_at_every_slot():
    found = trains(torch.tensor([[1.0, 1e-3]]), torch.tensor([[-1.0]]), 1.0, 1e-4, Draws(1), 0)
    assert (found.slots, pulses_of(found)[0, 0, 0]) == (31, 31)


def test_a_weight_rises_where_input_and_error_differ_in_sign():
    inputs, errors = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, -1.0, 0.0]])
    found = trains(inputs, errors, 1.0, 1.0, Draws(1), 0)
    cells = Cells([synapse(pulses_up=10, pulses_down=10)], 2, 3, [Draws(1)], state=0.5)
    cells.pulse_trains(found.rows, found.columns, 0)
    assert cells.state.flatten().tolist() == pytest.approx([0.4, 0.6, 0.5, 0.6, 0.4, 0.5])


def test_without_input_or_error_nothing_moves():
    for inputs, errors in ((INPUTS * 0, ERRORS), (INPUTS, ERRORS * 0), (INPUTS * 0, ERRORS * 0)):
        assert not pulses_of(repeated(1, inputs, errors)).any()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(0, 9), st.integers(1, 20))
def test_a_batch_has_the_trains_of_its_samples(seed, first, second, lines):
    values = torch.rand(first + second, lines, generator=torch.Generator().manual_seed(seed)) - 0.5
    together = line_trains(values, 9, Draws(seed), Purpose.COLUMN_TRAIN, 7)
    parts = [(values[:first], 7), (values[first:], 7 + first)]
    split = [line_trains(part, 9, Draws(seed), Purpose.COLUMN_TRAIN, step) for part, step in parts]
    assert torch.equal(torch.cat(split), together)


def test_rows_and_columns_have_numbers_of_their_own():
    found = trains(torch.full((REPEATS, 1), 0.5), torch.full((REPEATS, 1), 0.5), 1.0, 1.0, Draws(1), 0)
    both = (found.rows & found.columns & 1).sum()
    assert stats.binomtest(int(both), REPEATS, 0.25).pvalue > 1e-3


# Counts


def test_rounded_counts_have_the_wanted_mean():
    wanted = torch.tensor([[0.0, 0.1, -0.1, 0.5], [1.0, -2.0, 3.25, -7.75]])

    def largest(seed):
        counts = torch.stack([rounded_counts(wanted, Draws(seed), step) for step in range(4000)]).double()
        assert bool(((counts == wanted.floor()) | (counts == wanted.ceil())).all())
        part = (wanted - wanted.floor()).double()
        return float(((counts.mean(0) - wanted).abs() / (part * (1 - part) / 4000).sqrt().clamp(min=1e-9)).max())

    assert min(largest(1), largest(2)) < 4


@given(st.floats(-1000, 1000), st.integers(0, 2**32 - 1))
def test_rounding_is_the_same_in_both_directions(pulses, step):
    wanted = torch.full((2, 3), pulses)
    up, down = (rounded_counts(each, Draws(1), step) for each in (wanted, -wanted))
    assert torch.equal(up, -down)
    assert bool(((up - pulses).abs() < 1).all())


def test_cells_and_steps_are_rounded_independently():
    halves = torch.full((100, 100), 0.5)
    one, other = (rounded_counts(halves, Draws(1), step) for step in (0, 1))
    assert stats.binomtest(int((one * other).sum()), 10_000, 0.25).pvalue > 1e-3
    assert stats.binomtest(int((one[:, 1:] * one[:, :-1])[:, ::2].sum()), 5_000, 0.25).pvalue > 1e-3


def test_the_nearest_count_loses_what_is_less_than_half_a_pulse():
    wanted = torch.tensor([0.49, -0.49, 0.51, -0.51, 1.4, 1.6, -2.6, 0.0])
    found = nearest_counts(wanted)
    assert found.dtype == torch.int32
    assert found.tolist() == [0, 0, 1, -1, 1, 2, -3, 0]
    total = sum(nearest_counts(torch.full((5,), 0.4)).sum() for _ in range(100))
    kept = sum(int(rounded_counts(torch.full((5,), 0.4), Draws(1), step).sum()) for step in range(100))
    assert int(total) == 0
    assert stats.binomtest(kept, 500, 0.4).pvalue > 1e-3


def test_single_pulses_go_where_a_change_exceeds_its_threshold():
    change = torch.tensor([[0.3, -0.3, 0.1], [-0.1, 0.0, 0.2]])
    assert single_pulses(change, 0.2).tolist() == [[1, -1, 0], [0, 0, 0]]
    assert single_pulses(change, 0.0).tolist() == [[1, -1, 1], [-1, 0, 1]]
    assert single_pulses(change, torch.tensor([[0.5], [0.05]])).tolist() == [[0, 0, 0], [-1, 0, 1]]
    assert single_pulses(change, 0.2).dtype == torch.int32

"""Paired statistics: McNemar's exact test from its own sum, the interval, and the smallest drop that can be seen."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.gate.baseline import RIGHT, WRONG, Tolerances
from offramp.gate.paired import compare_hits, smallest_drop

sys.path.append(str(Path(__file__).parent))
from gate_samples import hits

ALPHA, TOLERANCE = Tolerances().alpha, Tolerances().accuracy
rows = st.integers(1, 60).flatmap(lambda n: st.tuples(*[st.text(alphabet=RIGHT + WRONG, min_size=n, max_size=n)] * 2))


def mcnemar(lost: int, gained: int) -> float:
    """Chance of at least `lost` heads in lost + gained throws of a coin."""
    thrown = lost + gained
    return sum(math.comb(thrown, k) for k in range(lost, thrown + 1)) / 2**thrown


@settings(deadline=None)  # scipy is imported at the first
@given(rows)
def test_the_test_is_mcnemars_and_the_change_is_that_of_the_accuracy(pair):
    before, now = pair
    found = compare_hits(before, now, ALPHA, TOLERANCE)
    lost = sum(b == RIGHT and n == WRONG for b, n in zip(before, now))
    gained = sum(b == WRONG and n == RIGHT for b, n in zip(before, now))
    assert (found.lost, found.gained) == (lost, gained)
    assert found.p == pytest.approx(mcnemar(lost, gained))
    assert found.change == pytest.approx((now.count(RIGHT) - before.count(RIGHT)) / len(now))
    assert -1 <= found.low <= found.change + 0.5 / len(now) + 1e-9
    assert found.low <= found.high <= 1


def test_samples_that_are_equal_on_both_sides_say_nothing():
    found = compare_hits(hits(10), hits(10), ALPHA, TOLERANCE)
    assert (found.change, found.low, found.high, found.p, found.lost, found.gained) == (0, 0, 0, 1, 0, 0)


def test_the_interval_is_that_of_the_normal_law_where_samples_are_many():
    before, now = hits(100, 0, 4000), hits(100, 200, 4000)  # 100 lost, 100 gained
    found = compare_hits(before, now, ALPHA, TOLERANCE)
    spread = 1.96 * math.sqrt(200 / 4000 / 4000)
    assert (found.low, found.high) == pytest.approx((-spread, spread), rel=0.1)
    assert found == compare_hits(before, now, ALPHA, TOLERANCE)


@pytest.mark.parametrize(
    ("count", "alpha", "tolerance", "lost"),
    [
        (500, 1e-4, 0.01, 14),  # 2**-14 < 1e-4 < 2**-13
        (500, 1e-3, 0.01, 10),
        (500, 0.5, 0.01, 6),  # above five of 500
        (500, 0.25, 0.0, 2),
        (14, 1e-4, 0.0, 14),
        (13, 1e-4, 0.0, None),
        (10_000, 1e-4, 0.01, 101),
        (20, 1e-4, 1.0, None),  # no drop is above all of them
    ],
)
def test_the_smallest_drop_is_significant_and_above_the_tolerance(count, alpha, tolerance, lost):
    assert smallest_drop(count, alpha, tolerance) == (None if lost is None else lost / count)
    if lost is not None:
        found = compare_hits(RIGHT * count, hits(lost, 0, count), alpha, tolerance)
        assert found.p <= alpha
        assert -found.change > tolerance
        assert found.smallest == -found.change
        less = compare_hits(RIGHT * count, hits(lost - 1, 0, count), alpha, tolerance)
        assert less.p > alpha or -less.change <= tolerance


def test_twenty_clean_runs_of_six_artifacts_practically_never_alarm():
    """Coins thrown for every sample that changed: 120 comparisons, drawn 500 times over."""
    draw = np.random.default_rng(0)
    changed = draw.integers(0, 60, (500, 120))
    lost = draw.binomial(changed, 0.5)
    known = {(k, n): mcnemar(k, n - k) for n in range(60) for k in range(n + 1)}
    alarms = sum(any(known[k, n] <= ALPHA for k, n in zip(*pair)) for pair in zip(lost.tolist(), changed.tolist()))
    assert alarms / 500 < 120 * ALPHA

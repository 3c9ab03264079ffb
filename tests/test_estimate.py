"""A mean and its interval: by the formula, at the stated confidence, and within shares where shares are meant."""

import pytest
import torch
from offramp.estimate import CONFIDENCE, Estimate, estimate_of, exactly, number_cell, percent_cell, share_of, short_cell

# Student's t for 95 %, two-sided, from tables: degrees of freedom and value.
STUDENT = {1: 12.706, 2: 4.303, 4: 2.776, 9: 2.262, 30: 2.042}


def numbers(count, seed=0):
    return torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


@pytest.mark.parametrize("freedom", STUDENT)
def test_the_interval_is_students(freedom):
    values = numbers(freedom + 1)
    found = estimate_of(values)
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / freedom) ** 0.5
    half = STUDENT[freedom] * deviation / len(values) ** 0.5
    assert found.mean == pytest.approx(mean)
    assert found.high - found.mean == pytest.approx(half, rel=3e-4)
    assert found.mean - found.low == pytest.approx(half, rel=3e-4)


def test_one_run_is_all_that_is_known():
    assert estimate_of([0.25]) == Estimate(0.25, 0.25, 0.25)
    assert share_of([0.25]) == Estimate(0.25, 0.25, 0.25)


def test_equal_runs_have_no_width():
    assert estimate_of([0.5] * 5) == Estimate(0.5, 0.5, 0.5)


def test_the_interval_holds_the_mean_over_all_runs_as_often_as_it_says():
    tried = 1000
    held = sum(found.low <= 0.0 <= found.high for found in (estimate_of(numbers(4, seed)) for seed in range(tried)))
    assert abs(held / tried - CONFIDENCE) < 4 * (CONFIDENCE * (1 - CONFIDENCE) / tried) ** 0.5


def test_shares_end_at_0_and_1_and_other_figures_do_not():
    wide = estimate_of([0.0, 1.0])
    assert wide.low < 0.0 and wide.high > 1.0
    assert share_of([0.0, 1.0]) == Estimate(0.5, 0.0, 1.0)
    narrow = [0.4, 0.5, 0.6]
    assert share_of(narrow) == estimate_of(narrow)
    assert 0.0 < share_of(narrow).low < 0.4 and 0.6 < share_of(narrow).high < 1.0


def test_order_does_not_matter():
    values = numbers(6)
    assert estimate_of(values[::-1]).mean == pytest.approx(estimate_of(values).mean, rel=1e-12)
    assert estimate_of(values[::-1]).low == pytest.approx(estimate_of(values).low, rel=1e-12)


def test_a_cell_has_the_half_width_where_there_are_several_values():
    half = estimate_of([1.0, 2.0, 3.0]).high - 2
    assert number_cell([1.0, 2.0, 3.0], 2) == f"2.00 ± {half:.2f}"
    assert (number_cell([0.5], 3), percent_cell([0.5]), number_cell([], 1)) == ("0.500", "50.0", "–")
    assert percent_cell([0.01, 0.02, 0.03]) == f"2.0 ± {half:.1f}"


def test_an_exact_figure_is_its_own_interval():
    assert exactly(3) == Estimate(3.0, 3.0, 3.0)


def test_short_figures_keep_three_digits_and_never_an_exponent():
    assert [short_cell(value) for value in (0.01234, 1.5, 99.96, 100.4, 1271.6, 83892.0)] == [
        "0.0123", "1.5", "100", "100", "1,272", "83,892",
    ]  # fmt: skip

"""Two trainings compared seed by seed: when one is above the other, and what the note says."""

import pytest
from offramp.estimate import share_of
from offramp.reproductions._paired import above, below


@pytest.mark.parametrize(
    ("ours", "margin", "holds", "tells"),
    [
        ([0.55, 0.85], 0.0, True, True),
        ([0.52, 0.88], 0.0, False, False),  # gains of 2 and 8 points may be none
        ([0.50, 0.80], 0.0, False, False),  # equal is not above
        ([0.495, 0.795], -0.01, True, True),
        ([0.48, 0.78], -0.01, False, True),
        ([0.40, 0.70], 0.0, False, True),
    ],
)
def test_the_whole_interval_of_paired_differences_must_be_above_the_margin(ours, margin, holds, tells):
    found = above("x", "accuracy", [0.5, 0.8], ours, margin)
    assert (found.claim, found.holds) == ("x", holds)
    assert (found.baseline.mean, found.ours.mean) == pytest.approx((0.65, sum(ours) / 2))
    assert ("do not tell" not in found.note) == tells


def test_accuracies_differ_by_points_and_other_figures_by_themselves():
    assert above("x", "accuracy", [0.5, 0.6], [0.52, 0.62], note="why").note == (
        "difference +2.00 points (+2.00 to +2.00); why"
    )
    assert above("x", "AUC", [0.5, 0.6], [0.52, 0.62]).note == "difference +0.0200 (+0.0200 to +0.0200)"


def test_one_seed_has_no_interval():
    found = above("x", "accuracy", [0.5], [0.6])
    assert found.holds and found.ours.low == found.ours.high == 0.6


def test_seeds_must_pair():
    with pytest.raises(ValueError, match="zip"):
        above("x", "accuracy", [0.5, 0.6], [0.7])


@pytest.mark.parametrize(
    ("ours", "margin", "holds"),
    [([1.8, 2.8], 0.0, True), ([1.8, 3.3], 0.0, False), ([2.05, 3.05], 0.1, True), ([2.2, 3.2], 0.1, False)],
)
def test_an_error_is_below_with_its_whole_interval_and_in_its_own_unit(ours, margin, holds):
    found = below("x", "degrees", [2.0, 3.0], ours, margin)
    assert found.holds is holds
    assert (found.baseline.mean, found.ours.mean) == pytest.approx((2.5, sum(ours) / 2))
    assert found.baseline.high > 3  # no share, so nothing is cut at 1


def test_shares_below_have_their_own_estimate():
    assert below("x", "auc", [0.9, 1.0], [0.5, 0.6], estimate=share_of).baseline.high == 1

"""Verification: figures are what their definitions count, and do not change where order does not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.models import verification
from offramp.models.verification import (
    Pairs,
    accuracy_at,
    area,
    best_threshold,
    figures,
    fold_accuracy,
    pairs_of,
    roc,
    tar_at,
)

UNHURRIED = settings(deadline=None, max_examples=40)
SCORES = st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({same for _, same in rows}) == 2
)


def pairs(rows, folds=1):
    scores, same = zip(*rows)
    return Pairs(np.array(scores, float), np.array(same), np.arange(len(rows)) % folds)


@UNHURRIED
@given(SCORES)
def test_the_area_is_the_share_of_rightly_ordered_pairs(rows):
    same, other = ([score for score, is_same in rows if is_same == kind] for kind in (True, False))
    order = [(a > b) + (a == b) / 2 for a in same for b in other]
    assert area(roc(pairs(rows))) == pytest.approx(np.mean(order))


@UNHURRIED
@given(SCORES, st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]))
def test_tar_is_the_best_over_all_thresholds_within_the_far(rows, far):
    best = 0.0
    for threshold in [*{score for score, _ in rows}, 99]:
        accepted = [is_same for score, is_same in rows if score >= threshold]
        same = sum(is_same for _, is_same in rows)
        if (len(accepted) - sum(accepted)) / (len(rows) - same) <= far:
            best = max(best, sum(accepted) / same)
    assert tar_at(roc(pairs(rows)), far) == pytest.approx(best)


@UNHURRIED
@given(SCORES)
def test_figures_agree_with_scikit_learns(rows):
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    found = pairs(rows)
    assert area(roc(found)) == pytest.approx(roc_auc_score(found.same, found.similarities))
    accepted = found.similarities >= 3
    assert accuracy_at(found, 3) == pytest.approx(balanced_accuracy_score(found.same, accepted))


@UNHURRIED
@given(SCORES, st.integers(2, 4))
def test_no_figure_sees_a_monotone_change_of_the_similarities(rows, folds):
    before = pairs(rows, folds)
    after = Pairs(np.exp(before.similarities / 10) * 3 - 5, before.same, before.folds)
    assert figures(after) == pytest.approx(figures(before))


@UNHURRIED
@given(SCORES)
def test_the_best_threshold_is_the_best_of_all(rows):
    found = pairs(rows)
    best = max(accuracy_at(found, score) for score in [*found.similarities, 99])
    assert accuracy_at(found, best_threshold(roc(found))) == pytest.approx(best)


def test_perfect_and_useless_similarities_have_the_limits():
    same = np.array([True] * 10 + [False] * 90)
    folds = np.zeros(100, int)
    perfect, useless = roc(Pairs(same * 1.0, same, folds)), roc(Pairs(np.zeros(100), same, folds))
    assert (area(perfect), tar_at(perfect, 0.0)) == (1.0, 1.0)
    assert (area(useless), tar_at(useless, 0.99)) == (0.5, 0.0)


def test_all_pairs_of_samples_come_once_with_their_dot_products():
    embeddings = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    found = pairs_of(embeddings, np.array([7, 9, 7]))
    assert found.similarities.tolist() == pytest.approx([0.6, 0.0, 0.8])
    assert found.same.tolist() == [False, True, False]
    assert found.folds.tolist() == [0, 0, 0]


@UNHURRIED
@given(st.integers(2, 45), st.integers(1, 3))
def test_no_person_is_in_two_folds(persons, pictures):
    numbers = np.repeat(np.arange(persons) * 3, pictures)
    found = pairs_of(np.ones((len(numbers), 1)), numbers)
    first, second = np.triu_indices(len(numbers), 1)
    fold_of = {}
    for place in np.flatnonzero(found.folds >= 0):
        for number in (numbers[first[place]], numbers[second[place]]):
            assert fold_of.setdefault(number, found.folds[place]) == found.folds[place]
    assert len(set(fold_of.values())) == min(10, persons // 2)
    assert (found.folds[found.same] >= 0).all()


def test_a_fold_is_measured_at_the_threshold_of_the_others():
    # Fold 0 is best cut at 1, fold 1 at 3: each is cut where the other wants it.
    found = Pairs(np.array([1.0, 0.0, 3.0, 2.0]), np.array([True, False, True, False]), np.array([0, 0, 1, 1]))
    assert fold_accuracy(found) == 0.5
    assert fold_accuracy(Pairs(found.similarities, found.same, np.array([0, 1, 0, 1]))) is None
    assert fold_accuracy(Pairs(found.similarities, found.same, np.full(4, -1))) is None


def test_figures_that_pairs_do_not_allow_are_missing():
    assert figures(pairs_of(np.ones((3, 1)), np.array([1, 1, 1]))) == {}
    assert figures(pairs_of(np.ones((0, 1)), np.array([]))) == {}
    assert figures(pairs_of(np.eye(3), np.array([1, 1, 2]))).keys() == {"auc", "tar_at_far_1"}


def test_of_many_samples_evenly_spread_ones_are_paired(monkeypatch):
    monkeypatch.setattr(verification, "MOST_SAMPLES", 5)
    found = pairs_of(np.arange(9.0)[:, None], np.arange(9))
    assert found.similarities.tolist() == [a * b for a in (0, 2, 4, 6, 8) for b in (0, 2, 4, 6, 8) if a < b]

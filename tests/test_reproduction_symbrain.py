"""The study of brain symmetry: what it trains and measures, and that each claim holds by its own rule."""

import re

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.brain_phantoms import draw_slices
from offramp.models.symbrain import Concatenation, Difference
from offramp.reproductions import Study, claims_of, reproductions
from offramp.reproductions import _brain_symmetry as ground
from offramp.reproductions import symbrain as study_of_brains
from offramp.reproductions._brain_symmetry import (
    CLEAN,
    HARD,
    MIDLINES,
    SMOOTHNESSES,
    errors_of,
    generator,
    learned_auc,
    midline_network,
    midlines,
    misaligned_aucs,
    pair_task,
    raw_auc,
)
from offramp.reproductions.symbrain import ANGLE, AUC, PAIRS

SLUG = "symbrain"


@pytest.fixture(scope="module")
def claims():
    """Of one seed, few slices and one epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_of_brains, "TEST", 8)
        patch.setattr(study_of_brains, "MANY", 64)
        patch.setattr(study_of_brains, "FEW", 32)
        patch.setattr(study_of_brains, "midline_network", lambda seed, recipe: midline_network(seed, recipe, 128))
        yield claims_of(SLUG, Study((0,), effort=0.1))


def test_draws_of_seeds_and_uses_are_apart():
    assert (
        len({tuple(torch.rand(2, generator=generator(seed, use)).tolist()) for seed in (0, 1) for use in (0, 1)}) == 4
    )


def test_hard_slices_have_no_fissure_and_as_much_asymmetry_as_symmetry():
    assert (CLEAN.fissure, CLEAN.asymmetry) == (1.0, (0.25, 0.25))
    assert (HARD.fissure, HARD.asymmetry) == (0.0, (1.0, 1.0))


def test_all_ways_are_measured_on_the_same_slices():
    slices = draw_slices(6, CLEAN, generator(0, 4))
    network, calibration = midline_network(0, MIDLINES.__class__(epochs=1), 32)
    found = midlines(network, slices)
    assert found.keys() == {"principal axis", "network", "mirror search"} and calibration.shape == (32, 1, 96, 96)
    assert found["mirror search"].angle < 0.5 < found["principal axis"].angle
    exact = errors_of(slices.lines, slices.lines)
    assert (exact.angle, exact.angle_median, exact.offset) == (0, 0, 0)


def test_the_network_of_a_seed_is_the_same_whatever_was_drawn_before():
    recipe = MIDLINES.__class__(epochs=1, threads=1)
    first = midline_network(3, recipe, 32)[0].state_dict()
    torch.rand(5)
    again = midline_network(3, recipe, 32)[0].state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_an_axis_that_is_off_makes_lesions_harder_to_tell():
    exact, off = misaligned_aucs(0, 0.25, (0.0, 5.0), 60)
    assert exact > 0.97 > off


def test_the_raw_difference_is_as_smooth_as_is_best_on_the_pairs_to_train_on(monkeypatch):
    task, asked = pair_task(0, 0.25, 40, 40), []

    def score(halves, smoothness):
        asked.append(smoothness)
        labels = task.train[1] if len(asked) <= len(SMOOTHNESSES) else task.test[1]
        return labels * 1.0 if smoothness == 2.0 else -labels * 1.0

    monkeypatch.setattr(ground, "difference_score", score)
    assert raw_auc(task) == 1.0 and asked == [*SMOOTHNESSES, 2.0]


def test_a_difference_learns_from_few_pairs_what_a_concatenation_does_not():
    """The claim with one seed, where it is clearest."""
    task = pair_task(7, 0.25, 100, 100)
    recipe = study_of_brains.replace(PAIRS, epochs=12)
    compared, joined = (learned_auc(task, fusion, recipe, 7) for fusion in (Difference, Concatenation))
    assert compared > 0.8 and compared > joined + 0.1


def test_each_claim_has_both_figures_and_a_difference(claims):
    assert SLUG in reproductions()
    assert len(claims) == 11 == len({row["claim"] for row in claims})
    assert [row["metric"] for row in claims] == [ANGLE] * 6 + [AUC] * 4 + [ANGLE]
    for row in claims:
        assert (row["slug"], row["seeds"]) == (SLUG, 1)
        gain = row["ours"]["mean"] - row["baseline"]["mean"]
        assert row["note"].startswith(f"difference {gain:+.4f} (")
    tables = [row["table"] for row in claims if row["table"]]
    assert [len(table["rows"]) for table in tables] == [6, 3]
    assert all(len(cells) == len(table["columns"]) for table in tables for cells in table["rows"])


def test_claims_hold_by_the_rules_they_state(claims):
    for row in claims:
        gain = row["ours"]["mean"] - row["baseline"]["mean"]
        if "is above 0" in row["claim"]:
            assert row["holds"] == (gain > 0)
        elif "is below 0)" in row["claim"]:
            assert row["holds"] == (gain < 0)
        else:
            assert row["holds"] == (gain <= 0.1) and "is below 0.1)" in row["claim"]


@pytest.mark.parametrize(
    ("ours", "holds", "told"),
    [([0.9, 1.9, 2.8], True, True), ([0.9, 2.1, 2.9], False, False), ([1.2, 2.2, 3.1], False, True)],
)
def test_a_difference_within_its_spread_is_not_told_apart(ours, holds, told):
    claim = study_of_brains._lower("better", [1.05, 2.05, 3.0], ours)
    assert claim.holds is holds
    assert ("do not tell" in claim.note) is not told
    assert re.match(r"difference [-+]0\.\d+ \(", claim.note)


def test_the_study_takes_no_data_of_the_users():
    with pytest.raises(BadInput, match="folder: this study draws slices whose midlines are known; leave out --data"):
        study_of_brains.reproduce(Study(data="folder"))

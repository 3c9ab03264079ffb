"""The study of equilibrium propagation: what it measures, and that each claim holds by its own rule."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.equilibrium_propagation import equilibrium_mlp
from offramp.reproductions import Study, claims_of, reproductions
from offramp.reproductions import equilibrium_propagation_homeostasis as study_of_rest
from offramp.reproductions.equilibrium_propagation_homeostasis import (
    ACCURACY,
    AGREEMENT,
    APART,
    BACK,
    DEGREES,
    ERROR,
    HOMEOSTATIC,
    POINTS,
    SYMMETRIC,
    Outcome,
    asymmetry_degrees,
    nudge_errors,
)

SLUG = "equilibrium-propagation-homeostasis"
QUIET = "ignore::offramp.errors.OfframpWarning"


@pytest.fixture(scope="module")
def claims():
    """Of one seed and one epoch, relaxations short, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        short = {way: (angle, _short(rule)) for way, (angle, rule) in study_of_rest.WAYS.items()}
        patch.setattr(study_of_rest, "WAYS", short)
        patch.setattr(study_of_rest, "TO_REST", 20)
        patch.setattr(study_of_rest, "MEASURED", 20)
        patch.setattr(study_of_rest, "_shipped", lambda runs, name: [])
        patch.setattr(study_of_rest, "in_two_processes", lambda call, values: list(map(call, values)))
        return claims_of(SLUG, Study((0,), effort=0.1))


def _short(rule):
    return replace(rule, free_steps=4, nudged_steps=3) if hasattr(rule, "free_steps") else rule


def outcomes(accuracy, asymmetry, lost):
    return [Outcome(a, a + lost, d, 90.0, equilibrium_mlp().state_dict()) for a, d in zip(accuracy, asymmetry)]


def runs_of(accuracies, degrees, lost):
    return {
        way: outcomes(accuracies[way], degrees.get(way, [30.0, 31.0, 32.0]), lost)
        for way in (SYMMETRIC, APART, HOMEOSTATIC, BACK)
    }


def test_each_claim_has_both_figures_and_a_difference(claims):
    assert SLUG in reproductions()
    assert [row["metric"] for row in claims] == [ACCURACY, ACCURACY, DEGREES, ACCURACY, ACCURACY, ERROR, ERROR, ERROR]
    assert len({row["claim"] for row in claims}) == len(claims)
    assert all(row["slug"] == SLUG and row["seeds"] == 1 and row["note"].startswith("difference ") for row in claims)
    tables = [row["table"] for row in claims if row["table"]]
    assert [len(table["rows"]) for table in tables] == [4, len(POINTS)]
    assert all(len(cells) == len(table["columns"]) for table in tables for cells in table["rows"])


def test_claims_hold_by_the_rules_they_state():
    good = {SYMMETRIC: [0.9, 0.91, 0.92], APART: [0.8, 0.81, 0.82], HOMEOSTATIC: [0.89, 0.9, 0.91]}
    good[BACK] = [0.95, 0.95, 0.96]
    turned = {APART: [50.0, 52.0, 54.0], HOMEOSTATIC: [10.0, 12.0, 15.0]}
    assert [claim.holds for claim in study_of_rest._trained(runs_of(good, turned, 0.01))] == [True] * 5
    none = {way: [0.8, 0.82, 0.81] for way in good}
    same = {APART: [30.0, 31.0, 32.0], HOMEOSTATIC: [25.0, 26.0, 27.0]}
    assert [claim.holds for claim in study_of_rest._trained(runs_of(none, same, 0.03))] == [False] * 5


def test_more_nudges_must_be_nearer_in_every_step():
    errors = [{1: -1.0, 2: -2.0, 4: -2.0, 6: -5.0}, {1: -1.1, 2: -2.2, 4: -2.1, 6: -5.1}]
    assert [claim.holds for claim in study_of_rest._nudged(errors)] == [True, False, True]


def test_nudges_are_measured_on_networks_as_they_start(monkeypatch):
    monkeypatch.setattr(study_of_rest, "MEASURED", 10)
    monkeypatch.setattr(study_of_rest, "TO_REST", 60)
    errors = nudge_errors("digits", 1)
    assert tuple(errors) == POINTS and errors[1] > errors[2] > errors[4] > errors[6]
    assert errors == nudge_errors("digits", 1)


def test_transposed_weights_turn_no_gradient():
    labels, images = torch.arange(10), torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    assert asymmetry_degrees(equilibrium_mlp(angle=0.0), images, labels) < 1
    assert asymmetry_degrees(equilibrium_mlp(angle=90.0), images, labels) > 10


@pytest.mark.filterwarnings(QUIET)
def test_the_artifact_is_executed_and_compared_class_by_class(monkeypatch, quick_codes):
    build = partial(equilibrium_mlp, widths=(64, 12, 8), steps=2)
    monkeypatch.setattr(study_of_rest, "equilibrium_mlp", build)
    torch.manual_seed(0)
    run = Outcome(0.1, 0.1, 0.0, 0.0, build().state_dict())
    exact, whole = study_of_rest._shipped([run], "digits")
    assert exact.metric == whole.metric == AGREEMENT
    assert exact.holds and exact.ours.mean == 1 and "float32" in exact.claim
    assert whole.holds == (whole.ours.mean >= 0.97) and whole.ours.mean > 0.5 and "int8" in whole.claim


def test_other_images_are_refused(tmp_path):
    import numpy as np

    path = tmp_path / "other.npz"
    images, labels = np.zeros((30, 1, 6, 6), np.float32), np.arange(30) % 3
    np.savez(path, image=images, labels=labels)
    with pytest.raises(BadInput, match=r"other\.npz: this study takes images of 64 pixels in 10 classes; leave out"):
        study_of_rest._read(str(path))

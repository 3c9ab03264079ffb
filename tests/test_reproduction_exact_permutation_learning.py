"""The study of ensembles: trainings that arrive, decodings that count what they say, and claims' rules."""

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.exact_permutation import Ensemble
from offramp.models.ntk import thresholds
from offramp.models.permuted_bits import every_input
from offramp.reproductions import Study, claims_of, reproductions
from offramp.reproductions import exact_permutation_learning as study_of_bits
from offramp.reproductions.exact_permutation_learning import TOLERANCE, Outputs, descend, outputs_of

SLUG = "exact-permutation-learning"


@pytest.fixture(scope="module")
def claims():
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("BITS", (4, 5)), ("WIDTH", 200), ("SIZES", (1, 5, 30))):
            patch.setattr(study_of_bits, name, value)
        yield claims_of(SLUG, Study((0, 1)))


def test_descent_arrives_within_the_tolerance():
    torch.manual_seed(0)
    ensemble = Ensemble(5, 3, 400)
    assert descend(ensemble, torch.eye(5), torch.eye(5)) < TOLERANCE


def test_a_seed_gives_the_same_networks_whatever_was_drawn_before():
    first = outputs_of(3, 4, 2, 50)[0]
    torch.rand(5)
    again = outputs_of(3, 4, 2, 50)[0]
    assert torch.equal(first.members, again.members) and torch.equal(first.targets, again.targets)


def test_decoding_counts_inputs_without_a_fault():
    inputs = every_input(3)
    limits = torch.from_numpy(thresholds(3)).float()[inputs.sum(1).long()][:, None]
    right = limits + (inputs - 0.5)
    wrong = right.clone()
    wrong[4] = limits[4] - (inputs[4] - 0.5)
    assert Outputs(inputs, inputs, right[None]).decoded(1) == 1.0
    assert Outputs(inputs, inputs, torch.stack([wrong, right])).decoded(1) == pytest.approx(6 / 7)


def test_each_claim_has_both_figures_and_holds_by_its_rule(claims):
    assert SLUG in reproductions()
    assert len(claims) == len({row["claim"] for row in claims}) == 9 - 1
    for row in claims:
        gain = row["ours"]["mean"] - row["baseline"]["mean"]
        assert row["seeds"] == 2
        if "in every seed" in row["claim"]:
            assert row["holds"] == (row["ours"]["low"] == 1.0 == row["ours"]["mean"])
        elif row["holds"]:
            assert gain < 0 if "is below" in row["claim"] else gain > 0
    (table,) = [row["table"] for row in claims if row["table"]]
    assert len(table["rows"]) == 3 and all(len(row) == len(table["columns"]) for row in table["rows"])


def test_least_squares_and_the_distilled_function_are_exact(claims):
    exact = [row for row in claims if "least squares" in row["claim"] or "read off" in row["claim"]]
    assert [row["ours"]["mean"] for row in exact] == [1.0, 1.0] and all(row["holds"] for row in exact)


def test_the_study_takes_no_data_of_the_users():
    with pytest.raises(
        BadInput, match="folder: this study checks all inputs of its own permutations; leave out --data"
    ):
        study_of_bits.reproduce(Study(data="folder"))

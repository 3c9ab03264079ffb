"""The study of Boolean threshold functions: what it searches and trains, and that each claim holds by its own rule."""

import re

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.boolean_tasks import full_adder, random_gates, through_gates
from offramp.models.learning.boolean_search import evaluate_layers
from offramp.reproductions import Study, claims_of, reproductions
from offramp.reproductions import boolean_threshold_functions as study_of_tables
from offramp.reproductions._boolean_networks import Descent, descend, first_layers
from offramp.reproductions.boolean_threshold_functions import network_of, ternary_layers

SLUG = "boolean-threshold-functions"


@pytest.fixture(scope="module")
def claims():
    """Of two seeds and few steps."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("RATES", (0.01,)), ("DESCENT_STEPS", 30), ("MULTIPLIER_STEPS", 150), ("LOGIC_STEPS", 40)):
            patch.setattr(study_of_tables, name, value)
        patch.setattr(study_of_tables, "STARTS", 2)
        patch.setattr(study_of_tables, "ADDER_STEPS", 400)
        yield claims_of(SLUG, Study((0, 1)))


def test_each_claim_has_both_figures(claims):
    assert SLUG in reproductions()
    assert len(claims) == 7 == len({row["claim"] for row in claims})
    assert [row["metric"] for row in claims] == ["share of starts"] * 2 + ["share of those found", "share of bits"] + [
        "held-out bits"
    ] * 3
    for row in claims:
        assert (row["slug"], row["seeds"]) == (SLUG, 2)
    tables = [row["table"] for row in claims if row["table"]]
    assert [len(table["rows"]) for table in tables] == [2, 4]
    assert all(len(cells) == len(table["columns"]) for table in tables for cells in table["rows"])


def test_claims_hold_by_the_rules_they_state(claims):
    for row in claims:
        if "is above 0" in row["claim"]:
            low = float(re.match(r"difference \S+ \((\S+) to", row["note"])[1])
            assert row["holds"] == (low > 0)
        else:
            assert row["holds"] == (row["ours"]["mean"] == 1.0 == row["baseline"]["mean"])


def test_full_adders_are_found_and_exact_in_integers(claims):
    """Of few seeds, what the study claims of them."""
    assert claims[0]["ours"]["mean"] >= 0.5 and claims[2]["holds"] and claims[3]["holds"]


def test_networks_side_by_side_train_as_each_would_alone():
    table = full_adder()
    together = descend((3, 3, 2), table, table, [4, 5], Descent(steps=60))
    alone = descend((3, 3, 2), table, table, [5], Descent(steps=60))
    assert together[1] == alone[0]
    stacked = tuple(torch.stack([part, part]) for part in table)
    assert descend((3, 3, 2), stacked, stacked, [4, 5], Descent(steps=60)) == together


def test_gradients_fit_what_one_layer_can_hold():
    """So that it is the signs between which they fail at."""
    inputs = full_adder()[0]
    table = inputs, through_gates([torch.tensor([[1.0, 1, 1, 0], [1, -1, 0, 1]])], inputs)
    for hidden in ("sign", "tanh"):
        found = descend((3, 2), table, table, [0, 1], Descent(hidden, 0.05, 150))
        assert all(each.fitted and each.train_bits == each.test_bits == 1 for each in found)


def test_a_penalty_draws_rows_to_their_norm():
    table = full_adder()
    layers = first_layers((3, 3, 2), [0])
    assert [tuple(layer.shape) for layer in layers] == [(1, 4, 3), (1, 4, 2)]
    assert layers[0].abs().max() <= 3**-0.5
    plain, drawn = (descend((3, 3, 2), table, table, [0], Descent("tanh", 0.03, 200, p))[0] for p in (0.0, 10.0))
    assert plain != drawn


def test_rows_of_gates_survive_rounding_and_become_a_network():
    layers = random_gates((5, 5, 4), 0.6, True, torch.Generator().manual_seed(0))
    inputs = (torch.arange(32)[:, None] >> torch.arange(5) & 1) * 2.0 - 1
    scaled = [layer.double() * 1.7 + 0.2 * torch.rand(layer.shape, dtype=torch.float64) for layer in layers]
    assert all(torch.equal(found, layer.double()) for found, layer in zip(ternary_layers(scaled), layers))
    network = network_of([layer.double() for layer in layers])
    assert torch.equal(network(inputs).double(), evaluate_layers([layer.double() for layer in layers], inputs))


def test_the_study_takes_no_data_of_the_users():
    with pytest.raises(BadInput, match="folder: this study draws tables whose circuits are known; leave out --data"):
        study_of_tables.reproduce(Study(data="folder"))

"""The study of visual search: each claim holds by its own rule, and statistics set the direction of a small search."""

from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.estimate import estimate_of
from offramp.models.search_fixations import asymmetry_index
from offramp.models.visual_search_asymmetry import XS, EccNet
from offramp.models.visual_search_training import Environment
from offramp.reproductions import Study, claims_of, reproductions
from offramp.reproductions import visual_search_asymmetry as study_of_search
from offramp.reproductions._visual_search import (
    PAIR,
    TILTED,
    UPRIGHT,
    Direction,
    principal_directions,
    ranked,
    searched,
    train_encoder,
    with_config,
)

SLUG = "visual-search-asymmetry"


@pytest.fixture(scope="module")
def claims():
    """Of one seed at least effort; in place of the exported file, whose making takes long, its network is run."""
    exported = []

    def ship(name, network, examples, calibration, folder, targets, precisions):
        shapes = {key: values.shape[1:] for key, values in calibration.items()}
        assert shapes == {"search": (1, 96, 96), "target": (1, 16, 16)}
        exported.append(network)
        return {("onnx", "int8"): Path(folder) / "eccnet.onnx"}

    def run_file(path):  # a file that turns everything round
        return lambda inputs: {"output": -exported[0](*map(torch.from_numpy, inputs.values())).numpy()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_of_search, "ship", ship)
        patch.setattr(study_of_search, "run_file", run_file)
        yield claims_of(SLUG, Study((0,), effort=0.1))


def test_each_claim_has_both_figures_and_says_whether_it_holds(claims):
    assert SLUG in reproductions()
    assert len(claims) == 6 == len({row["claim"] for row in claims})
    for row in claims:
        assert (row["slug"], row["seeds"]) == (SLUG, 1)
        limits = (0, 6) if row["metric"] == "tasks" else (-1, 1)
        assert all(limits[0] <= row[side]["mean"] <= limits[1] for side in ("baseline", "ours"))
    tables = [row["table"] for row in claims if row["table"]]
    assert [len(table["rows"]) for table in tables] == [6, 2, 12]
    assert all(len(cells) == len(table["columns"]) for table in tables for cells in table["rows"])


def test_claims_hold_by_their_rules(claims):
    network, flipped, directions, integers, pooling, six = claims
    assert network["holds"] == (network["ours"]["mean"] > 0 > flipped["ours"]["mean"])
    assert network["ours"] == flipped["baseline"]
    assert directions["holds"] == (directions["ours"]["mean"] > 0 and "it is -" in directions["note"])
    gap = abs(integers["baseline"]["mean"] - integers["ours"]["mean"])
    assert integers["holds"] == (integers["baseline"]["mean"] * integers["ours"]["mean"] > 0 and gap <= 0.1)
    assert pooling["holds"] == (pooling["ours"]["mean"] > pooling["baseline"]["mean"])
    assert six["holds"] == (six["ours"]["mean"] > 3) and six["baseline"]["mean"] == 3


def test_searches_with_a_file_ask_the_file(claims):
    """Attention turned round looks at the darkest places first, and takes longer with one item."""
    before, now = (float(row[1].split()[0]) for row in claims[3]["table"]["rows"])
    assert now > before


UP, DOWN, NONE = estimate_of([0.5, 0.51]), estimate_of([-0.5, -0.51]), estimate_of([-0.1, 0.2])


@pytest.mark.parametrize(
    ("upright", "tilted", "flipped"),
    [(UP, DOWN, True), (DOWN, UP, True), (UP, UP, False), (UP, NONE, False), (NONE, DOWN, False)],
)
def test_a_flip_needs_intervals_on_both_sides(upright, tilted, flipped):
    assert study_of_search.is_flipped(upright, tilted) is flipped


def test_the_study_takes_no_data_of_the_users():
    with pytest.raises(BadInput, match="folder: this study generates its environments and searches; leave out --data"):
        study_of_search.reproduce(Study(data="folder"))


def test_a_direction_is_the_index_of_its_slopes():
    direction = Direction({1: 1.0, 12: 2.0}, {1: 1.0, 12: 4.0})
    assert direction.index == pytest.approx(asymmetry_index(1.0, 3.0))
    assert Direction({1: 1.0, 12: 1.02}, {1: 1.0, 12: 1.0}).index == 0  # half a millisecond an item is none


def test_equal_seeds_give_equal_encoders_and_searches():
    first, again = (train_encoder(Environment(UPRIGHT), 3, 1) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first.parameters(), again.parameters()))
    one, other = (searched(network, PAIR, 4, 3, 0.1, 5) for network in (first, again))
    assert one == other and set(one.easy) == {1, 12}


def test_other_poolings_have_equal_weights():
    network = EccNet(XS)
    other = with_config(network, XS)
    inputs = torch.randn(1, 1, 96, 96), torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(other(*inputs), network(*inputs))


def test_whitened_directions_have_unit_spread_but_for_the_smallest():
    environment = Environment(UPRIGHT)
    features = principal_directions(environment, 0)
    pictures, _ = environment.draw(2500, 15, 6.0, torch.Generator().manual_seed(0))
    along = features(pictures.flatten(1))
    signed = along[:, :40] - along[:, 40:]
    spread = torch.cov(signed.T)
    assert (spread - spread.diag().diag()).abs().max() < 1e-3
    assert spread.diag().max().item() == pytest.approx(1 / 1.05, rel=1e-2) and spread.diag().min() > 0


def test_what_is_rare_is_found_first_after_whitening():
    """The paper's claim in its smallest form: the same pictures turned by 20 degrees turn the index round."""
    found = [ranked(principal_directions(Environment(degrees), 1), 1).index for degrees in (UPRIGHT, TILTED)]
    assert found[0] > 0.5 and found[1] < -0.5


def test_what_is_common_is_found_first_by_a_network_that_classifies():
    found = [
        searched(train_encoder(Environment(degrees), 0, 4), PAIR, 4, 10, 0.1, 0).index for degrees in (UPRIGHT, TILTED)
    ]
    assert found[0] < found[1]

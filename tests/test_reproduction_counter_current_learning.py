"""The study of counter-current learning: what is compared with what, and that each claim holds by its own rule."""

from itertools import pairwise

import pytest
import torch
from offramp.models.counter_current import Autoencoder, Perceptron, PooledNetwork
from offramp.models.learning.counter_current import CounterCurrentLearner
from offramp.reproductions import Study, claims_of
from offramp.reproductions import counter_current_learning as study_of_rules
from offramp.reproductions._learning_rules import readout_of
from offramp.reproductions._trainings import seeded
from offramp.reproductions.counter_current_learning import BACK, COUNTER, RATES, READOUT, RULES, Outcome

SLUG = "counter-current-learning"


@pytest.fixture(scope="module")
def claims():
    """Of one seed and one epoch, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_of_rules, "in_two_processes", lambda call, cases: list(map(call, cases)))
        yield claims_of(SLUG, Study((0,), effort=0.01))


def test_every_claim_has_both_sides_and_says_its_rule(claims):
    assert len(claims) == 9
    assert all("interval" in claim["claim"] and claim["seeds"] == 1 for claim in claims)
    assert [claim["metric"] for claim in claims].count("accuracy") == 7
    assert all(claim[side]["mean"] > 0 for claim in claims[:7] for side in ("baseline", "ours"))


def test_tables_name_every_rule_and_every_matrix(claims):
    first, cosines = (claim["table"] for claim in claims if claim["table"])
    assert [row[0] for row in first["rows"]] == list(RULES) == list(RATES)
    assert [row[0] for row in first["rows"] if row[-1] == "–"] == [READOUT]
    assert [row[0] for row in cosines["rows"]] == ["1", "2", "3", "4", "5"]


def test_a_claim_holds_only_where_the_whole_interval_does():
    def runs(values):
        return [Outcome(({"accuracy": value},), []) for value in values]

    found = {name: runs([0.95, 0.95, 0.95]) for name in RULES}
    found[COUNTER] = runs([0.95, 0.952, 0.95])
    near = study_of_rules._classifying(found, found)
    assert near[0].holds and not near[1].holds
    found[COUNTER] = runs([0.95, 0.92, 0.95])
    assert not study_of_rules._classifying(found, found)[0].holds
    assert BACK in found


def test_the_autoencoders_claim_allows_twice_the_error():
    def runs(values):
        return [Outcome(({"mean_squared_error": value},), []) for value in values]

    assert study_of_rules._encoding({BACK: runs([0.1, 0.1, 0.1]), COUNTER: runs([0.15, 0.16, 0.15])}).holds
    assert not study_of_rules._encoding({BACK: runs([0.1, 0.1, 0.1]), COUNTER: runs([0.25, 0.26, 0.25])}).holds


def test_of_the_control_only_the_last_layer_learns():
    module = readout_of(Perceptron)()
    assert [parameter.requires_grad for parameter in module.parameters()] == [False] * 4 + [True]


def test_matrices_and_opposites_are_strangers_at_first():
    data = study_of_rules.load("digits", 1, 8)
    learner = seeded(lambda: study_of_rules._untrained(data), 0)
    assert isinstance(learner, CounterCurrentLearner)
    assert all(abs(cosine) < 0.1 for cosine in study_of_rules.alignments(learner))


def test_networks_of_the_study_have_the_papers_forms():
    assert sum(p.numel() for p in Perceptron().parameters()) == 64 * 128 + 3 * 128 * 128 + 128 * 10
    widths = (1, 16, 16, 32, 32, 64)
    kernels = sum(9 * before * after for before, after in pairwise(widths))
    assert sum(p.numel() for p in PooledNetwork().parameters()) == kernels + 640
    images = torch.zeros(2, 1, 16, 16)
    assert PooledNetwork((8, 8, 8, 8))(images).shape == (2, 10)
    assert Autoencoder((8, 16))(images).shape == images.shape

"""Hebbian learning: sums of whole numbers that no order changes, one pass, and refusals that say what to do."""

import re
from dataclasses import replace

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.diluted_patterns import PATTERNS, PatternRecipe, read_patterns
from offramp.models.hebbian_objective import Retrieval
from offramp.models.learning import Setup, all_rules, find_rule
from offramp.models.learning.hebbian import Hebbian
from offramp.models.multitasking_hebbian import Multitasking, Pooled
from offramp.models.objectives import Batch
from offramp.models.recipe import Recipe
from torch import nn

SMALL = PatternRecipe(n=24, k=2, d=0.25, r=0.8, m=7, cues=3)
ONE = Recipe(epochs=1, batch_size=1, warmup_epochs=0.0, label_smoothing=0.0)


def setup_of(module, data=None):
    data = data or read_patterns(PATTERNS, 0, SMALL)
    return Setup("mine", "multitask-recall", module, Retrieval(), data, ONE, 0, len(data.train))


def networks():
    torch.manual_seed(0)
    return Multitasking(torch.zeros(2, 24), 2), Pooled(torch.zeros(24, 24), 2)


def taught(module, supervision, order=None, size=1):
    setup = setup_of(module)
    setup = replace(setup, recipe=replace(ONE, batch_size=size))
    learner = Hebbian(supervision).learner(setup)
    order = list(order or range(len(setup.data.train)))
    for start in range(0, len(order), size):
        samples, targets = setup.data.train.batch(order[start : start + size])
        learner.learn(Batch(samples, targets, ONE, torch.Generator()), 0.0)
    return learner


def test_supervised_rows_are_the_majorities_of_their_examples():
    network, _ = networks()
    taught(network, "supervised")
    data = read_patterns(PATTERNS, 0, SMALL)
    samples, labels = data.train.samples, data.train.labels[:, 0]
    for number in (0, 1):
        assert torch.equal(network.patterns[number].detach(), samples[labels == number].sum(0).sign())


def test_unsupervised_couplings_are_the_sums_of_products():
    _, network = networks()
    taught(network, "unsupervised")
    samples = read_patterns(PATTERNS, 0, SMALL).train.samples
    assert torch.equal(network.couplings.detach(), samples.T @ samples)


def test_supervised_couplings_are_products_of_sums_and_stored_ones_of_archetypes():
    _, network = networks()
    data = read_patterns(PATTERNS, 0, SMALL)
    sums = torch.zeros(2, 24).index_add_(0, data.train.labels[:, 0].long(), data.train.samples)
    taught(network, "supervised")
    assert torch.equal(network.couplings.detach(), sums.T @ sums)
    taught(network, "storage")
    archetypes = data.train.labels[:2, 1:]
    assert torch.equal(network.couplings.detach(), archetypes.T @ archetypes)


@pytest.mark.parametrize("supervision", ["supervised", "unsupervised", "storage"])
def test_neither_order_nor_size_of_batches_changes_what_is_learnt(supervision):
    found = []
    for order, size in ((range(14), 1), (reversed(range(14)), 1), (range(14), 7)):
        _, network = networks()
        taught(network, supervision, order, size)
        found.append(network.couplings.detach())
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_one_pass_is_all_and_a_checkpoint_goes_on():
    network, _ = networks()
    learner = taught(network, "supervised", range(13))
    assert not learner.finished()
    kept = {name: tensor.clone() for name, tensor in learner.tensors().items()}
    assert kept["counts"].dtype == torch.int64
    again, _ = networks()
    resumed = Hebbian().learner(setup_of(again))
    resumed.restore(kept)
    assert torch.equal(again.patterns, network.patterns)
    for each in (learner, resumed):
        samples, targets = read_patterns(PATTERNS, 0, SMALL).train.batch([13])
        each.learn(Batch(samples, targets, ONE, torch.Generator()), 0.0)
        assert each.finished()
    assert torch.equal(again.patterns, network.patterns)


def test_figures_tell_whether_the_network_comes_to_rest():
    network, _ = networks()
    assert taught(network, "storage").figures() == {"residual": 0.0, "converged": 1.0}

    class Restless(Multitasking):
        def forward(self, state):
            return -state, state

    found = taught(Restless(torch.zeros(2, 24), 2), "storage").figures()
    assert found == {"residual": 1.0, "converged": 0.0}


def test_the_rule_has_a_name_a_source_and_settings():
    assert all_rules()["hebbian"] is Hebbian
    assert find_rule("hebbian", {"supervision": "storage"}).to_json() == {"name": "hebbian", "supervision": "storage"}
    with pytest.raises(BadInput, match="supervision must be supervised, unsupervised, storage, got none"):
        Hebbian("none")


def test_other_networks_are_refused_by_name():
    with pytest.raises(BadInput, match=r"^--rule hebbian: Linear has no parameter `patterns` or `couplings`"):
        Hebbian().learner(setup_of(nn.Linear(2, 2)))
    with pytest.raises(BadInput, match="holds one row for each label, unsupervised examples have none; train it"):
        Hebbian("unsupervised").learner(setup_of(networks()[0]))
    with pytest.raises(BadInput, match="2 labels: mine has room for 1 patterns; learn as many"):
        Hebbian().learner(setup_of(Multitasking(torch.zeros(1, 24), 2)))


@pytest.mark.parametrize(
    ("samples", "targets", "message"),
    [
        ([[1.0, 0.5]], [[0.0, 1.0, 1.0]], "an example holds 0.5; expected -1, 0, +1: take signs first"),
        ([[0.0, 0.0]], [[0.0, 1.0, 1.0]], "an example is all blank (dilution 1) and teaches nothing; leave it out"),
        ([[1.0, 1.0]], [3.0], "samples (1, 2) and targets (1,) are no examples of patterns of 2 entries; give"),
    ],
)
def test_examples_of_other_values_are_refused(samples, targets, message):
    part = InMemory(torch.ones(2, 2), torch.tensor([[0.0, 1.0, 1.0]] * 2))
    data = Data("mine", part, part, (), Preprocessing())
    learner = Hebbian().learner(setup_of(Multitasking(torch.zeros(1, 2), 1), data))
    with pytest.raises(BadInput, match=re.escape(message)):
        learner.learn(Batch(torch.tensor(samples), torch.tensor(targets), ONE, torch.Generator()), 0.0)

"""Learning by projections: what it finds, that a training goes on as it was, and which networks and data it refuses."""

from dataclasses import replace

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.boolean_network import Bits, Sign, ThresholdNetwork
from offramp.models.boolean_tasks import full_adder, whole_table
from offramp.models.boolean_threshold import SYSTEMS
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.learning import Setup, all_rules, find_rule
from offramp.models.learning.boolean_search import evaluate_layers, whole_layers
from offramp.models.learning.boolean_threshold import BooleanThreshold
from offramp.models.objectives import Batch
from offramp.models.recipe import Recipe
from offramp.models.training import train
from torch import nn

NAMED = {system.name: system for system in SYSTEMS}
ADDER = whole_table("full-adder", full_adder())
ALL = Recipe(epochs=20, batch_size=8, threads=1)
QUICK = BooleanThreshold(restarts=2)


def setup(module, data=ADDER, recipe=ALL, seed=0):
    return Setup("mine", "logic", module, Bits(), data, recipe, seed, 1)


def chain(*modules):
    torch.manual_seed(0)
    return nn.Sequential(*modules)


def table(inputs, outputs):
    part = InMemory(torch.tensor(inputs), torch.tensor(outputs))
    return Data("mine", part, part, (), Preprocessing())


def test_the_rule_is_known_by_name_and_takes_settings():
    assert all_rules()["reflect-reflect-relax"] is BooleanThreshold
    rule = find_rule("reflect-reflect-relax", {"support": "5", "iterations": "10"})
    assert rule == BooleanThreshold(support=5.0, iterations=10)
    assert rule.to_json()["gap_stop"] == 0.01


def test_a_full_adder_is_found_in_rows_of_three_weights(tmp_path):
    system = NAMED["btf_adder"]
    run = train(system, ADDER, system.recipe, tmp_path / "run", 0, rule=system.rule)
    assert run.metrics["converged"] == 1 and run.metrics["gap"] < 0.01
    assert (
        run.metrics["accuracy"] == run.metrics["bits"] == run.metrics["whole_rows"] == run.metrics["ternary_rows"] == 1
    )
    assert len(run.history) == run.metrics["iterations"] / 100 < system.recipe.epochs
    weights = torch.cat([run.weights[f"layers.{k}.0.weight"] for k in (0, 1)])
    biases = torch.cat([run.weights[f"layers.{k}.0.bias"] for k in (0, 1)])
    rows = torch.cat([weights, biases[:, None]], 1)
    assert set(rows.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert set((rows != 0).sum(1).tolist()) <= {1, 3}  # a wire or inverter, or of three


def test_one_epoch_is_so_many_steps_and_the_module_has_the_best_rows():
    module = ThresholdNetwork((3, 3, 3, 2)).train()
    learner = BooleanThreshold(restarts=3, iterations=7).learner(setup(module))
    batch = Batch(*ADDER.train.batch(range(8)), ALL, torch.Generator())
    before = Bits().loss(module, None, batch).loss.item()
    assert learner.learn(batch, 0.1) == before
    figures = learner.figures()
    assert figures["iterations"] == 7 and figures["converged"] == figures["solved_restarts"] == 0
    best = int(learner._search.gaps().argmin())
    assert figures["gap"] == pytest.approx(float(learner._search.gaps()[best]))
    layers, _ = whole_layers(learner._search.layers(best), ADDER.train.samples)
    module.eval()
    assert torch.equal(module(ADDER.train.samples).double(), evaluate_layers(layers, ADDER.train.samples))


def test_a_training_that_was_cut_off_goes_on_to_equal_bits(tmp_path):
    system, rule = NAMED["btf_adder"], BooleanThreshold(iterations=15, restarts=2)
    whole = train(system, ADDER, replace(ALL, epochs=6), tmp_path / "whole", 3, rule=rule)

    learners = []
    for part in (3, 6):
        module = ThresholdNetwork((3, 3, 3, 2)).train()
        learner = rule.learner(setup(module, seed=3))
        if learners:
            learner.restore({name: tensor.clone() for name, tensor in learners[0].tensors().items()})
        for _ in range(3):
            learner.learn(Batch(*ADDER.train.batch(range(8)), ALL, torch.Generator()), 0.1)
        learners.append(learner)
        assert learner.figures()["iterations"] == 15 * part
    for name, tensor in module.state_dict().items():
        assert torch.equal(tensor, whole.weights[name]), name


def test_the_order_of_items_does_not_matter():
    found = []
    for order in (range(8), range(7, -1, -1)):
        module = ThresholdNetwork((3, 3, 3, 2)).train()
        QUICK.learner(setup(module)).learn(Batch(*ADDER.train.batch(order), ALL, torch.Generator()), 0.1)
        found.append(module.state_dict())
    assert all(torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_state_is_two_numbers_for_each_edge_and_item():
    learner = BooleanThreshold().learner(setup(ThresholdNetwork((3, 3, 3, 2))))
    edges, items = 3 * (3 + 1) * 3, 8  # padded to the widest layer
    tensors = learner.tensors()
    assert tensors["sums"].numel() == tensors["differences"].numel() == edges * items


# Whole numbers


def test_rows_become_the_smallest_whole_numbers_of_equal_signs():
    inputs = (torch.arange(8)[:, None] >> torch.arange(3) & 1) * 2.0 - 1
    rows = torch.tensor([[1.2, 1.1, -1.2, 0.1], [0.1, 1.7, 0.0, 0.2], [2.0, 1.0, 1.0, 1.1]], dtype=torch.float64)
    (found,), failed = whole_layers([rows], inputs)
    assert failed == 0
    # 2, 1, 1, 1 has sums of ±1 at the least, and rounded to sizes of 1 it would tie.
    assert found.tolist() == [[1, 1, -1, 0], [0, 1, 0, 0], [2, 1, 1, 1]]


def test_a_row_without_whole_numbers_stays_as_it_is():
    inputs = (torch.arange(16)[:, None] >> torch.arange(4) & 1) * 2.0 - 1
    row = torch.tensor([[1.0, 0.52, 0.31, 0.17, 0.0]], dtype=torch.float64)
    (found,), failed = whole_layers([row], inputs, largest=1)
    assert failed == 1 and torch.equal(found, row)
    assert whole_layers([row], inputs)[1] == 0


# What it refuses


@pytest.mark.parametrize(
    ("modules", "message"),
    [
        ((nn.Linear(3, 3), nn.BatchNorm1d(3), Sign()), r"1 is a BatchNorm1d: reflect-reflect-relax trains chains"),
        ((nn.Linear(3, 2, bias=False), Sign()), r"0 is a Linear without a bias: .*; train this network by back-prop"),
        ((nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2), Sign()), r"1 is a ReLU: "),
        ((nn.Linear(3, 3), nn.Linear(3, 2), Sign()), r"1 is a Linear: "),
        ((nn.Linear(3, 2),), r"the network has no Sign at its end: .*; end it in one"),
        ((Sign(),), r"0 is a Sign: "),
        ((nn.Linear(3, 4), Sign()), r"full-adder: 3 inputs and 2 outputs, the network has 3 and 4; give a network of"),
        ((nn.Linear(5, 2), Sign()), r"full-adder: 3 inputs and 2 outputs, the network has 5 and 2"),
    ],
)
def test_other_networks_are_refused(modules, message):
    with pytest.raises(BadInput, match=message):
        QUICK.learner(setup(chain(*modules)))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.sign = nn.Linear(3, 3), Sign()
        self.second, self.last = nn.Linear(3, 2), Sign()

    def forward(self, x):
        return self.last(self.second(self.sign(self.first(x)) + x))


class Twice(Residual):
    def forward(self, x):
        return self.last(self.second(self.sign(self.first(self.sign(self.first(x))))))


@pytest.mark.parametrize("network", [Residual, Twice])
def test_other_wiring_is_refused(network):
    torch.manual_seed(1)
    with pytest.raises(BadInput, match=rf"{network.__name__} is wired otherwise than its layers follow one another"):
        QUICK.learner(setup(network()))


def test_shapes_may_be_flattened_and_passed_on():
    module = chain(nn.Flatten(), nn.Identity(), nn.Linear(4, 1), Sign())
    images = torch.tensor([[[[1.0, 1], [1, 1]]], [[[-1, 1], [-1, -1]]]])
    part = InMemory(images, torch.tensor([[1.0], [-1.0]]))
    learner = QUICK.learner(setup(module, Data("mine", part, part, (), Preprocessing())))
    learner.learn(Batch(images, part.labels, ALL, torch.Generator()), 0.1)
    assert torch.equal(module.eval()(images), part.labels)


def test_other_values_are_refused():
    one = chain(nn.Linear(2, 1), Sign())
    with pytest.raises(BadInput, match=r"mine: input 1 of item 1 is 0.5; expected -1 or 1; turn other values into"):
        QUICK.learner(setup(one, table([[1.0, 1.0], [1.0, 0.5]], [[1.0], [-1.0]])))
    with pytest.raises(BadInput, match=r"mine: output 0 of item 0 is 0; expected -1 or 1"):
        QUICK.learner(setup(one, table([[1.0, 1.0], [1.0, -1.0]], [[0.0], [-1.0]])))
    with pytest.raises(BadInput, match=r"mine: targets are class numbers; expected -1 or 1 for each output"):
        QUICK.learner(setup(one, table([[1.0, 1.0], [1.0, -1.0]], [0, 1])))
    pair = InMemory((torch.ones(2, 2), torch.ones(2, 2)), torch.ones(2, 1))
    with pytest.raises(BadInput, match=r"mine: 2 inputs; reflect-reflect-relax trains networks of one"):
        QUICK.learner(setup(one, Data("mine", pair, pair, (), Preprocessing())))


def test_a_table_that_contradicts_itself_is_refused():
    with pytest.raises(BadInput, match=r"mine: items 0 and 2 have the same inputs and other outputs; no network gives"):
        QUICK.learner(
            setup(chain(nn.Linear(2, 1), Sign()), table([[1.0, 1], [1, -1], [1, 1]], [[1.0], [-1.0], [-1.0]]))
        )


def test_a_part_of_the_items_is_refused():
    learner = QUICK.learner(setup(ThresholdNetwork((3, 3, 3, 2))))
    with pytest.raises(BadInput, match=r"a batch of 4 of 8 items: .* takes all at once; set batch_size to 8 or more"):
        learner.learn(Batch(*ADDER.train.batch(range(4)), ALL, torch.Generator()), 0.1)


def test_settings_out_of_range_are_refused_together():
    message = r"support must be 1 or more, got 0; relaxation .* below 2, got 2; stiffening .*, got 1; restarts .* got 0"
    with pytest.raises(BadInput, match=message):
        BooleanThreshold(support=0.0, relaxation=2.0, stiffening=1.0, restarts=0)

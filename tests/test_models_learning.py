"""Learning rules: chains of blocks, what crosses their borders, rules on chains, rules by name, and an early end."""

import copy
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.learning import Learner, all_rules, find_rule
from offramp.models.learning.back_propagation import BackPropagation
from offramp.models.learning.chain import chain_of
from offramp.models.learning.counter_current import CounterCurrent
from offramp.models.learning.feedback_alignment import FeedbackAlignment
from offramp.models.learning.opposite import Opposite, in_blocks
from offramp.models.learning.target_propagation import TargetPropagation
from offramp.models.recipe import Recipe
from offramp.models.run import load_run
from offramp.models.system import System, find_system
from offramp.models.training import train
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_chains import RECIPE, SPREAD, batch, images, perceptron, residual, setup
from small_stripes import Stopped, Stops, stripes

CHAINED = (CounterCurrent(), TargetPropagation(), FeedbackAlignment(), BackPropagation())


class Passed(nn.Module):
    """A connection that goes past every layer but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x.flatten(1)))) + x.flatten(1)[:, :3]


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell, self.last = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.cell(x[:, 0])[0][:, -1])


class Branching(nn.Module):
    """Looks at its values, which no tracing gets past, inside a module that can be looked into."""

    class Inner(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else 2 * x

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.linear = self.Inner(), nn.Linear(16, 16)

    def forward(self, x):
        return self.inner(self.linear(self.inner(x)))


class Ends(nn.Module):
    """A perceptron that may give a hidden value too, and computes something that nothing reads."""

    def __init__(self, several: bool) -> None:
        super().__init__()
        self.first, self.second, self.unread = nn.Linear(16, 8), nn.Linear(8, 3), nn.Linear(3, 2)
        self.several = several

    def forward(self, x):
        hidden = torch.relu(self.first(x.flatten(1)))
        scores = self.second(hidden)
        self.unread(scores)
        return (scores, hidden) if self.several else scores


# Chains


@pytest.mark.parametrize(
    ("build", "names"), [(perceptron, ["1", "3", "5"]), (residual, ["0", "2.conv", "3.conv", "5"])]
)
def test_blocks_in_a_row_compute_what_the_network_does(build, names):
    module = build().eval()
    blocks = chain_of(module, images(), "r")
    assert [block.name for block in blocks] == names
    value = images()
    for block in blocks:
        value = block.module(value)
        assert tuple(value.shape[1:]) == block.outputs
    assert torch.equal(value, module(images()))
    shared = {id(parameter) for block in blocks for parameter in block.module.parameters()}
    assert shared == {id(parameter) for parameter in module.parameters()}


def test_modules_that_look_at_their_values_stay_whole_wherever_they_are():
    module = nn.Sequential(nn.Flatten(), Branching(), nn.ReLU(), nn.Sequential(Branching()), nn.Linear(16, 3)).eval()
    value = images()
    for block in chain_of(module, images(), "r"):
        value = block.module(value)
    assert torch.equal(value, module(images()))


def test_a_chain_ends_with_what_the_network_gives():
    module = Ends(several=False)
    blocks = chain_of(module, images(), "r")
    assert [block.outputs for block in blocks] == [(8,), (3,)]


def test_finding_the_blocks_leaves_norms_and_modes_alone():
    module = residual().train()
    before = copy.deepcopy(module.state_dict())
    chain_of(module, images(), "r")
    assert all(layer.training for layer in module.modules())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(("name", "count"), [("resnet8", 5), ("mobilenet_v2_xs", 16), ("care_xxs", 12)])
def test_networks_of_the_zoo_are_chains(name, count):
    system = find_system(name)
    module = system.build().eval()
    inputs = torch.cat([*system.example_inputs(), *system.example_inputs(1)])
    blocks = chain_of(module, inputs, "r")
    value = inputs
    for block in blocks:
        value = block.module(value)
    assert len(blocks) == count and torch.equal(value, module(inputs))


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (Passed, "no value between its layers that all passes through, so no two blocks; train it by back-propagation"),
        (Remembering, "cell is a GRU, which recurs; train it by back-propagation"),
        (partial(Ends, True), "the network gives several outputs, chains give one; train it by back-propagation"),
    ],
)
@pytest.mark.parametrize("rule", ["counter-current", "target-propagation"])
def test_what_is_no_chain_is_refused_with_what_stands_in_the_way(build, line, rule):
    with pytest.raises(BadInput, match=f"^--rule {rule}: {line}$"):
        find_rule(rule).learner(setup(build()))


def test_a_network_of_several_inputs_is_no_chain():
    pairs = InMemory((torch.rand(4, 16), torch.rand(4, 16)), torch.arange(4) % 3)
    data = Data("pairs", pairs, pairs, ("a", "b", "c"), Preprocessing())
    with pytest.raises(BadInput, match=r"net takes 2 inputs, chains take one; train it by back-propagation$"):
        CounterCurrent().learner(setup(perceptron(), data=data))


# What crosses a border


@pytest.mark.parametrize("build", [perceptron, residual])
def test_no_gradient_of_a_local_loss_crosses_a_blocks_border(build):
    learner = CounterCurrent().learner(setup(build()))
    losses = learner.losses(batch())
    last = len(learner.blocks)
    for place, loss in enumerate(losses):
        mine = {id(p) for p in learner.blocks[place - 1].module.parameters()} if place else set()
        theirs = {id(p) for p in learner.opposite.blocks[place].parameters()} if place < last else set()
        parameters = [p for block in learner.blocks for p in block.module.parameters()] + list(
            learner.opposite.parameters()
        )
        slopes = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        touched = {id(p) for p, slope in zip(parameters, slopes) if slope is not None and slope.abs().max() > 0}
        assert touched and touched <= mine | theirs


def test_a_layers_gradient_is_what_it_is_without_the_losses_elsewhere():
    learner = CounterCurrent().learner(setup(perceptron()))
    losses = learner.losses(batch())
    weight = learner.blocks[1].module.get_submodule("3").weight
    (alone,) = torch.autograd.grad(losses[2], weight, retain_graph=True)
    (together,) = torch.autograd.grad(torch.stack(losses).sum(), weight)
    assert torch.equal(alone, together)


def test_local_gradients_are_those_of_the_closed_form():
    """Of the product loss: dC = 2 (C - Y) 256 c / (d B K), and F's gradient is (dC s * elu')^T a."""
    module = perceptron()
    learner = CounterCurrent(strength=0.5).learner(setup(module))
    given = batch()
    losses = learner.losses(given)
    (found,) = torch.autograd.grad(losses[1], module[1].weight)
    values = in_blocks(learner.blocks, given.samples)
    signals = learner.opposite(torch.eye(3))
    wanted = torch.eye(3)[given.targets]
    slope = 2 * (values[1] @ signals[1].T - wanted) * 256 * 0.5 / (12 * 8 * 3)
    summed = given.samples.flatten(1) @ module[1].weight.T
    bent = torch.where(summed > 0, torch.ones_like(summed), summed.exp())
    expected = (slope @ signals[1] * bent).T @ given.samples.flatten(1)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_signals_against_the_current_are_one_for_each_class_whatever_the_batch():
    learner = CounterCurrent().learner(setup(residual()))
    signals = learner.opposite(torch.eye(3))
    assert [tuple(signal.shape) for signal in signals] == [
        (3, 1, 4, 4), (3, 4, 4, 4), (3, 4, 4, 4), (3, 4), (3, 3),
    ]  # fmt: skip


def test_the_forward_network_alone_ships(tmp_path):
    run = train(
        system(residual),
        stripes(preprocessing=SPREAD),
        replace(RECIPE, epochs=1),
        tmp_path / "run",
        rule=CounterCurrent(),
    )
    assert run.weights.keys() == residual().state_dict().keys()
    assert run.rule == {"name": "counter-current", "strength": 0.0, "spread": 0.1, "lead": 0.0}


# The rules


def system(build) -> System:
    return System("net", "", "image-classification", build, {"image": (1, 1, 4, 4)})


@pytest.mark.parametrize("build", [perceptron, residual])
@pytest.mark.parametrize("rule", CHAINED, ids=lambda rule: rule.name)
def test_every_rule_learns_the_stripes(tmp_path, build, rule):
    recipe = Recipe(learning_rate=0.02, epochs=40, batch_size=8, weight_decay=0.0, threads=1)
    run = train(system(build), stripes(96, SPREAD), recipe, tmp_path / "run", rule=rule)
    assert run.metrics["accuracy"] > 0.85
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]


@pytest.mark.parametrize("rule", CHAINED, ids=lambda rule: rule.name)
@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_a_training_that_was_cut_off_resumes_to_the_same_bits(tmp_path, rule, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.01, mixup=0.3, ema=0.5)
    data = stripes(preprocessing=SPREAD)
    at = 7 if isinstance(rule, FeedbackAlignment | BackPropagation) else 8  # chains read two samples first
    with pytest.raises(Stopped):
        train(system(residual), replace(data, train=Stops(data.train, at)), recipe, tmp_path / "run", 3, rule=rule)
    assert (tmp_path / "run/training").is_dir()
    resumed = train(system(residual), data, recipe, tmp_path / "run", 3, resume=True, rule=rule)
    whole = train(system(residual), data, recipe, tmp_path / "whole", 3, rule=rule)
    assert all(torch.equal(resumed.weights[name], whole.weights[name]) for name in whole.weights)


def test_weights_passed_back_by_are_the_fixed_ones():
    """Of two linear layers: the first one's gradient goes through the second one's fixed weights."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Linear(12, 3))
    learner = FeedbackAlignment().learner(setup(module, replace(RECIPE, gradient_clip=0.0, learning_rate=1.0)))
    given = batch()
    before = [module[1].weight.detach().clone(), module[1].bias.detach().clone()]
    error = module(given.samples).softmax(1) - torch.eye(3)[given.targets]
    learner.learn(given, 1.0)
    slope = (error.detach() / 8) @ learner.feedback[1]
    # Nesterov momentum of 0.9: the first step is 1.9 gradients long.
    assert torch.allclose(before[0] - module[1].weight, 1.9 * slope.T @ given.samples.flatten(1), atol=1e-5)
    assert torch.allclose(before[1] - module[1].bias, 1.9 * slope.sum(0), atol=1e-5)


def test_a_convolution_passes_back_by_its_fixed_weights_and_learns_as_ever():
    conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
    plain, aligned = copy.deepcopy(conv), copy.deepcopy(conv)
    other = copy.deepcopy(conv)
    x = torch.rand(3, 2, 5, 5)
    from offramp.models.learning.feedback_alignment import _passing_back

    fixed = torch.randn_like(conv.weight)
    with torch.no_grad():
        other.weight.copy_(fixed)
    given, expected = x.clone().requires_grad_(), x.clone().requires_grad_()
    with _passing_back([aligned], [fixed]):
        found = aligned(given)
    assert torch.equal(found, plain(x))
    found.square().sum().backward()
    wanted = plain(x)
    wanted.square().sum().backward()
    other(expected).backward(2 * wanted.detach())
    assert torch.allclose(aligned.weight.grad, plain.weight.grad) and torch.allclose(aligned.bias.grad, plain.bias.grad)
    assert torch.allclose(given.grad, expected.grad)


def test_layers_that_have_no_other_way_back_are_refused():
    line = "cell is a GRU, which has no other way back than its own weights; train it by back-propagation"
    with pytest.raises(BadInput, match=f"^--rule feedback-alignment: {line}$"):
        FeedbackAlignment().learner(setup(Remembering()))
    with pytest.raises(BadInput, match=r"^--rule feedback-alignment: 0 is a Conv1d, which has no other way back"):
        FeedbackAlignment().learner(setup(nn.Sequential(nn.Conv1d(4, 2, 3))))


def test_with_one_hidden_value_targets_at_half_reach_are_gradient_descent():
    """The target lies half the batch's size down the slope, so the squared distance has that very slope."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ELU(), nn.Linear(12, 3))
    plain = copy.deepcopy(module)
    TargetPropagation(reach=0.5).learner(setup(module)).learn(batch(), 0.1)
    BackPropagation().learner(setup(plain)).learn(batch(), 0.1)
    for mine, theirs in zip(module.parameters(), plain.parameters()):
        assert torch.allclose(mine, theirs, atol=1e-6)


def test_classes_are_asked_for_where_signals_start_from_them():
    data = replace(stripes(preprocessing=SPREAD), labels=())
    with pytest.raises(BadInput, match="net gives neither scores for classes nor its input again, which the signals"):
        CounterCurrent().learner(setup(perceptron(), data=data))
    with pytest.raises(BadInput, match=r"net gives \(3,\), the data have 2 classes; give a network with a score"):
        CounterCurrent().learner(setup(perceptron(), data=replace(stripes(preprocessing=SPREAD), labels=("a", "b"))))


def test_an_opposite_restores_every_shape():
    blocks = chain_of(nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.Flatten(), nn.Linear(16, 3)), images(), "r")
    signals = Opposite((1, 4, 4), blocks)(torch.eye(3))
    assert [tuple(signal.shape[1:]) for signal in signals] == [(1, 4, 4), (16,), (3,)]


# Rules by name


def test_every_rule_says_what_it_is_and_what_it_trains():
    rules = all_rules()
    assert {"back-propagation", "counter-current", "feedback-alignment", "in-array", "target-propagation"} <= set(rules)
    for name, rule in rules.items():
        assert rule.name == name and rule.source and rule.trains
        made = rule.from_settings(rule.required)
        assert made.to_json()["name"] == name


def test_settings_are_read_by_their_kind():
    assert find_rule("counter-current", {"strength": "2", "spread": "0"}) == CounterCurrent(2.0, 0.0)
    own = find_rule("in-array", {"synapse": "epiram", "scheme": "single"})
    changed = find_rule("in-array", {"counts": "nearest"}, own).to_json()
    assert changed == {**own.to_json(), "counts": "nearest"} != own.to_json()


@pytest.mark.parametrize(
    ("name", "settings", "line"),
    [
        ("no-such", {}, "--rule no-such: no such learning rule; known: back-propagation, "),
        ("counter-current", {"speed": "2"}, "--rule counter-current: no setting speed; it has strength, spread, lead"),
        ("counter-current", {"spread": "wide"}, "--rule counter-current: spread must be a number, got wide"),
        ("counter-current", {"spread": "-1"}, "--rule counter-current: spread must be 0 or more, got -1"),
        ("back-propagation", {"spread": "1"}, "--rule back-propagation: no setting spread; it has none"),
        ("target-propagation", {"reach": "0"}, "--rule target-propagation: reach must be above 0 and noise 0 or more"),
        ("in-array", {"synapse": "epiram", "x": "1"}, "--rule in-array: no setting x; it has synapse, scheme, counts"),
    ],
)
def test_a_wrong_name_or_setting_is_one_line(name, settings, line):
    with pytest.raises(BadInput) as raised:
        find_rule(name, settings)
    assert str(raised.value).startswith(line)


# An end before the last epoch


class Counts(Learner):
    """Is done after so many batches."""

    def __init__(self, enough: int):
        self.enough, self.seen = enough, 0

    def learn(self, batch, rate):
        self.seen += 1
        return 1.0

    def tensors(self):
        return {"seen": torch.tensor(self.seen)}

    def restore(self, tensors):
        self.seen = int(tensors["seen"])

    def figures(self):
        return {"residual": 0.5, "converged": float(self.finished())}

    def finished(self):
        return self.seen >= self.enough


class Counted(BackPropagation):
    name = "counted"
    enough = 4

    def learner(self, setup):
        return Counts(self.enough)

    def to_json(self):
        return {"name": self.name}


def test_a_training_ends_when_its_rule_has_nothing_left_to_learn(tmp_path):
    recipe = replace(RECIPE, epochs=9)

    class Rule(Counted):
        pass

    run = train(system(perceptron), stripes(preprocessing=SPREAD), recipe, tmp_path / "run", rule=Rule())
    assert len(run.history) == 2  # of three batches each
    assert run.metrics["residual"] == 0.5 and run.converged
    assert "net: residual" in (tmp_path / "run/trace.svg").read_text()
    assert load_run(tmp_path / "run").metrics == run.metrics


def test_a_run_that_did_not_converge_is_marked(tmp_path):
    class Rule(Counted):
        enough = 99

    run = train(system(perceptron), stripes(preprocessing=SPREAD), RECIPE, tmp_path / "run", rule=Rule())
    assert len(run.history) == RECIPE.epochs and not run.converged

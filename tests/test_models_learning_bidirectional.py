"""`bidirectional`: both steps by closed form, moments of their own, the half variant, and what it refuses."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.bidirectional import TwoWayClassification
from offramp.models.counter_current import SYSTEMS as COUNTER_SYSTEMS
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.learning import Setup, find_rule
from offramp.models.learning.back_propagation import BackPropagation
from offramp.models.learning.bidirectional import Bidirectional, pixels_of
from offramp.models.objectives import Batch
from offramp.models.objectives.classification import Classification
from offramp.models.objectives.reconstruction import Reconstruction
from offramp.models.recipe import Recipe
from offramp.models.resnet8 import SYSTEMS as RESNETS
from offramp.models.reverse_chain import TwoWay
from offramp.models.system import System
from offramp.models.training import train
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_stripes import Stopped, Stops, stripes

RECIPE = Recipe("sgd", 0.1, 0.0, 3, 8, 0.0, label_smoothing=0.0, gradient_clip=0.0, threads=1)
GREY = Preprocessing(1 / 255)


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Sigmoid(), nn.Linear(12, 3))


def strided() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8), nn.ReLU(),
        nn.Linear(8, 3),
    )  # fmt: skip


def two_way() -> TwoWay:
    return TwoWay(perceptron(), (1, 4, 4))


def setup(module: nn.Module, recipe: Recipe = RECIPE, data: Data | None = None, objective=None) -> Setup:
    objective = objective or (TwoWayClassification(3) if isinstance(module, TwoWay) else Classification())
    return Setup("net", "image-classification", module, objective, data or stripes(), recipe, 0, 10)


def batch(data: Data | None = None, count: int = 8, recipe: Recipe = RECIPE) -> Batch:
    data = data or stripes()
    raw, labels = data.train.batch(range(count))
    return Batch(data.preprocessing.apply(raw), labels, recipe, torch.Generator().manual_seed(1))


def generated(code, first, second, hidden_bias, image_bias):
    return (code @ second + hidden_bias).sigmoid() @ first + image_bias


# The two steps


def test_a_batch_is_two_descents_one_after_the_other_with_moments_of_their_own():
    """Against the same written out with two of torch's optimizers on the same tensors."""
    torch.manual_seed(0)
    recipe = replace(RECIPE, optimizer="adamw", learning_rate=0.01)
    module = perceptron()
    first, b, second, d = (p.detach().clone().requires_grad_() for p in module.parameters())
    hidden_bias, image_bias = torch.zeros(12, requires_grad=True), torch.zeros(16, requires_grad=True)
    learner = Bidirectional(generator_rate=2.0).learner(setup(module, recipe))
    classify = torch.optim.AdamW([first, b, second, d], 0.01, weight_decay=0.0)
    generate = torch.optim.AdamW([first, second, hidden_bias, image_bias], 0.02, weight_decay=0.0)
    for _ in range(3):
        given = batch()
        images, code = given.samples.flatten(1), torch.eye(3)[given.targets]
        loss = functional.cross_entropy((images @ first.T + b).sigmoid() @ second.T + d, given.targets)
        classify.zero_grad()
        loss.backward()
        classify.step()
        drawn = generated(code, first, second, hidden_bias, image_bias)
        generate.zero_grad()
        (functional.softplus(drawn) - images * drawn).mean().backward()  # sigmoid cross-entropy
        generate.step()
        assert learner.learn(given, 0.01) == pytest.approx(loss.item(), abs=1e-6)
    for found, expected in zip(module.parameters(), (first, b, second, d)):
        assert torch.allclose(found, expected, atol=1e-5)
    own = learner.ways.own()
    assert torch.allclose(own["layers.0.bias"], hidden_bias, atol=1e-5)
    assert torch.allclose(own["layers.2.bias"], image_bias, atol=1e-5)


def test_the_generation_reads_the_one_hot_target_and_neither_bias_of_the_classifier():
    module = perceptron()
    learner = Bidirectional().learner(setup(module))
    given = batch()
    learner.generation_loss(given).backward()
    slopes = {name: parameter.grad for name, parameter in module.named_parameters()}
    assert slopes["1.bias"] is None and slopes["3.bias"] is None
    assert slopes["1.weight"].abs().max() > 0 and slopes["3.weight"].abs().max() > 0
    expected = functional.binary_cross_entropy_with_logits(
        learner.ways.reverse(torch.eye(3)[given.targets]), given.samples
    )
    assert torch.equal(learner.generation_loss(given), expected)


def test_pixels_are_the_scaled_raw_values_whatever_preprocessing_takes_away():
    preprocessing = Preprocessing(1 / 255, (0.3, 0.1), (0.2, 0.7))
    raw = 255 * torch.rand(3, 2, 4, 4)
    assert torch.allclose(pixels_of(preprocessing.apply(raw), preprocessing), raw / 255, atol=1e-6)


def test_a_share_of_nothing_is_back_propagation_to_the_bit(tmp_path):
    recipe = replace(RECIPE, optimizer="adamw", mixup=0.3, ema=0.5, gradient_clip=1.0)
    rules = Bidirectional(share=0.0), BackPropagation()
    runs = [train(system(strided), stripes(), recipe, tmp_path / rule.name, rule=rule) for rule in rules]
    assert all(torch.equal(runs[0].weights[name], runs[1].weights[name]) for name in runs[1].weights)


def test_half_of_the_batches_generate_and_then_none():
    module = perceptron()
    learner = Bidirectional(share=0.5).learner(setup(module))  # of ten steps
    for step in range(10):
        before = copy.deepcopy(learner.ways.own())
        learner.learn(batch(), 0.1)
        changed = not torch.equal(before["layers.2.bias"], learner.ways.own()["layers.2.bias"])
        assert changed == (step < 5)


# Whole trainings


def system(build) -> System:
    is_two_way = isinstance(build(), TwoWay)
    shapes = {"image": (1, 1, 4, 4)} | ({"code": (1, 3)} if is_two_way else {})
    objective = TwoWayClassification(3) if is_two_way else None
    return System("net", "", "image-classification", build, shapes, objective=objective)


@pytest.mark.parametrize("build", [perceptron, strided, two_way])
def test_it_learns_the_stripes_and_what_they_look_like(tmp_path, build):
    recipe = Recipe(learning_rate=0.03, epochs=20, batch_size=8, weight_decay=0.0, threads=1)
    run = train(system(build), stripes(96), recipe, tmp_path / "run", rule=Bidirectional())
    assert run.metrics["accuracy"] > 0.9
    if build is two_way:
        spread = (55 / 255) ** 2 / 12  # of the noise, which no code tells
        assert run.metrics["generation_error"] < 3 * spread


def test_of_a_plain_chain_the_classifier_alone_ships(tmp_path):
    run = train(system(perceptron), stripes(), RECIPE, tmp_path / "run", rule=Bidirectional())
    assert run.weights.keys() == perceptron().state_dict().keys()
    assert run.rule == {"name": "bidirectional", "generator_rate": 1.0, "share": 1.0, "biases": True}


@pytest.mark.parametrize("build", [strided, two_way])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_training_that_was_cut_off_resumes_to_the_same_bits(tmp_path, build, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.01, mixup=0.3, ema=0.5)
    rule, data = Bidirectional(share=0.7), stripes()
    with pytest.raises(Stopped):
        train(system(build), replace(data, train=Stops(data.train, 8)), recipe, tmp_path / "run", 3, rule=rule)
    resumed = train(system(build), data, recipe, tmp_path / "run", 3, resume=True, rule=rule)
    whole = train(system(build), data, recipe, tmp_path / "whole", 3, rule=rule)
    assert len(resumed.history) == 3
    assert all(torch.equal(resumed.weights[name], whole.weights[name]) for name in whole.weights)


def test_what_going_on_takes_holds_no_weight_twice():
    """Of AdamW: two moments of everything both directions change and a count each; biases c where the net has none."""
    tensors = Bidirectional().learner(setup(perceptron())).tensors()
    assert {name for name in tensors if name.startswith("reverse.")} == {
        "reverse.layers.0.bias", "reverse.layers.2.bias",
    }  # fmt: skip
    assert not [name for name in Bidirectional().learner(setup(two_way())).tensors() if name.startswith("reverse.")]


# What it trains


def test_perceptrons_of_the_zoo_are_taken_on():
    preprocessing = Preprocessing(1 / 255)
    images = InMemory(255 * torch.rand(4, 1, 8, 8), torch.arange(4))
    data = Data("d", images, images, tuple("0123456789"), preprocessing)
    learner = Bidirectional().learner(setup(COUNTER_SYSTEMS[0].build(), data=data))
    assert learner.ways.reverse(torch.eye(10)).shape == (10, 1, 8, 8)


def test_a_residual_network_is_refused_with_what_stands_in_the_way():
    images = InMemory(255 * torch.rand(4, 3, 32, 32), torch.arange(4))
    data = Data("d", images, images, tuple("0123456789"), GREY)
    line = "is a ZeroPad2d, which has no way back through transposed weights; give a chain of .* or train it by back-"
    with pytest.raises(BadInput, match=rf"^--rule bidirectional: stages\.1\.body\.0\.0 {line}"):
        Bidirectional().learner(setup(RESNETS[0].build(), data=data))


def test_what_is_no_classifier_of_pixels_is_refused():
    rule = Bidirectional()
    with pytest.raises(BadInput, match="net does not learn classes, from which its images would be generated; train"):
        rule.learner(setup(perceptron(), objective=Reconstruction()))
    with pytest.raises(BadInput, match=r"net gives \(3,\), the data have 2 classes; give a network with a score for"):
        rule.learner(setup(perceptron(), data=replace(stripes(), labels=("a", "b"))))
    wide = stripes(preprocessing=Preprocessing())
    with pytest.raises(BadInput, match=r"samples of stripes reach from .* to \d+.* once scaled, generated ones from 0"):
        rule.learner(setup(perceptron(), data=wide))
    with pytest.raises(BadInput, match="net ships its way back with biases; leave out biases=false"):
        Bidirectional(biases=False).learner(setup(two_way()))
    pairs = InMemory((torch.rand(4, 16), torch.rand(4, 16)), torch.arange(4) % 3)
    with pytest.raises(BadInput, match="net takes 2 inputs, chains take one"):
        rule.learner(setup(perceptron(), data=Data("pairs", pairs, pairs, ("a", "b", "c"), GREY)))


@pytest.mark.parametrize("name", ["bidirectional", "hybrid-adversarial"])
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"share": "1.5"}, "share must be from 0 to 1, got 1.5"),
        ({"generator_rate": "0"}, "generator_rate must be above 0, got 0"),
        ({"generator_rate": "fast"}, "generator_rate must be a number, got fast"),
        ({"noise": "1"}, "no setting noise; it has generator_rate, share, biases"),
    ],
)
def test_a_wrong_setting_is_one_line(name, settings, line):
    with pytest.raises(BadInput, match=f"^--rule {name}: {line}$"):
        find_rule(name, settings)

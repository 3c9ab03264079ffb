"""`hybrid-adversarial`: its three steps, who changes what, and trainings that go on where they were cut off."""

import copy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.bidirectional import strided_classifier
from offramp.models.learning import Setup
from offramp.models.learning.back_propagation import BackPropagation
from offramp.models.learning.hybrid_adversarial import HybridAdversarial, discriminator_like
from offramp.models.objectives import Batch
from offramp.models.objectives.classification import Classification
from offramp.models.recipe import Recipe
from offramp.models.system import System
from offramp.models.training import train
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_stripes import Stopped, Stops, stripes

RECIPE = Recipe("adamw", 0.01, 0.0, 3, 8, 0.0, label_smoothing=0.0, gradient_clip=0.0, threads=1)


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))


def strided() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, 2, 1, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 3)
    )


def setup(module: nn.Module, recipe: Recipe = RECIPE) -> Setup:
    return Setup("net", "image-classification", module, Classification(), stripes(), recipe, 0, 10)


def batch() -> Batch:
    data = stripes()
    raw, labels = data.train.batch(range(8))
    return Batch(data.preprocessing.apply(raw), labels, RECIPE, torch.Generator().manual_seed(1))


def system(build) -> System:
    return System("net", "", "image-classification", build, {"image": (1, 1, 4, 4)})


def test_a_batch_is_three_descents_one_after_the_other():
    """Against the same written out, with first moments of 0.5 for both adversaries."""
    torch.manual_seed(0)
    module = perceptron()
    learner = HybridAdversarial(generator_rate=2.0).learner(setup(module))
    first, b, second, d = (p.detach().clone().requires_grad_() for p in module.parameters())
    judge = copy.deepcopy(learner.discriminator)
    hidden_bias, image_bias = torch.zeros(12, requires_grad=True), torch.zeros(16, requires_grad=True)
    classify = torch.optim.AdamW([first, b, second, d], 0.01, weight_decay=0.0)
    discriminate = torch.optim.AdamW(judge.parameters(), 0.02, (0.5, 0.999), weight_decay=0.0)
    generate = torch.optim.AdamW([first, second, hidden_bias, image_bias], 0.02, (0.5, 0.999), weight_decay=0.0)

    def down(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def made(noise):
        return ((noise @ second + hidden_bias).relu() @ first + image_bias).sigmoid()

    for _ in range(3):
        given = batch()
        images = given.samples.flatten(1)
        down(classify, functional.cross_entropy((images @ first.T + b).relu() @ second.T + d, given.targets))
        noise = 2 * torch.rand(8, 3, generator=torch.Generator().manual_seed(1)) - 1
        # -log D(x) - log (1 - D(G(z))), and then -log D(G(z)).
        down(
            discriminate,
            -functional.logsigmoid(judge(images)).mean() - functional.logsigmoid(-judge(made(noise).detach())).mean(),
        )
        down(generate, -functional.logsigmoid(judge(made(noise))).mean())
        learner.learn(given, 0.01)
    for found, expected in zip(module.parameters(), (first, b, second, d)):
        assert torch.allclose(found, expected, atol=1e-5)
    for found, expected in zip(learner.discriminator.parameters(), judge.parameters()):
        assert torch.allclose(found, expected, atol=1e-5)
    assert torch.allclose(learner.ways.own()["layers.2.bias"], image_bias, atol=1e-5)


def test_the_discriminator_has_the_classifiers_form_with_one_output_and_weights_of_its_own():
    module = strided_classifier()
    found = discriminator_like(module)
    assert found(torch.rand(2, 1, 16, 16)).shape == (2, 1)
    before, after = list(module.state_dict().items()), list(found.state_dict().items())
    assert [(name, value.shape) for name, value in before[:-2]] == [(name, value.shape) for name, value in after[:-2]]
    assert not {id(p) for p in module.parameters()} & {id(p) for p in found.parameters()}
    assert not torch.equal(module[0].weight, found[0].weight)
    kernels = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 3, 3, bias=False), nn.Flatten())
    assert discriminator_like(kernels)(torch.rand(2, 1, 7, 7)).shape == (2, 1)


def test_after_its_share_of_the_batches_nothing_competes():
    learner = HybridAdversarial(share=0.3).learner(setup(perceptron()))
    for step in range(6):
        before = copy.deepcopy(learner.discriminator.state_dict())
        learner.learn(batch(), 0.01)
        changed = any(not torch.equal(v, before[name]) for name, v in learner.discriminator.state_dict().items())
        assert changed == (step < 3)


def test_a_share_of_nothing_is_back_propagation_to_the_bit(tmp_path):
    rules = HybridAdversarial(share=0.0), BackPropagation()
    runs = [train(system(strided), stripes(), RECIPE, tmp_path / rule.name, rule=rule) for rule in rules]
    assert all(torch.equal(runs[0].weights[name], runs[1].weights[name]) for name in runs[1].weights)


@pytest.mark.parametrize("build", [perceptron, strided])
def test_it_learns_the_stripes_and_the_classifier_alone_ships(tmp_path, build):
    recipe = replace(RECIPE, learning_rate=0.03, epochs=15)
    run = train(system(build), stripes(96), recipe, tmp_path / "run", rule=HybridAdversarial(generator_rate=0.2))
    assert run.metrics["accuracy"] > 0.9
    assert run.weights.keys() == build().state_dict().keys()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_training_that_was_cut_off_resumes_to_the_same_bits(tmp_path, optimizer):
    recipe = replace(RECIPE, optimizer=optimizer, mixup=0.3, ema=0.5, gradient_clip=1.0)
    rule, data = HybridAdversarial(share=0.7), stripes()
    with pytest.raises(Stopped):
        train(system(strided), replace(data, train=Stops(data.train, 8)), recipe, tmp_path / "run", 3, rule=rule)
    resumed = train(system(strided), data, recipe, tmp_path / "run", 3, resume=True, rule=rule)
    whole = train(system(strided), data, recipe, tmp_path / "whole", 3, rule=rule)
    assert all(torch.equal(resumed.weights[name], whole.weights[name]) for name in whole.weights)


def test_a_network_without_a_way_back_is_refused():
    module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Softmax(1))
    with pytest.raises(BadInput, match=r"^--rule hybrid-adversarial: 2 is a Softmax, which has no way back"):
        HybridAdversarial().learner(setup(module))

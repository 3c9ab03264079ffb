"""Training in arrays and on chips: what a run keeps, resuming to the bit, networks that no array trains."""

import json
import sys
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.catalogue import find_device
from offramp.devices.synapse.perceptron import COUNTS, Learning
from offramp.errors import BadInput
from offramp.models.distributed import Ranks
from offramp.models.learning import Setup
from offramp.models.learning.in_array import InArray
from offramp.models.objectives import Batch, evaluate
from offramp.models.objectives.classification import Classification
from offramp.models.perturbation import Perturbation
from offramp.models.recipe import Recipe
from offramp.models.run import load_run, restore
from offramp.models.system import System
from offramp.models.training import train
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_stripes import Stopped, Stops, stripes
from small_synapses import line_of, synapse

FINE = synapse(pulses_up=200, pulses_down=200)
NOISY = replace(find_device("epiram"), high_spread=0.05, write_up=None)
RECIPE = Recipe("sgd", 0.3, 0.0, 4, 8, 0.0, final_learning_rate=0.3, label_smoothing=0.0, gradient_clip=0.0, threads=1)


def chain():
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.Hardtanh(0.0, 1.0), nn.Linear(12, 3))


class Convolved(nn.Module):
    """A convolution, two batch norms, dropout and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.flat, self.last = nn.BatchNorm1d(6), nn.Linear(6, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.dropout(self.flat(self.norm(self.conv(x)).relu().mean((2, 3)))))


def setup(module: nn.Module, seed: int, steps: int) -> Setup:
    return Setup("net", "image-classification", module, Classification(), stripes(), RECIPE, seed, steps)


def system(build: Callable[[], nn.Module] = chain) -> System:
    return System("net", "", "image-classification", build, {"image": (1, 1, 4, 4)})


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


# Training in arrays


def test_a_run_keeps_what_the_arrays_conduct_and_that_is_what_was_measured(tmp_path):
    data, rule = stripes(), InArray(FINE, Learning(refresh_every=0))
    run = train(system(), data, RECIPE, tmp_path / "run", seed=2, rule=rule)
    module = restore(run, chain())
    measured = evaluate(module, data.test, data.preprocessing)
    assert measured["accuracy"] == run.metrics["accuracy"] > 0.9
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    started = chain()
    learner = rule.learner(setup(started, 2, 12))
    for place, index in enumerate((1, 3)):
        # From what was first written, linear devices move by whole pulses alone.
        moved = run.weights[f"{index}.weight"] - started[index].weight.detach()
        pulses = moved / float(learner.arrays.layers[place].step_sizes)
        assert float((pulses - pulses.round()).abs().max()) < 2e-3
        assert float(pulses.abs().max()) >= 1


def test_the_module_has_the_weights_of_the_arrays_after_every_step():
    module = chain()
    learner = InArray(NOISY, Learning()).learner(setup(module, 0, 10))
    images, labels = torch.rand(8, 1, 4, 4), torch.arange(8) % 3
    for _ in range(3):
        before = module[1].weight.detach().clone()
        loss = learner.learn(Batch(images, labels, RECIPE, torch.Generator()), 0.3)
        assert loss > 0 and not torch.equal(module[1].weight, before)
        for layer, linear in zip(learner.arrays.layers, (module[1], module[3])):
            assert torch.equal(layer.weights()[0, :-1].T, linear.weight)
            assert torch.equal(layer.weights()[0, -1], linear.bias)
        assert torch.allclose(learner.arrays.logits(images.flatten(1)[None])[0], module(images), atol=1e-5)


def test_the_rule_its_device_and_its_settings_are_kept_with_the_run(tmp_path):
    learning = Learning("bidirectional", "adaptive", refresh_every=7, pulsed_share=0.2)
    run = train(system(), stripes(), replace(RECIPE, epochs=1), tmp_path / "run", rule=InArray(NOISY, learning))
    written = json.loads((tmp_path / "run/config.json").read_text())["rule"]
    assert written == run.rule == load_run(tmp_path / "run").rule
    settings = {"name": "in-array", "scheme": "bidirectional", "counts": "adaptive", "refresh_every": 7}
    assert settings.items() <= written.items()
    assert written["pulsed_share"] == 0.2
    device = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(NOISY).items()}
    assert written["device"] == device
    assert "rates" not in written  # the recipe has them
    plain = train(system(), stripes(), replace(RECIPE, epochs=1), tmp_path / "plain")
    assert plain.rule is None
    assert "rule" not in json.loads((tmp_path / "plain/config.json").read_text())


def test_layers_have_first_weights_and_devices_of_their_own():
    module = nn.Sequential(nn.Linear(9, 9), nn.Hardtanh(0.0, 1.0), nn.Linear(9, 9))
    first, second = InArray(NOISY, Learning()).learner(setup(module, 0, 1)).arrays.layers
    used = (first.weights().abs() < 1) & (second.weights().abs() < 1)
    assert not torch.equal(first.weights()[used], second.weights()[used])


def test_the_recipes_rate_and_its_fall_are_the_learnings():
    learner = InArray(FINE, Learning(rates=(9.0,), final=0.9)).learner(setup(chain(), 0, 10))
    assert (learner.arrays.learning.rates, learner.arrays.learning.final) == ((0.3,), 0.3)


@pytest.mark.parametrize("counts", COUNTS)
@pytest.mark.parametrize("at", [2, 8, 12])  # of 3 batches an epoch: in epochs 1, 3 and 4
def test_a_training_that_was_cut_off_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path, counts, at):
    data, rule = stripes(), InArray(NOISY, Learning(counts=counts, refresh_every=2, pulsed_share=0.1))
    folder = tmp_path / "run"
    with pytest.raises(Stopped):
        train(system(), replace(data, train=Stops(data.train, at)), RECIPE, folder, 3, rule=rule)
    assert (folder / "training").exists() == (at > 3)
    resumed = train(system(), data, RECIPE, folder, 3, resume=True, rule=rule)
    whole = train(system(), data, RECIPE, tmp_path / "whole", 3, rule=rule)
    assert same_bits(resumed.weights, whole.weights)
    for mine, theirs in zip(resumed.history, whole.history, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    again = train(system(), data, RECIPE, folder, 3, resume=True, rule=rule)
    assert same_bits(again.weights, whole.weights)  # a finished one is returned


def test_resume_refuses_a_training_with_another_rule(tmp_path):
    data = stripes()
    with pytest.raises(Stopped):
        train(
            system(),
            replace(data, train=Stops(data.train, 8)),
            RECIPE,
            tmp_path / "run",
            rule=InArray(FINE, Learning()),
        )
    for rule in (None, InArray(NOISY, Learning()), InArray(FINE, Learning("single"))):
        with pytest.raises(BadInput, match="belongs to a training with another rule; leave out resume"):
            train(system(), data, RECIPE, tmp_path / "run", resume=True, rule=rule)


def test_weights_in_devices_are_not_averaged(tmp_path):
    recipe, rule = replace(RECIPE, ema=0.9), InArray(FINE, Learning())
    averaged = train(system(), stripes(), recipe, tmp_path / "a", rule=rule)
    plain = train(system(), stripes(), RECIPE, tmp_path / "b", rule=rule)
    assert same_bits(averaged.weights, plain.weights)


WRONG = {
    "a convolution": (lambda: nn.Sequential(nn.Conv2d(1, 3, 4), nn.Flatten(), nn.Linear(3, 3)), "0 is a Conv2d"),
    "a batch norm": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.BatchNorm1d(9)), "2 is a BatchNorm1d"),
    "no clip": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Linear(9, 3)), "2 is a Linear"),
    "another clip": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Hardtanh()), "2 is a Hardtanh"),
    "ReLU": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.ReLU(), nn.Linear(9, 3)), "2 is a ReLU"),
    "no bias": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(16, 3, bias=False)), "1 is a Linear"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_network_that_arrays_cannot_train_is_refused_by_its_layer(tmp_path, case):
    build, start = WRONG[case]
    line = line_of(train, system(build), stripes(), RECIPE, tmp_path / "run", rule=InArray(FINE, Learning()))
    assert line.startswith(f"{start}: in-array learning trains chains of Linear layers with biases and Hardtanh(0, 1)")
    assert not (tmp_path / "run").exists()


def test_a_network_without_a_linear_layer_is_refused():
    line = line_of(InArray(FINE, Learning()).learner, setup(nn.Flatten(), 0, 10))
    assert line == "the network has no Linear layer that arrays could hold; train it by back-propagation"


# Training on chips


def layers_of(module):
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)}


def test_inside_the_weights_are_a_chips_and_batch_norms_keep_their_statistics():
    torch.manual_seed(0)
    module = Convolved().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    chips = []
    for step in (0, 1, 1):
        with Perturbation(NOISY).chip(module, step):
            assert not module.norm.training and not module.flat.training
            assert module.training and module.dropout.training
            chips.append({name: layer.weight.detach().clone() for name, layer in layers_of(module).items()})
            module(torch.rand(5, 1, 4, 4))
        assert same_bits(module.state_dict(), before)
    for name, weights in chips[0].items():
        true = before[f"{name}.weight"]
        assert not torch.equal(weights, true) and not torch.equal(weights, chips[1][name])
        assert torch.equal(chips[1][name], chips[2][name])
        assert float((weights - true).abs().max()) < 0.5 * float(true.abs().max())


def test_the_update_moves_the_true_weights_by_the_gradient_at_the_chips():
    layer = nn.Linear(3, 2)
    kept, inputs = layer.weight.detach().clone(), torch.rand(4, 3)
    with Perturbation(NOISY).chip(layer, 0):
        seen = layer.weight.detach().clone()
        layer(inputs).square().sum().backward()
    wanted = 2 * (inputs @ seen.T + layer.bias.detach()).T @ inputs
    assert torch.allclose(layer.weight.grad, wanted, atol=1e-5)
    assert torch.equal(layer.weight, kept)


def test_true_weights_come_back_when_the_step_fails():
    module = Convolved()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with suppress(Stopped), Perturbation(NOISY).chip(module, 0):
        assert not torch.equal(module.last.weight, before["last.weight"])
        raise Stopped
    assert same_bits(module.state_dict(), before)


def test_training_on_chips_is_kept_with_the_run_and_resumes(tmp_path):
    data, folder = stripes(), tmp_path / "run"
    aware = Perturbation(NOISY, seconds=60.0)
    whole = train(system(Convolved), data, RECIPE, tmp_path / "whole", perturbation=aware)
    assert load_run(tmp_path / "whole").rule == whole.rule == aware.to_json()
    assert (whole.rule["name"], whole.rule["device"]["name"], whole.rule["seconds"]) == ("noise-aware", "epiram", 60.0)
    cut = replace(data, train=Stops(data.train, 8))
    with pytest.raises(Stopped):
        train(system(Convolved), cut, RECIPE, folder, perturbation=Perturbation(NOISY, seconds=60.0))
    resumed = train(system(Convolved), data, RECIPE, folder, resume=True, perturbation=aware)
    assert same_bits(resumed.weights, whole.weights)
    plain = train(system(Convolved), data, RECIPE, tmp_path / "plain")
    assert not same_bits(plain.weights, whole.weights)


def test_a_rule_trains_in_one_process(monkeypatch, tmp_path):
    @contextmanager
    def two(_):
        yield Ranks(0, 2, torch.device("cpu"))

    monkeypatch.setattr("offramp.models.training.joined", two)
    with pytest.raises(BadInput, match=r"^2 processes: --rule in-array trains in one; start it without torchrun$"):
        train(system(), stripes(), RECIPE, tmp_path / "run", rule=InArray(FINE, Learning()))


def test_weights_come_back_when_perturbing_itself_fails(monkeypatch):
    module = chain()
    before = [weights.clone() for weights in module.state_dict().values()]
    perturbation = Perturbation(NOISY)
    calls = []

    def fails_the_second_time(weights, *_):
        calls.append(weights)
        if len(calls) == 2:
            raise MemoryError
        return weights + 1

    monkeypatch.setattr(perturbation._errors, "perturbed", fails_the_second_time)
    with pytest.raises(MemoryError), perturbation.chip(module, 0):
        pass
    assert all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values()))

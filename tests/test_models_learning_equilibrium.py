"""Equilibrium propagation: what nudges and probes estimate, exact gradients, and trainings that go on to equal bits."""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput, OfframpError
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.equilibrium_propagation import equilibrium_cnn, equilibrium_mlp
from offramp.models.learning import Setup, all_rules, find_rule
from offramp.models.learning.back_propagation import BackPropagation
from offramp.models.learning.equilibrium import Equilibrium, local_loss
from offramp.models.objectives import Batch
from offramp.models.objectives.classification import Classification
from offramp.models.objectives.reconstruction import Reconstruction
from offramp.models.recipe import Recipe
from offramp.models.run import load_run
from offramp.models.system import find_system
from offramp.models.training import train
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_relaxations import resting

RECIPE = Recipe(learning_rate=5e-3, weight_decay=0.0, epochs=1, batch_size=20, label_smoothing=0.0, threads=1)
SHORT = Equilibrium(free_steps=10, nudged_steps=5)
small = partial(equilibrium_mlp, widths=(16, 12, 10, 8), classes=4)


def images(count=60, side=4, classes=4):
    draws = torch.Generator().manual_seed(5)
    labels = torch.arange(count) % classes
    samples = torch.rand(count, 1, side, side, generator=draws) * 100 + 40 * labels.reshape(-1, 1, 1, 1)
    split = InMemory(samples, labels, 1, side)
    return Data("shades", split, split, tuple("abcd"[:classes]), Preprocessing(1 / 255))


def setup_of(module, data=None, objective=None, recipe=RECIPE, steps=3):
    return Setup(
        "mine", "image-classification", module, objective or Classification(), data or images(), recipe, 0, steps
    )


def batch_of(data, count=20, recipe=RECIPE):
    samples, labels = data.train.batch(list(range(count)))
    return Batch(data.preprocessing.apply(samples), labels, recipe, torch.Generator().manual_seed(0))


# The rule


def test_local_updates_are_means_of_products(double):
    torch.manual_seed(0)
    network = small()
    samples, rest = resting(network, 5)
    response = [torch.randn_like(state) for state in rest.states]
    local_loss(network, samples, rest, response).backward()
    a, first = [network.activity(state) for state in rest.states], network.take[1]
    link = network.links()[1]
    torch.testing.assert_close(link.up.weight.grad, response[2].T @ a[1] / 20)
    torch.testing.assert_close(link.down.weight.grad, response[1].T @ a[2] / 20)
    torch.testing.assert_close(link.up.bias.grad, response[2].mean(0))
    torch.testing.assert_close(first.weight.grad, response[0].T @ samples.flatten(1) / 20)
    torch.testing.assert_close(first.bias.grad, response[0].mean(0))
    assert network.readout.weight.grad is None


def test_the_rule_is_found_by_name_with_its_settings():
    assert all_rules()["equilibrium-propagation"] is Equilibrium
    rule = find_rule("equilibrium-propagation", {"nudge": "0.1", "points": "4"})
    assert rule == Equilibrium(nudge=0.1, points=4)
    assert rule.to_json()["name"] == "equilibrium-propagation" and rule.to_json()["points"] == 4


def test_a_batch_is_learnt_and_homeostasis_turns_weights_together():
    torch.manual_seed(0)
    network, data = small(), images()
    learner = replace(SHORT, homeostasis=3.0).learner(setup_of(network, data))
    assert learner.figures() == {}
    batch = batch_of(data)
    losses = [learner.learn(batch, 0.02) for _ in range(80)]
    figures = learner.figures()
    assert losses[-1] < 0.7 * losses[0]
    assert figures.keys() == {"residual", "converged", "gradient_degrees", "weights_degrees"}
    assert figures["weights_degrees"] < 30 < 75
    assert 0 <= figures["gradient_degrees"] <= 180 and figures["residual"] > 0


def test_what_does_not_come_to_rest_is_reported():
    torch.manual_seed(0)
    data, found = images(), []
    for steps in (1, 100):
        learner = replace(SHORT, free_steps=steps, tolerance=1e-3).learner(setup_of(small(), data))
        learner.learn(batch_of(data), 0.0)
        found.append(learner.figures())
    assert [row["converged"] for row in found] == [0.0, 1.0]
    assert found[0]["residual"] > 1e-3 >= found[1]["residual"]


def test_smoothing_and_mixing_reach_the_targets():
    data = images()
    recipe = replace(RECIPE, label_smoothing=0.2, mixup=0.3)
    learner = SHORT.learner(setup_of(small(), data, recipe=recipe))
    samples, wanted = learner._wanted(batch_of(data, recipe=recipe))
    torch.testing.assert_close(wanted.sum(1), torch.ones(20))
    assert wanted.min() == pytest.approx(0.05) and not torch.equal(samples, batch_of(data).samples)


@pytest.mark.parametrize("points", [2, 4])
def test_a_training_that_was_cut_off_goes_on_to_equal_bits(tmp_path, monkeypatch, points):
    from offramp.models import training

    system = replace(find_system("equilibrium_cnn"), build=partial(equilibrium_cnn, 8, (2, 3), 5, 4))
    data, recipe = images(side=8), replace(RECIPE, epochs=2, ema=0.5)
    rule = replace(SHORT, points=points)
    whole = train(system, data, recipe, tmp_path / "whole", 1, rule=rule, progress=False)

    keep = training._Training._keep

    def cut(self, checkpoint):
        keep(self, checkpoint)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training._Training, "_keep", cut)
        with pytest.raises(KeyboardInterrupt):
            train(system, data, recipe, tmp_path / "cut", 1, rule=rule, progress=False)
    resumed = train(system, data, recipe, tmp_path / "cut", 1, resume=True, rule=rule, progress=False)
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())
    figures = ("residual", "converged", "gradient_degrees", "weights_degrees", "accuracy")
    assert [whole.metrics[name] for name in figures] == [resumed.metrics[name] for name in figures]
    assert load_run(tmp_path / "cut").rule["name"] == "equilibrium-propagation"


def test_back_propagation_trains_the_same_network():
    torch.manual_seed(0)
    network, data = small(), images()
    learner = BackPropagation().learner(setup_of(network, data))
    losses = [learner.learn(batch_of(data), 0.02) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


# What is refused


def test_settings_out_of_range_are_refused():
    for settings, words in (
        ({"nudge": 0.0}, "nudge must be above 0, got 0"),
        ({"tolerance": -1.0}, "tolerance must be above 0, got -1"),
        ({"points": 0}, "points must be 1 or more, got 0"),
        ({"free_steps": 0}, "free_steps must be 1 or more, got 0"),
        ({"nudged_steps": 0}, "nudged_steps must be 1 or more, got 0"),
        ({"probes": 0}, "probes must be 1 or more, got 0"),
        ({"homeostasis": -0.5}, "homeostasis must be 0 or more, got -0.5"),
    ):
        with pytest.raises(BadInput, match=f"--rule equilibrium-propagation: {words}"):
            Equilibrium(**settings)


def test_a_network_without_states_is_refused():
    with pytest.raises(BadInput, match=r"mine is a Linear, no network whose layers relax .*; train it by back-prop"):
        Equilibrium().learner(setup_of(nn.Linear(16, 4)))


def test_another_objective_than_scores_for_classes_is_refused():
    with pytest.raises(BadInput, match=r"mine is trained on more than scores for classes, .*; train it by back-prop"):
        Equilibrium().learner(setup_of(small(), objective=Reconstruction()))


def test_other_classes_than_are_read_out_are_refused():
    with pytest.raises(BadInput, match=r"mine reads out 4 scores, the data have 3 classes; give a network with a"):
        Equilibrium().learner(setup_of(small(), images(classes=3)))


def test_states_that_blow_up_end_the_training_in_one_line():
    data, network = images(), small()
    with torch.no_grad():
        network.take[1].weight.fill_(torch.inf)
    learner = SHORT.learner(setup_of(network, data))
    with pytest.raises(OfframpError, match=r"mine: states of the free relaxation became infinite or NaN; lower learn"):
        learner.learn(batch_of(data), 1e-3)
    network = small()
    learner = SHORT.learner(setup_of(network, data))
    with torch.no_grad():
        network.readout.weight.fill_(1e38)
    with pytest.raises(OfframpError, match=r"mine: states of the relaxation nudged by 0\.5 became infinite or NaN"):
        learner.learn(batch_of(data), 1e-3)

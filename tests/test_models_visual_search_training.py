"""What a small eccNET learns from: orientations as often as an environment has them, and never how to search."""

from dataclasses import replace

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.objectives import Batch, evaluate
from offramp.models.recipe import Recipe
from offramp.models.run import restore
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.models.visual_search_asymmetry import EccNet, EccNetConfig
from offramp.models.visual_search_pictures import attention_of
from offramp.models.visual_search_training import ENVIRONMENTS, Environment, orientation_class
from offramp.reproductions._artifacts import run_file, ship
from torch import nn

SYSTEM = find_system("eccnet_xs")
RECIPE = Recipe(label_smoothing=0.0)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data():
    return SYSTEM.read("bars-tilted", 0, train=128, test=48)


def test_classes_are_tens_of_degrees_and_half_turns_are_the_same():
    assert orientation_class(torch.tensor([0.0, 4.0, 6.0, 20.0, 174.0, 176.0, 180.0, -10.0])).tolist() == [
        0, 0, 1, 2, 17, 0, 0, 17,
    ]  # fmt: skip


@pytest.mark.parametrize(("name", "common"), [("bars-vertical", 0), ("bars-tilted", 2)])
def test_environments_have_the_statistics_they_name(name, common):
    _, classes = ENVIRONMENTS[name].draw(2000, 8, 2, draws())
    counts = torch.bincount(classes, minlength=18) / 2000
    # Within 5 degrees lie 60 % of a normal spread of 6; the others are uniform over 18 classes.
    assert counts[common].item() == pytest.approx(0.85 * 0.595 + 0.15 / 18, abs=0.04)
    assert counts[(common + 9) % 18].item() == pytest.approx(0.15 / 18, abs=0.01)


def test_the_uniform_environment_prefers_nothing():
    counts = torch.bincount(ENVIRONMENTS["bars-uniform"].draw(3600, 8, 2, draws())[1], minlength=18)
    assert (counts - 200).abs().max() < 5 * 200**0.5


def test_pictures_are_bars_of_both_contrasts_in_noise():
    pictures, _ = Environment(noise=0.0).draw(200, 16, 4, draws())
    assert pictures.shape == (200, 1, 16, 16)
    signs = pictures.sum((1, 2, 3)).sign()
    assert 70 < (signs > 0).sum() < 130
    noisy, _ = Environment(noise=0.2).draw(200, 16, 4, draws())
    assert (noisy - pictures).std().item() == pytest.approx(0.2, rel=0.03)


def test_data_hold_searches_of_both_directions_with_pictures_of_the_environment(data):
    (search, target, picture), targets = data.test.batch(range(48))
    assert search.shape == (48, 1, 96, 96) and target.shape == picture.shape == (48, 1, 16, 16)
    assert set(targets[:, 1].tolist()) == set(targets[:, 2].tolist()) == {22.0}  # held out: from the middle
    assert len(data.train.labels[:, 1].unique()) > 10  # to train on: from anywhere
    assert len(target.flatten(1).unique(dim=0)) == 2  # what is looked for is upright or turned
    again, _ = SYSTEM.read("bars-tilted", 0, train=128, test=48).test.batch(range(48))
    assert torch.equal(again[0], search)


def test_figures_are_of_cells_in_the_order_of_attention(data):
    objective = SYSTEM.objective
    targets = torch.tensor([[0.0, 22, 22, 0], [15.0, 22, 22, 0], [5.0, 22, 22, 0]])
    attention = torch.zeros(3, 1, 96, 96)
    for row, peaks in enumerate([[(30, 30)], [(30, 30), (65, 65)], [(30, 30), (32, 45), (40, 40)]]):
        for place, (top, left) in enumerate(peaks):
            attention[row, 0, top, left] = 3.0 - place
    scores = objective.scores((attention,), (), targets)
    assert scores.flatten().tolist() == [1.0, 2.0, 3.0]
    assert objective.metrics(scores.double()) == {"found_at_once": pytest.approx(1 / 3), "fixations": 2.0}


def test_cells_are_found_from_any_fixation():
    objective, attention = SYSTEM.objective, torch.zeros(1, 1, 96, 96)
    attention[0, 0, 48, 48] = 1.0  # what is fixated
    for row, column in ((5, 5), (38, 16), (22, 43)):
        priorities = objective.priorities(attention, torch.tensor([[0.0, row, column, 0]]))
        assert priorities[0].argmax().item() == row // 11 * 4 + column // 11


def test_the_loss_is_of_the_pictures_and_not_of_the_searches(data):
    (search, target, picture), targets = data.train.batch(range(16))
    torch.manual_seed(0)
    network = SYSTEM.build()
    head = SYSTEM.objective.companion(network, data)

    def loss(*samples):
        return SYSTEM.objective.loss(network, head, Batch(samples, targets, RECIPE, draws()))

    found = loss(search, target, picture)
    logits = head(network.target_features(picture)[-1].flatten(1))
    assert found.loss.item() == pytest.approx(nn.functional.cross_entropy(logits, targets[:, 3].long()).item())
    assert torch.equal(loss(search + 1, target - 1, picture).loss, found.loss)
    assert [each is mine for each, mine in zip(found.inputs, (search, target))] == [True, True]
    found.loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in [*network.parameters(), *head.parameters()])


def test_a_teacher_is_compared_in_attention(data):
    samples, targets = data.train.batch(range(4))
    network = SYSTEM.build()
    batch = Batch(samples, targets, replace(RECIPE, distillation=0.5), draws())
    outcome = SYSTEM.objective.loss(network, SYSTEM.objective.companion(network, data), batch)
    assert torch.equal(outcome.outputs, network(*samples[:2]))


def test_a_network_without_an_encoder_is_drawn_to_the_target(data):
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Parameter(torch.zeros(1, 1, 24, 24))

        def forward(self, search, target):
            return self.map.expand(len(search), -1, -1, -1)

    samples, targets = data.test.batch(range(4))
    network = Bare()
    targets[:, 0] = 5
    outcome = SYSTEM.objective.loss(
        network, SYSTEM.objective.companion(network, data), Batch(samples, targets, RECIPE, draws())
    )
    assert outcome.loss.item() == pytest.approx(torch.tensor(16.0).log().item())
    outcome.loss.backward()
    assert SYSTEM.objective.priorities(-network.map.grad, targets[:1]).argmax() == 5


def test_training_learns_orientations_and_is_measured_in_searches(data, tmp_path):
    run = train(SYSTEM, data, replace(SYSTEM.recipe, epochs=2), tmp_path / "run")
    assert run.history[-1]["train_loss"] < run.history[0]["train_loss"]
    found = evaluate(restore(run), data.test, data.preprocessing, SYSTEM.objective)
    assert found == {name: run.metrics[name] for name in ("found_at_once", "fixations")}
    assert 1 <= found["fixations"] <= 16 and 0 <= found["found_at_once"] <= 1


def test_an_int8_file_puts_its_attention_where_the_network_does(tmp_path):
    torch.manual_seed(0)
    network = EccNet(EccNetConfig(((4,), (6,)), (0.1, 0.0), (0, 1), 1, 2, 32, 8)).eval()
    assert network.search_pools[0].windows == (2, 3)
    search, target = torch.randn(8, 1, 32, 32), torch.randn(8, 1, 8, 8)
    inputs = {"search": search.numpy(), "target": target.numpy()}
    examples = {"search": search[:1], "target": target[:1]}
    paths = ship("eccnet", network, examples, inputs, tmp_path, ("c",), ("int8",))
    with torch.no_grad():
        expected = network(search, target)
    found = attention_of(run_file(paths["c", "int8"]))(search, target)
    assert found.shape == expected.shape and (found - expected).abs().mean() < 0.02
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.99


def test_unknown_data_are_named():
    with pytest.raises(BadInput, match=r"photos: no such data to train on; give one of bars-vertical, .*search_folder"):
        SYSTEM.read("photos", 0)


def test_data_of_another_kind_are_refused():
    part = InMemory(torch.zeros(2, 1, 8, 8), torch.zeros(2))
    with pytest.raises(
        BadInput, match=r"digits: targets are not a cell, a fixation and an orientation; give one of bars"
    ):
        SYSTEM.objective.companion(SYSTEM.build(), Data("digits", part, part, (), Preprocessing()))

"""Networks of signs: their counts, exact signs with gradients, their data, and what they become on a device."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from offramp.errors import BadInput
from offramp.export.logic import evaluate, from_program
from offramp.models.boolean_network import Bits, Sign, ThresholdNetwork
from offramp.models.boolean_tasks import TASKS, full_adder, gates_data, whole_table
from offramp.models.boolean_threshold import SYSTEMS, read_table
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.learning.back_propagation import BackPropagation
from offramp.models.objectives import Batch, in_tuple
from offramp.models.recipe import Recipe
from offramp.models.run import load_run
from offramp.models.training import train
from offramp.quant.capture import capture
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from torch import nn

NAMED = {system.name: system for system in SYSTEMS}
SMALL_LOGIC = replace(gates_data(0), test=InMemory(*gates_data(0).test.batch(range(50))))
WIDTHS = {
    "btf_adder": (3, 3, 3, 2),
    "btf_multiplier_2": (4, 4, 4, 4),
    "btf_multiplier_3": (6, 12, 12, 12, 6),
    "btf_autoencoder": (16, 4, 16, 16),
    "btf_rule30": (6, 18, 18, 6),
    "btf_logic": (16, 16, 16),
}


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda system: system.name)
def test_systems_have_the_published_widths_and_their_data_fits(system):
    widths = WIDTHS[system.name]
    module, data = system.build(), system.read(system.dataset, 0)
    layers = [m for m in module.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in layers] == list(pairwise(widths))
    assert sum(p.numel() for p in module.parameters()) == sum(a * b + b for a, b in pairwise(widths))
    samples, targets = data.train.samples, data.train.labels
    assert samples.shape[1:] == system.input_shapes["bits"][1:] and targets.shape[1] == widths[-1]
    assert set(samples.unique().tolist()) == set(targets.unique().tolist()) == {-1.0, 1.0}
    assert system.recipe.batch_size >= len(data.train)  # all items at once
    assert system.rule.support == 3


def test_a_sign_is_exact_and_has_the_gradient_of_a_clip():
    sums = torch.tensor([-3.0, -0.3, 0.0, 0.1, 1.7], requires_grad=True)
    signs = Sign().train()(sums)
    assert signs.tolist() == [-1, -1, 1, 1, 1]  # sign(0) is +1
    signs.sum().backward()
    assert sums.grad.tolist() == [0, 1, 1, 1, 0]
    assert torch.equal(Sign().eval()(sums), signs)


def test_gradients_of_the_loss_reach_every_layer():
    torch.manual_seed(0)
    network = ThresholdNetwork((3, 8, 2)).train()
    samples, targets = full_adder()
    outcome = Bits().loss(network, None, Batch(samples, targets, Recipe(), torch.Generator()))
    outcome.loss.backward()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())
    assert torch.equal(outcome.outputs, network(samples))
    sums = network.sums(samples)
    torch.testing.assert_close(outcome.loss, torch.log1p(torch.exp(-targets * sums)).mean())


def test_where_only_outputs_are_seen_the_loss_is_their_squared_error():
    samples, targets = full_adder()
    network = nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    outcome = Bits().loss(network, None, Batch(samples, targets, Recipe(), torch.Generator()))
    torch.testing.assert_close(outcome.loss, (network(samples) - targets).square().mean())


def test_samples_and_bits_are_counted():
    outputs, targets = torch.tensor([[1.0, 1], [1, -1], [-1, -1]]), torch.tensor([[1.0, 1], [1, 1], [1, -1]])
    scores = Bits().scores((outputs,), (), targets)
    assert Bits().metrics(scores.double()) == pytest.approx({"accuracy": 1 / 3, "bits": 4 / 6})


def test_targets_that_are_no_bits_are_refused():
    part = InMemory(torch.ones(2, 2), torch.tensor([0, 1]))
    with pytest.raises(BadInput, match=r"mine: targets are not -1 and 1, one for each output; give a table of bits"):
        Bits().companion(nn.Identity(), Data("mine", part, part, (), Preprocessing()))


def test_data_are_a_task_or_a_file(tmp_path):
    assert read_table("multiplier-2", 0).name == "multiplier-2"
    (tmp_path / "and.csv").write_text("a,b,out\n0,0,0\n0,1,0\n1,0,0\n1,1,1\n")
    data = read_table(str(tmp_path / "and.csv"), 0)
    assert (data.name, len(data.train)) == ("and", 4)
    with pytest.raises(BadInput, match=rf"mine: no such table; give {', '.join(TASKS)}, or a truth table as .pla"):
        read_table("mine", 0)


def test_back_propagation_trains_the_same_network(tmp_path):
    system = NAMED["btf_logic"]
    run = train(system, SMALL_LOGIC, replace(system.recipe, epochs=30), tmp_path / "run", 0, rule=BackPropagation())
    first, last = (run.history[place]["train_loss"] for place in (0, -1))
    assert last < 0.7 * first and run.metrics["bits"] > 0.6


@pytest.fixture(scope="module")
def adder(tmp_path_factory):
    """A full adder that was found, trained by the system's own rule."""
    system, folder = NAMED["btf_adder"], tmp_path_factory.mktemp("run")
    train(system, whole_table("full-adder", full_adder()), system.recipe, folder, 0, rule=system.rule)
    network = system.build().eval()
    network.load_state_dict(load_run(folder).weights)
    return network


def test_a_found_network_is_a_netlist(adder):
    inputs, outputs = full_adder()
    netlist = from_program(torch.export.export(adder, (inputs[:1],)))
    assert ((evaluate(netlist, inputs.numpy()) > 0) == (outputs > 0).numpy()).all()
    assert netlist.gates <= 8  # as many as there are neurons


def test_a_found_network_is_exact_in_int8(adder):
    inputs, outputs = full_adder()
    captured = capture(adder, (inputs[:1],), ("bits",))
    samples = [(inputs[k : k + 1],) for k in range(8)]
    program = quantize(captured, samples, Scheme(samples=8)).program
    found = torch.cat([in_tuple(program.module()(*sample))[0] for sample in samples])
    assert torch.equal(found.sign(), outputs)

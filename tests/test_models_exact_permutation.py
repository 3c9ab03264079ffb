"""Ensembles that decode permutations: each member learns alone, thresholds are hidden units, int8 decodes all."""

import math

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.export.write import write_artifact
from offramp.models.exact_permutation import (
    EIGHT,
    NETWORKS,
    WIDTH,
    Ensemble,
    Permuting,
    Rearrangement,
    ShippedEnsemble,
    check_permutation,
    distil,
    ship,
    ship_exact,
)
from offramp.models.ntk import networks_needed, predict, thresholds
from offramp.models.objectives import Batch
from offramp.models.permuted_bits import BITS, every_input, read_bits
from offramp.models.recipe import Recipe
from offramp.models.run import restore
from offramp.models.system import System, find_system
from offramp.models.training import train
from offramp.quant.capture import capture
from offramp.quant.quantize import quantize
from offramp.quant.scheme import Scheme
from offramp.runtime.session import open_session

ORDER = [2, 0, 3, 1]


def small(seed=0, networks=20, width=300, k=4):
    torch.manual_seed(seed)
    return Ensemble(k, networks, width)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Four bits, by the system's own way."""
    system = System("mine", "", "bit-permutation", small, {"bits": (1, 4)}, objective=Permuting())
    recipe = find_system("permutation_8").recipe
    data = read_bits(f"{BITS}:{'-'.join(map(str, ORDER))}", 0, 4)
    run = train(system, data, recipe, tmp_path_factory.mktemp("run") / "run", 0)
    return run, restore(run, small())


def test_the_mean_of_the_members_is_what_the_network_compares_with_the_table():
    network, inputs = small(), every_input(4)
    with torch.no_grad():
        permuted, margins = network(inputs)
        mean = network.members(inputs).mean(0)
    limits = torch.from_numpy(thresholds(4)).float()[inputs.sum(1).long()]
    torch.testing.assert_close(margins, mean - limits[:, None])
    assert torch.equal(permuted > 0.5, margins > 0)


def test_what_ships_computes_the_same_with_two_products_and_one_relu():
    network, inputs = small(), every_input(4)
    shipped = ship(network)
    assert isinstance(shipped, ShippedEnsemble)
    assert [tuple(p.shape) for p in shipped.parameters()] == [(6004, 4), (6004,), (4, 6004)]
    with torch.no_grad():
        torch.testing.assert_close(shipped(inputs)[1], network(inputs)[1], atol=1e-6, rtol=1e-5)


def test_the_system_has_the_parameters_of_its_networks():
    assert networks_needed(EIGHT) == NETWORKS
    total = sum(p.numel() for p in find_system("permutation_8").build().parameters())
    assert total == 2 * EIGHT * NETWORKS * WIDTH


def test_every_member_trains_on_its_own_error():
    """The gradient of one network's weights is the same whatever stands beside it."""
    network, alone = small(networks=2, width=50), small(networks=1, width=50)
    with torch.no_grad():
        alone.first.copy_(network.first[:50])
        alone.second.copy_(network.second[:, :50])
    batch = Batch(torch.eye(4), torch.eye(4)[:, ORDER], Recipe(), torch.Generator())
    for each in (network, alone):
        Permuting().loss(each, None, batch).loss.backward()
    torch.testing.assert_close(network.first.grad[:50], alone.first.grad)
    torch.testing.assert_close(network.second.grad[:, :50], alone.second.grad)


def test_inputs_without_labels_change_nothing():
    network = small()
    labelled = Batch(torch.eye(4), torch.eye(4)[:, ORDER], Recipe(), torch.Generator())
    more = torch.cat([torch.eye(4), torch.ones(3, 4)]), torch.cat([torch.eye(4)[:, ORDER], -torch.ones(3, 4)])
    both = [
        Permuting().loss(network, None, each).loss for each in (labelled, Batch(*more, Recipe(), torch.Generator()))
    ]
    torch.testing.assert_close(*both)
    with pytest.raises(BadInput, match="no input of the batch has a label; give the basis vectors"):
        Permuting().loss(network, None, Batch(torch.ones(1, 4), -torch.ones(1, 4), Recipe(), torch.Generator()))


def test_what_ships_is_trained_on_the_labelled_inputs_and_held_to_a_teacher_on_all():
    shipped = ship(small())
    inputs = torch.cat([torch.eye(4), torch.ones(3, 4)])
    targets = torch.cat([torch.eye(4)[:, ORDER], -torch.ones(3, 4)])
    outcome = Permuting().loss(shipped, None, Batch(inputs, targets, Recipe(), torch.Generator()))
    assert outcome.outputs.shape == shipped(*outcome.inputs)[0].shape == (7, 4)
    torch.testing.assert_close(outcome.loss, (shipped(torch.eye(4))[0] - targets[:4]).square().sum() / 2)


def test_training_on_the_basis_decodes_every_input(trained):
    run, network = trained
    assert run.metrics["accuracy"] == run.metrics["bit_accuracy"] == 1.0 and run.metrics["least_margin"] > 0
    assert run.metrics["train_loss"] < 1e-6 and network.permutation() == ORDER


def test_momentum_ends_where_theory_says_that_gradient_descent_does(trained):
    _, network = trained
    inputs = every_input(4)
    with torch.no_grad():
        outputs = network.members(inputs).mean(0)
    targets = inputs[:, ORDER] > 0.5
    for ones in (1, 2, 3):
        rows, theory = inputs.sum(1) == ones, predict(4, ones)
        room = 4 * theory.deviation / math.sqrt(20) + 0.02  # spread of the mean, and finite width
        assert outputs[rows][targets[rows]].mean().item() == pytest.approx(theory.one, abs=room)
        assert outputs[rows][~targets[rows]].mean().item() == pytest.approx(theory.zero, abs=room)


def test_a_trained_ensemble_distils_to_a_rearrangement_that_is_equal_everywhere(trained):
    _, network = trained
    inputs = every_input(4)
    exact = distil(network, inputs)
    assert torch.equal(exact(inputs)[0], inputs[:, ORDER])
    assert isinstance(ship_exact(network), Rearrangement)
    assert not list(exact.parameters())


def test_an_ensemble_that_has_learnt_nothing_distils_to_nothing():
    network = small()
    with torch.no_grad():
        network.second.zero_()
    with pytest.raises(BadInput, match=r"the responses to the basis: \[0, 0, 0, 0\] is no permutation; each of 0 to 3"):
        distil(network, every_input(4))
    assert isinstance(ship_exact(network), ShippedEnsemble)
    with pytest.raises(BadInput, match=r"mine: \[0, 2\] is no permutation; each of 0 to 1 must stand in it once"):
        check_permutation([0, 2], "mine")


def test_one_wrong_input_keeps_an_ensemble_from_being_distilled(trained):
    run, _ = trained
    network = restore(run, small())
    network.table[4] += 100
    with pytest.raises(
        BadInput, match="1 of 15 inputs are decoded otherwise than by a permutation, as 1111; train more"
    ):
        distil(network, every_input(4))


def test_figures_are_of_whole_inputs_of_bits_and_of_the_worst_margin():
    objective = Permuting()
    targets = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    outputs = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[0.3, -0.2], [0.1, -0.4]])
    found = objective.metrics(objective.scores(outputs, (), targets).double())
    assert found == pytest.approx({"accuracy": 0.5, "bit_accuracy": 0.75, "least_margin": -0.4})


def test_int8_decodes_every_input(trained, tmp_path):
    _, network = trained
    inputs = every_input(4)
    captured = capture(ship(network).eval(), (inputs[:1],), ("bits",))
    program = quantize(captured, [(row[None],) for row in inputs], Scheme(rounding="nearest")).program
    path = tmp_path / "bits.c"
    write_artifact("c", program, path, input_names=("bits",), output_names=("permuted", "margins"), precision="int8")
    run = open_session(path).run
    found = np.concatenate([run({"bits": row[None].numpy()})["permuted"] for row in inputs])
    assert np.array_equal(found > 0.5, inputs[:, ORDER].numpy() > 0.5)

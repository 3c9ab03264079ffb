"""Responses of relaxing networks to nudges, exact ones, and homeostasis: estimates against what they estimate."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from offramp.models.equilibrium_propagation import equilibrium_cnn, equilibrium_mlp
from offramp.models.learning.equilibrium import degrees_between, gradient_of
from offramp.models.learning.equilibrium_condensed import answer_of, at_rest
from offramp.models.learning.equilibrium_homeostasis import dense_penalty, penalty, probed_penalty
from offramp.models.learning.equilibrium_response import (
    Rest,
    adjoint_response,
    exact_response,
    nudged_response,
    pull,
)
from torch import nn
from torch.nn import functional

sys.path.append(str(Path(__file__).parent))
from small_relaxations import resting

small = partial(equilibrium_mlp, widths=(16, 12, 10, 8), classes=4)


class Toy:
    """One state that answers to a nudge b by 1 / (2 - b) at once: a(0) = 1/2, da/db = 1/4, all orders beyond."""

    def __init__(self):
        self.readout, self.damping = nn.Linear(1, 2), 1.0

    def activity(self, state):
        return 1 / (2 - state)

    def step(self, states, given, push=None):
        return [push]


def test_more_nudges_are_nearer_to_the_derivative_of_an_analytic_answer(double, monkeypatch):
    """The answer is the series (b/2)^n / 2; N nudges of b = 1/2 leave the orders N + 1, 2 N + 1, ... in."""
    pull_of_one = "offramp.models.learning.equilibrium_response.pull"
    monkeypatch.setattr(pull_of_one, lambda network, activity, wanted: torch.ones_like(activity))
    rest = Rest([torch.zeros(3, 1)], torch.zeros(3, 1), torch.ones(3, 2))
    errors = {}
    for points in (1, 2, 4, 6):
        (found,) = nudged_response(Toy(), rest, 0.5, points, 1)
        errors[points] = (found - 0.25).abs().max().item()
        left = sum(0.25**order / 2 for order in range(points + 1, 60, points))  # aliases of order 1
        assert errors[points] == pytest.approx(left / 0.5, rel=1e-9)
    assert errors[6] < errors[4] < errors[2] < errors[1]


@pytest.mark.parametrize(
    ("build", "side"), [(small, 4), (partial(equilibrium_cnn, side=8, channels=(2, 3), units=5, classes=4), 8)]
)
def test_nudges_come_nearer_to_the_exact_response_of_networks(double, build, side):
    torch.manual_seed(0)
    network = build()
    _, rest = resting(network, side=side)
    exact = exact_response(network, rest, 40)
    errors = [
        max((f - e).abs().max().item() for f, e in zip(nudged_response(network, rest, 0.5, points, 40), exact))
        for points in (1, 2, 4, 6)
    ]
    assert errors[0] > 5 * errors[1] > 25 * errors[2] > 50 * errors[3]


def test_the_exact_response_is_how_far_rest_moves(double):
    """Against a difference of two relaxations to rest."""
    torch.manual_seed(0)
    network = small()
    _, rest = resting(network, 100)
    tiny = nudged_response(network, rest, 1e-5, 2, 60)
    for one, other in zip(tiny, exact_response(network, rest, 60)):
        torch.testing.assert_close(one, other, atol=1e-8, rtol=1e-6)


def test_the_adjoint_gives_the_gradient_of_back_propagation_through_the_relaxation(double):
    torch.manual_seed(0)
    network = small(steps=100)
    samples, rest = resting(network, 100)
    ours = gradient_of(network, samples, rest, adjoint_response(network, rest, 100))
    loss = functional.cross_entropy(network(samples), rest.wanted)
    inside = [p for name, p in network.named_parameters() if not name.startswith("readout")]
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss, inside)])
    torch.testing.assert_close(ours, exact, atol=1e-10, rtol=1e-6)


def test_response_and_adjoint_agree_where_weights_are_transposes_and_not_elsewhere(double):
    for angle, lowest, highest in ((0.0, 0.0, 1e-3), (90.0, 20.0, 90.0)):
        torch.manual_seed(0)
        network = small(angle=angle)
        samples, rest = resting(network)
        responses = (exact_response(network, rest, 40), adjoint_response(network, rest, 40))
        found = degrees_between(*(gradient_of(network, samples, rest, response) for response in responses))
        assert lowest <= found <= highest


def test_the_pull_is_the_losss_gradient_and_continues_it(double):
    network, activity = small(), torch.rand(5, 8)
    wanted = functional.one_hot(torch.arange(5) % 4, 4).double()
    x = activity.clone().requires_grad_()
    (exact,) = torch.autograd.grad(functional.cross_entropy(network.readout(x), wanted, reduction="sum"), x)
    torch.testing.assert_close(pull(network, activity, wanted), exact)
    torch.testing.assert_close(pull(network, activity.to(torch.complex128), wanted).real, exact)


@pytest.mark.parametrize("points", [1, 2, 4])
def test_the_condensed_network_answers_as_the_network(double, points):
    torch.manual_seed(0)
    network = small()
    with torch.no_grad():
        for link in network.links():
            link.bias().normal_()
    _, rest = resting(network, 7)

    def by(view, at):
        return nudged_response(view, at, 0.5, points, 9)

    for one, other in zip(answer_of(network, rest, by), by(network, rest)):
        torch.testing.assert_close(one, other)
    plain = list(rest.states)
    for _ in range(6):
        plain = network.step(plain, rest.given)
    for one, other in zip(at_rest(network, rest, 6).states, plain):
        torch.testing.assert_close(one, other)


# Homeostasis


def test_probes_estimate_the_closed_form(double):
    torch.manual_seed(0)
    network = small()
    _, rest = resting(network, 5, count=4000)
    activities = [network.activity(state) for state in rest.states]
    exact = dense_penalty(network.links(), 30)
    probed = probed_penalty(network, activities, rest.given, 1, torch.Generator().manual_seed(0))
    assert probed.item() == pytest.approx(exact.item(), rel=0.03)
    weights = [link.weights()[0] for link in network.links()]
    for one, other in zip(torch.autograd.grad(probed, weights), torch.autograd.grad(exact, weights)):
        assert degrees_between(one, other) < 6 and one.norm() / other.norm() == pytest.approx(1, abs=0.06)


def test_the_closed_form_is_twice_the_antisymmetric_part_with_its_known_slope(double):
    torch.manual_seed(0)
    network = small()
    _, rest = resting(network, 5)
    jacobian = torch.zeros(30, 30)
    (one, one_back), (two, two_back) = (link.weights() for link in network.links())
    jacobian[12:22, :12], jacobian[:12, 12:22] = one.detach(), one_back.T.detach()
    jacobian[22:, 12:22], jacobian[12:22, 22:] = two.detach(), two_back.T.detach()
    half = (jacobian - jacobian.T) / 2
    activities = [network.activity(state) for state in rest.states]
    found = penalty(network, activities, rest.given, 1, torch.Generator())
    assert found.item() == pytest.approx(2 * half.square().sum().item() / 30)
    up, down = network.links()[0].up.weight, network.links()[0].down.weight
    slopes = torch.autograd.grad(found, (up, down))
    torch.testing.assert_close(slopes[0], 2 * (up - down.T) / 30)
    torch.testing.assert_close(slopes[1], -slopes[0].T)


@pytest.mark.parametrize(
    ("build", "side"), [(small, 4), (partial(equilibrium_cnn, side=8, channels=(2, 3), units=5, classes=4), 8)]
)
def test_nothing_is_to_pay_where_weights_are_transposes(double, build, side):
    torch.manual_seed(0)
    network = build(angle=0.0)
    _, rest = resting(network, 3, side=side)
    activities = [network.activity(state) for state in rest.states]
    assert penalty(network, activities, rest.given, 1, torch.Generator()).item() == pytest.approx(0, abs=1e-12)
    apart = build(angle=90.0)
    assert penalty(apart, activities, rest.given, 1, torch.Generator()).item() > 0.05

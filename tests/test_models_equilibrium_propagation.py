"""Relaxing networks: their counts, where they come to rest, links that are each other's transposes, and shipping."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.equilibrium_propagation import RelaxingNetwork, equilibrium_cnn, equilibrium_mlp
from offramp.models.learning.equilibrium import degrees_between, weights_degrees
from offramp.models.relaxation import (
    DenseLink,
    PooledLink,
    Relaxing,
    apart,
    logistic,
    residual,
    settle,
    soft_ramp,
    steep_logistic,
    turned,
)
from offramp.models.system import find_system
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

QUIET = "ignore::offramp.errors.OfframpWarning"


def macs(network, image):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(image)
    return counter.get_total_flops() // 2


def test_the_perceptron_takes_the_image_once_and_both_ways_of_each_link_in_every_step():
    widths, classes, steps = (64, 64, 64, 32), 10, 16
    links = sum(below * above for below, above in pairwise(widths[1:]))
    weights = widths[0] * widths[1] + 2 * links + widths[-1] * classes
    biases = sum(widths[1:]) + classes
    network = equilibrium_mlp()
    assert sum(p.numel() for p in network.parameters()) == weights + biases == 16_874
    once = widths[0] * widths[1] + links + widths[-1] * classes  # the start goes up once
    assert macs(network, torch.rand(1, 1, 8, 8)) == once + steps * 2 * links == 207_168


def test_the_convolutional_network_has_the_counts_of_its_kernels():
    first, second, units, classes, steps = 8, 16, 64, 10, 16
    kernel, dense = 9 * first * second, second * 4 * 4 * units
    weights = 9 * first + 2 * (kernel + dense) + units * classes
    network = equilibrium_cnn()
    assert sum(p.numel() for p in network.parameters()) == weights + first + second + units + classes
    once = 9 * first * 16 * 16 + kernel * 8 * 8 + dense + units * classes
    assert macs(network, torch.rand(1, 1, 16, 16)) == once + steps * 2 * (kernel * 8 * 8 + dense)


@pytest.mark.parametrize(("build", "side"), [(equilibrium_mlp, 8), (equilibrium_cnn, 16)])
def test_at_rest_every_state_is_its_drive_and_the_forward_pass_goes_so_far(build, side):
    torch.manual_seed(0)
    network, image = build(), torch.rand(4, 1, side, side)
    with torch.no_grad():
        drive = network.given(image)
        states = settle(network, network.start(drive), drive, 300)
        drives = network.drives([network.activity(state) for state in states], drive)
        for state, wanted in zip(states, drives):
            torch.testing.assert_close(state, wanted, atol=1e-5, rtol=0)
        assert residual(network, states, drive) < 1e-5 < network.residual(image, 3)
        network.steps = 300
        torch.testing.assert_close(network(image), network.readout(network.activity(states[-1])))
        assert torch.equal(network.residual(image), network.residual(image, 300))


def test_what_comes_to_rest_does_not_depend_on_where_it_started():
    torch.manual_seed(0)
    network, image = equilibrium_mlp(), torch.rand(4, 1, 8, 8)
    with torch.no_grad():
        drive = network.given(image)
        upwards = settle(network, network.start(drive), drive, 400)
        zeros = settle(network, [torch.zeros_like(state) for state in upwards], drive, 400)
    for one, other in zip(upwards, zeros):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("link", [DenseLink((6,), 4, 0.0), DenseLink((2, 2, 2), 4, 0.0), PooledLink((2, 4, 6), 3, 0.0)])
def test_links_that_start_at_no_angle_are_each_others_transposes(link):
    """<up(a), b> without the bias is <a, down(b)> for all a and b: 0 angle is 0 asymmetry."""
    below = (
        {4: (2, 4, 6), 2: (2, 2, 2)}.get(next(link.up.parameters()).ndim)
        if not isinstance(link.up, nn.Linear)
        else (6,)
    )
    draws = torch.Generator().manual_seed(0)
    a, b = torch.randn(1, *below, generator=draws), torch.randn(1, *link.above, generator=draws)
    up = link.up(a) - link.up(torch.zeros_like(a))
    torch.testing.assert_close((up * b).sum(), (a * link.down(b)).sum())
    forward, back = link.weights()
    assert forward.shape == back.shape and torch.equal(forward, back)


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 90), st.integers(0, 1000))
def test_feedback_starts_at_the_angle_that_is_asked_for(angle, seed):
    torch.manual_seed(seed)
    weight = torch.randn(100, 100)
    other = turned(weight, angle)
    assert degrees_between(weight, other) == pytest.approx(angle, abs=3)
    assert other.norm() / weight.norm() == pytest.approx(1, abs=0.05)


def test_networks_start_apart_or_as_asked():
    torch.manual_seed(0)
    assert weights_degrees(equilibrium_mlp()) == pytest.approx(90, abs=4)
    assert weights_degrees(equilibrium_mlp(angle=45.0)) == pytest.approx(45, abs=4)
    assert weights_degrees(equilibrium_cnn(angle=0.0)) == 0


@pytest.mark.parametrize("phi", [logistic, steep_logistic, soft_ramp])
def test_activities_of_complex_states_continue_the_real_ones(phi):
    z = torch.linspace(-60, 60, 241, dtype=torch.float64)
    torch.testing.assert_close(phi(z.to(torch.complex128)).real, phi(z), atol=1e-12, rtol=1e-12)
    step = 1e-20  # the derivative without a difference, as is possible for what is complex differentiable
    slope = phi(torch.complex(z, torch.full_like(z, step))).imag / step
    x = z.clone().requires_grad_()
    (exact,) = torch.autograd.grad(phi(x).sum(), x)
    torch.testing.assert_close(slope, exact, atol=1e-12, rtol=1e-9)


def test_the_steep_logistic_has_slope_one_at_a_half():
    x = torch.linspace(-3, 4, 701, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(steep_logistic(x).sum(), x)
    assert slope.max().item() == pytest.approx(1) and x[slope.argmax()].item() == pytest.approx(0.5)


def test_an_affine_layer_adds_its_bias_once_to_complex_values():
    torch.manual_seed(0)
    layer, value = nn.Linear(3, 2).double(), torch.randn(4, 3, dtype=torch.complex128)
    wanted = value @ layer.weight.T.to(value.dtype) + layer.bias
    torch.testing.assert_close(apart(layer, value), wanted)
    assert torch.equal(apart(layer, value.real), layer(value.real))


def test_bad_settings_are_refused():
    with pytest.raises(BadInput, match=r"0 to 90 degrees, got 91"):
        equilibrium_mlp(angle=91.0)
    layers = r"two layers or more, 1 step or more and a damping above 0 and at most 1; got "
    with pytest.raises(BadInput, match=layers + r"1 layers, 16 steps, damping 0\.7"):
        equilibrium_mlp(widths=(64, 32))
    with pytest.raises(BadInput, match=layers + r"3 layers, 0 steps, damping 0\.7"):
        equilibrium_mlp(steps=0)
    with pytest.raises(BadInput, match=layers + r"3 layers, 16 steps, damping 1\.5"):
        equilibrium_mlp(damping=1.5)


def test_systems_are_relaxing_and_name_their_rule():
    for name in ("equilibrium_mlp", "equilibrium_cnn"):
        system = find_system(name)
        network = system.build()
        assert isinstance(network, RelaxingNetwork) and isinstance(network, Relaxing)
        assert system.rule.name == "equilibrium-propagation" and system.rule.homeostasis == 1.0
        assert system.preprocessing.apply(torch.tensor([255.0])).item() == pytest.approx(1)


@pytest.mark.filterwarnings(QUIET)
def test_a_short_relaxation_ships_as_a_file_that_computes_the_same(tmp_path):
    """One step, so that it takes seconds; every operator of a longer one is in it."""
    import numpy as np
    from offramp.quant.scheme import Scheme
    from offramp.reproductions._artifacts import run_on, ship

    torch.manual_seed(0)
    network = equilibrium_mlp(widths=(64, 12, 8), steps=2).eval()
    images = torch.rand(16, 1, 8, 8)
    scheme = Scheme(rounding="nearest")
    paths = ship("small", network, {"image": images[:1]}, {"image": images.numpy()}, tmp_path, ("onnx",), scheme=scheme)
    with torch.no_grad():
        wanted = network(images).numpy()
    found = {
        precision: next(iter(run_on(path, {"image": images.numpy()}).values()))
        for (_, precision), path in paths.items()
    }
    np.testing.assert_allclose(found["float32"], wanted, atol=1e-5)
    assert np.abs(found["int8"] - wanted).max() < 0.05 * np.abs(wanted).max()

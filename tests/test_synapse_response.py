"""Pulse responses: published labels and curves, the algebra of pulses, ends, symmetry points, measured curves."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from offramp.devices.synapse.catalogue import find_device
from offramp.devices.synapse.cells import Cells
from offramp.devices.synapse.device import LARGEST
from offramp.devices.synapse.draws import Draws, Purpose
from offramp.devices.synapse.nonlinearity import STRAIGHT, curvature_of, label_of
from offramp.devices.synapse.response import CellFigures, nominal_curve, response_of
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of, plausible, synapse

PUBLISHED = [  # label, curvature
    *((0.01, 126.27), (0.1, 12.625807), (1.0, 1.251653), (2.4, 0.499181), (4.88, 0.200303)),
    *((6.0, 0.135619), (9.0, 0.022810)),
]
CURVE_UP, CURVE_DOWN = (0.0, 0.1, 0.4, 0.7, 1.0), (1.0, 0.5, 0.2, 0.0)
EVERY_KIND = {
    "linear": synapse(pulses_up=20, pulses_down=30),
    "constant-step": synapse("constant-step", pulses_up=20, pulses_down=30),
    "soft-bounds": synapse("soft-bounds", pulses_up=20, pulses_down=30),
    "concave": synapse("exponential", pulses_up=20, pulses_down=30, nonlinearity_up=3, nonlinearity_down=-5),
    "convex": synapse("exponential", pulses_up=20, pulses_down=30, nonlinearity_up=-4, nonlinearity_down=2),
    "measured": synapse("measured", curve_up=CURVE_UP, curve_down=CURVE_DOWN),
}
kinds = pytest.mark.parametrize("device", EVERY_KIND.values(), ids=EVERY_KIND)
labels, shares = st.floats(-6, 6), st.floats(0, 1)


def exact(*values):
    return torch.tensor(values, dtype=torch.float64)


def response(device, low=0.0, high=1.0, gain=1.0):
    """A cell's response in float64."""
    nonlinearities = exact(device.nonlinearity_up), exact(device.nonlinearity_down)
    return response_of(
        device, CellFigures(exact(low), exact(high), *nonlinearities, exact(gain), exact(gain)), torch.float64
    )


def after(found, state, pulses):
    """Where a state stands after pulses up or, below zero, down."""
    return float(found.after(exact(state), exact(abs(pulses)), torch.tensor([pulses > 0])))


def one_by_one(found, state, pulses):
    state = exact(state)
    for _ in range(abs(pulses)):
        state = found.kept(state + found.step(state, torch.tensor([pulses > 0])))
    return float(state)


# Labels


@pytest.mark.parametrize(("label", "curvature"), PUBLISHED)
def test_labels_name_the_published_curvatures(label, curvature):
    for sign in (1, -1):
        assert float(curvature_of(exact(sign * label))) == pytest.approx(sign * curvature, rel=3e-5)
        assert float(label_of(exact(sign * curvature))) == pytest.approx(sign * label, rel=3e-5)


def test_a_label_is_the_label_of_its_curvature():
    wanted = torch.linspace(0.01, 9, 900, dtype=torch.float64) * exact(1, -1)[:, None]
    torch.testing.assert_close(label_of(curvature_of(wanted)), wanted, rtol=1e-9, atol=0.0)


def test_labels_rise_where_their_two_forms_meet():
    a = exact(999.0, 999.999, 1000.001, 1001.0)
    assert bool((label_of(a).diff() < 0).all())
    torch.testing.assert_close(label_of(a) * a, label_of(a[:1]) * 999.0 + 0 * a, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("label", [math.nextafter(LARGEST, 11), -11.0, math.nan])
def test_labels_have_bounds(label):
    shape = exact(1.0, label, 0.0).reshape(3, 1)
    assert line_of(curvature_of, shape) == f"nonlinearity {label:g}: must be from -{LARGEST:g} to {LARGEST:g}"


def test_labels_too_small_to_see_are_a_straight_line():
    assert curvature_of(exact(0.0, STRAIGHT / 2, -STRAIGHT / 2)).isinf().all()
    straight = synapse("exponential", nonlinearity_up=0.004, nonlinearity_down=-0.004)
    for up in (True, False):
        torch.testing.assert_close(nominal_curve(straight, up), nominal_curve(synapse(), up), rtol=0.0, atol=1e-15)


# Curves


@pytest.mark.parametrize("label", [0.01, 0.5, 2.4, 4.88, 7.0, 9.0])
def test_a_label_is_the_largest_distance_from_the_line(label):
    many = synapse("exponential", pulses_up=10_000, pulses_down=10_000, nonlinearity_up=label, nonlinearity_down=-label)
    line = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    gap = 0.07 * math.sqrt(2) * label
    assert float((nominal_curve(many, True) - line).max()) == pytest.approx(gap, rel=1e-3, abs=1e-7)
    assert float((1 - line - nominal_curve(many, False)).max()) == pytest.approx(gap, rel=1e-3, abs=1e-7)
    assert (gap < 1e-3) is (label == 0.01)  # what is nearly straight tends to the line


@pytest.mark.parametrize("label", [-7.0, -4.88, -1.0, -0.01, 0.01, 0.5, 2.4, 6.0, 9.0])
def test_a_curve_leads_from_one_end_to_the_other(label):
    device = synapse("exponential", nonlinearity_up=label, nonlinearity_down=-label, pulses_up=40, pulses_down=60)
    rising, falling = nominal_curve(device, True), nominal_curve(device, False)
    assert (len(rising), len(falling)) == (41, 61)
    assert (float(rising[0]), float(falling[0])) == (0.0, 1.0)
    assert (float(rising[-1]), float(falling[-1])) == (pytest.approx(1, abs=1e-15), pytest.approx(0, abs=1e-15))
    assert bool((rising.diff() > 0).all()) or abs(label) > 8  # then the last steps are less than float64 tells apart
    a = float(curvature_of(exact(label)))
    place = torch.linspace(0, 1, 61, dtype=torch.float64)
    torch.testing.assert_close(1 - falling, torch.expm1(-place / a) / math.expm1(-1 / a), rtol=1e-9, atol=1e-15)


def test_middles_of_curves_are_the_published_ones():
    device = synapse("exponential", nonlinearity_up=2.4, nonlinearity_down=-4.88)
    assert float(nominal_curve(device, True)[32]) == pytest.approx(0.7314, abs=5e-5)
    assert float(nominal_curve(device, False)[32]) == pytest.approx(0.0761, abs=5e-5)


@pytest.mark.parametrize(
    ("up", "expected"),
    [
        (True, {1: 0.0236278, 24: 0.4517697, 48: 0.7269744, 97: 1.0}),
        (False, {1: 0.9509685, 25: 0.2821737, 50: 0.0761237, 100: 0.0}),
    ],
)
def test_the_silver_device_is_that_of_a_published_simulator_pulse_by_pulse(up, expected):
    device = replace(find_device("ag-asi"), cycle_noise=0.0)
    cells = Cells([device], 1, 1, [Draws(1)], state=0.0 if up else 1.0)
    for pulse in range(1, max(expected) + 1):
        cells.pulse(torch.full((1, 1, 1), 1 if up else -1), pulse)
        if pulse in expected:
            assert float(nominal_curve(device, up)[pulse]) == pytest.approx(expected[pulse], abs=1e-6)
            assert float(cells.state) == pytest.approx(expected[pulse], abs=2e-6)


# The algebra of pulses


@settings(deadline=None)
@given(st.sampled_from(list(EVERY_KIND.values())), shares, st.integers(0, 25), st.integers(0, 25), st.booleans())
def test_pulses_add_up(device, state, first, second, up):
    sign = 1 if up else -1
    found = response(device, 0.1, 0.8)
    state = 0.1 + 0.7 * state
    together = after(found, state, sign * (first + second))
    assert after(found, after(found, state, sign * first), sign * second) == pytest.approx(together, abs=1e-9)


@settings(deadline=None)
@given(st.sampled_from(list(EVERY_KIND.values())), shares, st.integers(-25, 25))
def test_the_closed_form_is_pulse_after_pulse(device, state, pulses):
    found = response(device, 0.1, 0.8)
    state = 0.1 + 0.7 * state
    assert after(found, state, pulses) == pytest.approx(one_by_one(found, state, pulses), abs=1e-9)


@pytest.mark.parametrize(("kind", "label", "gain"), [("soft-bounds", 0, 1.0), ("exponential", 6, 30.0)])
@pytest.mark.parametrize("pulses", [0, 1, 2, 5])
def test_a_step_of_more_than_all_leads_to_the_end(kind, label, gain, pulses):
    device = synapse(kind, pulses_up=1, pulses_down=1, nonlinearity_up=label, nonlinearity_down=-label)
    for sign in (1, -1):
        found = response(device, gain=gain)
        assert after(found, 0.3, sign * pulses) == one_by_one(found, 0.3, sign * pulses)
        assert after(found, 0.3, sign * pulses) == (0.3 if pulses == 0 else max(sign, 0))


@settings(deadline=None)
@given(labels, st.floats(0, 40), st.integers(0, 40))
def test_what_rises_and_falls_on_one_curve_returns(label, start, pulses):
    """A device of equal labels, of both signs, falls back along the curve on which it rose."""
    assume(start + pulses <= 40)
    device = synapse("exponential", nonlinearity_up=label, nonlinearity_down=label, pulses_up=40, pulses_down=40)
    found = response(device)
    state = after(found, 0.0, start)
    assert after(found, after(found, state, pulses), -pulses) == pytest.approx(state, abs=1e-9)


@settings(deadline=None)
@given(labels, shares, st.integers(0, 40))
def test_a_device_of_opposite_labels_falls_as_its_mirror_image_rises(label, state, pulses):
    """It returns after a whole sweep up and down, and from within only where it is straight."""
    device = synapse("exponential", nonlinearity_up=label, nonlinearity_down=-label, pulses_up=40, pulses_down=40)
    found = response(device)
    assert after(found, state, -pulses) == pytest.approx(1 - after(found, 1 - state, pulses), abs=1e-9)
    assert after(found, after(found, 0.0, 40), -40) == pytest.approx(0, abs=1e-9)


@kinds
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.8)])
def test_ends_are_reached_and_not_exceeded(device, low, high):
    found = response(device, low, high)
    for sign, end in ((1, high), (-1, low)):
        states = [after(found, 0.3, sign * pulses) for pulses in (*range(60), 1000, 10_000)]
        assert all(low <= state <= high for state in states)
        assert states == sorted(states, reverse=sign < 0)
        assert states[-1] == end or (device.response == "soft-bounds" and abs(states[-1] - end) < 1e-12)


def test_straight_steps_are_shares_of_the_cells_range_or_of_the_nominal_one():
    linear, constant = (response(EVERY_KIND[name], 0.1, 0.8) for name in ("linear", "constant-step"))
    assert (after(linear, 0.3, 4), after(linear, 0.7, -6)) == pytest.approx((0.3 + 4 * 0.7 / 20, 0.7 - 6 * 0.7 / 30))
    assert (after(constant, 0.3, 4), after(constant, 0.7, -6)) == pytest.approx((0.3 + 4 / 20, 0.7 - 6 / 30))


# Laws in terms of weights: w = 2 g - 1


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.2, 0.9)])
def test_soft_bounds_approach_their_bound_geometrically(low, high):
    found, largest, least, step = response(EVERY_KIND["soft-bounds"], low, high), 2 * high - 1, 2 * low - 1, 2 / 20
    for pulses in (0, 1, 2, 7, 50):
        up = largest * (1 - (1 - step / largest) ** pulses)
        down = least * (1 - (1 - 2 / 30 / -least) ** pulses)
        assert 2 * after(found, 0.5, pulses) - 1 == pytest.approx(up, abs=1e-12)
        assert 2 * after(found, 0.5, -pulses) - 1 == pytest.approx(down, abs=1e-12)


@pytest.mark.parametrize("name", ["soft-bounds", "concave"])
def test_pulses_up_and_down_in_turn_settle_at_the_symmetry_point(name):
    found = response(replace(EVERY_KIND[name], pulses_up=900, pulses_down=1500))
    up, down = (found.offset_up, found.slope_up), (found.offset_down, found.slope_down)
    point = float(-(up[0] + down[0]) / (up[1] + down[1]))  # where both steps are of one size
    low = float(-(up[0] + down[0] + down[1] * up[0]) / (up[1] + down[1] + down[1] * up[1]))  # after each pulse down
    if name == "soft-bounds":
        assert point == pytest.approx((1 / 900) / (1 / 900 + 1 / 1500))
    for start in (0.0, 1.0):
        state = start
        for _ in range(6000):
            state = one_by_one(found, one_by_one(found, state, 1), -1)
        assert state == pytest.approx(low, abs=1e-6)
        assert state < point < one_by_one(found, state, 1)


@pytest.mark.parametrize("name", ["soft-bounds", "concave"])
def test_an_array_without_gradient_drifts_to_its_symmetry_points(name):
    """The array of a Tiki-Taka pair that gathers gradients: pulses up and down at random, and as many of each."""
    device = replace(EVERY_KIND[name], pulses_up=150, pulses_down=200, step_spread=0.1, high_spread=0.03)

    def p_value(seed):
        draws, total, rounds = Draws(seed), torch.zeros(1, 16, 16), 3000
        cells = Cells([device], 16, 16, [draws], state=1.0)
        for step in range(rounds):
            up = draws.uniform(Purpose.REFERENCE, 256, step).reshape(1, 16, 16) < 0.5
            cells.pulse(torch.where(up, 1, -1), step)
            total += cells.state * (step >= 1000)
        found = cells.response
        point = -(found.offset_up + found.offset_down) / (found.slope_up + found.slope_down)
        assert float((point - 1.0).abs().min()) > 0.1  # they have come a long way
        return stats.ttest_1samp((total / (rounds - 1000) - point).flatten().numpy(), 0.0).pvalue

    assert plausible(p_value)


# Measured curves


def test_a_measured_device_follows_its_table():
    device = EVERY_KIND["measured"]
    found = response(device)
    assert [after(found, 0.0, n) for n in range(6)] == pytest.approx([*CURVE_UP, 1.0])
    assert [after(found, 1.0, -n) for n in range(5)] == pytest.approx([*CURVE_DOWN, 0.0])
    assert nominal_curve(device, True).tolist() == list(CURVE_UP)  # whatever its number of pulses is said to be
    assert nominal_curve(device, False).tolist() == list(CURVE_DOWN)
    cells = Cells([device], 1, 2, [Draws(1)])
    cells.pulse(torch.tensor([[[2, 3]]]), 0)
    cells.pulse(torch.tensor([[[-1, 0]]]), 1)
    # 0.4 lies a third of the way from 0.5 down to 0.2, so a pulse leads a third of the way from 0.2 to 0.
    assert cells.state.flatten().tolist() == pytest.approx([0.2 - 0.2 / 3, 0.7])


def test_between_points_of_a_table_states_are_interpolated():
    device = EVERY_KIND["measured"]
    assert after(response(device), 0.25, 1) == pytest.approx(0.55)
    assert after(response(device, 0.2, 0.7), 0.2 + 0.5 * 0.25, 1) == pytest.approx(0.2 + 0.5 * 0.55)
    doubled = response(device, gain=2.0)
    assert after(doubled, 0.25, 1) == pytest.approx(0.85)
    assert one_by_one(doubled, 0.25, 1) == pytest.approx(0.25 + 2 * 0.3)
    assert one_by_one(doubled, 0.25, 2) == 1.0


def test_points_that_float32_cannot_tell_apart_do_no_harm():
    device = synapse("measured", curve_up=CURVE_UP, curve_down=(1.0, 1.0 - 1e-9, 0.5, 0.0))
    cells = Cells([device], 1, 1, [Draws(1)], state=1.0)
    cells.pulse(torch.full((1, 1, 1), -2), 0)
    assert float(cells.state) <= 0.5
    cells.pulse(torch.full((1, 1, 1), -9), 1)
    assert float(cells.state) == 0.0

"""Programming: one train to the nearest level, rounds of verification, and what is left of the wanted state."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.catalogue import catalogue, find_device
from offramp.devices.synapse.cells import Cells
from offramp.devices.synapse.draws import Draws
from offramp.devices.synapse.programming import write
from offramp.devices.synapse.response import nominal_curve
from scipy import stats

sys.path.append(str(Path(__file__).parent))
from small_synapses import plausible, synapse

MEASURED = {
    "curve_up": tuple((n / 99) ** 0.5 for n in range(100)),  # more points than the default number of pulses
    "curve_down": tuple((1 - n / 79) ** 3 for n in range(80)),
}
EVERY_KIND = {
    "linear": synapse(),
    "constant-step": synapse("constant-step", pulses_up=50, pulses_down=70),
    "soft-bounds": synapse("soft-bounds", pulses_up=60, pulses_down=40),
    "concave": synapse("exponential", nonlinearity_up=2.4, nonlinearity_down=-4.88),
    "convex": synapse("exponential", nonlinearity_up=-1.5, nonlinearity_down=1.46),
    "measured": synapse("measured", **MEASURED),
    "ag-asi": replace(find_device("ag-asi"), cycle_noise=0.0),
}
kinds = pytest.mark.parametrize("device", EVERY_KIND.values(), ids=EVERY_KIND)
NOISY = {"high_spread": 0.02, "low_spread": 0.02, "cycle_noise": 0.005, "step_spread": 0.2}


def cells_of(device, rows=20, columns=50, seed=1, **how):
    return Cells([device], rows, columns, [Draws(seed)], **how)


def targets(rows=20, columns=50, low=0.0, high=1.0):
    return torch.linspace(low, high, rows * columns, dtype=torch.float64).reshape(1, rows, columns)


def level_of(device, target):
    return torch.round(target * (device.states - 1)) / (device.states - 1)


def misses(held, wanted):
    return float((held - wanted).abs().max())


# One train


@kinds
def test_a_train_from_the_low_end_reaches_the_state_nearest_to_the_level(device):
    held = write(cells_of(device), targets())
    wanted, curve = level_of(device, targets()), nominal_curve(device, True)
    nearest = (wanted[..., None] - curve).abs().amin(-1)
    assert bool(((held - wanted).abs() <= nearest + 2e-5).all())


@kinds
def test_a_train_from_the_high_end_does_too(device):
    held = write(cells_of(device, state=1.0), targets())
    wanted, curve = level_of(device, targets()), nominal_curve(device, False)
    nearest = (wanted[..., None] - curve).abs().amin(-1)
    assert bool(((held - wanted).abs() <= nearest + 2e-5).all())


@kinds
@pytest.mark.parametrize("start", [0.13, 0.5, 0.77])
def test_from_anywhere_a_train_ends_within_a_step(device, start):
    """An asymmetric device takes its rising curve upwards and its falling one downwards."""
    held, wanted = write(cells_of(device, state=start), targets()), level_of(device, targets())
    for up in (True, False):
        curve = nominal_curve(device, up).sort().values
        right = torch.searchsorted(curve, wanted).clamp(1, len(curve) - 1)
        step = curve[right] - curve[right - 1]
        goes = (wanted > start) == up
        # The step that leads past a level from where others start may be the larger one beside it.
        larger = torch.maximum(step, (curve.diff()[(right - 2).clamp(min=0)]))
        assert bool(((held - wanted).abs() <= larger * 0.51 + 4e-4)[goes].all())


@pytest.mark.parametrize(("states", "levels"), [(2, [0, 0, 1, 1]), (3, [0, 0.5, 0.5, 1]), (5, [0, 0.25, 0.75, 1])])
def test_levels_are_evenly_spread_with_both_ends(states, levels):
    device = synapse(levels=states, pulses_up=100, pulses_down=100)
    wanted = torch.tensor([[[0.1, 0.3, 0.7, 1.2]]], dtype=torch.float64)
    assert write(cells_of(device, 1, 4), wanted).flatten().tolist() == pytest.approx(levels, abs=1e-6)
    assert synapse(pulses_up=states - 1).states == states


def test_what_is_a_little_outside_is_brought_inside():
    held = write(cells_of(synapse(), 1, 2), torch.tensor([[[-0.2, 1.3]]]))
    assert held.flatten().tolist() == pytest.approx([0, 1], abs=1e-6)
    assert held.dtype == torch.float64


def test_writing_what_is_written_sends_no_pulse():
    cells = cells_of(synapse(), counts_pulses=True)
    held = write(cells, targets())
    sent = cells.pulses.clone()
    write(cells, targets())
    assert torch.equal(cells.pulses, sent)
    assert torch.equal(cells.state, held.float())


# Verification


@kinds
def test_verified_cells_are_within_tolerance(device):
    """The tolerance is more than half a step and its noise, and more than what cells' own ends put out of reach."""
    device = replace(device, **NOISY, verify_tolerance=0.08)
    wanted = level_of(device, targets())
    assert misses(write(cells_of(device), targets(), verify_rounds=100), wanted) <= 0.08 + 1e-6
    assert misses(write(cells_of(device), targets()), wanted) > 0.08  # one train alone leaves more


def test_more_tolerance_takes_fewer_rounds():
    def rounds(tolerance):
        device = replace(synapse(), **NOISY, verify_tolerance=tolerance)
        wanted = level_of(device, targets(low=0.1, high=0.9))
        counts = range(40)
        return next(n for n in counts if misses(write(cells_of(device), wanted, n), wanted) <= tolerance + 1e-6)

    assert rounds(0.015) > rounds(0.03) > rounds(0.15) > 0


def test_verification_ends_when_nothing_is_off():
    device = replace(synapse(), verify_tolerance=0.02)
    once, often = (cells_of(device, counts_pulses=True) for _ in range(2))
    assert torch.equal(write(once, targets()), write(often, targets(), verify_rounds=1000))
    assert torch.equal(once.pulses, often.pulses)


def test_stuck_cells_hold_where_they_stand():
    device = synapse(stuck=0.3, verify_tolerance=0.001)
    cells = cells_of(device)
    stood = cells.state.clone()
    held = write(cells, targets(), verify_rounds=3)
    assert torch.equal(held[cells.is_stuck].float(), stood[cells.is_stuck])
    assert misses(held[~cells.is_stuck], level_of(device, targets())[~cells.is_stuck]) < 1e-5


# A continuum, and what programming leaves


def test_a_continuum_holds_what_is_asked_to_all_digits():
    cells = cells_of(synapse(levels=0), counts_pulses=True)
    held = write(cells, targets() * 0.123456789)
    assert torch.equal(held, targets() * 0.123456789)
    assert torch.equal(cells.state, held.float())
    assert int(cells.pulses.sum()) == 0


def test_a_continuum_stays_within_the_ends_of_each_cell():
    cells = cells_of(synapse(levels=0, high_spread=0.1, low_spread=0.1))
    held = write(cells, targets())
    wanted = torch.minimum(torch.maximum(targets(), cells.figures.low), cells.figures.high)
    assert torch.equal(held, wanted)
    assert not torch.equal(held, targets())


@pytest.mark.parametrize(("rounds", "cut"), [(0, math.inf), (1, 0.03)])
def test_programming_leaves_a_normal_error_of_which_verification_keeps_the_tolerance(rounds, cut):
    device = synapse(levels=0, program_error=0.02, verify_tolerance=0.03)

    def p_value(seed):
        left = write(cells_of(device, 100, 100, seed), torch.full((1, 100, 100), 0.5), rounds).flatten() - 0.5
        assert float(left.abs().max()) <= cut + 1e-12
        inside = left[left.abs() < min(cut, 1.0) - 1e-12]
        share = 1 - 2 * stats.norm.sf(cut, scale=0.02)
        assert stats.binomtest(len(inside), 10_000, share).pvalue > 1e-4
        law = stats.truncnorm(-cut / 0.02, cut / 0.02, scale=0.02)
        return stats.kstest(inside.numpy(), law.cdf).pvalue

    assert plausible(p_value)


def test_writings_leave_errors_of_their_own():
    device = synapse(levels=0, program_error=0.02)
    middle = torch.full((1, 20, 50), 0.5)
    first, again, other = (write(cells_of(device), middle, occasion=each) for each in (0, 0, 1))
    assert torch.equal(first, again)
    assert abs(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]) < 4 / math.sqrt(1000)


@pytest.mark.parametrize("rounds", [0, 2])
def test_only_the_cells_that_are_named_are_written(rounds):
    device = replace(synapse(), cycle_noise=0.01, program_error=0.01)
    some = torch.arange(1000).reshape(1, 20, 50) % 3 == 0
    cells, all_of_them = cells_of(device, state=0.4), cells_of(device, state=0.4)
    held, wanted = write(cells, targets(), rounds, some), write(all_of_them, targets(), rounds)
    assert torch.equal(held, torch.where(some, wanted, cells_of(device, state=0.4).state.double()))
    assert torch.equal(cells.state, held.float())


def test_a_stack_of_kinds_is_written_as_each_alone():
    devices = [replace(EVERY_KIND[name], **NOISY) for name in ("linear", "soft-bounds", "concave")]
    devices.append(synapse(levels=0, program_error=0.05))
    draws = [Draws(place) for place in range(4)]
    together = write(Cells(devices, 20, 50, draws), targets().expand(4, -1, -1), 2)
    for place, (device, each) in enumerate(zip(devices, draws)):
        assert torch.equal(write(Cells([device], 20, 50, [each]), targets(), 2)[0], together[place])


@pytest.mark.parametrize("name", catalogue())
def test_every_published_device_can_be_written(name):
    device = catalogue()[name]
    held = write(cells_of(device, 5, 8), targets(5, 8), verify_rounds=1)
    assert bool(torch.isfinite(held).all())
    assert float(torch.corrcoef(torch.stack([held.flatten(), targets(5, 8).flatten()]))[0, 1]) > 0.5

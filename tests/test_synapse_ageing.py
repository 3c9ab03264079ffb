"""Which law ages a device, with which numbers; and deviations of written weights, sampled once and drawn from."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.ageing import aged
from offramp.devices.synapse.catalogue import find_device
from offramp.devices.synapse.cells import Cells
from offramp.devices.synapse.draws import Draws, Purpose
from offramp.devices.synapse.programming import write
from offramp.devices.synapse.retention import DAY, FilamentSpread, OxideRelaxation, PhaseChange, drifted
from offramp.devices.synapse.write_errors import WriteErrors

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of, synapse

DRAWS, SHAPE = Draws(5, layer=3), (40, 25)
SHARE = torch.linspace(0, 1, 1000, dtype=torch.float64).reshape(SHAPE)
LAWS = ("phase-change", "filament", "oxide")


def numbers(purpose, place=0):
    return DRAWS.normal(purpose, SHARE.numel(), place).double().reshape(SHAPE)


def device_of(law, **figures):
    """A device between 10 and 90 microsiemens, which all laws reach."""
    return synapse(g_min=10e-6, g_max=90e-6, retention=law, levels=0, **figures)


def fresh_of(device):
    return device.g_min + (device.g_max - device.g_min) * SHARE


# Dispatch


def test_drift_by_a_power_law_with_an_exponent_for_each_device():
    device = device_of("power-law", drift=0.05, drift_spread=0.02, drift_start=2.0)
    fresh = fresh_of(device)
    exponents = (0.05 + 0.02 * numbers(Purpose.DRIFT)).clamp(min=0)
    assert bool((exponents == 0).any())
    assert torch.equal(aged(device, fresh, 1e4, DRAWS), drifted(fresh, 1e4, 2.0, exponents))
    assert torch.allclose(aged(device, fresh, 1e4, DRAWS), fresh * 5000.0**-exponents)
    assert torch.equal(aged(device, fresh, 1.5, DRAWS), fresh)


def test_a_device_without_drift_stays_as_it_was_written():
    device = device_of("power-law")
    assert torch.equal(aged(device, fresh_of(device), 1e9, DRAWS), fresh_of(device))


@pytest.mark.parametrize("seconds", [1.0, 3600.0, DAY])
def test_every_other_law_is_that_of_its_class_on_the_same_numbers(seconds):
    low, span = 10e-6, 80e-6
    draws = [numbers(purpose) for purpose in (Purpose.RETENTION, Purpose.DRIFT, Purpose.FLICKER)]
    wanted = {
        "phase-change": low + span * PhaseChange().aged(SHARE, seconds, *draws),
        "filament": low + span * FilamentSpread().aged(SHARE, seconds, draws[0]),
        "oxide": OxideRelaxation(low, low + span).aged(low + span * SHARE, seconds, draws[0]),
    }
    assert set(wanted) == set(LAWS)
    for law, values in wanted.items():
        device = device_of(law)
        assert torch.allclose(aged(device, fresh_of(device), seconds, DRAWS), values, rtol=1e-6, atol=0)


@pytest.mark.parametrize("law", ["power-law", *LAWS])
def test_several_tensors_of_an_array_are_other_devices(law):
    device = device_of(law, **({"drift": 0.05, "drift_spread": 0.02} if law == "power-law" else {}))
    fresh = fresh_of(device)
    first, again, other = (aged(device, fresh, 100.0, DRAWS, place) for place in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("law", "first"), [("phase-change", 250e-9), ("filament", 1.0), ("oxide", 1.0)])
def test_before_the_first_moment_that_a_law_knows_that_moment_counts(law, first):
    device = device_of(law)
    at_once, then = (aged(device, fresh_of(device), seconds, DRAWS) for seconds in (0.0, first))
    assert torch.equal(at_once, then)
    assert not torch.equal(then, aged(device, fresh_of(device), first * 100, DRAWS))


@pytest.mark.parametrize(
    ("law", "seconds", "bound"),
    [("filament", 3 * DAY, "from 1 to 172800"), ("oxide", 1e9, "3.15576e+08"), ("phase-change", 1e9, "3.15576e+08")],
)
def test_a_law_that_does_not_reach_so_far_says_so_in_one_line(law, seconds, bound):
    device = device_of(law)
    line = line_of(aged, device, fresh_of(device), seconds, DRAWS)
    assert line.startswith(f"seconds {seconds:g}: must be from ")
    assert bound in line


@pytest.mark.parametrize("law", LAWS)
def test_states_beyond_the_range_are_brought_to_its_ends(law):
    device = device_of(law)
    beyond = torch.where(SHARE > 0.5, 200e-6, 0.0)
    ends = torch.where(SHARE > 0.5, device.g_max, device.g_min)
    assert torch.equal(aged(device, beyond, 10.0, DRAWS), aged(device, ends, 10.0, DRAWS))


def test_an_oxides_largest_conductance_is_within_its_range():
    device = replace(device_of("oxide"), g_min=9e-6, g_max=26e-6)
    assert device.g_min + (device.g_max - device.g_min) > device.g_max  # as it is rounded
    top = torch.full((4,), device.g_max, dtype=torch.float64)
    assert torch.allclose(aged(device, top, 10.0, DRAWS), top, rtol=0.2)


@pytest.mark.parametrize("law", ["power-law", *LAWS])
def test_only_a_power_law_leaves_the_error_of_programming_to_the_figure(law):
    held = []
    for error in (0.0, 0.05):
        cells = Cells([device_of(law, program_error=error)], *SHAPE, [DRAWS])
        held.append(write(cells, SHARE[None]))
    assert torch.equal(*held) == (law != "power-law")
    if law != "power-law":
        device = device_of(law)
        drifting = replace(device, drift=0.3, drift_spread=0.1, program_error=0.1)
        fresh = fresh_of(device)
        assert torch.equal(aged(device, fresh, 60.0, DRAWS), aged(drifting, fresh, 60.0, DRAWS))


# Deviations of written weights


CONTINUUM = synapse(g_min=0.25, levels=0)  # three quarters of a siemens wide


def test_deviations_have_the_mean_and_the_spread_of_the_error():
    errors = WriteErrors(replace(CONTINUUM, program_error=0.05)).deviations
    states, devices = errors.shape
    inner = errors[states // 4 : -states // 4]  # further out the ends of the range cut them off
    assert abs(float(inner.mean())) < 5 * 0.05 / inner.numel() ** 0.5
    assert float(inner.std()) == pytest.approx(0.05, rel=0.02)
    assert float(errors[0].min()) == 0.0 and float(errors[-1].max()) == 0.0
    assert devices >= 1000


def test_an_ideal_device_has_no_deviations():
    assert float(WriteErrors(find_device("ideal")).deviations.abs().max()) < 1e-12  # of the arithmetic
    weights = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(WriteErrors(find_device("ideal")).perturbed(weights, Draws(0), 0), weights, atol=1e-6)


def test_reads_deviate_in_proportion_to_the_conductance():
    errors = WriteErrors(replace(CONTINUUM, read_noise=0.02)).deviations
    for state in (0, 32, 64):
        siemens = 0.25 + 0.75 * state / 64
        assert float(errors[state].std()) * 0.75 == pytest.approx(0.02 * siemens, rel=0.12)


def test_time_and_verification_have_their_part():
    drifting = WriteErrors(replace(CONTINUUM, drift=0.1), seconds=100.0).deviations
    assert torch.allclose(drifting[64], torch.full((1024,), (100**-0.1 - 1) / 0.75), atol=1e-6)
    spread = replace(CONTINUUM, program_error=0.1, verify_tolerance=0.02)
    assert float(WriteErrors(spread).deviations.abs().max()) > 0.1
    assert float(WriteErrors(spread, verify_rounds=3).deviations.abs().max()) <= 0.02 + 1e-6


def test_few_levels_deviate_by_up_to_half_a_level():
    errors = WriteErrors(synapse(levels=5, pulses_up=4, pulses_down=4)).deviations
    assert torch.allclose(errors[:, 0], torch.round(torch.linspace(0, 4, 65)) / 4 - torch.linspace(0, 1, 65), atol=1e-6)
    assert float(errors.abs().max()) == pytest.approx(1 / 8)


def known():
    """Devices that give a hundredth too much at the lowest state, and twice that times the state more."""
    errors = WriteErrors(CONTINUUM)
    errors.deviations = (0.01 + 0.02 * torch.linspace(0, 1, 65))[:, None].expand(65, 1024).contiguous()
    return errors


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 2), (3, 2, 5, 5)])
def test_a_weight_moves_by_its_device_less_the_idle_one(shape):
    generator = torch.Generator().manual_seed(1)
    weights = torch.randint(-64, 65, shape, generator=generator).float() / 64
    scale = torch.tensor([1.0, 20.0, 0.3]).reshape(3, *[1] * (len(shape) - 1))
    weights.flatten(1)[:, 0] = torch.tensor([1.0, -1.0, 1.0])  # each output's largest is its whole range
    moved = known().perturbed(weights * scale, Draws(0), 0)
    assert moved.shape == shape
    wanted = scale * (weights + 0.02 * weights)  # what idle devices give too much cancels
    assert torch.allclose(moved, wanted, atol=1e-5)


def test_an_output_without_weights_stays_without():
    weights = torch.tensor([[0.0, 0.0], [1.0, -0.5]])
    moved = WriteErrors(replace(CONTINUUM, program_error=0.2)).perturbed(weights, Draws(0), 0)
    assert float(moved[0].abs().max()) < 1e-9
    assert float((moved[1] - weights[1]).abs().max()) > 1e-3


def test_both_devices_of_a_pair_deviate_by_themselves():
    errors = WriteErrors(replace(CONTINUUM, program_error=0.2))
    weights = torch.zeros(1, 4000)
    weights[0, 0] = 1.0
    moved = errors.perturbed(weights, Draws(0), 0)[0, 1:]  # those that are 0 stand at the lowest state, both
    assert float(moved.std()) == pytest.approx(2**0.5 * float(errors.deviations[0].std()), rel=0.1)


def test_equal_steps_draw_equal_chips_and_others_do_not():
    errors = WriteErrors(replace(CONTINUUM, program_error=0.05))
    weights = torch.linspace(-1, 1, 600).reshape(20, 30)
    first = errors.perturbed(weights, Draws(0), 3)
    assert torch.equal(first, errors.perturbed(weights, Draws(0), 3))
    for draws, step in ((Draws(0), 4), (Draws(0, layer=1), 3), (Draws(1), 3)):
        other = errors.perturbed(weights, draws, step)
        assert float(((first - other).abs() > 1e-3).float().mean()) > 0.8
    drawn = torch.stack([errors.perturbed(weights, Draws(0), step) - weights for step in range(200)])
    middle = drawn[:, 5:15] / weights.abs().amax(1)[5:15, None]
    idle = errors.deviations[0].std()
    assert float(middle.std()) == pytest.approx(float((0.05**2 + idle**2) ** 0.5), rel=0.15)


def test_another_seed_writes_other_devices():
    device = replace(CONTINUUM, program_error=0.05)
    first, again, other = (WriteErrors(device, seed=seed).deviations for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

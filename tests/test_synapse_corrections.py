"""What digital corrections make up for, and what they leave; what drives nothing, drives nothing."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from offramp.devices.synapse.converters import Converter
from offramp.devices.synapse.crossbar import Crossbar
from offramp.devices.synapse.design import ArrayDesign
from offramp.devices.synapse.draws import Draws

sys.path.append(str(Path(__file__).parent))
from small_synapses import synapse

IDEAL = synapse(levels=0, g_min=0.0, g_max=1e-4)


def weights():
    return torch.randint(-127, 128, (1, 20, 6), generator=torch.Generator().manual_seed(0)).double()


def crossbar(device=IDEAL, values=None, **design):
    return Crossbar(weights() if values is None else values, (-128.0, 127.0), device, ArrayDesign(**design), Draws(1))


def test_compensation_leaves_what_wires_take():
    plain, compensated = (crossbar(wire_ohms=20.0, compensates_drift=each) for each in (False, True))
    ones = torch.ones(1, 1, 20)
    lost = float(plain.read(plain.drive(ones)).abs().sum() / weights().sum(1).abs().sum())
    assert lost < 0.99
    torch.testing.assert_close(compensated.read(compensated.drive(ones)), plain.read(plain.drive(ones)))


def test_compensation_undoes_drift_behind_wires():
    device = replace(IDEAL, drift=0.1)
    fresh, aged = crossbar(wire_ohms=1.0), crossbar(device, wire_ohms=1.0, seconds=1e4, compensates_drift=True)
    ones = torch.ones(1, 1, 20)
    torch.testing.assert_close(aged.read(aged.drive(ones)), fresh.read(fresh.drive(ones)), rtol=0.01, atol=1.0)


def test_a_layer_of_zeros_has_nothing_to_compensate():
    found = crossbar(values=torch.zeros(1, 3, 2), compensates_drift=True, seconds=10.0)
    assert float(found.read(found.drive(torch.ones(1, 1, 3))).abs().max()) == 0.0


@pytest.mark.parametrize("bits", range(1, 9))
def test_a_dac_has_a_level_on_zero_and_no_more_than_it_may(bits):
    low, high = -100.0, 155.0
    values = torch.linspace(low, high, 2551, dtype=torch.float64)
    found = Converter(bits).around_zero(values, low, high)
    step = (high - low) / (2**bits - 1)
    assert float(Converter(bits).around_zero(torch.zeros(1), low, high)) == 0.0
    assert len(found.unique()) <= 2**bits
    inside = (values > low + step / 2) & (values < high - step / 2)
    assert float((found - values)[inside].abs().max()) <= step / 2 * (1 + 1e-9) if bool(inside.any()) else True
    assert bool((found >= low).all() and (found <= high).all())


def test_eight_bits_give_every_code():
    codes = torch.arange(-100.0, 156.0)
    assert torch.equal(Converter(8).around_zero(codes, -100.0, 155.0), codes)


def test_an_ideal_dac_passes_everything():
    values = torch.tensor([1e9, -0.3])
    assert Converter(0).around_zero(values, -1.0, 1.0) is values

"""What is asked before anything is computed: settings that act, in one order, and seeds and times within reach."""

import sys
from pathlib import Path

import pytest
from offramp.devices.synapse.catalogue import find_device
from offramp.devices.synapse.design import ArrayDesign
from offramp.emulation.run import WantedArrays, emulate_network
from offramp.emulation.settings import parse_axis, with_setting, with_settings
from offramp.options import Options

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of


def test_settings_act_in_one_order_whatever_theirs():
    settings = [("d2d", 0.1), ("on_off", 2.0), ("levels", 8.0)]
    first, second = (with_settings(find_device("epiram"), ArrayDesign(), each) for each in (settings, settings[::-1]))
    assert first == second
    device, _ = first
    assert device.high_spread * (device.g_max - device.g_min) == pytest.approx(0.1 * device.g_max)
    assert device.low_spread * (device.g_max - device.g_min) == pytest.approx(0.1 * device.g_min)


@pytest.mark.parametrize(
    ("synapse", "name", "line"),
    [
        ("ideal", "c2c", "c2c: ideal has a continuum of states and no pulses; give it states with levels=N"),
        ("pcm-ibm", "nonlinearity", "nonlinearity: pcm-ibm has a continuum of states and no pulses"),
        ("pcm-ibm", "drift", "drift: pcm-ibm has a law of its own for what writing and time do (phase-change)"),
        ("rram-wan2022", "program_error", "program_error: rram-wan2022 has a law of its own"),
    ],
)
def test_a_figure_that_a_device_does_not_have_is_refused(synapse, name, line):
    assert line_of(with_setting, find_device(synapse), ArrayDesign(), name, 0.1).startswith(line)


def test_states_bring_the_figures_of_pulses():
    device, _ = with_settings(find_device("ideal"), ArrayDesign(), [("c2c", 0.1), ("levels", 16)])
    assert (device.levels, device.cycle_noise) == (16, 0.1)


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        ({"synapse": "epiram", "seed": -1}, "seed -1: must be from 0"),
        ({"synapse": "epiram", "seed": 2**32 - 1, "chips": 2}, "seed 4294967296: must be from 0"),
        ({"synapse": "rram-wan2022", "design": ArrayDesign(seconds=1e6)}, "rram-wan2022, 1e+06 seconds after writing"),
        ({"synapse": "ideal", "axes": (parse_axis("c2c=0,.1"),)}, "c2c: ideal has a continuum of states"),
    ],
)
def test_faults_come_before_the_network_is_looked_for(wanted, line):
    assert line in line_of(emulate_network, "no such network", WantedArrays(**wanted), Options())


def test_a_plot_without_a_sweep_is_refused():
    found = line_of(emulate_network, "no such network", WantedArrays("epiram"), Options(), Path("x.svg"))
    assert found == "--plot x.svg: draws a sweep; add --sweep"

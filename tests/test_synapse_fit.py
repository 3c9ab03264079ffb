"""What went into a synthetic measurement comes out of the fit, within its intervals as often as they say."""

import dataclasses
import json
import math
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import torch
from offramp.devices.synapse.catalogue import catalogue, load_device_file
from offramp.devices.synapse.cells import Cells
from offramp.devices.synapse.device import Pulse, SynapseDevice
from offramp.devices.synapse.draws import Draws
from offramp.devices.synapse.fit import curve_of, device_toml, fit_pulses, measured_device
from offramp.devices.synapse.fit_plot import fit_svg, write_fit_plot
from offramp.devices.synapse.nonlinearity import curvature_of
from offramp.devices.synapse.pulse_file import PulseTrain, read_pulses
from offramp.errors import BadInput

# Labels, pulses and ends of published devices; the last is all but straight.
AG_ASI = (2.4, -4.88, 97, 100, 3.08e-9, 3.85e-8)
EPIRAM = (0.5, -0.5, 64, 64, 2.46e-7, 1.235e-5)
GST = (0.105, 2.4, 100, 100, 1.07e-5, 2.12e-4)
FLAT = (0.02, -0.02, 64, 64, 1e-6, 1e-5)
CURVES = ("g_min", "g_max", "nonlinearity_up", "nonlinearity_down")


def measured(figures, seed=0, cycle_noise=0.0, read_noise=0.0, cycles=3, every=1, device="", first=0):
    """Sweeps up and down by the recursion of the exponential response, its noise cut off at the ends of the range."""
    label_up, label_down, *pulses, low, high = figures
    generator, state, trains = np.random.default_rng(seed), 0.0, []
    bends = (1.0 / curvature_of(torch.tensor([label_up, label_down], dtype=torch.float64))).tolist()
    for cycle in range(cycles):
        for direction, bend, count in zip((1, -1), bends, pulses):
            factor = math.exp(-direction * bend / count)
            end = 1 / (1 - math.exp(-bend))
            states = [state]
            for _ in range(count):
                state = end - (end - state) * factor + cycle_noise * generator.standard_normal()
                state = min(max(state, 0.0), 1.0)
                states.append(state)
            clean = low + (high - low) * np.array(states)
            read = (clean * (1 + read_noise * generator.standard_normal(count + 1))).clip(min=0.0)
            kept = slice(first, None, every)
            continues = bool(trains) and first == 0
            numbers = np.arange(count + 1)
            trains.append(PulseTrain(numbers[kept], read[kept], direction, device, str(cycle), continues=continues))
    return trains


def hits(figures, names, cycle_noise, read_noise, cycles):
    """In how many of 40 fits each interval holds the truth."""
    truth = dict(zip(("nonlinearity_up", "nonlinearity_down", "pulses_up", "pulses_down", "g_min", "g_max"), figures))
    truth |= {"cycle_noise": cycle_noise, "read_noise": read_noise}
    found = dict.fromkeys(names, 0)
    for seed in range(40):
        intervals = fit_pulses(measured(figures, seed, cycle_noise, read_noise, cycles), "x").intervals
        for name in names:
            found[name] += intervals[name][0] <= truth[name] <= intervals[name][1]
    return found


@pytest.mark.parametrize("figures", [AG_ASI, EPIRAM, GST, FLAT, (9.0, -9.0, 30, 40, 0.0, 1e-3)])
@pytest.mark.parametrize("cycles", [1, 3])
def test_without_noise_every_figure_is_found(figures, cycles):
    fit = fit_pulses(measured(figures, cycles=cycles), "x")
    found = fit.device
    assert found.response == "exponential"
    assert (found.nonlinearity_up, found.nonlinearity_down) == pytest.approx(figures[:2], abs=1e-5)
    assert (found.pulses_up, found.pulses_down) == figures[2:4]
    assert (found.g_min, found.g_max) == pytest.approx(figures[4:], abs=1e-5 * figures[5])
    assert found.cycle_noise < 1e-5
    assert found.read_noise < 1e-5
    assert fit.residual < 1e-6
    assert all(low <= truth <= high for truth, (low, high) in zip(figures[:2], list(fit.intervals.values())[2:4]))


@pytest.mark.parametrize(
    ("figures", "cycle_noise", "read_noise", "cycles"),
    [
        (AG_ASI, 0.01, 0.0, 3),
        (AG_ASI, 0.035, 0.0, 3),
        (EPIRAM, 0.01, 0.0, 3),
        (FLAT, 0.035, 0.0, 3),
        (EPIRAM, 0.01, 0.01, 3),
    ],
)
def test_intervals_hold_the_truth_as_often_as_they_say(figures, cycle_noise, read_noise, cycles):
    found = hits(figures, (*CURVES, "cycle_noise"), cycle_noise, read_noise, cycles)
    assert all(found[name] >= 34 for name in CURVES), found
    assert found["cycle_noise"] >= 32, found


def test_noise_that_stays_and_noise_of_reading_are_told_apart():
    for cycle_noise, read_noise in ((0.01, 0.0), (0.0, 0.02), (0.01, 0.02), (0.001, 0.01)):
        fit = fit_pulses(measured(EPIRAM, 3, cycle_noise, read_noise, 6), "x")
        for name, truth in (("cycle_noise", cycle_noise), ("read_noise", read_noise)):
            low, high = fit.intervals[name]
            assert low <= truth <= high, (name, truth, low, high)
            assert getattr(fit.device, name) == pytest.approx(truth, abs=max(0.15 * truth, 6e-4))


def test_what_cells_do_is_what_is_found():
    device = catalogue()["ag-asi"]
    cells, trains = Cells([device], 1, 6, [Draws(5)]), []
    for direction, count in ((1, device.pulses_up), (-1, device.pulses_down)):
        readings = [cells.conductance()[0, 0].numpy().copy()]
        for pulse in range(count):
            cells.pulse(torch.full((1, 1, 6), direction, dtype=torch.int32), len(trains) * 1000 + pulse)
            readings.append(cells.conductance()[0, 0].numpy().copy())
        table = np.array(readings, dtype=np.float64).T
        trains += [PulseTrain(np.arange(count + 1), row, direction, cycle=str(cell)) for cell, row in enumerate(table)]
    fit = fit_pulses(trains, "again")
    for name in (*CURVES, "cycle_noise", "read_noise"):
        assert fit.intervals[name][0] <= getattr(device, name) <= fit.intervals[name][1], name
    assert fit.device.nonlinearity_up == pytest.approx(2.4, abs=1.2)
    assert fit.device.nonlinearity_down == pytest.approx(-4.88, abs=0.8)
    assert fit.device.cycle_noise == pytest.approx(0.035, rel=0.1)


def test_a_label_that_cannot_be_told_from_0_is_linear():
    fit = fit_pulses(measured(FLAT, 2, 0.01), "x")
    assert fit.device.response == "linear"
    assert (fit.device.nonlinearity_up, fit.device.nonlinearity_down) == (0.0, 0.0)
    assert fit.intervals["nonlinearity_up"][0] < 0.0 < fit.intervals["nonlinearity_up"][1]
    assert fit_pulses(measured(AG_ASI, 1, 0.01), "x").device.response == "exponential"


def test_readings_may_be_missing_from_the_start_and_in_between():
    for keywords in ({"first": 1}, {"every": 4}, {"every": 4, "first": 4}):
        fit = fit_pulses(measured((2.4, -4.88, 96, 100, 3e-9, 4e-8), 2, **keywords), "x")
        assert (fit.device.pulses_up, fit.device.pulses_down) == (96, 100)
        assert fit.device.nonlinearity_up == pytest.approx(2.4, abs=1e-4)
        assert fit.device.nonlinearity_down == pytest.approx(-4.88, abs=1e-4)
        noisy = fit_pulses(measured((2.4, -4.88, 96, 100, 3e-9, 4e-8), 2, 0.01, **keywords), "x")
        assert noisy.intervals["cycle_noise"][0] < 0.01 < noisy.intervals["cycle_noise"][1]


def test_long_sweeps_are_thinned_out():
    fit = fit_pulses(measured((1.0, -2.0, 3000, 2000, 1e-6, 1e-5), 4, 0.002, cycles=1), "x")
    for name, truth in (("nonlinearity_up", 1.0), ("nonlinearity_down", -2.0), ("cycle_noise", 0.002)):
        assert fit.intervals[name][0] <= truth <= fit.intervals[name][1], name
    assert fit.device.pulses_up == 3000


def test_an_end_that_only_one_walk_came_near_is_left_open_outwards():
    for seed in range(8):
        one, many = (fit_pulses(measured(EPIRAM, seed, 0.02, cycles=cycles), "x") for cycles in (1, 6))
        assert one.intervals["g_max"][1] >= EPIRAM[5]
        assert many.intervals["g_max"][1] - many.device.g_max < 0.04 * EPIRAM[5]


def test_devices_are_averaged_and_their_spread_is_found():
    generator, trains = np.random.default_rng(2), []
    for number in range(12):
        high, low, up, down = generator.standard_normal(4) * (0.1, 0.02, 0.3, 0.3)
        figures = (2.0 + up, -3.0 + down, 50, 50, 1e-6 + 9e-6 * low, 1e-5 + 9e-6 * high)
        trains += measured(figures, number, 0.003, device=f"d{number}")
    fit = fit_pulses(trains, "x")
    assert (fit.devices, fit.sweeps, fit.method) == (12, 72, "Student's t over 12 devices")
    spreads = {"high_spread": 0.1, "low_spread": 0.02, "nonlinearity_spread": 0.3}
    for name, truth in spreads.items():
        assert fit.intervals[name][0] <= truth <= fit.intervals[name][1], name
        assert getattr(fit.device, name) == pytest.approx(truth, rel=0.4)
    for name, truth in zip(CURVES, (1e-6, 1e-5, 2.0, -3.0)):
        assert fit.intervals[name][0] <= truth <= fit.intervals[name][1], name
    alike = [each for number in range(5) for each in measured(EPIRAM, number, 0.01, device=f"d{number}")]
    assert fit_pulses(alike, "x").intervals["nonlinearity_spread"][0] == 0.0


def test_the_method_is_stated_and_figures_become_json():
    assert fit_pulses(measured(AG_ASI, cycles=4), "x").method == "Jacobian"
    fit = fit_pulses(measured(AG_ASI, 0, 0.01, cycles=5), "mine", "a title", "a source")
    assert fit.method == "Jacobian, widened to the scatter of the sweeps"
    document = json.loads(json.dumps(dataclasses.asdict(fit), allow_nan=False))
    assert document["device"]["title"] == "a title"
    assert document["device"]["nonlinearity_up"] == fit.device.nonlinearity_up
    assert document["intervals"]["g_min"] == list(fit.intervals["g_min"])
    assert (document["sweeps"], document["devices"], document["residual"]) == (10, 1, fit.residual)
    assert fit == fit_pulses(measured(AG_ASI, 0, 0.01, cycles=5), "mine", "a title", "a source")


def test_what_cannot_be_fitted_ends_in_one_line():
    sweeps = measured(EPIRAM, cycles=1)
    flat = [PulseTrain(each.pulses, np.full(65, 1e-6), each.direction) for each in sweeps]
    other = [PulseTrain(each.pulses, each.conductance, 1, "b") for each in sweeps[:1]]
    for trains, message in (
        ([], "synapse x: no sweep to fit; give at least a rising and a falling one"),
        (sweeps[:1], "synapse x: no falling sweep; each device needs one in either direction"),
        (sweeps[1:], "synapse x: no rising sweep; each device needs one in either direction"),
        (sweeps + other, "synapse x, device b: no falling sweep; each device needs one in either direction"),
        (flat, "synapse x: all readings are the same; a response needs a range"),
    ):
        with pytest.raises(BadInput) as fault:
            fit_pulses(trains, "x")
        assert str(fault.value) == message
    with pytest.raises(BadInput, match="no falling sweep"):
        measured_device(sweeps[:1], "x")


@pytest.mark.parametrize("seed", range(3, 7))
def test_whatever_goes_up_and_down_is_fitted(seed):
    generator = np.random.default_rng(seed)
    trains = []
    for direction in (1, -1) * int(generator.integers(1, 4)):
        count = int(generator.integers(3, 40))
        pulses = np.cumsum(generator.integers(1, 6, count))
        shape = np.sort(generator.random(count) ** generator.uniform(0.05, 20))[::direction]
        trains.append(PulseTrain(pulses, shape * 10.0 ** generator.uniform(-12, 0), direction))
    fit = fit_pulses(trains, "x")
    assert all(math.isfinite(end) for ends in fit.intervals.values() for end in ends)
    ElementTree.fromstring(fit_svg(fit, trains))


def test_a_measured_device_follows_the_mean_sweep():
    trains = measured(AG_ASI, 0, cycles=2)
    device = measured_device(trains, "mine")
    exponential = SynapseDevice("x", "x", "x", *AG_ASI[4:], "exponential", 97, 100, 2.4, -4.88)
    assert (device.response, device.pulses_up, device.pulses_down) == ("measured", 97, 100)
    assert (device.g_min, device.g_max) == pytest.approx(AG_ASI[4:])
    for curve, direction in ((device.curve_up, 1), (device.curve_down, -1)):
        wanted = curve_of(exponential, direction, np.arange(len(curve)))
        assert AG_ASI[4] + (AG_ASI[5] - AG_ASI[4]) * np.array(curve) == pytest.approx(wanted, rel=1e-6)
    counted_from_1 = measured_device(measured(AG_ASI, 0, cycles=2, first=1), "mine")
    assert counted_from_1.curve_up == pytest.approx(device.curve_up, abs=1e-9)
    every_fifth = measured_device(measured((1.0, -1.0, 50, 50, 0.0, 1e-6), every=5), "mine")
    assert len(every_fifth.curve_up) == 51


def test_a_mean_that_turns_back_is_no_curve():
    with pytest.raises(BadInput, match=r"pulse \d+ of the mean falling sweep goes the wrong way, so it is no curve"):
        measured_device([*measured(AG_ASI, cycles=1)[:1], *measured(AG_ASI, 1, 0.03, cycles=1)[1:]], "mine")


def test_a_device_as_toml_reads_back(tmp_path):
    fitted = fit_pulses(measured(AG_ASI, 0, 0.01, 0.01), "fitted").device
    pulse = Pulse(-2.8, 3e-4)
    odd = SynapseDevice("wei-rd_n.me", 'a "t"', "s\x7fs".replace("\x7f", "\u00b5"), 0, 1, levels=0, read=pulse, drift=1)
    devices = [fitted, measured_device(measured(AG_ASI), "curve-1"), odd]
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(device_toml(device, "fitted to a.csv\n[x]\n") for device in devices), encoding="utf-8")
    assert load_device_file(path) == {device.name: device for device in devices}
    text = device_toml(fitted, "two\nlines\x1b")
    assert text.startswith("# two\n# lines")
    assert "drift" not in text
    assert "[fitted]\n" in text
    assert "read = { volts = -2.8, seconds = 0.0003 }" in device_toml(odd)


def test_the_picture_is_xml_with_every_name_escaped(tmp_path):
    trains = measured(AG_ASI, 0, 0.01)
    fit = fit_pulses(trains, "<b>&\"'\x00\x1b\ud800 " + "long " * 40)
    text = fit_svg(fit, trains)
    root = ElementTree.fromstring(text)
    words = ["".join(each.itertext()) for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[0].startswith("<b>&\"' long")
    assert len(words[0]) <= 48
    for wanted in ("Conductance (nS)", "Pulses, share of a sweep", "label down", "rising (LTP): readings, fit"):
        assert wanted in words
    low, high = fit.intervals["nonlinearity_down"]
    assert f"−{-low:.2f} to −{-high:.2f}" in words
    write_fit_plot(tmp_path / "a.svg", fit, trains)
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == text
    with pytest.raises(BadInput, match="cannot write"):
        write_fit_plot(tmp_path / "a.svg" / "b.svg", fit, trains)


def test_a_file_becomes_a_device(tmp_path):
    path = tmp_path / "a.csv"
    rows = [f"{p},{g:.9g},{t.direction},{t.cycle}" for t in measured(EPIRAM) for p, g in zip(t.pulses, t.conductance)]
    path.write_text("\n".join(["pulse,conductance,direction,cycle", *rows]), encoding="utf-8")
    fit = fit_pulses(read_pulses(path, strict=True), "mine")
    assert (fit.device.nonlinearity_up, fit.device.nonlinearity_down) == pytest.approx((0.5, -0.5), abs=1e-4)
    assert (fit.device.pulses_up, fit.sweeps) == (64, 6)

"""The catalogue of synapse devices holds what was published, and a user's own file is held to the same form."""

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offramp.devices.synapse import catalogue as module
from offramp.devices.synapse.catalogue import (
    catalogue,
    device_from_table,
    find_device,
    load_device_file,
    published_accuracies,
)
from offramp.devices.synapse.device import Pulse, SynapseDevice
from offramp.devices.synapse.nonlinearity import curvature_of
from offramp.errors import BadInput

# As published: states, pulses up and down where the simulator's code tells them apart, labels, ohms when on, on/off,
# volts and seconds of a pulse up and down, noise from cycle to cycle as a share of the range (bounds where "<").
PUBLISHED = {
    "ag-asi": (97, 97, 100, 2.4, -4.88, 26e6, 12.5, (3.2, 300e-6), (-2.8, 300e-6), 0.035),
    "taox-tio2": (102, 102, 102, 1.85, -1.79, 5e6, 2, (3, 40e-3), (-3, 10e-3), 0.01),
    "taox-hfox": (128, 128, 128, 0.04, -0.63, 100e3, 10, (1.6, 50e-9), (1.6, 50e-9), 0.037),
    "pcmo": (50, 50, 50, 3.68, -6.76, 23e6, 6.84, (-2, 1e-3), (2, 1e-3), 0.01),
    "alox-hfo2": (40, 40, 40, 1.94, -0.61, 16.9e3, 4.43, (0.9, 100e-6), (-1, 100e-6), 0.05),
    "gst-pcm": (100, 100, 100, 0.105, 2.4, 4.71e3, 19.8, (0.7, 6e-6), (3, 125e-9), 0.015),
    "epiram": (64, 64, 64, 0.5, -0.5, 81e3, 50.2, (5, 5e-6), (-3, 5e-6), 0.02),
    "hzo-fefet": (32, 32, 32, 1.75, 1.46, 559.28e3, 45, (3.65, 75e-9), (-2.95, 75e-9), 0.005),
}
# Steps linear in the weight: smallest step, w_min, w_max, gamma up and down.
LINEAR_STEPS = {
    "capacitor": (0.005, -1.0, 1.0, 0.05, 0.05),
    "ecram": (0.002, -0.8276, 1.1724, 0.1153, 0.5085),
    "ecram-mo": (2.8214e-4, -0.8286, 1.1714, 0.4152, 0.7342),
}
GOOD = {"title": "mine", "source": "measured 2025", "g_min": 1e-6, "g_max": 1e-5}


@pytest.mark.parametrize("name", PUBLISHED)
def test_entries_are_the_published_figures(name):
    device = catalogue()[name]
    states, up, down, label_up, label_down, ohms, on_off, pulse_up, pulse_down, noise = PUBLISHED[name]
    assert (device.states, device.pulses_up, device.pulses_down) == (states, up, down)
    assert (device.nonlinearity_up, device.nonlinearity_down, device.cycle_noise) == (label_up, label_down, noise)
    assert (device.write_up, device.write_down) == (Pulse(*pulse_up), Pulse(*pulse_down))
    assert 1 / device.g_max == pytest.approx(ohms, rel=1e-6)
    assert device.on_off == pytest.approx(on_off, rel=1e-6)
    assert device.response == "exponential"


def test_every_device_has_a_dated_source_and_its_own_name():
    devices = catalogue()
    assert len(devices) >= 12
    for name, device in devices.items():
        assert device.name == name
        assert device.title
        assert re.search(r"\b(19|20)\d\d\b", device.source), name
        assert len(device.source) > 40


def test_every_figure_of_the_file_has_a_comment_with_its_source():
    for line in (Path(module.__file__).parent / "catalogue.toml").read_text(encoding="utf-8").splitlines():
        field = line.partition(" = ")[0]
        if " = " in line and not line.startswith("#") and field not in ("title", "source", "response"):
            assert re.search(r" # \S", line), line


def test_a_changed_copy_leaves_the_catalogue_as_it_is():
    catalogue().clear()
    assert find_device("epiram").name == "epiram"


def test_constant_steps_are_those_of_the_preset():
    device = catalogue()["gokmen-vlasov-rpu"]
    assert (device.response, device.pulses_up, device.pulses_down) == ("constant-step", 1250, 1250)  # 2 / 0.0016
    assert (device.high_spread, device.low_spread) == (0.15, 0.15)  # 0.3 of a bound, which is half of the range
    assert (device.step_spread, device.cycle_step_noise, device.asymmetry_spread) == (0.3, 0.3, 0.01)


@pytest.mark.parametrize("name", LINEAR_STEPS)
def test_an_exponential_response_is_a_step_linear_in_the_weight(name):
    device = catalogue()[name]
    step, low, high, gamma_up, gamma_down = LINEAR_STEPS[name]
    labels = torch.tensor([device.nonlinearity_up, device.nonlinearity_down], dtype=torch.float64)
    a_up, a_down = curvature_of(labels).tolist()
    b_up, b_down = (1 / (1 - math.exp(-1 / a)) for a in (a_up, a_down))
    for weight in (low, low / 2, 0.0, high / 2, high):
        state = (weight - low) / (high - low)
        up = (b_up - state) * -math.expm1(-1 / (a_up * device.pulses_up)) * (high - low)
        down = (state - b_down) * -math.expm1(1 / (a_down * device.pulses_down)) * (high - low)
        assert up == pytest.approx(step * (1 - gamma_up * weight / high), rel=1e-3)
        assert down == pytest.approx(step * (1 - gamma_down * weight / low), rel=1e-3)


def test_soft_bounds_have_the_steps_of_the_preset():
    device = catalogue()["reram-softbounds"]
    step, low, high = 0.002, -0.75, 1.25
    for weight in (low, 0.0, 0.25, high):
        state = (weight - low) / (high - low)
        assert 2 * (1 - state) / device.pulses_up * 2 == pytest.approx(step * (1 - weight / high), abs=1e-12)
        assert 2 * state / device.pulses_down * 2 == pytest.approx(step * (1 - weight / low), abs=1e-12)
    assert device.cycle_noise == 3.75 * step / 2


@pytest.mark.parametrize(
    ("name", "micro_siemens", "coefficients"),
    [("pcm-ibm", 25.0, (0.26348, 1.9650, -1.1731)), ("rram-wan2022", 40.0, (0.348, 16.030, -43.853, 45.393, -16.815))],
)
def test_errors_of_programming_are_the_root_mean_square_of_the_fits(name, micro_siemens, coefficients):
    device = catalogue()[name]
    share = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    deviation = sum(c * share**power for power, c in enumerate(coefficients))
    assert device.program_error == pytest.approx(float(deviation.square().mean().sqrt()) / micro_siemens, rel=2e-3)
    assert device.verify_tolerance == pytest.approx(3 * device.program_error, rel=1e-2)
    assert (device.g_max, device.states) == (pytest.approx(micro_siemens * 1e-6), 0)


def test_the_ideal_device_has_no_fault():
    device = catalogue()["ideal"]
    assert (device.g_min, device.states, device.response) == (0.0, 0, "linear")
    quiet = [each.name for each in fields(SynapseDevice) if re.search("spread|noise|error|stuck$|^drift$", each.name)]
    assert all(getattr(device, name) == 0 for name in quiet)


def test_published_accuracies_are_of_devices_in_the_catalogue():
    order = ["epiram", "gst-pcm", "hzo-fefet", "taox-hfox", "ag-asi", "pcmo", "alox-hfo2"]
    accuracies = published_accuracies()
    assert sorted(accuracies, key=accuracies.__getitem__, reverse=True) == order
    assert set(order) < set(catalogue())


# A user's own file


@pytest.fixture
def write(tmp_path):
    def written(text: str | bytes) -> Path:
        path = tmp_path / "mine.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def line_of(call, *arguments) -> str:
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FIELDS = 'title = "mine"\nsource = "measured 2025"\ng_min = 1e-6\ng_max = 1e-5\n'


def test_a_file_gives_its_devices(write):
    path = write(f"[first]\n{FIELDS}write_up = {{ volts = 1, seconds = 1e-6 }}\n[second]\n{FIELDS}levels = 0\n")
    devices = load_device_file(path)
    assert devices["first"].write_up == Pulse(1.0, 1e-6)
    assert find_device(f"{path}:second") == devices["second"]
    assert "holds 2 synapses; name one, as FILE.toml:NAME, of first, second" in line_of(find_device, str(path))
    assert "holds no synapse 'secnd'; did you mean second?; it holds first, second" in line_of(
        find_device, f"{path}:secnd"
    )


def test_a_file_of_one_device_needs_no_name(write):
    curves = 'response = "measured"\ncurve_up = [0, 0.7, 1]\ncurve_down = [1, 0.2, 0]\n'
    for mark in ("", "\ufeff"):  # some editors put a mark of the byte order first
        assert find_device(str(write(f"{mark}[mine]\n{FIELDS}{curves}"))).curve_up == (0.0, 0.7, 1.0)


def test_an_unknown_name_lists_the_known_and_suggests_the_nearest():
    line = line_of(find_device, "EpiRAN")
    assert line.startswith("synapse 'EpiRAN' is not known; did you mean epiram?; known: ag-asi, taox-tio2,")
    assert line.endswith("; or give a file of your own, FILE.toml or FILE.toml:NAME")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "holds no device; give each its table, as [mine], with title, source, g_min, g_max"),
        ("g_max = 1e-5", "'g_max' stands outside a device; put a device's fields under its name, as [mine]"),
        ("[mine\n", "no TOML (Expected ']' at the end of a table declaration"),
        (b"\xff\xfe", "no TOML ('utf-8' codec can't decode"),
        ("[mine]\nx = " + "[" * 5000, "no TOML ("),
        (
            f'["a\\nb"]\n{FIELDS}',
            r"synapse 'a\nb': a name must be of letters, digits, '.', '_' and '-'; give it another",
        ),
    ],
)
def test_a_file_that_is_none_is_said_to_be(write, text, found):
    path = write(text)
    line = line_of(load_device_file, path)
    assert line.startswith(f"{path}: ")
    assert found in line


def test_a_file_that_cannot_be_read(tmp_path):
    assert "absent.toml: cannot read (No such file or directory); check" in line_of(
        find_device, str(tmp_path / "absent.toml")
    )
    assert "cannot read (Is a directory)" in line_of(load_device_file, tmp_path)
    assert "cannot read (embedded null byte)" in line_of(find_device, "a\0.toml")


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"gmax": 1e-5}, "gmax is no field; did you mean g_max?"),
        ({"zzz": 1}, "zzz is no field"),
        ({"g_max": "1e-5"}, "g_max must be a number, got '1e-5'"),
        ({"g_max": True}, "g_max must be a number, got True"),
        ({"g_min": math.nan}, "g_min must be a number, got nan"),
        ({"drift": 10**400}, "drift must be a number, got 1000"),
        ({"pulses_up": 1.5}, "pulses_up must be a whole number of at most 1000000000, got 1.5"),
        ({"levels": 10**10}, "levels must be a whole number of at most 1000000000, got 10000000000"),
        ({"title": 3}, "title must be a line of text, got 3"),
        ({"source": " \n"}, r"source must be a line of text, got ' \n'"),
        ({"curve_up": 1.0}, "curve_up must be a list of numbers, as [0.0, 0.5, 1.0], got 1.0"),
        ({"curve_up": [0, math.nan, 1]}, "curve_up[1] must be a number, got nan"),
        ({"read": 0.2}, "read must be a pulse, as { volts = 1.5, seconds = 1e-6 }, got 0.2"),
        ({"read": {"volts": 1}}, "read must be a pulse, as { volts = 1.5, seconds = 1e-6 }, got {'volts': 1}"),
        ({"read": {"volts": math.inf, "seconds": 1}}, "read.volts must be a number, got inf"),
        ({"read": {"volts": 0.1, "seconds": 0}}, "read.seconds must be above 0, got 0"),
        ({"g_min": 2e-5}, "g_min must be from 0 to below g_max (1e-05), got 2e-05"),
        ({"response": "cubic"}, "response must be one of linear, constant-step, soft-bounds, exponential, measured"),
        ({"nonlinearity_up": 11}, "nonlinearity_up must be from -7 to 9, got 11"),
        ({"stuck": 2}, "stuck must be a share from 0 to 1, got 2"),
        ({"response": "measured"}, "curve_up must have 2 points or more, got 0"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_bound(changes, found):
    line = line_of(device_from_table, "mine", {**GOOD, **changes})
    assert line.startswith("synapse mine: ")
    assert found in line


@pytest.mark.parametrize("field", GOOD)
def test_a_field_that_is_missing_is_asked_for(field):
    line = line_of(device_from_table, "mine", {key: value for key, value in GOOD.items() if key != field})
    assert re.fullmatch(f"synapse mine: {field} is missing: give [a-z ]+", line)


def test_all_faults_of_a_device_stand_in_one_line(write):
    path = write('[mine]\nsource = "2025"\ng_min = 1e-6\ngmax = 1\nlevels = "many"\nstuck = 2\nread = 1\n')
    assert line_of(find_device, str(path)) == (
        f"{path}: synapse mine: gmax is no field; did you mean g_max?; title is missing: give material and kind as text"
        "; g_max is missing: give the highest conductance in siemens"
        "; levels must be a whole number of at most 1000000000, got 'many'"
        "; read must be a pulse, as { volts = 1.5, seconds = 1e-6 }, got 1; stuck must be a share from 0 to 1, got 2"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["volts", "seconds", "x"]), inner),
    max_leaves=6,
)
KEYS = st.sampled_from([each.name for each in fields(SynapseDevice)]) | st.text(max_size=8)


def line_or_device(call, *arguments) -> str | SynapseDevice | dict:
    """What a call gives, or the one line that it raises; anything else that it raises fails the test."""
    try:
        return call(*arguments)
    except BadInput as fault:
        return str(fault)


@given(st.text(max_size=6), st.dictionaries(KEYS, VALUES, max_size=8), st.booleans())
def test_any_table_gives_a_device_or_one_line(name, table, is_complete):
    found = line_or_device(device_from_table, name, {**GOOD, **table} if is_complete else table)
    assert isinstance(found, SynapseDevice) or found.isprintable()


@given(st.text(max_size=40), st.sampled_from(["", ".toml", ".toml:mine"]))
def test_any_text_gives_a_device_or_one_line(text, ending):
    found = line_or_device(find_device, text + ending)
    assert isinstance(found, SynapseDevice) or found.isprintable()


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("any") / "any.toml"


@given(st.binary(max_size=30) | st.text(max_size=30).map(lambda text: f"[mine]\n{FIELDS}{text}".encode()))
def test_any_file_gives_devices_or_one_line(scratch, content):
    scratch.write_bytes(content)
    found = line_or_device(load_device_file, scratch)
    assert isinstance(found, dict) or found.isprintable()

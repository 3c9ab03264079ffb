"""Settings of a sweep: what a name sets, how values are read, and a line for each that cannot be."""

import math
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from offramp.devices.synapse.design import ArrayDesign
from offramp.emulation.settings import (
    MOST_POINTS,
    SETTINGS,
    Axis,
    grid,
    parse_axis,
    parse_setting,
    with_setting,
)
from offramp.errors import BadInput

sys.path.append(str(Path(__file__).parent))
from small_synapses import line_of, synapse

DEVICE, DESIGN = synapse(g_min=1.0, g_max=5.0, pulses_up=64, pulses_down=50), ArrayDesign()
MEASURED = synapse("measured", curve_up=(0.0, 0.3, 1.0), curve_down=(1.0, 0.0))


def changes(name, value, device=DEVICE):
    """The fields that a setting changes, with what they become."""
    found = {}
    for before, after in zip((device, DESIGN), with_setting(device, DESIGN, name, value)):
        for field in fields(before):
            if getattr(before, field.name) != getattr(after, field.name):
                found[field.name] = getattr(after, field.name)
    return found


CASES = {
    ("levels", 16): {"levels": 16, "pulses_up": 15, "pulses_down": 15},
    ("levels", 0): {"levels": 0},
    ("on_off", 10): {"g_min": 0.5},
    ("d2d", 0.1): {"high_spread": 0.1 * 5 / 4, "low_spread": 0.1 * 1 / 4},
    ("c2c", 0.02): {"cycle_noise": 0.02},
    ("nonlinearity", 2.4): {"response": "exponential", "nonlinearity_up": 2.4, "nonlinearity_down": -2.4},
    ("nonlinearity_spread", 0.3): {"nonlinearity_spread": 0.3},
    ("program_error", 0.01): {"program_error": 0.01},
    ("read_noise", 0.03): {"read_noise": 0.03},
    ("stuck", 0.5): {"stuck": 0.5},
    ("drift", 0.05): {"drift": 0.05},
    ("adc", 8): {"adc_bits": 8},
    ("adc_share", 0.99): {"adc_share": 0.99},
    ("dac", 6): {"dac_bits": 6},
    ("rows", 64): {"rows": 64},
    ("columns", 32): {"columns": 32},
    ("slice", 2): {"slice_bits": 2},
    ("clip", 0.99): {"clip_share": 0.99},
    ("wire", 2.5): {"wire_ohms": 2.5},
    ("verify", 5): {"verify_rounds": 5},
    ("time", 3600): {"seconds": 3600.0},
}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_setting_changes_its_figures_and_no_other(name, value):
    found, wanted = changes(name, float(value)), CASES[name, value]
    assert found.keys() == wanted.keys()
    for field in wanted:
        assert found[field] == (wanted[field] if field == "response" else pytest.approx(wanted[field]))


def test_every_setting_has_been_tried_and_says_what_it_is():
    assert {name for name, _ in CASES} == set(SETTINGS)
    assert all(setting.meaning for setting in SETTINGS.values())


def test_a_nonlinearity_bends_both_curves_alike():
    assert changes("nonlinearity", -1.0) == {
        "response": "exponential",
        "nonlinearity_up": -1.0,
        "nonlinearity_down": 1.0,
    }


def test_whole_figures_become_whole_numbers():
    _, design = with_setting(DEVICE, DESIGN, "adc", 8.0)
    assert type(design.adc_bits) is int


def test_levels_leave_a_measured_curve_its_pulses():
    assert changes("levels", 4, MEASURED) == {"levels": 4}


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("levels", 2.5, "levels: must be a whole number, got 2.5"),
        ("adc", 7.9, "adc: must be a whole number, got 7.9"),
        ("levels", 1, "levels=1: synapse test: levels must be 2 or more, or 0 for a continuum, got 1"),
        ("levels", -3, "levels=-3: synapse test: levels must be 2 or more, or 0 for a continuum, got -3"),
        ("on_off", 1, "on_off=1: on_off must be above 1, got 1"),
        ("on_off", 0, "on_off=0: on_off must be above 1, got 0"),
        ("d2d", -0.1, "d2d=-0.1: synapse test: high_spread must be 0 or more, got -0.125"),
        ("c2c", -1, "c2c=-1: synapse test: cycle_noise must be 0 or more, got -1"),
        ("nonlinearity", 99, "nonlinearity=99: synapse test: nonlinearity_up must be from "),
        ("stuck", 1.5, "stuck=1.5: synapse test: stuck must be a share from 0 to 1, got 1.5"),
        ("adc", 17, "adc=17: arrays: adc_bits must be from 0 to 16, got 17"),
        ("rows", 0, "rows=0: arrays: rows must be from 1 to 65536, got 0"),
        ("clip", 0.2, "clip=0.2: arrays: clip_share must be from 0.5 to 1, got 0.2"),
        ("time", -1, "time=-1: arrays: seconds must be from 0 to 1e+10, got -1"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_its_bound(name, value, line):
    assert line_of(with_setting, DEVICE, DESIGN, name, value).startswith(line)


# What is typed


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("levels=2,4,8", "levels", (2.0, 4.0, 8.0)),
        ("d2d=0,.1,2e-1", "d2d", (0.0, 0.1, 0.2)),
        ("wire=5", "wire", (5.0,)),
        ("adc= 4 , 8", "adc", (4.0, 8.0)),
        ("levels=8,2,8,2", "levels", (8.0, 2.0)),
    ],
)
def test_an_axis_is_a_name_and_values_in_their_order(text, name, values):
    assert parse_axis(text) == Axis(name, values)


KNOWN = f"known are {', '.join(SETTINGS)}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("level=2", f"level=2: no figure is named level; did you mean levels? {KNOWN}"),
        ("zzz=2", f"zzz=2: no figure is named zzz; {KNOWN}"),
        ("=2", f"=2: no figure is named (nothing); {KNOWN}"),
        ("", f": no figure is named (nothing); {KNOWN}"),
        ("levels", "levels: levels takes numbers with commas between, as levels=1,2"),
        ("levels=", "levels=: levels takes numbers with commas between, as levels=1,2"),
        ("adc=4;8", "adc=4;8: adc takes numbers with commas between, as adc=1,2"),
        ("adc=4,,8", "adc=4,,8: adc takes numbers with commas between, as adc=1,2"),
        ("wire=1,inf", "wire=1,inf: wire takes finite numbers"),
        ("wire=-inf", "wire=-inf: wire takes finite numbers"),
        ("wire=nan", "wire=nan: wire takes finite numbers"),
        ("wire=1e999", "wire=1e999: wire takes finite numbers"),
    ],
)
def test_what_is_no_axis_is_said_to_be(text, line):
    assert line_of(parse_axis, text) == line


def test_a_setting_has_one_value():
    assert parse_setting("read_noise=.01") == ("read_noise", 0.01)
    assert parse_setting("adc=8,8") == ("adc", 8.0)
    assert line_of(parse_setting, "adc=4,8") == "--set adc=4,8: takes one value; several go to --sweep"


@given(st.text(max_size=30) | st.text("0123456789.,e-+naif", max_size=12).map("levels={}".format))
def test_any_text_is_an_axis_or_one_line(text):
    found = None
    with suppress(BadInput):
        found = parse_axis(text)
    if found is not None:
        assert all(math.isfinite(value) for value in found.values)
        assert text.startswith(f"{found.name}=") and found.name in SETTINGS
        assert len(set(found.values)) == len(found.values) <= text.count(",") + 1


# Grids


def test_a_grid_turns_its_last_axis_fastest():
    axes = [Axis("adc", (4.0, 8.0)), Axis("wire", (0.0, 1.0, 2.0))]
    assert grid(axes) == [{"adc": adc, "wire": wire} for adc in (4.0, 8.0) for wire in (0.0, 1.0, 2.0)]
    assert grid([]) == [{}]


def test_an_axis_appears_once():
    axes = [Axis("adc", (4.0,)), Axis("wire", (1.0,)), Axis("adc", (8.0,))]
    assert line_of(grid, axes) == "--sweep: adc appears twice; give its values in one"


def test_a_grid_has_a_largest_size():
    tens = [Axis(name, tuple(map(float, range(10)))) for name in ("adc", "dac", "wire")]
    assert len(grid(tens)) == MOST_POINTS == 1000
    line = "--sweep: more than 1000 combinations; take fewer values"
    assert line_of(grid, [*tens, Axis("time", (0.0, 1.0))]) == line

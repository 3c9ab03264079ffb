"""Emulated synapse arrays in the report: what is said of chips and of where they break."""

import sys
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from offramp.devices.synapse.design import ArrayDesign
from offramp.devices.synapse.device import SynapseDevice
from offramp.runtime.report.emulation import (
    DESIGN_DEFAULTS,
    DEVICE_DEFAULTS,
    converter_text,
    figures,
    joules_text,
    pulse_text,
    read_text,
    write_text,
)
from offramp.runtime.report.page import render
from offramp.runtime.report.sweep import break_text, sweep_charts, sweep_of, undrawn_text, value_text

sys.path.append(str(Path(__file__).parent))
from report_sample import emulated, sample_document, sample_emulation, spread
from test_report import HOSTILE, Page, hostile


def document_of(*emulations):
    return sample_document() | {"emulations": list(emulations)}


def swept(digital, name, means, half=0.0, **changes):
    """An emulation whose accuracy at each value of one figure is given, with intervals of that half width."""
    points = [
        {"settings": {name: float(value)}, **emulated(0.0), "accuracy": spread(mean, half)}
        for value, mean in means.items()
    ]
    sweep = {"axes": [{"name": name, "values": [*map(float, means)]}], "points": points, "plot": None}
    return sample_emulation() | {"digital_accuracy": digital, "sweep": sweep} | changes


def plain(text):
    return text.replace("\N{NO-BREAK SPACE}", " ")


def breaks(*arguments, **changes):
    return plain(break_text(sweep_of(swept(*arguments, **changes))))


def test_a_dist_without_emulations_has_no_section():
    for document in (sample_document(), document_of()):
        page = Page(render(document))
        assert "emulations" not in page.ids
        assert "Synapse arrays" not in page.text


def test_a_row_says_what_chips_do_and_what_they_take():
    page = Page(render(document_of(sample_emulation())))
    assert "emulations" in page.ids and "#emulations" in page.addresses
    assert "gst-pcm 5 85.9 % 85.5 % −0.40 85.2 to 85.7 % 99.1 % 99.0 to 99.2 % 62 1.12 M 38.7 nJ 19.9 %" in page.text
    assert "19.9 % 35.8 M pulses, 1.70 µJ" in page.text
    assert "Cells are read with pulses of 0.2 V for 10 ns: an assumption, since the device's entry" in page.text
    assert "DACs and the digital part are not counted" in page.text
    assert "500 held-out samples, seed of the first chip 0" in page.text
    assert "Accuracy breaks" not in page.text and "points of the sweep" not in page.text


def test_what_was_not_measured_is_said_to_be_so():
    changes = {"chips": 1, "accuracy": None, "digital_accuracy": None, "accuracies": []}
    changes |= {"converter_joules": 0.0, "write_joules": None}
    text = Page(render(document_of(sample_emulation() | changes))).text
    assert "gst-pcm 1 not measured not measured 99.1 % one chip 62 1.12 M" in text
    assert "ideal, not counted 35.8 M pulses, energy not known" in text


def test_a_sweep_is_plotted_and_every_point_stands_in_a_table():
    emulation = sample_emulation(adc=[4, 6, 0], levels=[8, 64])
    page = Page(render(document_of(emulation, emulation | {"synapse": "epiram"})))
    assert len(page.ids) == len(set(page.ids))
    assert {"emulation-1-1-title", "emulation-2-1-title"} <= set(page.ids)
    assert "Accuracy against adc" in page.text
    assert page.text.count("All 6 points of the sweep") == 2
    assert "4 8 83.6 % 83.1 % 84.1 % below −2.25 97.3 % 62 32.9 nJ" in page.text
    assert "ideal 64 85.9 % 85.7 % 86.1 % −0.01 99.5 % 62 31.0 nJ" in page.text


def test_figures_that_differ_from_the_defaults_are_listed():
    text = Page(render(document_of(sample_emulation()))).text
    for words in ("g max 213 nS", "g min 11 nS", "write up 0.7 V for 6 µs", "rows 128", "corrects offset yes"):
        assert words in text, words
    assert "curve up" not in text and "columns 256" not in text
    assert "Source of the device's figures: a letter of 2012" in text
    assert figures({"name": "x", "levels": 0, "unheard": 0}, DEVICE_DEFAULTS) == {"levels": 0, "unheard": 0}


def test_the_defaults_are_those_of_devices_and_arrays():
    device = {f.name: f.default for f in fields(SynapseDevice) if f.default is not MISSING}
    assert device | {"curve_up": [], "curve_down": []} == DEVICE_DEFAULTS
    assert {f.name: f.default for f in fields(ArrayDesign)} == DESIGN_DEFAULTS


@pytest.mark.parametrize(
    ("name", "means", "expected"),
    [
        ("c2c", {0.0: 0.9, 0.1: 0.885, 0.2: 0.87}, "first at c2c 0.2."),
        ("c2c", {0.2: 0.87, 0.1: 0.86, 0.0: 0.9}, "first at c2c 0.1."),
        ("adc", {4: 0.5, 6: 0.886, 8: 0.9}, "first at adc 4."),
        ("adc", {0: 0.9, 4: 0.5, 6: 0.7, 8: 0.9}, "first at adc 6."),
        ("adc", {4: 0.886, 6: 0.5, 8: 0.886, 0: 0.9}, "first at adc 6 (though not at 4)."),
        ("rows", {64: 0.9, 128: 0.9, 256: 0.889}, "nowhere in this sweep."),
        ("rows", {64: 0.2, 128: 0.3}, "at every value."),
    ],
)
def test_accuracy_breaks_first_where_its_interval_leaves_the_digital_by_a_point(name, means, expected):
    text = breaks(0.9, name, means, half=0.005)
    what = "its whole 95 % interval over chips lies more than 1 point below the digital program's 90.0 %"
    assert text == f"Accuracy breaks ({what}) {expected}"


@pytest.mark.parametrize("digital", [0.9, 0.98, 0.5, 0.37])
def test_a_point_below_is_not_more_than_a_point_below(digital):
    assert "nowhere" in breaks(digital, "c2c", {0: digital, 1: digital - 0.01})
    assert "first at c2c 1" in breaks(digital, "c2c", {0: digital, 1: digital - 0.0101})
    assert "nowhere" in breaks(digital, "c2c", {0: digital, 1: digital - 0.0101}, half=0.001)


def test_one_chip_has_no_interval_to_break():
    assert "(that of the one chip lies more than 1 point below" in breaks(0.9, "c2c", {0: 0.9}, chips=1)


def test_lines_that_break_alike_are_named_together():
    text = plain(break_text(sweep_of(sample_emulation(adc=[4, 6, 8], levels=[2, 8, 16, 0]))))
    assert text.endswith(" at every value for levels 2; first at adc 4 for levels 8, 16 and continuum.")
    text = plain(break_text(sweep_of(sample_emulation(adc=[4, 6], levels=[8], wire=[0, 1], c2c=[0]))))
    assert text.endswith(" first at adc 4 for levels 8 with wire 0 and c2c 0 and levels 8 with wire 1 and c2c 0.")


def test_without_labels_chips_are_held_to_the_digital_program():
    emulation = swept(0.9, "c2c", {0: 0.9, 0.1: 0.8}, accuracy=None, digital_accuracy=None)
    for point, mean in zip(emulation["sweep"]["points"], (1.0, 0.98), strict=True):
        point |= {"accuracy": None, "agreement": spread(mean, 0.001)}
    assert "Agreement breaks" in break_text(sweep_of(emulation))
    assert "program's 100 %) first at c2c 0.1." in plain(break_text(sweep_of(emulation)))
    (chart,) = sweep_charts(sweep_of(emulation), "x")
    assert chart.y_name == "Agreement (%)"
    assert "0.1 98.0 % 97.9 % 98.1 % below −2.00 62" in Page(render(document_of(emulation))).text


def test_points_that_lack_a_figure_are_left_out():
    emulation = sample_emulation(adc=[4, 6])
    del emulation["sweep"]["points"][0]["settings"]["adc"]
    assert [point["settings"] for point in sweep_of(emulation).points] == [{"adc": 6.0}]
    emulation["sweep"]["points"].pop()
    assert sweep_of(emulation) is None
    assert "points of the sweep" not in Page(render(document_of(emulation))).text


def test_a_hostile_name_stays_a_name():
    emulation = sample_emulation(adc=[4, 6], levels=[2, 4], wire=[0, 1])
    found = hostile(document_of(emulation))
    for axis, name in zip(found["emulations"][0]["sweep"]["axes"], "abc", strict=True):
        axis["name"] = HOSTILE + name
    for point in found["emulations"][0]["sweep"]["points"]:
        point["settings"] = {HOSTILE + new: value for new, value in zip("abc", point["settings"].values(), strict=True)}
    page = Page(render(found))
    assert page.tags.count("script") == 1 and "img" not in page.tags and page.handlers == []
    assert f"Accuracy against {HOSTILE}a" in page.text


def test_further_figures_give_charts_of_one_scale():
    sweep = sweep_of(sample_emulation(adc=[4, 6], levels=[2, 4], wire=[0, 10], c2c=[0, 0.1]))
    charts = sweep_charts(sweep, "s")
    assert [chart.title for chart in charts] == [
        f"Accuracy against adc, wire {wire}, c2c {c2c}" for wire in (0, 10) for c2c in (0, 0.1)
    ]
    assert len({chart.y_ticks for chart in charts}) == 1
    assert len({chart.slug for chart in charts}) == 4
    assert undrawn_text(sweep) == ""


def test_what_is_too_much_to_draw_is_said_and_stands_in_the_table():
    emulation = sample_emulation(adc=[4, 6], levels=range(2, 12), wire=range(8))
    charts = sweep_charts(sweep_of(emulation), "s")
    assert [len(chart.lines) for chart in charts] == [8] * 6
    assert [end.text for end in sorted(charts[0].ends[:], key=lambda end: end.number or 0)][-1] == "11"
    said = "Drawn are 8 of 10 values of levels and the first 6 of 8 combinations of wire; the table has all points."
    assert undrawn_text(sweep_of(emulation)) == said
    text = Page(render(document_of(emulation))).text
    assert said in text and "All 160 points of the sweep" in text


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (value_text("adc", 0), "ideal"),
        (value_text("c2c", 0), "0"),
        (value_text("c2c", 0.05), "0.05"),
        (value_text("rows", 65536), "65,536"),
        (value_text("time", 1e6), "10⁶"),
        (value_text("time", 2.5e-5), "2.5×10⁻⁵"),
        (value_text("nonlinearity", -2.5), "-2.5"),
        (joules_text(3.87e-8), "38.7 nJ"),
        (joules_text(2e-13), "200 fJ"),
        (joules_text(4.5e-16), "0.450 fJ"),
        (joules_text(1.234e-11), "12.3 pJ"),
        (joules_text(7e-6), "7.00 µJ"),
        (joules_text(0.0), "0 J"),
        (pulse_text({"volts": -2.8, "seconds": 3e-4}), "-2.8 V for 300 µs"),
        (converter_text({"converter_joules": 1.0, "cell_joules": 3.0}), "25.0 %"),
        (write_text({"write_pulses": 900, "write_joules": None}), "900 pulses, energy not known"),
        (
            read_text({"read": {"volts": 0.5, "seconds": 5e-9, "assumed": False}}),
            "Cells are read with pulses of 0.5 V for 5 ns, as the device's entry has them.",
        ),
    ],
)
def test_figures_as_people_read_them(found, expected):
    assert plain(found) == expected

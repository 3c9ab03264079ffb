"""Line plots in the report: where marks and names stand, and that lines can be told apart by everybody."""

import itertools
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.runtime import report
from offramp.runtime.report import write_report
from offramp.runtime.report.charts import accuracy_axis
from offramp.runtime.report.figure import figure_svg
from offramp.runtime.report.lines import Line, Spot, line_chart, spread_apart, swept_axis
from offramp.runtime.report.sweep import sweep_charts, sweep_of, value_text

sys.path.append(str(Path(__file__).parent))
from report_sample import sample_document, sample_emulation
from test_report import luminance
from test_report_browser import CHROMIUM, Browser

STYLE = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "values", "log", "name_drawn", "order"),
    [
        ("c2c", [0.1, 0.0, 0.05], False, "c2c", [0.0, 0.05, 0.1]),
        ("levels", [2, 16], False, "levels", [2, 16]),
        ("levels", [2, 18, 4], True, "levels", [2, 4, 18]),
        ("c2c", [0, 0.001, 0.1], False, "c2c (equally spaced)", [0, 0.001, 0.1]),
        ("adc", [0, 4, 8], False, "adc (equally spaced)", [4, 8, 0]),
        ("nonlinearity", [-5, 0, 0.1, 5], False, "nonlinearity", [-5, 0, 0.1, 5]),
        ("rows", [64], False, "rows", [64]),
        ("time", [5e-324, 1e300], False, "time", [5e-324, 1e300]),
    ],
)
def test_the_axis_of_a_sweep_suits_its_values(name, values, log, name_drawn, order):
    found = swept_axis(name, values, lambda value: value_text(name, value), name in ("adc", "levels"))
    assert found.axis.log == log
    assert found.axis.name == name_drawn
    assert list(found.places) == order
    places = [found.axis.at(found.places[value]) for value in order]
    assert places == sorted(places) and places[0] >= 0 and places[-1] <= 1
    if "equally" in name_drawn:
        steps = [after - before for before, after in itertools.pairwise(places)]
        assert steps == pytest.approx([steps[0]] * len(steps))


def test_marks_stand_where_their_axes_say():
    x, y = swept_axis("adc", [2, 4, 6], str), accuracy_axis([0.8, 0.9])
    line = Line("", tuple(Spot(value, mean, mean - 0.01, mean + 0.01) for value, mean in ((2, 0.8), (4, 0.9))))
    chart = line_chart("s", "t", [line], x, y, 0.9)
    (drawn,) = chart.lines
    width = chart.plot.right - chart.plot.left
    assert drawn.marks[0].x == pytest.approx(chart.plot.left + width * 0.08 / 1.16, abs=0.06)
    assert drawn.marks[1].x == pytest.approx(chart.plot.left + width / 2, abs=0.06)
    assert drawn.marks[1].y == chart.digital
    assert drawn.marks[0].low > drawn.marks[0].y > drawn.marks[0].high  # downwards
    assert drawn.path == "M" + "L".join(f"{mark.x} {mark.y}" for mark in drawn.marks)
    assert drawn.marks[1].title == "4: 90.00 % (89.00 % to 91.00 %)"
    assert [end.text for end in chart.ends] == ["digital"]


def test_what_is_expected_of_a_line_is_a_curve_without_marks_or_name():
    x, y = swept_axis("d", [1, 2, 3], str), accuracy_axis([0.5, 1.0])
    curve = ((1.0, 0.5), (1.5, 0.7), (3.0, 1.0))
    lines = [Line("a", (Spot(1, 0.6, 0.5, 0.7), Spot(3, 0.9, 0.9, 0.9)), curve), Line("b", (Spot(2, 1.0, 1.0, 1.0),))]
    chart = line_chart("s", "t", lines, x, y)
    points = [tuple(map(float, point.split())) for point in chart.lines[0].expected[1:].split("L")]
    assert len(points) == 3 and len(chart.lines[0].marks) == 2
    assert points[0][0] == pytest.approx(chart.lines[0].marks[0].x + 1.25, abs=0.06)  # marks stand a little aside
    assert [y for _, y in points] == sorted((y for _, y in points), reverse=True)
    assert chart.lines[1].expected == ""
    assert chart.digital is None and [end.text for end in chart.ends] == ["b", "a"]
    drawn = figure_svg("t", [chart], "n")
    assert drawn.count('class="expected"') == 1 and 'class="reference"' in drawn and "None" not in drawn


def test_a_line_for_each_value_of_the_second_figure_with_its_name_at_the_end():
    (chart,) = sweep_charts(sweep_of(sample_emulation(adc=[4, 6], levels=[16, 2, 0, 4])), "s")
    assert chart.key == "levels"
    assert {end.text: end.number for end in chart.ends} == {"digital": None, "2": 0, "4": 1, "16": 2, "continuum": 3}
    gaps = [after.y - before.y for before, after in itertools.pairwise(chart.ends)]
    assert min(gaps) >= 12.9
    assert all(chart.plot.top <= end.y <= chart.plot.bottom for end in chart.ends)


@settings(deadline=None)
@given(st.lists(st.floats(0, 300), min_size=1, max_size=12).map(sorted))
def test_names_beside_a_plot_never_touch(wanted):
    found = spread_apart(wanted, 13.0, 20.0, 250.0)
    assert all(after - before >= 13.0 - 1e-6 for before, after in itertools.pairwise(found))
    assert found[0] >= 20.0 - 1e-6 and found[-1] <= 250.0 + 1e-6


def test_names_that_have_room_stay_where_they_are():
    assert spread_apart([30.0, 60.0, 200.0], 13.0, 20.0, 250.0) == pytest.approx([30.0, 60.0, 200.0])
    assert spread_apart([100.0, 100.0, 200.0], 10.0, 0.0, 250.0) == pytest.approx([95.0, 105.0, 200.0])


def themes():
    """The page's colours in light and in dark."""
    found = re.findall(r":root {(.*?)}", STYLE, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): #(\w+)", part)) for part in found]


# Severe colour blindness in linear RGB: G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, IEEE TVCG 15(6), 2009.
SIGHTS = {
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
XYZ = [[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8728]]  # of linear RGB, white at 1


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def lab(colour, sight):
    """CIELAB of a colour as somebody sees it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    seen = [min(max(c, 0.0), 1.0) for c in times(SIGHTS[sight], linear)]
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in times(XYZ, seen))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("sight", SIGHTS)
def test_lines_can_be_told_apart_in_light_and_dark_whatever_the_sight(sight):
    for theme in themes():
        seen = [lab(theme[f"line-{number}"], sight) for number in range(4)]
        for one, other in itertools.combinations(seen, 2):
            assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 30  # 2.3 is just noticeable


def test_lines_have_contrast_in_light_and_dark():
    for theme in themes():
        for number in range(4):
            pair = sorted((luminance(theme[f"line-{number}"]), luminance(theme["paper"])), reverse=True)
            assert (pair[0] + 0.05) / (pair[1] + 0.05) >= 4.5


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; `apt-get install chromium`")
    started = Browser(tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    found = tmp_path_factory.mktemp("pages") / "report.html"
    emulation = sample_emulation(adc=[2, 3, 4, 6, 8, 0], levels=[2, 4, 8, 16, 32, 64, 128, 0], wire=[0, 10])
    long = sample_emulation(program_error=[0, 0.001, 0.01, 0.1], nonlinearity_spread=[0.0001, 0.00011]) | {
        "synapse": "x" * 90
    }
    long["device"] = long["device"] | {"source": "s" * 300, "title": "t" * 200, "curve_up": [0.0, 1.0] * 40}
    write_report(sample_document() | {"emulations": [emulation, long]}, found)
    return found


@pytest.mark.parametrize("width", [1280, 390])
def test_no_text_of_a_plot_covers_another_and_nothing_scrolls_sideways(browser, path, width):
    browser.open(path, width)
    browser.value("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert browser.value("document.documentElement.scrollWidth <= innerWidth")
    assert browser.complaints() == []
    overlaps = browser.value("""[...document.querySelectorAll("#emulations svg")].flatMap((svg) => {
      const boxes = [...svg.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
      const frame = svg.getBoundingClientRect();
      const outside = boxes.filter(([, a]) => a.left < frame.left - 1 || a.right > frame.right + 1);
      return outside.map(([text]) => text + " is outside").concat(boxes.flatMap(([one, a], place) =>
        boxes.slice(place + 1).filter(([, b]) =>
          a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 3 && b.top < a.bottom - 3
        ).map(([other]) => one + " / " + other)));
    })""")
    assert overlaps == []

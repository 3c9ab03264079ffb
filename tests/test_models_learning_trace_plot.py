"""A trace's plot: one line a run on powers of ten, well-formed, and nothing drawn that was not measured."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from offramp.models.learning.trace_plot import trace_svg

FALLING = [{"epoch": float(k + 1), "gap": 10.0**-k} for k in range(4)]


def lines(svg):
    ElementTree.fromstring(svg)
    found = re.findall(r'<polyline[^>]* points="([^"]*)"', svg)
    return [[tuple(map(float, point.split(","))) for point in line.split()] for line in found]


def test_equal_factors_are_equal_distances():
    ((first, *rest),) = lines(trace_svg(FALLING, "gap", "Falling"))
    steps = [after[1] - before[1] for before, after in zip([first, *rest], rest)]
    assert steps == pytest.approx([steps[0]] * 3, abs=0.11) and steps[0] > 0


def test_rows_are_placed_by_iterations_where_they_have_them():
    rows = [{"iterations": x, "gap": 1.0 / x} for x in (100.0, 300.0, 400.0)]
    svg = trace_svg(rows, "gap", "A search")
    ((a, b, c),) = ([x for x, _ in line] for line in lines(svg))
    assert b - a == pytest.approx(2 * (c - b), abs=0.3)
    assert ">iterations<" in svg and ">400<" in svg and ">epoch<" not in svg


def test_each_run_has_its_line_and_name_apart_from_others():
    svg = trace_svg({f"seed {k} <&>": FALLING for k in range(4)}, "gap", 'Four "runs" & more')
    assert len(lines(svg)) == 4
    texts = [node for node in ElementTree.fromstring(svg).iter() if node.tag.endswith("text")]
    names = [node for node in texts if node.text and node.text.startswith("seed")]
    heights = sorted(float(node.get("y")) for node in names)
    assert [node.text for node in names] == [f"seed {k} <&>" for k in range(4)]
    assert all(after - before >= 12.9 for before, after in pairwise(heights))


def test_what_has_no_logarithm_is_left_out():
    rows = [{"epoch": 1.0, "gap": 1.0}, {"epoch": 2.0, "gap": 0.0}, {"epoch": 3.0}, {"epoch": 4.0, "gap": math.inf}]
    assert len(lines(trace_svg([*rows, {"epoch": 5.0, "gap": 0.5}], "gap", "t"))[0]) == 2
    with pytest.raises(ValueError, match="no row has a residual above 0"):
        trace_svg(rows, "residual", "t")


def test_long_traces_are_thinned_and_keep_their_end():
    rows = [{"epoch": float(k + 1), "gap": 1.0 + math.cos(k) / 2} for k in range(5000)]
    (line,) = lines(trace_svg(rows, "gap", "t"))
    assert len(line) <= 601 and line[-1][0] == max(x for x, _ in line)


def test_equal_histories_give_equal_text():
    assert trace_svg(FALLING, "gap", "t") == trace_svg({"": FALLING}, "gap", "t")

"""The report page: what it says of a realistic dist, that hostile names stay names, and that its plots can be read."""

import copy
import itertools
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.runtime import report
from offramp.runtime.report import write_report
from offramp.runtime.report.charts import Point, accuracy_axis, latency_axis, scatter, size_axis
from offramp.runtime.report.labels import Box, place_labels
from offramp.runtime.report.page import accuracy_margin, artifact_row, render, sqnr_rating, summary, verdict
from offramp.runtime.report.wording import bytes_text, count_text, percent_text, points_text, steps_text, three_digits

sys.path.append(str(Path(__file__).parent))
from report_sample import sample_document

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"
VOID = {"meta", "link", "br", "wbr", "img", "hr", "circle", "rect", "path", "line"}


class Page(HTMLParser):
    """Text, ids, addresses, tags and handlers of a page; a tag that is closed wrongly fails."""

    def __init__(self, html):
        super().__init__()
        self.words, self.ids, self.addresses, self.tags, self.handlers, self.open = [], [], [], [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == "id"]
        self.addresses += [value for name, value in attributes if name in ("href", "src", "action", "srcset")]
        self.handlers += [name for name, _ in attributes if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if not {"style", "script"} & set(self.open):
            self.words.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())  # no-break spaces become spaces, too


@pytest.fixture(scope="module")
def html():
    return render(sample_document())


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def hostile(value):
    """The document with every free text replaced by one that would run if it were not escaped."""
    if isinstance(value, dict):
        kept = ("target", "precision", "sha256", "path")
        return {key: inner if key in kept else hostile(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return HOSTILE if isinstance(value, str) else value


def bare_document():
    """The least that is valid: no program, no data, nothing measured."""
    document = sample_document() | {"labels": [], "preprocessing": None, "scheme": None, "calibration": None}
    document |= {"float_operators": [], "data": None, "float": {"accuracy": None}, "program": None, "layers": []}
    return document | {"artifacts": [], "environment": {}}


def test_the_page_is_well_formed_and_asks_for_nothing(html, page):
    assert len(page.ids) == len(set(page.ids))
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}
    assert {address[1:] for address in page.addresses if address.startswith("#")} <= set(page.ids)
    assert "://" not in html
    assert re.search(r"url\(|@import", html) is None


def test_every_verdict_says_why(page):
    assert (
        "7 of 9 artifacts verified on 2,000 held-out samples; 1 disagrees with the program; 1 not verified."
        in page.text
    )
    assert "Executed in onnxruntime 1.32.0, agreement 99.85 %, largest difference 1 step." in page.text
    assert "No engine on this machine. Not executed in Core ML: needs macOS." in page.text
    assert "7 steps from the program, 1 is allowed. Executed in ai-edge-litert 2.3.0, agreement 98.10 %" in page.text
    assert "First difference in stages.2.blocks.1.mixer.project , value mul_14 , 3 steps." in page.text


def test_the_figures_stand_in_the_page_with_their_units(page):
    for words in ("661 KiB", "85.9 % −0.28", "2.93 3.16 4.10", "97.3 %", "256 KiB", "noisy", "not measured", "± 1.5"):
        assert words in page.text, words
    assert "Latencies were taken on host." in page.text
    assert "3 islands" in page.text
    assert "118 of 118 identical" in page.text


def test_a_hostile_name_stays_a_name():
    page = Page(render(hostile(sample_document())))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert page.handlers == []
    assert "alert(1)" in page.text
    assert "{{ 7 * 7 }}" in page.text


def test_only_the_pages_own_script_may_run(html):
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy.startswith("default-src 'none';")
    assert re.search(r"script-src 'sha256-[\w+/]{43}='", policy)


def test_what_was_not_measured_is_never_a_zero():
    page = Page(render(bare_document()))
    assert "Accuracy in float not measured" in page.text
    assert "Held-out samples not measured" in page.text
    assert "No artifact was written." in page.text
    assert "svg" not in page.tags


def test_an_artifact_without_measurements_is_named_below_the_plots(page):
    assert "Not measured: Core ML float16." in page.text
    assert "Not measured: Core ML float32, Core ML float16, Core ML int8." in page.text


def test_equal_documents_give_equal_bytes_whatever_the_files_hash_to(tmp_path):
    write_report(sample_document(), tmp_path / "one.html")
    write_report(sample_document() | {"files": {"report.html": "0" * 64}}, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_document_that_breaks_the_schema_is_not_rendered(tmp_path):
    document = sample_document()
    document["layers"][3]["macs"] = -1
    with pytest.raises(BadInput, match=r"the report's manifest: layers\[3\]\.macs: must be at least 0, got -1"):
        write_report(document, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_half_a_character_is_no_obstacle(tmp_path):
    write_report(sample_document() | {"name": json.loads('"\\udcff"')}, tmp_path / "report.html")
    assert "<h1>?</h1>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_verdict_of_disagreement_needs_a_comparison():
    artifact = sample_document()["artifacts"][0] | {"verified": False}
    assert verdict(artifact) == "disagrees"
    uncompared = {"agreement": None, "max_step_difference": None, "max_abs_difference": None}
    artifact["engines"] = [engine | uncompared for engine in artifact["engines"]]
    assert verdict(artifact) == "not verified"
    assert verdict(artifact | {"verified": True}) == "verified"


def test_a_summary_counts_and_agrees_in_number():
    one = sample_document()["artifacts"][:1]
    assert summary(one, None) == "The only artifact was executed and agrees with its program."
    assert summary(one * 2, {"name": "x", "samples": 9}) == (
        "All 2 artifacts were executed and agree with their program on 9 held-out samples."
    )


def test_the_change_is_against_float_in_points():
    artifact = sample_document()["artifacts"][2]
    assert artifact_row(artifact, 0.8615).change == "−0.28"
    assert artifact_row(artifact, None).change == ""


def test_the_margin_of_an_accuracy_is_its_95_percent_interval():
    document = sample_document()
    document["float"]["accuracy"], document["data"]["samples"] = 0.5, 100
    assert accuracy_margin(document) == "9.8"  # 1.96 * sqrt(0.5 * 0.5 / 100)
    assert accuracy_margin(document | {"data": None}) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (bytes_text(1023), "1023 B"),
        (bytes_text(1024), "1.00 KiB"),
        (bytes_text(1_234_567), "1.18 MiB"),
        (bytes_text(None), "not measured"),
        (count_text(9_999), "9,999"),
        (count_text(12_501_632), "12.5 M"),
        (percent_text(1), "100 %"),
        (percent_text(0.99999), "> 99.9 %"),
        (percent_text(0.99999, 2), "> 99.99 %"),
        (percent_text(0.00001), "< 0.1 %"),
        (percent_text(0), "0 %"),
        (points_text(-0.0123), "−1.23"),
        (points_text(-1e-9), "±0.00"),
        (steps_text(1), "1 step"),
        (steps_text(0), "0 steps"),
        (three_digits(0.0123), "0.0123"),
        (three_digits(1234.5), "1,234"),
        (three_digits(3.14e-6), "3.1 × 10⁻⁶"),
        (sqnr_rating(20.0), ""),
        (sqnr_rating(19.9), "low"),
        (sqnr_rating(-3.0), "very low"),
        (sqnr_rating(None), ""),
    ],
)
def test_numbers_as_people_read_them(found, expected):
    assert found.replace("\N{NO-BREAK SPACE}", " ") == expected


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.floats(46, 370), st.floats(26, 256), st.sampled_from(["TFLite int8", "C binary"])), max_size=14
    )
)
def test_no_label_covers_another_or_a_mark(marks):
    labels = place_labels(marks, Box(46, 26, 370, 256), [])
    boxes = [label.box for label in labels if label]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert not any(box.overlaps(Box(x - 4, y - 4, x + 4, y + 4)) for box in boxes for x, y, _ in marks)
    assert all(box.inside(Box(46, 26, 370, 256)) for box in boxes)


def test_every_mark_of_a_usual_dist_has_its_label():
    points = [Point(f"Core ML float{place}", "coreml", "int8", 1e6 + place, 0.86) for place in range(12)]
    chart = scatter("x", "x", points, size_axis([1e6]), accuracy_axis([0.86]), (0.86, "PyTorch float"))
    assert all(mark.label for mark in chart.marks)


@pytest.mark.parametrize("values", [[0.0], [0.5, 0.5], [1.0, 0.0], [0.86, 0.8599999]])
def test_an_axis_holds_its_values_and_has_ticks(values):
    for axis in (accuracy_axis(values), latency_axis(values), size_axis([value * 1e6 for value in values])):
        assert all(0 <= axis.at(value) <= 1 for value in values)
        assert len(axis.ticks) >= 2, axis
        assert all(-1e-9 <= axis.at(tick) <= 1 + 1e-9 for tick, _ in axis.ticks)


def test_latencies_far_apart_get_a_logarithmic_axis():
    assert latency_axis([1.0, 100.0]).log
    assert not latency_axis([10.0, 30.0]).log


def luminance(colour):
    """Relative luminance of WCAG 2."""
    digits = colour if len(colour) == 6 else "".join(2 * digit for digit in colour)
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_text_has_contrast_in_light_and_dark():
    style = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8")
    themes = [dict(re.findall(r"--([\w-]+): #(\w+)", part)) for part in re.findall(r":root {(.*?)}", style, re.DOTALL)]
    assert len(themes) == 2
    pairs = [(text, ground) for text in ("ink", "soft", "link") for ground in ("ground", "paper")]
    pairs += [(name, f"{name}-tint") for name in ("good", "bad", "warn")]
    for theme, (text, ground) in itertools.product(copy.deepcopy(themes), pairs):
        light, dark = sorted((luminance(theme[text]), luminance(theme[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, f"{text} on {ground}"

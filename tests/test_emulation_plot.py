"""A sweep's plot as a file: SVG that stands on its own, in the report's colours, or nothing at all."""

import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from offramp.emulation.plot import check_plot_path, write_plot
from offramp.errors import BadInput
from offramp.runtime import report

sys.path.append(str(Path(__file__).parent))
from report_sample import sample_emulation

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\"'&{{ 7 * 7 }}"


@pytest.fixture
def drawn(tmp_path):
    def draw(document):
        write_plot(document, tmp_path / "sweep.svg")
        return ElementTree.parse(tmp_path / "sweep.svg").getroot()

    return draw


def words(root):
    return " ".join(" ".join("".join(part.itertext()) for part in root.iter(f"{SVG}text")).split())


def test_a_plot_has_a_size_a_ground_and_a_title(drawn):
    root = drawn(sample_emulation(adc=[4, 6, 8]))
    assert root.tag == f"{SVG}svg"
    width, height = (float(root.get(side)) for side in ("width", "height"))
    _, _, inner_width, inner_height = map(float, root.get("viewBox").split())
    assert width / height == pytest.approx(inner_width / inner_height, rel=0.01)
    ground = root.find(f"{SVG}rect")
    assert (float(ground.get("width")), float(ground.get("height"))) == (inner_width, inner_height)
    assert ".ground { fill: #fff; }" in root.find(f"{SVG}style").text
    assert root.find(f"{SVG}title").text == "care_xxs on gst-pcm: GST phase-change memory"


def test_every_point_has_its_mark_and_whisker(drawn):
    root = drawn(sample_emulation(adc=[4, 6, 8], levels=[2, 64], wire=[0, 1]))
    assert (
        len([g for g in root.iter(f"{SVG}g") if g.get("class") == "shape" and "scale" not in g.get("transform")]) == 12
    )
    assert len([line for line in root.iter(f"{SVG}line") if line.get("class") == "whisker"]) == 12
    assert len([path for path in root.iter(f"{SVG}path") if path.get("class") == "joined"]) == 4
    assert len({title.text for title in root.iter(f"{SVG}title")}) == 1 + 6 * 2  # the two charts name wires themselves


def test_the_plot_says_what_the_report_says(drawn):
    text = words(drawn(sample_emulation(adc=[4, 6, 8], levels=[2, 64])))
    assert "Accuracy against adc" in text
    assert "at every value for levels 2; first at adc 4 for levels 64." in text
    assert "Marks are means over 5 chips, whiskers the 95 % interval of the mean, on 500 held-out samples" in text
    assert "Cells are read with pulses of 0.2 V for 10 ns: an assumption" in text


def test_colours_are_the_reports_and_nothing_is_asked_for(tmp_path):
    write_plot(sample_emulation(adc=[4, 6]), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    light = (Path(report.__file__).parent / "page.css").read_text(encoding="utf-8").partition("}")[0]
    found = dict(re.findall(r"\.(line-\d) { color: (#\w+); }", text))
    assert found == dict(re.findall(r"--(line-\d): (#\w+)", light))
    assert re.search(r"var\(|url\(|@import|href|<script", text) is None
    assert text.count("://") == 1  # the name space


def test_equal_documents_give_equal_bytes(tmp_path):
    for name in ("a.svg", "b.SVG"):
        write_plot(sample_emulation(adc=[4, 6, 8], levels=[2, 64]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.SVG").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.svg", "b.SVG"]


def test_names_stay_names_and_characters_that_xml_lacks_are_marked(drawn):
    document = sample_emulation(adc=[4, 6]) | {"name": HOSTILE, "synapse": "a\x0b\udcffb"}
    document["device"] = document["device"] | {"title": "long " * 60}
    root = drawn(document)
    assert root.find(f"{SVG}title").text.startswith(f"{HOSTILE} on a??b: long long")
    assert root.find(f".//{SVG}script") is None
    heads = [part for part in root.iter(f"{SVG}text") if part.get("class") == "head"]
    assert len(heads) > 3 and all(len(part.text) < 45 for part in heads)


@pytest.mark.parametrize(
    ("name", "hint"), [("sweep.png", r"sweep\.svg"), ("plot", r"plot\.svg"), ("a.svg.gz", r"a\.svg\.svg")]
)
def test_another_ending_is_refused_before_anything_is_written(tmp_path, name, hint):
    with pytest.raises(BadInput, match=rf"{name}: a plot is written as SVG; give it that ending, as {hint}") as caught:
        write_plot(sample_emulation(adc=[4, 6]), tmp_path / name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    check_plot_path(tmp_path / "a.svg")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(BadInput, match=r"folder\.svg: cannot write"):
        write_plot(sample_emulation(adc=[4, 6]), tmp_path / "folder.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.svg"]

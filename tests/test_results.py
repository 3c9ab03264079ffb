"""docs/results.md and the README's figures are what the recorded results say."""

from pathlib import Path

import pytest
from offramp.benchmarks import papers_section
from offramp.benchmarks.results import page, plots, readme
from offramp.benchmarks.synapse_section import shown_estimate
from offramp.models.recorded import recorded_results
from offramp.models.system import all_systems
from offramp.storage import read_json

ROOT = Path(__file__).resolve().parent.parent


def test_the_results_page_is_written_from_the_records() -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == page()


def test_the_figures_of_the_readme_are_written_from_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == readme(text)


def test_the_plots_of_the_page_are_drawn_from_the_records() -> None:
    for path, text in plots().items():
        assert path.read_text(encoding="utf-8") == text
        assert f"(plots/{path.name})" in page()


def test_every_system_has_a_record() -> None:
    assert set(recorded_results()) == set(all_systems())


def test_the_gate_found_every_regression_and_never_cried_wolf() -> None:
    record = read_json(ROOT / "benchmarks" / "recorded" / "gate.json")
    assert record["ratios"]["regressions_found"] == 1
    assert record["ratios"]["clean_runs_alarmed"] == 0
    assert len(record["clean"]) == 20
    assert all(row["artifact_named"] and row["layer_named"] for row in record["damaged"])


@pytest.mark.parametrize(
    ("metric", "ends", "shown"),
    [
        ("accuracy", (0.5, 0.4, 0.6), "50.0% (40.0–60.0)"),
        ("accuracy", (0.5, 0.5, 0.5), "50.0%"),
        ("index", (-0.22, -0.38, -0.06), "-0.22 (-0.38 to -0.06)"),
        ("parameters", (172476.0, 172476.0, 172476.0), "172,476"),
        ("error", (0.0123, 0.012, 0.0126), "0.0123 (0.0120 to 0.0126)"),
    ],
)
def test_a_figure_has_its_interval_where_it_has_one(metric, ends, shown) -> None:
    assert shown_estimate(metric, dict(zip(("mean", "low", "high"), ends))) == shown


def test_signs_say_their_share_and_what_was_not_verified() -> None:
    assert papers_section._signs("accuracy", None) == "–"
    entry = {
        "accuracy": 0.968,
        "metrics": {"accuracy": 0.968},
        "mac_share": 0.893,
        "epochs": 80,
        "not_verified_because": {},
    }
    assert papers_section._signs("accuracy", entry) == "96.8% (80 epochs more, 89% of MACs)"
    entry |= {"agreement": {"onnx": 1.0, "tflite": 0.994}, "not_verified_because": {"tflite": "plain kernels differ"}}
    assert (
        papers_section._signs("accuracy", entry)
        == "96.8% (80 epochs more, 89% of MACs; TFLite not verified, 99.4% agree)"
    )

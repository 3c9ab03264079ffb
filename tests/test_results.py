"""docs/results.md and the README's figures are what the recorded results say."""

from pathlib import Path

from offramp.benchmarks.results import page, readme
from offramp.models.recorded import recorded_results
from offramp.models.system import all_systems
from offramp.storage import read_json

ROOT = Path(__file__).resolve().parent.parent


def test_the_results_page_is_written_from_the_records() -> None:
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == page()


def test_the_figures_of_the_readme_are_written_from_the_records() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text == readme(text)


def test_every_system_has_a_record() -> None:
    assert set(recorded_results()) == set(all_systems())


def test_the_gate_found_every_regression_and_never_cried_wolf() -> None:
    record = read_json(ROOT / "benchmarks" / "recorded" / "gate.json")
    assert record["ratios"]["regressions_found"] == 1
    assert record["ratios"]["clean_runs_alarmed"] == 0
    assert len(record["clean"]) == 20
    assert all(row["artifact_named"] and row["layer_named"] for row in record["damaged"])

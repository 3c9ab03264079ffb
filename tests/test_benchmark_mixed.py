"""The benchmark's record: what it says of auto against uniform precision of the same size."""

from pathlib import Path

import pytest
from offramp.benchmarks.mixed import ratios_of, summary
from offramp.benchmarks.mixed_section import section, sign_test
from offramp.storage import read_json

RECORD = Path(__file__).resolve().parent.parent / "benchmarks" / "recorded" / "mixed.json"


def row(seed, uniform, accuracy, divergence, won=1, lost=0):
    return {
        "network": "net", "seed": seed, "uniform": uniform, "float_accuracy": 0.9, "won": won, "lost": lost,
        "bytes": {"uniform": 100, "auto": 99}, "accuracy": {"uniform": 0.8, "auto": accuracy},
        "divergence": {"uniform": 0.4, "auto": divergence}, "sqnr_db": {"uniform": 10.0, "auto": 12.0},
    }  # fmt: skip


def test_means_are_over_seeds_and_ratios_over_sizes_below_8_bits():
    rows = [row(0, "w8a8", 0.5, 0.4), row(0, "w4a8", 0.8, 0.1), row(1, "w4a8", 0.9, 0.1)]
    means = summary(rows)
    assert [entry["uniform"] for entry in means] == ["w8a8", "w4a8"]
    assert means[1]["accuracy"]["auto"] == pytest.approx(0.85)
    assert (means[1]["won"], means[1]["lost"]) == (2, 0)
    assert ratios_of(means) == {"net_accuracy_gain": 0.05, "net_divergence_left": 0.25}


def test_the_sign_test():
    assert sign_test(0, 0) == 1
    assert sign_test(1, 1) == 1
    assert sign_test(0, 6) == pytest.approx(2 / 64)
    assert sign_test(10, 0) == sign_test(0, 10)


def test_at_equal_size_auto_is_at_least_as_accurate_as_uniform_precision():
    record = read_json(RECORD)
    networks = {entry["network"] for entry in record["means"]}
    assert len(networks) == 3
    assert record["seeds"] == 3
    for network in networks:
        assert record["ratios"][f"{network}_accuracy_gain"] >= 0
        assert record["ratios"][f"{network}_divergence_left"] < 0.8
    for entry in record["means"]:
        assert entry["bytes"]["auto"] <= entry["bytes"]["uniform"]
        assert entry["divergence"]["auto"] <= entry["divergence"]["uniform"] * 1.001
        # Single sizes differ by a few predictions; none of them is worse beyond chance.
        assert (
            entry["accuracy"]["auto"] >= entry["accuracy"]["uniform"] or sign_test(entry["won"], entry["lost"]) > 0.05
        )
    assert all(entry["bytes"]["auto"] <= entry["bytes"]["uniform"] for entry in record["rows"])
    assert "Mixed precision against uniform" in section(record)

"""The post-training benchmark's summary, and what its record says."""

from pathlib import Path

import pytest
from offramp.benchmarks.ptq import summary
from offramp.storage import read_json

RECORD = Path(__file__).resolve().parent.parent / "benchmarks" / "recorded" / "ptq.json"


def row(who, variant, accuracy, sqnr_db=30.0):
    figures = {"float": 1.0, "accuracy": accuracy, "agreement": 1.0, "sqnr_db": sqnr_db, "seconds": 1.0}
    return figures | {"network": "resnet8", "precision": "int8", "who": who, "variant": variant}


def test_of_a_peer_the_variant_with_the_best_mean_counts():
    rows = [row("peer", "a", 0.9), row("peer", "a", 1.0), row("peer", "b", 0.94), row("peer", "b", 0.94)]
    (best,) = summary(rows)
    assert best["variant"] == "a" and best["accuracy"] == pytest.approx(0.95) and best["seeds"] == 2


def test_equal_accuracies_are_told_apart_by_noise():
    (best,) = summary([row("peer", "a", 0.9, 20.0), row("peer", "b", 0.9, 21.0)])
    assert best["variant"] == "b"


def test_no_peer_is_more_accurate_beyond_chance():
    """A lead of up to five samples is chance: were no other sample told apart, the sign test gives 2 / 2^5 > 5%."""
    record = read_json(RECORD)
    samples = 500 * max(row["seeds"] for row in record["means"])
    ours = {(row["network"], row["precision"]): row["accuracy"] for row in record["means"] if row["who"] == "ours"}
    assert len(record["ratios"]) == 15
    for row in record["means"]:
        lead = round((row["accuracy"] - ours[row["network"], row["precision"]]) * samples)
        assert lead <= 5, (row["network"], row["precision"], row["who"])

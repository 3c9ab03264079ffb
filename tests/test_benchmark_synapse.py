"""The benchmarks of synapse devices: comparisons that notice a difference, pages, a peer that cannot be built."""

import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from offramp.benchmarks import emulation, peer_aihwkit, synapse, synapse_section
from offramp.benchmarks.peer_aihwkit import PeerUnavailable
from offramp.devices.synapse.catalogue import catalogue
from offramp.errors import first_line
from offramp.runtime.latency import measure_latency
from offramp.storage import read_json

RECORDS = Path(__file__).resolve().parent.parent / "benchmarks" / "recorded"


def normal(mean=0.0, spread=1.0, seed=0, count=65_536):
    return mean + spread * torch.randn(count, generator=torch.Generator().manual_seed(seed))


def spread(mean, half=0.01):
    return {"mean": mean, "low": mean - half, "high": mean + half}


def rows_of(text, *, heads):
    """The cells of a page's tables, row by row, without heads and rules."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---")]
    assert sum(line.startswith(tuple(f"| {head} |" for head in heads)) for line in lines) == len(heads)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in heads]


# Two samples


def test_samples_of_one_law_agree():
    row = synapse.compared(normal(), normal(seed=1))
    assert row["agrees"]
    assert row["mean_errors_apart"] < 4 and row["variance_errors_apart"] < 4
    assert row["variance_ours"] == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("mean", "size"), [(0.03, 1.0), (0.0, 1.03), (-0.03, 1.0), (0.0, 0.97)])
def test_samples_of_another_mean_or_variance_do_not(mean, size):
    row = synapse.compared(normal(), normal(mean, size, seed=1))
    assert not row["agrees"]
    assert (row["mean_errors_apart"] > 4) == (mean != 0)
    assert (row["variance_errors_apart"] > 4) == (size != 1)


def test_errors_are_standard_errors_of_the_difference():
    row = synapse.compared(normal(0.1), normal(seed=1))
    assert row["mean_errors_apart"] == pytest.approx(0.1 / (2 / 65_536) ** 0.5, rel=0.1)
    ours, theirs = normal(spread=1.1), normal(seed=1)  # of a normal sample's variance s: s sqrt(2 / n)
    wanted = 0.21 / ((1.21**2 + 1) * 2 / 65_536) ** 0.5
    assert synapse.compared(ours, theirs)["variance_errors_apart"] == pytest.approx(wanted, rel=0.1)


# Speed


def test_our_devices_are_the_peers_in_shares_of_the_range(monkeypatch):
    monkeypatch.setattr(synapse, "SIZE", 64)
    for kind in synapse.KINDS:
        device = synapse.device(kind)
        assert 1 / device.pulses_up * synapse.SPAN == pytest.approx(synapse.STEP)
        weights = synapse.pulsed(kind, 10)
        assert weights.shape == (64, 64)
        assert float(weights.mean()) == pytest.approx(10 * synapse.STEP, rel=0.05)
        assert 0.2 < float(weights.std()) / float(weights.mean()) < 0.5


def test_what_is_measured_needs_no_peer(monkeypatch):
    monkeypatch.setattr(synapse, "SIZE", 16)
    monkeypatch.setattr(synapse, "measure_latency", partial(measure_latency, seconds=0.0, warmup_seconds=0.0))
    document = synapse.measured(1, False)
    assert (document["benchmark"], document["size"], document["peer"], document["agreement"]) == (
        "synapse",
        16,
        None,
        [],
    )
    wanted = [
        (what, batch, who)
        for batch in synapse.BATCHES
        for what, whos in (
            ("update", ("ours ConstantStep", "ours SoftBounds")),
            ("product", ("ours, noisy", "NumPy float64")),
        )
        for who in whos
    ]
    assert [(row["what"], row["batch"], row["who"]) for row in document["rows"]] == wanted
    assert all(row["us"] > 0 for row in document["rows"])
    times = {(row["batch"], row["who"]): row["us"] for row in document["rows"]}
    assert document["ratios"] == {
        f"product_over_plain_{batch}": pytest.approx(times[batch, "ours, noisy"] / times[batch, "NumPy float64"])
        for batch in synapse.BATCHES
    }
    assert "## Synapse devices" in synapse_section.speed(document)


def test_updates_and_noisy_products_do_something(monkeypatch):
    monkeypatch.setattr(synapse, "SIZE", 16)
    product = synapse.our_product(4)
    first, second = product(), product()
    assert first.shape == (4, 1, 16) and not torch.equal(first, second)
    assert synapse.plain_product(1)().shape == (16,)
    seen = []
    trains = synapse.trains
    monkeypatch.setattr(synapse, "trains", lambda *given: seen.append(given[-1]) or trains(*given))
    update = synapse.our_update("SoftBounds", 4)
    update()
    update()
    assert seen == [0, 4]  # samples count on, so that each update has noise of its own


# Pages


def test_the_page_on_speed_has_every_time_and_comparison():
    agreement = {"kind": "SoftBounds", "pulses": 10, **synapse.compared(normal(1.0), normal(1.0, seed=1))}
    rows = [
        {"what": "update", "batch": 1, "who": "ours ConstantStep", "us": 1234.56},
        {"what": "update", "batch": 1, "who": "aihwkit ConstantStep", "us": 4321.0},
        {"what": "product", "batch": 64, "who": "ours, noisy", "us": 7.0},
    ]
    ratios = {"update_ConstantStep_1": 3.5, "product_over_plain_1": 2.5, "product_over_plain_64": 3.25}
    document = {"size": 256, "machine": "a machine", "peer": "aihwkit 1.2.0", "rows": rows, "ratios": ratios}
    text = synapse_section.speed({**document, "agreement": [agreement]})
    found = rows_of(text, heads=("what", "device"))
    assert found[:3] == [
        ["update", "1", "ours ConstantStep", "1,234.6", "3.50"],
        ["update", "1", "aihwkit ConstantStep", "4,321.0", ""],
        ["product", "64", "ours, noisy", "7.0", ""],
    ]
    assert found[3][:3] == ["SoftBounds", "10", f"{agreement['mean_ours']:.5f}"] and len(found[3]) == 8
    assert "on a machine, 256x256 devices" in text and "(aihwkit 1.2.0)" in text
    assert "2.5 (batch 1), 3.2 (batch 64)" in text
    alone = synapse_section.speed({**document, "peer": None, "agreement": []})
    assert len(rows_of(alone, heads=("what",))) == 3 and "standard errors" not in alone


def test_the_page_on_networks_has_a_row_for_each_device_and_the_sweep_as_a_grid():
    row = {"network": "resnet8", "device": "epiram", "digital_accuracy": 0.985, "accuracy": spread(0.9)}
    row |= {"aware": spread(0.95, 0.004), "aware_digital": 0.98, "arrays": 1200, "cells": 9, "joules": 3.2e-6}
    row |= {"cell_joules": 4.5e-11, "seconds_per_1000": 1.26}
    points = [
        {"settings": {"levels": levels, "d2d": d2d}, "accuracy": spread(levels / 100 + d2d)}
        for levels in (2.0, 64.0)
        for d2d in (0.0, 0.1)
    ]
    sweep = {"network": "resnet8", "axes": ["levels=2,64", "d2d=0,0.1"], "points": points}
    plain = row | {"device": "ideal", "aware": None, "aware_digital": None}
    artifacts = [
        {"target": "onnx", "precision": "float32", "accuracy": 0.97, "agreement": 0.5, "verified": True},
        {"target": "onnx", "precision": "int8", "accuracy": 0.96, "agreement": 0.99, "verified": False},
        {"target": "tflite", "precision": "int8", "accuracy": 0.95, "agreement": 0.98, "verified": True},
    ]
    learned = [{"device": "epiram", "trained_accuracy": 0.965, "artifacts": artifacts}]
    document = {"machine": "m", "chips": 5, "rows": [row, plain], "sweep": sweep}
    text = synapse_section.networks({**document, "learned": {"network": "synapse_mlp", "rows": learned}})
    found = rows_of(text, heads=("network", "states", "device"))
    shown = ["98.5%", "90.0% (89.0–91.0)", "95.0% (94.6–95.4)", "1,200", "3,200", "45", "1.3"]
    assert found[0] == ["resnet8", "epiram", *shown]
    assert found[1] == ["resnet8", "ideal", *shown[:2], "", *shown[3:]]
    assert found[2:] == [
        ["2", "2.0% (1.0–3.0)", "12.0% (11.0–13.0)"],
        ["64", "64.0% (63.0–65.0)", "74.0% (73.0–75.0)"],
        ["epiram", "96.5%", "95.0% to 97.0%", "98.0%", "2 of 3"],
    ]
    assert "`--sweep levels=2,64 --sweep d2d=0,0.1`" in text
    assert "| states | spread 0 | spread 0.1 |" in text


def test_the_page_on_a_paper_says_what_holds_and_what_does_not():
    table = {"title": "Figures", "columns": ["device", "found"], "rows": [["mine", "75.0 ± 5.0"]]}
    kept = {"slug": "a-paper", "metric": "accuracy", "baseline": spread(0.5), "ours": spread(0.75), "seeds": 3}
    claims = [
        {**kept, "claim": "it learns", "holds": True, "note": "", "table": table},
        {**kept, "claim": "in order", "holds": False, "note": "but little", "table": None, "metric": "correlation"},
    ]
    document = {"slug": "a-paper", "machine": "m", "seeds": 3, "seconds": 61.4, "claims": claims}
    text = synapse_section.reproduction(document)
    assert rows_of(text, heads=("claim", "device")) == [
        ["it learns", "accuracy", "50.0% (49.0–51.0)", "75.0% (74.0–76.0)", "yes"],
        ["in order (but little)", "correlation", "0.50 (0.49 to 0.51)", "0.75 (0.74 to 0.76)", "**no**"],
        ["mine", "75.0 ± 5.0"],
    ]
    assert "`offramp reproduce a-paper` on m, 3 seeds, 61 s: 1 of 2 claims hold." in text
    assert "Figures:" in text


# Records


def test_the_record_agrees_with_the_peer_and_names_devices_that_exist():
    record = read_json(RECORDS / "synapse.json")
    assert {(row["kind"], row["pulses"]) for row in record["agreement"]} == {
        (kind, pulses) for kind in synapse.KINDS for pulses in synapse.PULSES
    }
    assert all(row["agrees"] for row in record["agreement"]) and record["size"] == synapse.SIZE
    networks = read_json(RECORDS / "emulation.json")
    assert {row["device"] for row in networks["rows"]} <= set(catalogue())
    assert [(row["network"], row["device"]) for row in networks["rows"]] == [
        (network, device) for network in emulation.NETWORKS for device in emulation.DEVICES
    ]
    ideal = [row for row in networks["rows"] if row["device"] == "ideal"]
    assert all(abs(row["accuracy"]["mean"] - row["digital_accuracy"]) < 0.01 for row in ideal)


# A peer that cannot be built


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_build_that_fails_is_one_line_and_leaves_nothing_half_made(cache, monkeypatch, at):
    asked, said = [], []

    def run(command, **_):
        asked.append(command)
        for folder in ("bin", peer_aihwkit._site()):  # as the first command would make them
            Path(command[-1] if len(asked) == 1 else asked[0][-1]).joinpath(folder).mkdir(parents=True, exist_ok=True)
        failed = len(asked) == at + 1
        errors = "building\nsrc/a.cpp:3: error: no such thing\nmore\n" if failed else ""
        return SimpleNamespace(returncode=int(failed), stderr=errors, stdout="")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(PeerUnavailable) as caught:
        peer_aihwkit.load(said.append)
    assert str(caught.value) == f"{peer_aihwkit.TITLE}: cannot be built here (src/a.cpp:3: error: no such thing)"
    assert len(asked) == at + 1 and len(said) == 1
    assert not [path for path in cache.rglob("*") if path.name.startswith("env-") or path.name == "made"]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (FileNotFoundError(2, "No such file"), "did not finish ([Errno 2] No such file)"),
        (
            subprocess.TimeoutExpired("pip", 3600),
            f"did not finish ({first_line(subprocess.TimeoutExpired('pip', 3600))})",
        ),
    ],
)
def test_a_build_that_does_not_end_is_one_line(cache, monkeypatch, fault, reason):
    def run(*_, **__):
        raise fault

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(PeerUnavailable) as caught:
        peer_aihwkit.load()
    assert str(caught.value) == f"{peer_aihwkit.TITLE}: {sys.executable} {reason}"
    assert not list(cache.rglob("env-*"))


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_build_that_is_cut_off_leaves_nothing_half_made(cache, monkeypatch, fault):
    def cut(*_):
        raise fault

    monkeypatch.setattr(peer_aihwkit, "_run", cut)
    with pytest.raises(type(fault)):
        peer_aihwkit.load()
    assert not list(cache.rglob("env-*"))

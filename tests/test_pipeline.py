"""`deploy` end to end: what lies in a dist, what its figures must hold, and that it is replaced whole or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from offramp import pipeline
from offramp.errors import BadInput
from offramp.manifest import check_document, read_manifest
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.quant.program import load_program
from offramp.runtime.macs import count_program
from offramp.storage import sha256_of

sys.path.append(str(Path(__file__).parent))
from tiny_networks import convnet

PACKAGE = Path(__file__).resolve().parent.parent
QUICK = {"measure": False, "older_runtime": False, "held_out": 8}


@pytest.fixture(scope="module")
def document(care_dist):
    return read_manifest(care_dist)


def rows(document, precision):
    return [row for row in document["artifacts"] if row["precision"] == precision]


def test_a_dist_has_a_valid_manifest_and_a_report(care_dist, document):
    check_document(document, "care_xxs")
    assert (care_dist / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert {path.name for path in care_dist.iterdir()} == {
        *(row["path"] for row in document["artifacts"]),
        *("manifest.json", "program", "report.html"),
    }
    assert [(row["target"], row["precision"]) for row in document["artifacts"]] == [
        (target, precision) for target in ("onnx", "coreml", "tflite") for precision in ("float32", "int8")
    ]


def test_every_artifact_is_executed_and_verified(document):
    for row in document["artifacts"]:
        assert row["verified"], row["not_verified_because"]
        assert row["engines"][0]["ran"]
        assert row["first_difference"] is None
    tflite = rows(document, "int8")[2]
    assert ["XNNPACK" in engine["engine"] for engine in tflite["engines"]] == [True, False, False]


def test_int8_keeps_the_accuracy_of_float(document):
    floating = document["float"]["accuracy"]
    assert floating > 0.95
    assert abs(document["program"]["accuracy"] - floating) <= 0.01
    assert document["program"]["agreement"] >= 0.98
    for row in rows(document, "int8"):
        assert abs(row["accuracy"] - floating) <= 0.01
        assert row["agreement"] >= 0.995
    for row in rows(document, "float32"):
        assert row["accuracy"] == floating
        assert row["agreement"] == 1.0


def test_the_same_integers_lie_in_all_three_artifacts(care_dist, document):
    program = load_program(care_dist / "program")
    for row in rows(document, "int8"):
        assert row["constants"]["identical"] == row["constants"]["compared"]
        assert row["constants"]["compared"] > len(program.constants())
        assert row["constants"]["differing"] == []


def test_artifacts_and_program_count_the_same_macs(care_dist, document):
    counted = count_program(load_program(care_dist / "program").program)
    total = sum(document["network"]["macs"].values())
    assert total == counted.total > 1_000_000
    for row in rows(document, "int8"):
        assert row["macs"] == {str(bits): macs for bits, macs in counted.by_bits.items()}
    for row in rows(document, "float32"):
        assert row["macs"] == {"32": total}
    assert all(row["uncounted"] == [] for row in document["artifacts"])


def test_artifacts_hold_the_network_s_parameters(document):
    wanted = document["network"]["parameters"]
    ones = 256  # of the folded head's norm, which has no parameters and is written with them in some targets
    for row in document["artifacts"]:
        # Scalars that a converter folds away or adds are no parameters of the network, and there are few of them.
        more = row["parameters"] - wanted
        assert min(abs(more), abs(more - ones)) <= 32


def test_latency_is_measured_where_there_is_an_engine(document):
    for row in document["artifacts"]:
        if row["target"] == "coreml":
            assert row["latency_ms"] is None
        else:
            assert 0 < row["latency_ms"]["min"] <= row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]
            assert row["board"] == "host"


def test_layers_name_their_modules_and_their_error(document):
    layers = {layer["name"]: layer for layer in document["layers"]}
    assert sum(layer["macs"] for layer in layers.values()) == sum(document["network"]["macs"].values())
    assert all(layer["module"] for layer in layers.values())
    assert all(layer["sqnr_db"] > 10 for layer in layers.values() if layer["precision"] == "int8")


def test_a_second_deploy_replaces_the_first(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    network = convnet(tmp_path, "replaced")
    options = Options(targets=("onnx",), out=tmp_path / "dist", **QUICK)
    deploy(network, options)
    (options.out / "replaced" / "left.txt").write_text("from before")
    deploy(network, Options(targets=("onnx",), precisions=("float32",), out=options.out, **QUICK))
    document = read_manifest(options.out / "replaced")
    assert [row["path"] for row in document["artifacts"]] == ["replaced.onnx"]
    assert [path.name for path in options.out.iterdir()] == ["replaced"]


@pytest.mark.parametrize(
    "step", ["write_artifact", "run_reference", "verify_artifact", "write_report", "write_manifest"]
)
def test_a_deploy_that_fails_leaves_the_previous_dist(tmp_path, monkeypatch, step):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"kept_{step}"
    network = convnet(tmp_path, name)
    options = Options(targets=("onnx",), precisions=("float32",), out=tmp_path / "dist", **QUICK)
    deploy(network, options)
    before = sha256_of(options.out / name)

    def broken(*_, **__):
        raise BadInput("broken on purpose")

    monkeypatch.setattr(pipeline, step, broken)
    with pytest.raises(BadInput, match="broken on purpose"):
        deploy(network, options)
    assert sha256_of(options.out / name) == before
    assert [path.name for path in options.out.iterdir()] == [name]


def deployed_elsewhere(folder: Path, hash_seed: int) -> dict[str, str]:
    """Deploys `convnet` in a process of its own, whose sets and dicts have another order; SHA-256 of each file."""
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "offramp").symlink_to(PACKAGE)
    convnet(folder)
    command = [sys.executable, "-m", "offramp", "deploy", "convnet:build", "--no-measure", "--no-older-runtime"]
    environment = os.environ | {"PYTHONPATH": str(folder / "site"), "PYTHONHASHSEED": str(hash_seed)}
    done = subprocess.run(
        [*command, "--samples", "8", "--json"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])["files"]


@pytest.mark.slow
def test_two_deploys_write_equal_bytes(tmp_path):
    first, second = (deployed_elsewhere(tmp_path / str(seed), seed) for seed in (1, 2))
    assert len(first) > 10
    assert first == second

"""`offramp check`: a dist is executed again, held to its baseline, and what fails is named, with its layer."""

import json
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from offramp.benchmarks.faults import change_constant
from offramp.cli import main
from offramp.gate.check import check_dist
from offramp.manifest import read_manifest, write_manifest
from offramp.storage import sha256_of, size_bytes_of

sys.path.append(str(Path(__file__).parent))
from command_line import offramp
from tiny_networks import convnet

QUICK = ("--no-older-runtime",)
ARTIFACTS = [f"{target} {precision}" for target in ("onnx", "coreml", "tflite") for precision in ("float32", "int8")]


def document_of(*arguments, code=0):
    return json.loads(offramp("check", *arguments, "--json", code=code).splitlines()[-1])


@pytest.fixture
def user(tmp_path, monkeypatch):
    """An empty folder to work in, from which Python can import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def kept(care_dist, tmp_path_factory):
    """The baseline of `care_dist`, to be read."""
    path = tmp_path_factory.mktemp("kept") / "care_xxs.json"
    document = document_of(care_dist, "--baseline", path, "--update", "--recorded")
    assert document["updated"]
    assert document["baseline"] == str(path)
    return path


def edited(kept: Path, folder: Path, change) -> Path:
    """A copy of a baseline on which `change` was made."""
    document = json.loads(kept.read_text())
    change(document)
    path = folder / "edited.json"
    path.write_text(json.dumps(document))
    return path


def test_a_baseline_says_what_it_holds(kept, care_dist):
    document = json.loads(kept.read_text())
    assert document["version"] == 1
    assert document["name"] == "care_xxs"
    assert list(document["artifacts"]) == sorted(ARTIFACTS)
    assert document["samples"]["count"] == 200
    assert set(document["tolerances"]) == {
        *("accuracy", "alpha", "bytes", "float_agreement", "macs", "max_step_difference")
    }
    rows = {f"{row['target']} {row['precision']}": row for row in read_manifest(care_dist)["artifacts"]}
    for name, figures in document["artifacts"].items():
        hits = "".join(figures["hits"])
        assert figures["accuracy"] == rows[name]["accuracy"] == hits.count(".") / 200
        assert figures["bytes"] == rows[name]["bytes"]
        assert figures["macs"] == rows[name]["macs"]


@pytest.mark.slow
def test_a_dist_holds_to_its_own_baseline_executed_again_or_as_recorded(care_dist, kept):
    before = sha256_of(care_dist)
    for more in (QUICK, ("--recorded",)):
        document = document_of(care_dist, "--baseline", kept, *more)
        assert {key: document[key] for key in ("name", "holds", "moved", "not_verified", "new", "faults")} == {
            **{"name": "care_xxs", "holds": True},
            **{"moved": [], "not_verified": [], "new": [], "faults": []},
        }
        assert len(document["compared"]) == 1 + 3 * 4 + 3 * 5  # the float network; floats have no steps
        assert all(entry["paired"]["p"] == 1 for entry in document["compared"] if entry["figure"] == "accuracy")
    text = offramp("check", care_dist, "--baseline", kept, "--recorded")
    assert "care_xxs holds" in text
    assert len(text.splitlines()) == 1 + 7 + 1  # a head, the float network and six artifacts, the verdict
    assert sha256_of(care_dist) == before


def test_without_a_file_the_baseline_lies_in_the_working_directory(care_dist, user):
    text = offramp("check", care_dist, "--recorded")
    assert text == "no baseline at baselines/care_xxs.json; write one with --update\ncare_xxs holds\n"
    assert "written: baselines/care_xxs.json" in offramp("check", care_dist, "--recorded", "--update")
    assert document_of(care_dist, "--recorded")["baseline"] == "baselines/care_xxs.json"
    assert [path.name for path in (user / "baselines").iterdir()] == ["care_xxs.json"]


def test_a_drop_fails_with_its_statistics(care_dist, kept, tmp_path):
    def better(document):
        for figures in (document["artifacts"]["onnx int8"], document["float"]):
            figures |= {"hits": ["." * 200], "accuracy": 1.0}

    path = edited(kept, tmp_path, better)
    document = document_of(care_dist, "--baseline", path, "--recorded")
    entry = next(e for e in document["compared"] if e["artifact"] == "onnx int8" and e["figure"] == "accuracy")
    lost = entry["paired"]["lost"]
    assert entry["paired"]["p"] == pytest.approx(0.5**lost)
    assert entry["paired"]["smallest"] == 14 / 200
    text = offramp("check", care_dist, "--baseline", path, "--recorded")
    assert "-7.00%" in text

    def sharper(document):
        better(document)
        document["tolerances"] |= {"alpha": 0.5, "accuracy": 0.0}

    document = document_of(care_dist, "--baseline", edited(kept, tmp_path, sharper), "--recorded", code=1)
    assert [(e["artifact"], e["figure"]) for e in document["moved"]] == [
        ("float", "accuracy"),
        ("onnx int8", "accuracy"),
    ]


def test_missing_and_new_artifacts_are_named(care_dist, kept, tmp_path):
    def other(document):
        document["artifacts"]["c int8"] = document["artifacts"].pop("tflite int8")

    path = edited(kept, tmp_path, other)
    document = document_of(care_dist, "--baseline", path, "--recorded", code=1)
    assert document["new"] == ["tflite int8"]
    (moved,) = document["moved"]
    assert {key: moved[key] for key in ("artifact", "figure", "baseline", "now")} == {
        "artifact": "c int8",
        "figure": "artifact",
        "baseline": "present",
        "now": "missing",
    }
    text = offramp("check", care_dist, "--baseline", path, "--recorded", code=1)
    assert "tflite int8: not in the baseline; add it with --update" in text


def test_update_keeps_the_users_tolerances_and_mends_a_damaged_file(care_dist, kept, tmp_path):
    path = edited(kept, tmp_path, lambda document: document["tolerances"].update(accuracy=0.3, bytes=0.5))
    path.write_text(path.read_text().replace('"bytes": ', '"bytes": 1', 1))
    offramp("check", care_dist, "--baseline", path, "--update", "--recorded")
    written = json.loads(path.read_text())
    assert written["tolerances"] | {"accuracy": 0.3, "bytes": 0.5} == written["tolerances"]
    path.write_text("{")
    offramp("check", care_dist, "--baseline", path, "--update", "--recorded")
    assert json.loads(path.read_text())["tolerances"]["accuracy"] == 0.01


def test_what_is_not_verified_fails_and_is_not_written(damaged_dist, kept, user):
    document = read_manifest(damaged_dist)
    document["artifacts"][1] |= {"verified": False, "not_verified_because": "on purpose"}
    write_manifest(damaged_dist, document)
    checked = document_of(damaged_dist, "--recorded", "--update", code=1)
    assert checked["not_verified"] == ["care_xxs.onnx"]
    assert not checked["updated"]
    assert not (user / "baselines").exists()
    text = offramp("check", damaged_dist, "--recorded", "--baseline", kept, code=1)
    assert "onnx int8, care_xxs.onnx: not verified: on purpose" in text


@pytest.mark.slow
def test_a_doubled_scale_fails_with_the_artifact_and_the_layer(damaged_dist, tmp_path):
    given = ("check", damaged_dist, "--baseline", tmp_path / "kept.json", "--samples", 20, *QUICK)
    offramp(*given, "--update")
    document = read_manifest(damaged_dist)
    for row in document["artifacts"]:
        path = damaged_dist / row["path"]
        if row["precision"] == "int8":
            change_constant(path, "stages_3_0_memory_fc1_weight", 2.0)
        row |= {"bytes": size_bytes_of(path), "sha256": sha256_of(path)}
    write_manifest(damaged_dist, document)
    text = offramp(*given, "--junit", tmp_path / "ci" / "check.xml", code=1)
    for target, suffix in (("onnx", ".onnx"), ("coreml", ".mlpackage"), ("tflite", ".tflite")):
        (line,) = [
            line for line in text.splitlines() if line.startswith(f"{target} int8, care_xxs{suffix}: not verified")
        ]
        assert "starts at stages.3.0.memory.fc1" in line
    assert "care_xxs does not hold" in text
    cases = ElementTree.parse(tmp_path / "ci" / "check.xml").getroot().iter("testcase")
    failed = {(case.get("classname"), case.get("name")) for case in cases if case.find("failure") is not None}
    assert {(f"care_xxs.{target} int8", "verified") for target in ("onnx", "coreml", "tflite")} <= failed
    assert not any("float32" in name for name, _ in failed)


def test_junit_has_a_case_for_each_figure_of_each_artifact(care_dist, kept, tmp_path):
    path = edited(kept, tmp_path, lambda document: document["artifacts"]["onnx int8"].update(bytes=1000))
    document = document_of(care_dist, "--baseline", path, "--recorded", "--junit", tmp_path / "a.xml", code=1)
    root = ElementTree.parse(tmp_path / "a.xml").getroot()
    (suite,) = root
    cases = list(suite)
    assert root.tag == "testsuites"
    assert suite.get("tests") == str(len(cases)) == str(6 + len(document["compared"]))
    assert suite.get("failures") == root.get("failures") == "1"
    assert {case.get("name") for case in cases} == {
        *("verified", "accuracy", "float_agreement", "bytes", "macs", "max_step_difference")
    }
    (failure,) = root.iter("failure")
    assert "baseline: 1,000" in failure.get("message")


def test_the_users_own_samples_are_found_again(user):
    draw = np.random.default_rng(0)
    np.savez(user / "mine.npz", image=draw.standard_normal((90, 1, 12, 12)), labels=draw.integers(0, 4, 90))
    network = convnet(user, "gated_net")
    offramp("deploy", network, "--data", "mine.npz", "--target", "onnx", "--calibration-samples", 20, "--samples", 30,
            "--seed", 3, "--no-measure", *QUICK)  # fmt: skip
    verified = CliRunner().invoke(main, ["verify", "dist/gated_net", "--json", *QUICK])
    assert json.loads(verified.stdout)["data"] == read_manifest(user / "dist/gated_net")["data"]
    document = document_of("dist/gated_net", "--update", "--recorded")
    assert document["samples"]["count"] == 30
    assert document_of("dist/gated_net")["holds"]
    (user / "mine.npz").rename(user / "moved.npz")
    result = CliRunner().invoke(main, ["check", "dist/gated_net"])
    assert result.exit_code == 2
    assert "mine.npz: no such file; name with --data where the deployment's samples are now" in result.stderr
    given = ("dist/gated_net", "--data", "moved.npz")
    assert document_of(*given)["holds"]
    result = CliRunner().invoke(main, ["check", *given, "--seed", "5"])
    assert result.exit_code == 2
    assert "another sample set: its 30 samples (mine.npz) are not the 30 of now (moved.npz)" in result.stderr
    result = CliRunner().invoke(main, ["check", *given, "--samples", "12"])
    assert "are not the 12 of now" in result.stderr


def test_inputs_that_were_drawn_have_no_accuracy_to_hold(user):
    network = convnet(user, "gated_net")
    offramp("deploy", network, "--target", "onnx", "--samples", 6, "--no-measure", *QUICK)
    offramp("check", "dist/gated_net", "--update")
    figures = json.loads((user / "baselines/gated_net.json").read_text())["artifacts"]["onnx int8"]
    assert (figures["accuracy"], figures["hits"], figures["float_agreement"]) == (None, None, None)
    assert {entry["figure"] for entry in document_of("dist/gated_net")["compared"]} == {
        *("bytes", "macs", "max_step_difference")
    }


def test_a_manifest_of_an_older_release_is_executed_and_held(user):
    network = convnet(user, "older_net")
    offramp("deploy", network, "--target", "onnx", "--samples", 6, "--no-measure", *QUICK)
    offramp("check", "dist/older_net", "--update")
    document = read_manifest(user / "dist/older_net")
    document["data"] = {key: document["data"][key] for key in ("name", "samples")}
    del document["float"]["classes"]
    for row in document["artifacts"]:
        del row["classes"]
    write_manifest(user / "dist/older_net", document)
    assert document_of("dist/older_net")["holds"]


def test_the_function_behind_the_verb_takes_a_folder_alone(care_dist, user):
    shutil.copytree(care_dist, user / "dist")
    assert check_dist(user / "dist", recorded=True)["baseline"] is None

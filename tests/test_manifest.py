"""What a manifest promises: nothing incomplete is written, nothing changed or foreign is read, one line says what."""

import copy
import json
import math
import sys
from pathlib import Path

import jsonschema
import pytest
from offramp.errors import BadInput
from offramp.manifest import MANIFEST, check_document, read_manifest, schema, write_manifest
from offramp.storage import sha256_of, size_bytes_of

sys.path.append(str(Path(__file__).parent))
from report_sample import sample_emulation


def engine(**changes):
    row = {"engine": "onnxruntime 1.32.0", "ran": True, "reason": None, "agreement": 1.0, "accuracy": 0.5}
    return {**row, "max_step_difference": 1, "max_abs_difference": 0.01, **changes}


def artifact(folder, path, **changes):
    row = {"target": "onnx", "precision": "int8", "path": path, "verified": True, "not_verified_because": None}
    row |= {"bytes": size_bytes_of(folder / path), "sha256": sha256_of(folder / path), "engines": [engine()]}
    row |= {"accuracy": 0.5, "agreement": 1.0, "max_step_difference": 1, "first_difference": None, "constants": None}
    row |= {"integer_mac_share": 0.9, "islands": [], "macs": {"8": 9, "32": 1}, "parameters": 4, "latency_ms": None}
    row |= {"noisy": None, "load_ms": None, "peak_activation_bytes": None, "board": None, "details": {"opset": "21"}}
    return {**row, **changes}


@pytest.fixture
def folder(tmp_path):
    """A dist with a file and a package of two files."""
    (tmp_path / "net.onnx").write_bytes(b"onnx")
    package = tmp_path / "net.mlpackage"
    (package / "Data").mkdir(parents=True)
    (package / "Manifest.json").write_text("{}")
    (package / "Data" / "weight.bin").write_bytes(b"weights")
    return tmp_path


@pytest.fixture
def document(folder):
    tensor = {"name": "image", "shape": [None, 3, 32, 32], "dtype": "float32"}
    return {
        "schema": 1,
        "name": "net",
        "network": {
            "system": None, "source": "net:build", "paper": "", "task": "images", "parameters": 4, "macs": {"32": 10},
        },
        "inputs": [tensor],
        "outputs": [tensor],
        "labels": ["cat", "dog"],
        "preprocessing": {"scale": 1 / 255, "mean": [0.5, -0.1, 0.5], "std": 1.0, "baked": False},
        "scheme": {"bits": 8},
        "calibration": {"data": "images", "samples": 32},
        "float_operators": [],
        "data": {"name": "images", "samples": 64},
        "float": {"accuracy": None},
        "program": {"accuracy": 0.5, "agreement": 0.99},
        "artifacts": [artifact(folder, "net.onnx"), artifact(folder, "net.mlpackage", target="coreml")],
        "layers": [
            {"name": "conv", "module": "stem", "operator": "conv", "macs": 1, "precision": "int8", "sqnr_db": -3.5}
        ],
        "environment": {"python": "3.11"},
    }  # fmt: skip


def test_a_written_manifest_reads_back_with_the_hash_of_every_file(folder, document):
    before = copy.deepcopy(document)
    write_manifest(folder, document)
    found = read_manifest(folder)
    assert document == before
    assert found == {**document, "files": found["files"]}
    assert found["files"] == {
        name: sha256_of(folder / name)
        for name in ("net.onnx", "net.mlpackage/Manifest.json", "net.mlpackage/Data/weight.bin")
    }


def test_equal_documents_give_equal_bytes_and_writing_again_changes_nothing(folder, document):
    write_manifest(folder, document)
    first = (folder / MANIFEST).read_bytes()
    write_manifest(folder, dict(reversed(read_manifest(folder).items())))
    assert (folder / MANIFEST).read_bytes() == first


def test_the_schema_is_valid_and_cannot_be_changed_by_its_reader():
    jsonschema.Draft202012Validator.check_schema(schema())
    schema().clear()
    assert schema()["title"] == "offramp manifest"


def test_unknown_fields_are_kept(folder, document):
    document["artifacts"][0]["energy_joules"] = 1e-3
    document["origin"] = "a later version"
    write_manifest(folder, document)
    assert read_manifest(folder)["artifacts"][0]["energy_joules"] == 1e-3
    assert read_manifest(folder)["origin"] == "a later version"


def replaced(document, path, value):
    *parents, last = path
    for part in parents:
        document = document[part]
    document[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["name"], "", r"name: must not be empty, got ''"),
        (["artifacts", 1, "target"], "wasm", r"artifacts\[1\]\.target: must be one of onnx or coreml .*got 'wasm'"),
        (["artifacts", 0, "precision"], "int7", r"artifacts\[0\]\.precision: 'int7' is not of the form of a float"),
        (["artifacts", 0, "sha256"], "A" * 64, r"artifacts\[0\]\.sha256: 'AAA.* 64 hexadecimal digits"),
        (["artifacts", 0, "macs"], {"8": -1}, r"artifacts\[0\]\.macs\.8: must be at least 0, got -1"),
        (["artifacts", 0, "macs"], {"eight": 1}, r"artifacts\[0\]\.macs: 'eight' does not match"),
        (["artifacts", 0, "agreement"], 1.5, r"artifacts\[0\]\.agreement: must be at most 1, got 1\.5"),
        (["artifacts", 0, "latency_ms"], {"p50": 1.0}, r"artifacts\[0\]\.latency_ms: p90, p99, min missing"),
        (["artifacts", 0, "path"], "../net.onnx", r"artifacts\[0\]\.path: '\.\./net\.onnx' is not .* inside"),
        (["artifacts", 0, "path"], "/net.onnx", r"artifacts\[0\]\.path: '/net\.onnx' is not of the form relative"),
        (["inputs", 0, "shape"], [1, "n"], r"inputs\[0\]\.shape\[1\]: must be integer or null, got 'n'"),
        (["preprocessing", "std"], [1.0, 0.0], r"preprocessing\.std\[1\]: must be above 0, got 0\.0"),
        (["float", "accuracy"], math.nan, r"float\.accuracy: must be a finite number, got nan"),
        (["layers", 0, "sqnr_db"], math.inf, r"layers\[0\]\.sqnr_db: must be a finite number, got inf"),
        (["schema"], 2, r"schema 2, this offramp reads 1; use the offramp that wrote it"),
        (["environment"], {"a\nb": 1}, r"environment\.'a\\nb': must be string, got 1"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_by_its_path_in_one_line(folder, document, path, value, message):
    replaced(document, path, value)
    with pytest.raises(BadInput, match=message) as caught:
        write_manifest(folder, document)
    assert "\n" not in str(caught.value)
    assert not (folder / MANIFEST).exists()


def test_emulations_on_synapse_arrays_may_be_kept(folder, document):
    document["emulations"] = [sample_emulation(adc=[4, 0], levels=[2, 64]), sample_emulation()]
    write_manifest(folder, document)
    assert read_manifest(folder)["emulations"] == document["emulations"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["accuracy", "mean"], 1.2, r"accuracy\.mean: must be at most 1, got 1\.2"),
        (["accuracy"], "high", r"accuracy: must be object or null, got 'high'"),
        (["agreement"], None, r"agreement: must be object, got None"),
        (["chips"], 0, r"chips: must be at least 1, got 0"),
        (["energy_joules"], math.inf, r"energy_joules: must be a finite number, got inf"),
        (["read", "seconds"], 0, r"read\.seconds: must be above 0, got 0"),
        (
            ["sweep", "plot"],
            "../plot.svg",
            r"sweep\.plot: '\.\./plot\.svg' is not of the form the name of an \.svg file",
        ),
        (["sweep", "axes", 0, "values"], [], r"sweep\.axes\[0\]\.values: must not be empty, got \[\]"),
        (
            ["sweep", "points", 1, "settings"],
            {"adc": "4"},
            r"sweep\.points\[1\]\.settings\.adc: must be number, got '4'",
        ),
        (["sweep", "points", 1, "arrays"], -1, r"sweep\.points\[1\]\.arrays: must be at least 0, got -1"),
        (["sweep", "points", 0], {}, r"sweep\.points\[0\]: .* missing"),
    ],
)
def test_a_wrong_field_of_an_emulation_is_named_too(folder, document, path, value, message):
    document["emulations"] = [sample_emulation(adc=[4, 6])]
    replaced(document["emulations"][0], path, value)
    with pytest.raises(BadInput, match=rf"emulations\[0\]\.{message}"):
        write_manifest(folder, document)


def test_missing_fields_are_named_together_and_many_faults_are_counted(folder, document):
    del document["labels"], document["layers"]
    document["environment"] = {str(number): number for number in range(9)}
    with pytest.raises(BadInput, match=r"the document: labels, layers missing; .*\(and 7 more\); run `offramp deploy`"):
        write_manifest(folder, document)


def test_what_no_engine_ran_cannot_be_verified(folder, document):
    document["artifacts"][0]["engines"] = [engine(ran=False, reason="needs macOS")]
    with pytest.raises(BadInput, match=r"artifacts\[0\]\.engines: must hold an engine that ran"):
        write_manifest(folder, document)


def test_what_is_not_verified_says_why(folder, document):
    unverified = {"verified": False, "engines": []}
    document["artifacts"][0] |= unverified
    with pytest.raises(BadInput, match=r"artifacts\[0\]\.not_verified_because: must be string, got None"):
        write_manifest(folder, document)
    document["artifacts"][0]["not_verified_because"] = "no engine on this machine"
    write_manifest(folder, document)


def test_an_engine_that_did_not_run_says_why(folder, document):
    document["artifacts"][0]["engines"].append(engine(engine="tflite-runtime", ran=False))
    with pytest.raises(BadInput, match=r"artifacts\[0\]\.engines\[1\]\.reason: must be string, got None"):
        write_manifest(folder, document)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "gone.onnx"}, r"artifacts\[0\]\.path: gone\.onnx is not in the folder"),
        ({"bytes": 5}, r"artifacts\[0\]\.bytes: is 4, the row says 5"),
        ({"sha256": "0" * 64}, r"artifacts\[0\]\.sha256: is not that of net\.onnx"),
        ({"path": "net.mlpackage"}, r"artifacts\[1\]\.path: net\.mlpackage appears twice"),
    ],
)
def test_a_row_that_does_not_fit_its_file_is_not_written(folder, document, changes, message):
    document["artifacts"][0] |= changes
    with pytest.raises(BadInput, match=message):
        write_manifest(folder, document)


def test_a_changed_file_inside_a_package_is_named(folder, document):
    write_manifest(folder, document)
    (folder / "net.mlpackage" / "Data" / "weight.bin").write_bytes(b"Weights")
    with pytest.raises(BadInput, match=r"net\.mlpackage/Data/weight\.bin: changed since .*; restore it or run"):
        read_manifest(folder)
    assert read_manifest(folder, check_hashes=False)["name"] == "net"


def test_a_missing_and_a_foreign_file_are_named(folder, document):
    write_manifest(folder, document)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"notes\.txt: not listed in manifest\.json; remove it"):
        read_manifest(folder)
    (folder / "net.onnx").unlink()
    with pytest.raises(BadInput, match=r"net\.onnx: listed in manifest\.json but missing; .*\(and 1 more\)"):
        read_manifest(folder)


def test_a_folder_without_a_manifest_says_what_to_name(tmp_path):
    with pytest.raises(BadInput, match=r"holds no manifest\.json; name a folder that `offramp deploy` wrote"):
        read_manifest(tmp_path)
    with pytest.raises(BadInput, match=r"nowhere: no such folder"):
        write_manifest(tmp_path / "nowhere", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "the document: must be object, got \\[\\]"),
        ("[" * 100_000, "not a manifest|not valid JSON"),
        ('{"schema": 1, "x": ' + "[" * 400 + "]" * 400 + "}", "missing|nested too deeply"),
        ("9" * 10_000, "not a manifest"),
        ("\udcff", "not valid JSON"),
    ],
)
def test_a_damaged_manifest_is_one_line(tmp_path, text, message):
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput, match=message) as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_a_folder_is_one_line(tmp_path):
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(BadInput, match="cannot read"):
        read_manifest(tmp_path)


def test_a_document_is_checked_on_its_own(folder, document):
    check_document({**document, "files": {}}, "memory")
    with pytest.raises(BadInput, match="memory: files: must be object, got 3"):
        check_document({**document, "files": 3}, "memory")


def test_the_written_file_is_json_with_a_final_newline(folder, document):
    write_manifest(folder, document)
    text = (folder / MANIFEST).read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["schema"] == 1

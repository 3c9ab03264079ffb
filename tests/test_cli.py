"""Every verb as a user and as a program calls it: help, one JSON document, exit codes, what is printed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from offramp.benchmarks.faults import change_constant, rehash
from offramp.cli import main
from offramp.manifest import check_document, read_manifest
from offramp.storage import sha256_of, size_bytes_of
from torch import nn

sys.path.append(str(Path(__file__).parent))
from command_line import document_of, offramp
from tiny_networks import convnet

VERBS = ("deploy", "list", "rules", "train", "quantize", "export", "verify", "profile", "netlist", "emulate", "synapse")
VERBS = (*VERBS, "check", "report", "reproduce", "doctor")
QUICK = ("--no-measure", "--no-older-runtime", "--samples", "8", "--calibration-samples", "8")
ROW = {"target", "precision", "path", "bytes", "sha256", "verified", "accuracy", "agreement", "max_step_difference"}
ROW |= {"macs", "parameters", "latency_ms", "board"}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """An empty folder to work in, from which Python can import."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


# Help


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_examples_of_the_verb(verb):
    text = offramp(verb, "--help")
    assert "Examples:" in text
    assert f"\n    offramp {verb}" in text.split("Examples:")[1]
    assert text.splitlines()[0].startswith("Usage: ")


def test_help_lists_every_verb_in_the_order_of_the_work():
    for text in (offramp("--help"), offramp("-h"), offramp()):
        lines = text.split("Commands:")[1].splitlines()
        assert tuple(line.split()[0] for line in lines if line.strip()) == VERBS
        assert not any(line.rstrip().endswith("...") for line in lines)


def test_help_loads_no_torch_and_is_quick():
    code = (
        "import sys, time; begun = time.perf_counter()\n"
        "import conftest\n"
        "from offramp.cli import main\n"
        "try: main(['deploy', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'numpy', 'coremltools', 'litert_torch', 'onnxruntime', 'rich'} & set(sys.modules)\n"
        "print(time.perf_counter() - begun)"
    )
    code = code.replace("import conftest\n", f"sys.path.insert(0, {str(Path(__file__).parent)!r}); import conftest\n")
    code = code.replace("import sys, time; begun", "import sys, time, pytest; begun")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1.0


def test_version():
    assert offramp("--version").startswith("offramp, version ")


# The zoo


def test_list_has_a_row_for_every_system():
    rows = document_of("list")
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert {"care_xxs", "mobilenet_v2", "ds_cnn"} <= {row["name"] for row in rows}
    for row in rows:
        assert set(row) == {"name", "paper", "task", "parameters", "macs", "works"}
        assert row["parameters"] > 0
        assert row["macs"] > 0
        assert set(row["works"].values()) <= {True, False}
    table = offramp("list")
    assert all(row["name"] in table for row in rows)


def test_train_saves_a_run_and_resume_goes_on_from_it(user):
    first = document_of("train", "care_xxs", "--epochs", "1")
    assert (first["name"], first["run"]) == ("care_xxs", "runs/care_xxs")
    assert first["metrics"]["epoch"] == 1
    weights = sha256_of(user / "runs/care_xxs/weights.safetensors")
    again = document_of("train", "care_xxs", "--epochs", "1", "--resume")
    assert again == first  # it was finished
    assert sha256_of(user / "runs/care_xxs/weights.safetensors") == weights
    assert "accuracy" in offramp("train", "care_xxs", "--epochs", "1", "--seed", "1", "--runs", "other")
    assert sha256_of(user / "other/care_xxs/weights.safetensors") != weights


def test_deploy_trains_a_bare_system_once(user):
    arguments = ("care_xxs", "--target", "onnx", "--precision", "float32", *QUICK)
    first = document_of("deploy", *arguments, "--epochs", "1")
    assert first["network"]["trained"]
    assert sorted(path.name for path in user.iterdir()) == ["dist", "runs"]
    run = sha256_of(user / "runs")
    assert document_of("deploy", *arguments) == first
    assert sha256_of(user / "runs") == run


# Quantize, export, deploy


def test_quantize_writes_a_program_and_compares_it(user):
    document = document_of("quantize", convnet(user, "quantized_net"), "--calibration-samples", "8", "--samples", "8")
    assert document["program"] == "programs/quantized_net/program.pt2"
    assert sorted(path.name for path in (user / "programs/quantized_net").iterdir()) == ["program.pt2", "scheme.json"]
    assert document["float"] == {"accuracy": None}
    assert document["quantized"]["agreement"] >= 0.875
    assert "agreement" in offramp("quantize", "quantized_net:build", "--calibration-samples", "8", "--samples", "8")


def test_export_writes_artifacts_and_says_how_much_smaller_they_are(user):
    document = document_of("export", convnet(user, "exported_net"), "--target", "onnx", *QUICK)
    assert document["folder"] == "dist/exported_net"
    for row in document["artifacts"]:
        path = user / "dist/exported_net" / row["path"]
        assert row == row | {"bytes": size_bytes_of(path), "sha256": sha256_of(path)}
    sizes = {row["precision"]: row["bytes"] for row in document["artifacts"]}
    assert document["bytes_ratio"] == {"onnx": round(sizes["int8"] / sizes["float32"], 4)}
    assert "quantized is" in offramp("export", "exported_net:build", "--target", "onnx", *QUICK)


def test_deploy_prints_the_manifest_or_a_table(user):
    arguments = (convnet(user, "deployed_net"), "--target", "onnx", "--target", "tflite", *QUICK)
    document = document_of("deploy", *arguments)
    check_document(document, "standard output")
    assert document == read_manifest(user / "dist/deployed_net")
    assert all(set(row) >= ROW for row in document["artifacts"])
    table = offramp("deploy", *arguments)
    assert table.count("verified") == 4
    assert "not verified" not in table


@pytest.mark.slow
def test_nothing_but_progress_reaches_the_screen(user):
    """In a process of its own: what C++ writes passes by Python's standard error."""
    convnet(user, "quiet_net")
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import conftest\n"
        "from offramp.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "deploy", "quiet_net:build", "--samples", "8", "--json"]
    done = subprocess.run([*command, "--no-older-runtime"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if not line.startswith("·")] == []
    assert len(done.stdout.splitlines()) == 1


# Verify


def test_verify_executes_a_dist_again(care_dist):
    before = sha256_of(care_dist)
    document = document_of("verify", care_dist, "--samples", "20", "--no-older-runtime")
    check_document(document, "standard output")
    assert [row["verified"] for row in document["artifacts"]] == [True] * 6
    assert all(set(row) >= ROW for row in document["artifacts"])
    assert document["data"]["samples"] == 20
    assert sha256_of(care_dist) == before


@pytest.mark.slow
def test_verify_names_the_layer_of_each_wrong_scale(damaged_dist):
    layers = {".onnx": "stages.0.0.features.fc2", ".mlpackage": "stages.2.0.conv3", ".tflite": "stages.3.0.memory.fc1"}
    for suffix, layer in layers.items():
        change_constant(damaged_dist / f"care_xxs{suffix}", f"{layer.replace('.', '_')}_weight", 1.5)
    rehash(damaged_dist)
    document = document_of("verify", damaged_dist, "--samples", "8", "--no-older-runtime", code=1)
    for row in document["artifacts"]:
        if row["precision"] == "float32":
            assert row["verified"]
            continue
        assert not row["verified"]
        assert row["first_difference"]["module"] == layers[Path(row["path"]).suffix]
    text = offramp("verify", damaged_dist, "--samples", "8", "--no-older-runtime", code=1)
    assert text.count("not verified") == 3
    assert all(f"starts at {layer}" in text for layer in layers.values())


def test_deploy_of_an_artifact_that_differs_ends_with_exit_code_1(user, monkeypatch):
    from offramp import pipeline

    def faulty(*arguments, **options):
        artifact = write(*arguments, **options)
        change_constant(artifact.path, "body_1_conv_weight", 1.5)
        return artifact

    write = pipeline.write_artifact
    monkeypatch.setattr(pipeline, "write_artifact", faulty)
    arguments = (convnet(user, "faulty_net"), "--target", "onnx", "--precision", "int8", *QUICK)
    (row,) = document_of("deploy", *arguments, code=1)["artifacts"]
    assert row["first_difference"]["module"] == "body.1.conv"
    assert "starts at body.1.conv" in offramp("deploy", *arguments, code=1)


class Foreign(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 5)

    def forward(self, image):
        return self.head(self.conv(image).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """One network as other exporters write it, the same with other weights, and two of other shapes."""
    import litert_torch

    folder = tmp_path_factory.mktemp("foreign")
    image = torch.zeros(1, 3, 8, 8)
    for name, network, example in (
        ("net", Foreign(), image),
        ("other", Foreign(1), image),
        ("large", Foreign(), torch.zeros(1, 3, 9, 9)),
        ("wide", nn.Sequential(Foreign(), nn.Linear(5, 6)), image),
    ):
        torch.onnx.export(network.eval(), (example,), folder / f"{name}.onnx", dynamo=True, verbose=False)
    litert_torch.convert(Foreign().eval(), (image,)).export(str(folder / "net.tflite"))
    torch.export.save(torch.export.export(Foreign().eval(), (image,)), folder / "net.pt2")
    return folder


@pytest.mark.parametrize("name", ["net.onnx", "net.tflite"])
def test_profile_counts_and_times_a_foreign_file(foreign, name):
    document = document_of("profile", foreign / name, "--runs", "3", "--seconds", "0")
    (row,) = document["artifacts"]
    assert document["name"] == "net"
    assert set(row) >= ROW
    assert row["macs"] == {"32": 8 * 3 * 3 * 3 * 8 * 8 + 5 * 8}
    assert row["bytes"] == (foreign / name).stat().st_size
    assert row["latency_ms"]["p50"] > 0
    assert row["peak_activation_bytes"] >= 4 * (3 + 8) * 8 * 8
    assert not row["verified"]
    assert row["not_verified_because"] == "it was held against nothing"
    assert name in offramp("profile", foreign / name, "--runs", "3", "--seconds", "0")


def test_profile_of_a_dist_times_what_runs_here(care_dist):
    document = document_of("profile", care_dist, "--runs", "3", "--seconds", "0")
    for row in document["artifacts"]:
        assert (row["latency_ms"] is None) == (row["target"] == "coreml")
        assert row["verified"]


@pytest.mark.parametrize("name", ["net.onnx", "net.tflite"])
def test_verify_holds_a_foreign_file_against_its_plain_engine(foreign, name):
    (row,) = document_of("verify", foreign / name)["artifacts"]
    assert row["verified"]
    assert row["against"] == "its plain engine"
    assert row["agreement"] == 1.0


@pytest.mark.parametrize(
    ("name", "against"),
    [("net.onnx", "net.tflite"), ("net.tflite", "net.onnx"), ("net.onnx", "net.pt2"), ("net.tflite", "net.pt2")],
)
def test_verify_holds_a_foreign_file_against_another(foreign, name, against):
    (row,) = document_of("verify", foreign / name, "--against", foreign / against)["artifacts"]
    assert row["verified"]
    assert row["against"] == against
    assert row["engines"][0]["max_abs_difference"] < 1e-5


@pytest.mark.parametrize("against", ["net.tflite", "net.pt2", "net.onnx"])
def test_verify_tells_two_networks_apart(foreign, against):
    (row,) = document_of("verify", foreign / "other.onnx", "--against", foreign / against, code=1)["artifacts"]
    assert not row["verified"]
    assert row["not_verified_because"].startswith(f"agrees with {against} on ")
    text = offramp("verify", foreign / "other.onnx", "--against", foreign / against, code=1)
    assert f"agrees with {against} on " in text


@pytest.mark.parametrize(
    ("against", "message"), [("large.onnx", "takes other inputs"), ("wide.onnx", "(5,), wide.onnx")]
)
def test_verify_refuses_a_comparison_of_other_shapes(foreign, against, message):
    result = CliRunner().invoke(main, ["verify", str(foreign / "net.onnx"), "--against", str(foreign / against)])
    assert result.exit_code == 2
    assert message in result.stderr
    assert against in result.stderr


def test_verify_takes_the_user_s_samples(foreign, tmp_path):
    image = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "x.npz", image=image)
    document = document_of(
        "verify", foreign / "net.onnx", "--data", tmp_path / "x.npz", "--against", foreign / "net.pt2"
    )
    assert document["artifacts"][0]["verified"]
    np.savez(tmp_path / "y.npz", image=image[:, :2])
    result = CliRunner().invoke(main, ["verify", str(foreign / "net.onnx"), "--data", str(tmp_path / "y.npz")])
    assert result.exit_code == 2
    assert "image must have samples of shape (3, 8, 8), got (2, 8, 8)" in result.stderr


def test_a_file_that_gives_nan_is_not_verified(tmp_path):
    class Root(nn.Module):
        def forward(self, x):
            return x.sqrt()

    torch.onnx.export(Root(), (torch.ones(1, 4),), tmp_path / "root.onnx", dynamo=True, verbose=False)
    (row,) = document_of("verify", tmp_path / "root.onnx", code=1)["artifacts"]
    assert row["not_verified_because"] == "an output is NaN or infinite"
    assert row["engines"][0]["max_abs_difference"] is None


# Report


def test_report_writes_the_page_again(damaged_dist):
    page = damaged_dist / "report.html"
    before = page.read_bytes()
    page.write_text("gone")
    rehash(damaged_dist)
    document = document_of("report", damaged_dist)
    assert document["report"] == str(page)
    assert page.read_bytes() == before
    read_manifest(damaged_dist)  # and its hash is the new page's
    assert str(page) in offramp("report", damaged_dist).replace("\n", "")


def test_doctor_examines_this_machine():
    document = document_of("doctor")
    assert document["host"]["cores"] >= 1
    findings = {finding["name"]: finding for finding in document["findings"]}
    assert findings["onnx, executed"]["works"]
    assert findings["onnx, executed"]["detail"].startswith("onnxruntime ")
    assert shutil.get_terminal_size()  # a table for people is as wide as their terminal
    assert "onnxruntime" in offramp("doctor")


def test_under_torchrun_only_the_first_process_prints(monkeypatch, care_dist) -> None:
    monkeypatch.setenv("RANK", "1")
    assert CliRunner().invoke(main, ["check", str(care_dist), "--json"]).stdout == ""
    monkeypatch.setenv("RANK", "0")
    assert json.loads(CliRunner().invoke(main, ["check", str(care_dist), "--json"]).stdout)["holds"] is True

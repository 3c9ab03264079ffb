"""Whatever a user gets wrong ends in one line on standard error and exit code 2, and what was there stays."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from offramp.cli import main
from offramp.storage import sha256_of

sys.path.append(str(Path(__file__).parent))
from command_line import error_of
from tiny_networks import convnet, write_network

QUICK = ("--no-measure", "--no-older-runtime", "--samples", "4", "--calibration-samples", "4")


@pytest.fixture(scope="module")
def network(site):
    return convnet(site, "bad_input_net")


@pytest.fixture(scope="module")
def good_dist(network, tmp_path_factory):
    """A dist of a small network with one artifact for each target; to be copied."""
    out = tmp_path_factory.mktemp("good") / "dist"
    result = CliRunner().invoke(main, ["deploy", network, "--precision", "int8", "--out", str(out), *QUICK])
    assert result.exit_code == 0, result.stderr
    return out / "bad_input_net"


@pytest.fixture
def dist(good_dist, tmp_path):
    return Path(shutil.copytree(good_dist, tmp_path / "bad_input_net"))


@pytest.fixture
def out(good_dist, tmp_path):
    """A folder of dists that holds a good one, which no failing deploy may change."""
    folder = tmp_path / "dist"
    shutil.copytree(good_dist, folder / "bad_input_net")
    before = sha256_of(folder)
    yield folder
    assert sha256_of(folder) == before
    assert [path.name for path in folder.iterdir()] == ["bad_input_net"]


# Artifacts


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


def scramble(path):
    path.write_bytes(np.random.default_rng(0).bytes(4096))


def empty(path):
    path.write_bytes(b"")


MODEL = "Data/com.apple.CoreML/model.mlmodel"
DAMAGES = [
    *(
        (suffix, damage)
        for suffix in (".onnx", ".tflite", ".mlpackage")
        for damage in (truncate, scramble, empty, None)
    ),
    (".mlpackage", "no weights"),
    (".mlpackage", "no model"),
]


@pytest.mark.parametrize("verb", ["verify", "profile"])
@pytest.mark.parametrize(("suffix", "damage"), DAMAGES, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_damaged_artifact_is_refused_by_name(dist, tmp_path, verb, suffix, damage):
    path = tmp_path / f"foreign{suffix}"
    (dist / f"bad_input_net{suffix}").rename(path)
    if damage is None:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    elif damage == "no weights":
        (path / "Data/com.apple.CoreML/weights/weight.bin").unlink()
    elif damage == "no model":
        (path / MODEL).unlink()
    else:
        damage(path / MODEL if suffix == ".mlpackage" else path)
    message = error_of(verb, path)
    assert str(path) in message
    if damage is None:
        assert "no such file" in message


@pytest.mark.parametrize("verb", ["verify", "profile"])
def test_a_file_of_another_kind_is_refused(tmp_path, verb):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"1234")
    assert "weights.bin: unknown kind of artifact .bin; expected one of .c, .mlpackage, .onnx, .tflite" in error_of(
        verb, path
    )


# Dists


@pytest.mark.parametrize("verb", ["verify", "profile", "check", "report"])
def test_a_dist_that_is_not_what_its_manifest_says_is_refused(dist, verb):
    (dist / "bad_input_net.onnx").write_bytes((dist / "bad_input_net.onnx").read_bytes() + b"\0")
    message = error_of(verb, dist)
    assert f"{dist / 'bad_input_net.onnx'}: changed since manifest.json was written" in message


@pytest.mark.parametrize("verb", ["verify", "profile", "check", "report"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', '{"schema": 2}', "\0\1"])
def test_a_damaged_manifest_is_refused(dist, verb, content):
    (dist / "manifest.json").write_text(content)
    assert "manifest.json" in error_of(verb, dist)


@pytest.mark.parametrize("verb", ["verify", "profile", "check", "report"])
def test_a_folder_without_a_manifest_is_refused(tmp_path, verb):
    assert f"{tmp_path}: holds no manifest.json" in error_of(verb, tmp_path)


@pytest.mark.parametrize("name", ["program/program.pt2", "program/float.pt2", "program/scheme.json"])
def test_a_damaged_program_is_refused(dist, name):
    document = json.loads((dist / "manifest.json").read_text())
    scramble(dist / name)
    document["files"][name] = sha256_of(dist / name)
    (dist / "manifest.json").write_text(json.dumps(document))
    assert str(dist / name) in error_of("verify", dist)


# Networks


def test_an_unknown_system_is_answered_with_the_known_ones(out):
    message = error_of("deploy", "care_xxl", "--out", out)
    assert "care_xxl: no such system" in message
    assert "care_xxs" in message
    assert "care_xxl: no such system" in error_of("train", "care_xxl")


@pytest.mark.parametrize(
    ("body", "build", "message"),
    [
        ("", "3", r"must return (module, example inputs), got int"),
        ("", "nn.Linear(2, 2)", "must return (module, example inputs), got Linear"),
        ("", "(torch.zeros(1), nn.Linear(2, 2))", "must return (module, example inputs), got (Tensor, Linear)"),
        ("", "(nn.Linear(2, 2), torch.zeros(1, 2), 1)", "got (Linear, Tensor, int)"),
        ("", "(nn.Linear(2, 2), 7)", "example inputs must be tensors, input is int"),
        ("", "(nn.Linear(2, 2), ())", "example inputs must be tensors, there is none"),
        (
            "",
            "(nn.Linear(2, 2), (torch.zeros(1, 2), torch.zeros(1, 2)))",
            "2 example inputs for 1 arguments of forward",
        ),
        ("", "(nn.Linear(2, 2), {'other': torch.zeros(1, 2)})", "forward takes input, and no other"),
        ("", "(nn.Linear(2, 2), torch.zeros(1, 3))", "torch.export cannot trace it"),
        ("import not_there_at_all", "3", "ModuleNotFoundError: No module named 'not_there_at_all'"),
        ("from torch import not_there_at_all", "3", "ImportError: cannot import name 'not_there_at_all'"),
        ("", "1 / 0", "ZeroDivisionError: division by zero"),
        ("x = =", "3", "SyntaxError: invalid syntax"),
    ],
)
def test_a_builder_that_does_not_build_is_explained(site, out, body, build, message, request):
    name = f"broken_{abs(hash(request.node.name))}"
    said = error_of("deploy", write_network(site, name, body, build), "--out", out)
    assert message in said
    assert name in said or "torch.export" in said


def test_a_builder_that_is_not_there_is_named(site, network, out):
    assert "bad_input_net has no other" in error_of("deploy", "bad_input_net:other", "--out", out)
    assert "not_there_at_all: no such module" in error_of("deploy", "not_there_at_all:build", "--out", out)
    assert "not_there.at_all: no such module" in error_of("deploy", "not_there.at_all:build", "--out", out)


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a_weight_that_is_not_finite_is_named(site, out, value):
    body = f"""
    def spoiled():
        network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        network[1].bias.data[0] = float("{value}")
        return network
    """
    network = write_network(site, f"spoiled_{value}", body, "spoiled(), torch.zeros(1, 2)")
    assert "1.bias: holds NaN or infinite values" in error_of("deploy", network, "--out", out)


UNKNOWN = """
class Inner(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.ModuleDict({"odd": Inner()})

    def forward(self, x):
        return self.body["odd"](x)
"""


@pytest.mark.parametrize("target", ["onnx", "coreml", "tflite"])
def test_an_operator_that_a_target_lacks_is_named_with_its_module(site, out, target):
    network = write_network(site, f"odd_{target}", UNKNOWN, "Net(), torch.rand(1, 8)")
    message = error_of("deploy", network, "--target", target, "--precision", "float32", "--out", out, *QUICK)
    assert f"body.odd: {target} has no form of aten.special_bessel_j0.default" in message


def test_a_damaged_exported_program_is_refused(out, tmp_path):
    path = tmp_path / "net.pt2"
    assert "net.pt2: no such file" in error_of("deploy", path, "--out", out)
    torch.export.save(torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),)), path)
    truncate(path)
    assert "net.pt2: not a sound exported program" in error_of("deploy", path, "--out", out)


# Runs


@pytest.fixture
def run(care_run, tmp_path):
    return Path(shutil.copytree(care_run, tmp_path / "runs" / "care_xxs"))


@pytest.mark.parametrize("file", ["config.json", "metrics.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", [truncate, scramble, empty])
def test_a_damaged_run_is_refused(run, out, file, damage):
    damage(run / file)
    assert str(run / file) in error_of("deploy", run, "--out", out)


def test_a_run_with_weights_that_are_not_finite_is_refused(run, out):
    from safetensors.torch import load_file, save_file

    weights = load_file(run / "weights.safetensors")
    weights["stem.0.weight"][0, 0, 0, 0] = float("nan")
    save_file(weights, run / "weights.safetensors")
    assert "stem.0.weight holds NaN or infinity; train again" in error_of("deploy", run, "--out", out)


# Data


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


IMAGES = np.zeros((6, 1, 12, 12), np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": IMAGES[:, :, :10]}, r"image must have samples of shape (1, 12, 12), got (1, 10, 12)"),
        ({"picture": IMAGES}, "inputs are image, got picture"),
        ({"image": IMAGES, "mask": IMAGES}, "inputs are image, got image, mask"),
        ({"image": np.full_like(IMAGES, np.nan)}, "image (float32) must hold finite numbers"),
        ({"image": np.full_like(IMAGES, -np.inf)}, "image (float32) must hold finite numbers"),
        ({"image": IMAGES[:0]}, "holds no sample"),
        ({"image": IMAGES[:1]}, "1 sample; give at least two"),
        ({"image": IMAGES.astype(complex)}, "image (complex128) must hold finite numbers"),
        ({"image": IMAGES, "labels": np.zeros(5, np.int64)}, "arrays must share their first dimension"),
        ({"image": IMAGES, "labels": np.full(6, 0.5)}, "labels must be whole numbers from 0"),
        ({"labels": np.zeros(6, np.int64)}, "no input array"),
        ({"image": np.array([None, "x"] * 3)}, "not a readable .npz of plain numbers"),
    ],
)
def test_samples_that_do_not_fit_are_refused(network, out, tmp_path, arrays, message):
    data = npz(tmp_path / "samples.npz", **arrays)
    assert message in error_of("deploy", network, "--data", data, "--out", out)


@pytest.mark.parametrize("damage", [truncate, scramble, empty])
def test_a_damaged_sample_file_is_refused(network, out, tmp_path, damage):
    data = npz(tmp_path / "samples.npz", image=IMAGES)
    damage(data)
    assert str(data) in error_of("deploy", network, "--data", data, "--out", out)


def test_data_that_hold_nothing_known_are_refused(network, out, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("nothing")
    assert str(tmp_path / "folder") in error_of("deploy", network, "--data", tmp_path / "folder", "--out", out)
    assert "no_such_data" in error_of("deploy", network, "--data", "no_such_data", "--out", out)
    assert str(tmp_path / "x.npz") in error_of("deploy", network, "--data", tmp_path / "x.npz", "--out", out)


# Options


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("deploy",), "Missing argument 'NETWORK'"),
        (("deploy", "NET", "--frobnicate"), "No such option '--frobnicate'"),
        (("deploy", "NET", "--target", "mlir"), "'mlir' is not one of 'onnx', 'coreml', 'tflite'"),
        (("deploy", "NET", "--precision", "int3"), "'int3' is not one of 'float32', 'float16', 'quantized', 'int8'"),
        (("deploy", "NET", "--calibration", "luck"), "'luck' is not one of"),
        (("deploy", "NET", "--seed", "one"), "'one' is not a valid integer"),
        (("deploy", "NET", "--samples", "0"), "samples to verify on must be 1 or more, got 0"),
        (("deploy", "NET", "--samples", "-3"), "samples to verify on must be 1 or more, got -3"),
        (("deploy", "NET", "--calibration-samples", "0"), "samples must be 1 or more, got 0"),
        (("deploy", "NET", "--calibration", "percentile", "--percentile", "0"), "percentile must be in (50, 100]"),
        (("deploy", "NET", "--image-input"), "an image input takes raw pixels; add --bake-preprocessing"),
        (("deploy", "NET", "--bake-preprocessing"), "no preprocessing is known that could be baked in"),
        (("deploy", "NET", "--epochs", "3"), "epochs"),
        (("deploy", "NET", "--keep-float", "nothing"), "nothing"),
        (("export", "NET", "--samples", "0"), "samples to verify on must be 1 or more, got 0"),
        (("quantize", "NET", "--calibration-samples", "-1"), "samples must be 1 or more, got -1"),
        (("train", "bad_input_net:build"), "training takes a system of the zoo"),
        (("train", "care_xxs", "--epochs", "0"), "epochs"),
        (("train", "care_xxs", "--device", "abacus"), "abacus"),
        (("train", "mobilenet_v2"), "no data set is bundled for it; give one with --data"),
        (("check", "DIST", "--samples", "0"), "samples to verify on must be 1 or more, got 0"),
        (("check", "DIST", "--recorded", "--samples", "3"), "leave out --data, --seed and --samples"),
        (("check", "DIST", "--recorded", "--seed", "3"), "leave out --data, --seed and --samples"),
        (("check", "DIST", "--recorded", "--data", "digits"), "leave out --data, --seed and --samples"),
        (("check", "DIST", "--baseline", "nowhere.json"), "nowhere.json: no such file; write it with --update"),
        (("profile", "DIST", "--threads", "0"), "threads"),
        (("profile", "DIST", "--runs", "0"), "runs"),
        (("profile", "DIST", "--seconds", "-1"), "seconds"),
        (("verify", "DIST", "--against", "other.onnx"), "is a dist, which is held against its own program"),
        (("verify", "DIST", "--samples", "0"), "samples to verify on must be 1 or more, got 0"),
    ],
)
def test_a_wrong_option_is_explained(network, dist, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    given = [{"NET": network, "DIST": dist}.get(argument, argument) for argument in arguments]
    before = sha256_of(tmp_path)
    assert message in error_of(*given)
    assert sha256_of(tmp_path) == before
    assert {path.name for path in tmp_path.rglob("*.part")} == set()


# Baselines


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not valid JSON"),
        ("[]", "holds no baseline of version 1; write it again with --update"),
        ('{"name": "bad_input_net", "artifacts": {}}', "holds no baseline of version 1"),
        ('{"version": 7}', "version 7, this offramp reads 1"),
        ({"name": "other"}, "a baseline of other, not of bad_input_net"),
        ({"tolerances": {}}, "tolerances.accuracy is missing"),
        ({"artifacts": {"onnx int8": 5}}, "artifacts.onnx int8 must be an object, got 5"),
        ({"samples": {"name": "digits", "count": 4, "sha256": "0" * 64}}, "another sample set: its 4 samples (digits)"),
    ],
)
def test_a_baseline_that_is_none_is_refused(dist, tmp_path, content, message):
    baseline = tmp_path / "baseline.json"
    if isinstance(content, dict):
        CliRunner().invoke(main, ["check", str(dist), "--baseline", str(baseline), "--update", "--recorded"])
        content = json.dumps(json.loads(baseline.read_text()) | content)
    if content is not None:
        baseline.write_text(content)
    said = error_of("check", dist, "--baseline", baseline, "--recorded")
    assert message in said
    assert str(baseline) in said


def test_a_baseline_of_another_network_is_not_written_over(dist, tmp_path):
    baseline = tmp_path / "baseline.json"
    CliRunner().invoke(main, ["check", str(dist), "--baseline", str(baseline), "--update", "--recorded"])
    baseline.write_text(json.dumps(json.loads(baseline.read_text()) | {"name": "other"}))
    before = baseline.read_bytes()
    assert "a baseline of other" in error_of("check", dist, "--baseline", baseline, "--update", "--recorded")
    assert baseline.read_bytes() == before


def test_a_baseline_that_is_a_folder_is_refused(dist, tmp_path):
    for more in ((), ("--update",)):
        assert str(tmp_path) in error_of("check", dist, "--baseline", tmp_path, "--recorded", *more)


def test_a_manifest_that_does_not_know_its_samples_is_refused(dist, tmp_path):
    document = json.loads((dist / "manifest.json").read_text())
    document["data"] = {"name": "from an older release", "samples": 4}
    (dist / "manifest.json").write_text(json.dumps(document))
    said = error_of("check", dist, "--recorded")
    assert "does not say which samples its figures are of; leave out --recorded or deploy it anew" in said


# Disks


def test_an_out_folder_that_is_a_file_is_refused(network, tmp_path):
    (tmp_path / "dist").write_text("a file")
    message = error_of(
        "deploy", network, "--target", "onnx", "--precision", "float32", "--out", tmp_path / "dist", *QUICK
    )
    assert f"{tmp_path / 'dist'}" in message
    assert (tmp_path / "dist").read_text() == "a file"


def test_an_out_folder_that_cannot_be_written_is_refused(network, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    (tmp_path / "dist").mkdir(mode=0o500)
    message = error_of(
        "deploy", network, "--target", "onnx", "--precision", "float32", "--out", tmp_path / "dist", *QUICK
    )
    assert "cannot write (Permission denied)" in message


@pytest.mark.parametrize("at", ["artifact", "program", "report", "swap"])
def test_a_full_disk_leaves_what_was_there(network, out, monkeypatch, at):
    names = {"artifact": "bad_input_net.onnx", "program": "float.pt2", "report": "report.html", "swap": "bad_input_net"}
    replace = os.replace

    def full(source, destination):
        if Path(destination).name == names[at] and ".old" not in str(destination) and ".part" in str(source):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(destination))
        replace(source, destination)

    monkeypatch.setattr(os, "replace", full)
    message = error_of("deploy", network, "--target", "onnx", "--precision", "float32", "--out", out, *QUICK)
    assert "No space left on device" in message
    assert names[at] in message


def test_a_disk_that_is_truly_full_leaves_what_was_there(network, tmp_path):
    """A file system of 128 KiB: the artifacts alone do not fit beside each other."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    try:
        (folder / "dist" / "bad_input_net").mkdir(parents=True)
        (folder / "dist" / "bad_input_net" / "kept.txt").write_text("from before")
        message = error_of("deploy", network, "--out", folder / "dist", *QUICK)
        assert "No space left on device" in message
        assert [path.name for path in (folder / "dist").iterdir()] == ["bad_input_net"]
        assert (folder / "dist" / "bad_input_net" / "kept.txt").read_text() == "from before"
    finally:
        subprocess.run(["umount", str(folder)], check=True)

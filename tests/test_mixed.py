"""`--scheme auto` as a user calls it: what is found, saved and shown, and what is refused in one line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from offramp import screen
from offramp.cli import main
from offramp.manifest import read_manifest
from offramp.quant.program import load_program

sys.path.append(str(Path(__file__).parent))
from tiny_networks import convnet

QUICK = ("--samples", "12", "--calibration-samples", "24")
AUTO = ("--scheme", "auto", "--budget", "size=0.12")


def offramp(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.stdout if code == 0 else result.stderr.splitlines()[-1]


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A folder with a network and labelled samples for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    reference = convnet(tmp_path)
    generator = np.random.default_rng(0)
    images = generator.standard_normal((48, 1, 12, 12)).astype(np.float32)
    module = __import__("convnet")
    with torch.no_grad():
        labels = module.build()[0](torch.from_numpy(images)).argmax(1).numpy()
    np.savez("samples.npz", image=images, labels=labels)
    yield reference
    sys.modules.pop("convnet", None)


def test_quantize_finds_bits_and_shows_how(user, capsys):
    document = json.loads(offramp("quantize", user, "--data", "samples.npz", *AUTO, *QUICK, "--json").splitlines()[-1])
    mixed = document["mixed"]
    assert document["scheme"] == "mixed"
    assert mixed["budgets"] == ["size=0.12"]
    assert [row["module"] for row in mixed["layers"]] == ["stem", "body.0.conv", "body.1.conv", "head"]
    (chosen,) = [point for point in mixed["points"] if point["chosen"]]
    assert chosen["share"] <= 0.12
    assert {"int8", "w4a8", "w2a8"} <= {point["name"] for point in mixed["points"]}
    assert all(point["accuracy"] is not None for point in mixed["points"])
    folder = Path(document["program"]).parent
    assert json.loads((folder / "mixed.json").read_text(encoding="utf-8")) == mixed
    layers = {layer.module: (layer.weight, layer.activation) for layer in load_program(folder).layers}
    assert layers == {row["module"]: (row["weight"], row["activation"]) for row in mixed["layers"]}
    screen.show_program(document)
    text = capsys.readouterr().out
    assert "bits chosen for size=0.12" in text
    assert any("chosen" in line for line in text.splitlines() if line.startswith(("auto", "w", "int8")))


def test_deploy_keeps_the_search_in_manifest_and_report(user):
    offramp(
        "deploy", user, "--data", "samples.npz", *AUTO, *QUICK, "--target", "onnx", "--no-measure", "--bits", "w4a8",
        "--bits", "w2a8", "--bits", "w8a8",
    )  # fmt: skip
    document = read_manifest(Path("dist/convnet"))
    assert {artifact["precision"] for artifact in document["artifacts"]} == {"float32", "mixed"}
    choices = {choice["weight"] for row in document["mixed"]["layers"] for choice in row["choices"]}
    assert choices == {2, 4, 8}
    assert (Path("dist/convnet/program/mixed.json")).is_file()
    page = Path("dist/convnet/report.html").read_text(encoding="utf-8")
    for words in ("Mixed precision", "Accuracy against size of the weights", "(chosen)", "body.<wbr>0.<wbr>conv"):
        assert words in page


def test_export_and_random_inputs_need_no_labels(user):
    document = json.loads(
        offramp("export", user, *AUTO, "--calibration-samples", "20", "--target", "onnx", "--json").splitlines()[-1]
    )
    assert [row["precision"] for row in document["artifacts"]] == ["float32", "mixed"]
    assert document["bytes_ratio"]["onnx"] > 0
    mixed = json.loads(Path("dist/convnet/program/mixed.json").read_text(encoding="utf-8"))
    assert mixed["judge"] == "noise"
    assert all(point["accuracy"] is None for point in mixed["points"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--budget", "size=0.1"), "--budget size=0.1: belongs to --scheme auto, not to int8"),
        (("--bits", "w4a8"), "--bits w4a8: belongs to --scheme auto"),
        (("--scheme", "auto"), "--scheme auto: needs a --budget"),
        (("--scheme", "auto", "--budget", "watts=3"), "budget watts=3: unknown"),
        (("--scheme", "auto", "--budget", "latency=2ms"), "budget latency=2ms: the engines here"),
        (("--scheme", "auto", "--budget", "size=0.1", "--bits", "x"), "scheme x: unknown"),
        (("--scheme", "auto", "--budget", "size=0.001"), "cannot be met, the least is size=0.06"),
    ],
)
def test_what_cannot_be_is_one_clear_line(user, options, words):
    line = offramp("quantize", user, *QUICK, *options, code=2)
    assert line.startswith("error: ")
    assert words in line

"""The user's own networks in every target, executed in float32 and int8: their names, several inputs and outputs."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from offramp.cli import main
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.runtime.session import open_session
from offramp.sources import find_source

sys.path.append(str(Path(__file__).parent))
from tiny_networks import OTHERS, convnet, other_network

TARGETS = ("onnx", "coreml", "tflite")
QUICK = {"measure": False, "older_runtime": False, "held_out": 16}


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def samples_file(folder: Path, name: str, count: int = 48) -> str:
    """Samples by input name, and labels; ids reach over the whole table, as random ones do not."""
    draw = np.random.default_rng(3)
    arrays = {"labels": draw.integers(0, 3, count)}
    for key, shape in OTHERS[name][2].items():
        values = draw.integers(0, 11, (count, *shape)) if key == "ids" else draw.standard_normal((count, *shape))
        arrays[key] = values.astype(np.int64 if key == "ids" else np.float32)
    np.savez(folder / "samples.npz", **arrays)
    return str(folder / "samples.npz")


@pytest.mark.slow
@pytest.mark.parametrize("with_data", [True, False], ids=["data", "random"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_network_of_another_kind_runs_in_every_target(user, name, with_data):
    module = f"{name}_{'data' if with_data else 'random'}"
    data = samples_file(user, name) if with_data else None
    document = deploy(other_network(user, name, module), Options(data=data, out=user / "dist", **QUICK))
    assert len(document["artifacts"]) == 6
    for row in document["artifacts"]:
        assert row["verified"], (row["target"], row["precision"], row["not_verified_because"])
        assert (row["accuracy"] is None) == (not with_data or name == "regression")
    _, _, inputs, outputs = OTHERS[name]
    assert {entry["name"]: tuple(entry["shape"]) for entry in document["inputs"]} == {
        key: (1, *shape) for key, shape in inputs.items()
    }
    assert {entry["name"]: tuple(entry["shape"]) for entry in document["outputs"]} == outputs
    for row in document["artifacts"]:
        session = open_session(user / "dist" / module / row["path"])
        assert {spec.name for spec in session.inputs} == set(inputs)
        assert {spec.name: spec.shape for spec in session.outputs} == outputs
    network = find_source(f"{module}:build").network
    names = {path for path, _ in network.named_modules()}
    assert {layer["module"] for layer in document["layers"]} <= names
    assert any(layer["precision"] == "int8" for layer in document["layers"])


@pytest.mark.slow
def test_an_exported_program_is_deployed_like_its_network(user):
    source = find_source(convnet(user, "from_file"))
    program = torch.export.export(source.network, source.example_inputs)
    torch.export.save(program, user / "saved.pt2")
    document = deploy("saved.pt2", Options(out=user / "dist", **QUICK))
    assert document["name"] == "saved"
    assert [entry["name"] for entry in document["inputs"]] == ["image"]
    assert all(row["verified"] for row in document["artifacts"])
    assert [layer["module"] for layer in document["layers"]] == ["stem", "body.0.conv", "body.1.conv", "head"]


def classes_of(folder: Path, row: dict, images: np.ndarray) -> np.ndarray:
    session = open_session(folder / row["path"])
    return np.array([session.run({"image": image[None]})["logits"].argmax() for image in images])


@pytest.mark.slow
def test_baked_preprocessing_takes_raw_pixels_and_gives_the_same_classes(care_run, care_dist, user):
    from offramp.models.data import load

    images = torch.stack([load("digits", 1, 32).test[i][0] for i in range(60)]).numpy()
    options = Options(precisions=("int8",), bake=True, out=user / "dist", **QUICK | {"held_out": 60})
    document = deploy(str(care_run), options)
    plain = json.loads((care_dist / "manifest.json").read_text())
    assert (plain["preprocessing"]["baked"], document["preprocessing"]["baked"]) == (False, True)
    scale, mean, std = (np.array(plain["preprocessing"][key]).reshape(-1, 1, 1) for key in ("scale", "mean", "std"))
    ready = ((images * scale - mean) / std).astype(np.float32)
    for row in document["artifacts"]:
        assert row["verified"], row["not_verified_because"]
        assert row["accuracy"] >= plain["float"]["accuracy"] - 0.04
        before = next(r for r in plain["artifacts"] if (r["target"], r["precision"]) == (row["target"], "int8"))
        same = classes_of(user / "dist/care_xxs", row, images) == classes_of(care_dist, before, ready)
        assert same.mean() >= 0.98


def options_of(**changes):
    return Options(**{"precisions": ("int8",), **QUICK, **changes})


def test_a_dynamic_batch_is_open_and_gives_each_sample_its_own(user):
    network = convnet(user, "batched")
    deploy(network, options_of(targets=("onnx",), precisions=("float32", "int8"), dynamic_batch=True))
    images = np.random.default_rng(0).standard_normal((5, 1, 12, 12)).astype(np.float32)
    for path in ("batched.onnx", "batched-float32.onnx"):
        session = open_session(user / "dist/batched" / path)
        assert session.inputs[0].shape == (None, 1, 12, 12)
        together = session.run({"image": images})["output"]
        alone = np.concatenate([session.run({"image": image[None]})["output"] for image in images])
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_an_integer_border_takes_codes(user):
    document = deploy(convnet(user, "codes"), options_of(targets=("tflite",), integer_io=True))
    (row,) = document["artifacts"]
    assert row["verified"], row["not_verified_because"]
    assert row["details"]["border"] == "int8"
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(user / "dist/codes" / row["path"]))
    details = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    assert [detail["dtype"] for detail in details] == [np.int8, np.int8]


@pytest.mark.slow
def test_class_labels_and_an_image_input_travel_in_the_artifact(care_run, user):
    options = options_of(targets=("coreml", "tflite"), class_labels=True, image_input=True, bake=True)
    document = deploy(str(care_run), options)
    coreml, tflite = document["artifacts"]
    assert coreml["verified"], coreml["not_verified_because"]
    assert tflite["verified"], tflite["not_verified_because"]
    session = open_session(user / "dist/care_xxs" / coreml["path"])
    image = np.zeros((1, 1, 32, 32), np.float32)
    outputs = session.run({"image": image})
    assert outputs["classLabel"].item() == str(outputs["logits"].argmax())
    assert session.program.description.input[0].type.WhichOneof("Type") == "imageType"
    with zipfile.ZipFile(user / "dist/care_xxs" / tflite["path"]) as archive:
        assert archive.read("labels.txt").decode().split() == [str(digit) for digit in range(10)]


def test_float16_halves_the_file_and_stays_near_float(user):
    document = deploy(convnet(user, "half"), options_of(precisions=("float32", "float16")))
    for row in document["artifacts"]:
        assert row["verified"], (row["target"], row["not_verified_because"])
        if row["precision"] == "float16":
            assert 0 < row["engines"][0]["max_abs_difference"] < 0.02


def test_a_module_kept_in_float_stays_in_float_everywhere(user):
    document = deploy(
        convnet(user, "kept"), options_of(scheme=Options().scheme.__class__(keep_float=("body.1",), samples=16))
    )
    assert {op["module"] for op in document["float_operators"]} >= {"body.1.conv"}
    by_bits = {layer["module"]: layer["precision"] for layer in document["layers"]}
    assert by_bits == {"stem": "int8", "body.0.conv": "int8", "body.1.conv": "float32", "head": "int8"}
    kept = 8 * 8 * 3 * 3 * 6 * 6
    for row in document["artifacts"]:
        assert row["verified"], (row["target"], row["not_verified_because"])
        assert row["macs"]["32"] == kept
        assert {island["module"] for island in row["islands"]} & {"body.1", "body.1.conv"}


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "mse", "entropy"])
def test_every_calibration_gives_a_verified_artifact(user, calibration):
    name = f"by_{calibration}"
    arguments = ["deploy", convnet(user, name), "--target", "onnx", "--precision", "int8", "--json", "--no-measure"]
    result = CliRunner().invoke(main, [*arguments, "--calibration", calibration, "--samples", "32"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout.splitlines()[-1])
    assert document["scheme"]["calibration"] == calibration
    if calibration != "entropy":  # which wants more values than a small network's random samples have
        assert document["program"]["agreement"] == 1.0

"""The older runtime, run for real; skipped with its reason where it cannot be installed."""

import subprocess

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.runtime import tflite_compat
from offramp.runtime.tflite_compat import CompatibilityUnavailable, ensure_environment, run_in_tflite_runtime
from offramp.runtime.tflite_session import TfliteSession
from torch import nn

SAMPLES = np.random.default_rng(3).standard_normal((5, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def old_runtime():
    try:
        ensure_environment()
    except CompatibilityUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def tflite_files(tmp_path_factory):
    """A small network as a float and as an int8 file."""
    import litert_torch
    from ai_edge_quantizer import quantizer, recipe

    folder = tmp_path_factory.mktemp("compat")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 4))
    in_float, in_int8 = folder / "float.tflite", folder / "int8.tflite"
    litert_torch.convert(network.eval(), (torch.zeros(1, 3, 8, 8),)).export(str(in_float))
    work = quantizer.Quantizer(str(in_float), recipe.static_wi8_ai8())
    ranges = work.calibrate({"serving_default": [{"args_0": sample[None]} for sample in SAMPLES]})
    work.quantize(ranges).export_model(str(in_int8))
    return {"float": in_float, "int8": in_int8}


@pytest.mark.slow
@pytest.mark.parametrize("xnnpack", [True, False])
@pytest.mark.parametrize("precision", ["float", "int8"])
def test_the_older_runtime_agrees_with_the_new_one(old_runtime, tflite_files, precision, xnnpack):
    path = tflite_files[precision]
    session = TfliteSession(path, xnnpack=False)
    (name,) = session.graph.outputs
    found = run_in_tflite_runtime(path, {"args_0": SAMPLES}, xnnpack)[name]
    wanted = np.stack([session.run({"args_0": sample[None]})[name] for sample in SAMPLES])
    assert found.shape == (5, 1, 4)
    # Float: rounding of another summation order. int8: one code, which the kernels may round apart.
    step = float(session.graph.tensors[session.graph.outputs[name]].scale) if precision == "int8" else 0.0
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=step * 1.001 + 1e-5)


@pytest.mark.slow
def test_a_file_that_the_older_runtime_refuses_is_bad_input(old_runtime, tflite_files, tmp_path, monkeypatch):
    graph = tflite_compat.read_tflite(tflite_files["float"])
    monkeypatch.setattr(tflite_compat, "read_tflite", lambda path: graph)
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\0" * 4 + b"TFL3" + b"\xff" * 64)
    with pytest.raises(BadInput, match=r"broken\.tflite: tflite-runtime 2\.14\.0 (refuses it|crashes on it) \("):
        run_in_tflite_runtime(broken, {"args_0": SAMPLES})


def test_inputs_are_checked_before_anything_runs(tflite_files):
    with pytest.raises(BadInput, match=r"inputs must be args_0, got image"):
        run_in_tflite_runtime(tflite_files["float"], {"image": SAMPLES})
    with pytest.raises(BadInput, match=r"a sample of args_0 must have shape \(1, 3, 8, 8\), got \(3, 8, 4\)"):
        run_in_tflite_runtime(tflite_files["float"], {"args_0": SAMPLES[..., :4]})


def test_an_environment_that_cannot_be_made_is_said_to_be_unavailable(tflite_files, tmp_path, monkeypatch):
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path))

    def fails(command, **_):
        return subprocess.CompletedProcess(command, 1, "", "lines\nERROR: No matching distribution found\n")

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(CompatibilityUnavailable, match=r"cannot be installed here \(ERROR: No matching distribution"):
        run_in_tflite_runtime(tflite_files["float"], {"args_0": SAMPLES})
    assert not list(tmp_path.rglob("env-*"))


def test_a_cache_that_cannot_be_written_names_the_variable_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OFFRAMP_CACHE", str(tmp_path / "file"))
    with pytest.raises(CompatibilityUnavailable, match="set OFFRAMP_CACHE"):
        ensure_environment()

"""Looking again at a dist: the same samples, the manifest's own names, the figures of what is verified now."""

import sys
from pathlib import Path

import numpy as np
import pytest
from offramp.inspection import is_dist, profile_path, verify_dist
from offramp.manifest import read_manifest
from offramp.options import Options
from offramp.pipeline import deploy

sys.path.append(str(Path(__file__).parent))
from tiny_networks import convnet

QUICK = {"measure": False, "older_runtime": False}


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_core_ml_package_is_a_file_and_a_folder_with_a_dot_is_a_dist(tmp_path):
    for name, expected in (("net.mlpackage", False), ("net.v2", True), ("net", True)):
        (tmp_path / name).mkdir()
        assert is_dist(tmp_path / name) is expected
    assert not is_dist(tmp_path / "nothing")


def test_verify_repeats_the_figures_of_the_deployment(user):
    options = Options(targets=("onnx", "tflite"), out=user / "dist", held_out=24, **QUICK)
    first = deploy(convnet(user, "again_net"), options)
    again = verify_dist(user / "dist/again_net", options, lambda _: None)
    assert again == first
    assert read_manifest(user / "dist/again_net") == first


def test_verify_takes_other_samples_and_says_so(user):
    deploy(convnet(user, "other_samples"), Options(targets=("onnx",), out=user / "dist", held_out=8, **QUICK))
    draw = np.random.default_rng(0)
    images = draw.standard_normal((12, 1, 12, 12))
    np.savez(user / "mine.npz", image=images, labels=draw.integers(0, 4, 12))
    options = Options(data="mine.npz", held_out=5, **QUICK)
    document = verify_dist(user / "dist/other_samples", options, lambda _: None)
    assert (document["data"]["name"], document["data"]["samples"]) == ("mine.npz", 5)
    assert len(document["data"]["classes"].split()) == 5
    assert document["float"]["accuracy"] is not None
    assert [row["accuracy"] for row in document["artifacts"]] == [
        document["float"]["accuracy"],
        document["program"]["accuracy"],
    ]


@pytest.mark.slow
def test_a_dist_with_baked_preprocessing_is_verified_on_raw_pixels(care_run, user):
    options = Options(targets=("onnx",), precisions=("int8",), bake=True, out=user / "dist", held_out=30, **QUICK)
    first = deploy(str(care_run), options)
    again = verify_dist(user / "dist/care_xxs", Options(held_out=30, **QUICK), lambda _: None)
    assert again["artifacts"] == first["artifacts"]
    assert again["float"] == first["float"]


def test_profile_keeps_everything_but_the_times(care_dist):
    kept = read_manifest(care_dist)
    document = profile_path(care_dist, threads=1, runs=3, seconds=0.0)
    timed = ("latency_ms", "noisy", "load_ms", "board")
    for before, after in zip(kept["artifacts"], document["artifacts"]):
        assert {k: v for k, v in before.items() if k not in timed} == {k: v for k, v in after.items() if k not in timed}

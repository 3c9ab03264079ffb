"""Runs on disk: what is saved comes back, and a damaged one is named in one line."""

import json
from dataclasses import replace

import pytest
import torch
from offramp.errors import BadInput, OfframpError
from offramp.models.data import Preprocessing
from offramp.models.recipe import Recipe
from offramp.models.run import Run, load_run, restore, save_run
from offramp.models.system import find_system
from offramp.models.weights import read_tensors, write_tensors
from torch import nn


def a_run(**changes) -> Run:
    module = find_system("mobilenet_v2_xs").build()
    run = Run(
        system="mobilenet_v2_xs",
        task="image-classification",
        dataset="digits",
        recipe=Recipe(epochs=3, ema=0.5),
        seed=7,
        labels=tuple("0123456789"),
        preprocessing=Preprocessing(1 / 255, (0.3,), (0.2,)),
        metrics={"accuracy": 0.5},
        weights=module.state_dict(),
        history=({"epoch": 1, "accuracy": 0.25}, {"epoch": 2, "accuracy": 0.5}),
    )
    return replace(run, **changes)


def test_a_run_comes_back_as_it_was_saved(tmp_path):
    run = a_run()
    save_run(run, tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert replace(loaded, weights={}) == replace(run, weights={})
    assert loaded.weights.keys() == run.weights.keys()
    assert all(torch.equal(loaded.weights[name], tensor) for name, tensor in run.weights.items())
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == [
        "config.json", "metrics.json", "metrics.jsonl", "weights.safetensors"
    ]  # fmt: skip


def test_saving_the_same_run_twice_gives_the_same_bytes(tmp_path):
    run = a_run()
    for name in ("a", "b", "b"):
        save_run(run, tmp_path / name)
    for file in ("config.json", "weights.safetensors", "metrics.json", "metrics.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_restored_weights_are_in_the_network_and_in_evaluation_mode(tmp_path):
    run = a_run()
    module = restore(run)
    assert not module.training
    assert all(torch.equal(tensor, run.weights[name]) for name, tensor in module.state_dict().items())


def test_restoring_into_another_network_names_what_differs():
    with pytest.raises(BadInput, match=r"mobilenet_v2_xs: bias is nothing in the run, the network has \(2,\)"):
        restore(a_run(), nn.Linear(3, 2))
    changed = {**a_run().weights, "classify.weight": torch.zeros(11, 128)}
    with pytest.raises(BadInput, match=r"classify.weight is \(11, 128\) in the run, the network has \(10, 128\)"):
        restore(a_run(weights=changed))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nonfinite_weights_are_not_saved_and_not_loaded(tmp_path, bad):
    save_run(a_run(), tmp_path / "run")
    before = (tmp_path / "run/weights.safetensors").read_bytes()
    weights = {**a_run().weights, "classify.bias": torch.full((10,), bad)}
    with pytest.raises(OfframpError, match=r"classify.bias holds NaN or infinity; nothing was saved"):
        save_run(a_run(weights=weights), tmp_path / "run")
    assert (tmp_path / "run/weights.safetensors").read_bytes() == before
    write_tensors(tmp_path / "run/weights.safetensors", weights)
    with pytest.raises(BadInput, match=r"weights.safetensors: classify.bias holds NaN or infinity; train again"):
        load_run(tmp_path / "run")


@pytest.mark.parametrize("file", ["config.json", "metrics.json", "weights.safetensors"])
@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_missing_or_damaged_file_is_named_in_one_line(tmp_path, file, damage):
    save_run(a_run(), tmp_path / "run")
    path = tmp_path / "run" / file
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    with pytest.raises(BadInput, match=file) as caught:
        load_run(tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("labels"), r"config.json: not a run's configuration \('labels'\)"),
        (lambda c: c["recipe"].update(speed=9), r"config.json: not a run's configuration .*speed"),
        (lambda c: c["recipe"].update(epochs=-1), r"recipe: epochs must be above 0, got -1"),
    ],
)
def test_a_changed_configuration_is_refused(tmp_path, change, message):
    save_run(a_run(), tmp_path / "run")
    path = tmp_path / "run/config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(BadInput, match=message):
        load_run(tmp_path / "run")


def test_a_damaged_history_is_refused_and_a_missing_one_is_empty(tmp_path):
    save_run(a_run(), tmp_path / "run")
    path = tmp_path / "run/metrics.jsonl"
    path.write_text('{"epoch": 1}\n{"epo')
    with pytest.raises(BadInput, match=r"metrics.jsonl: not one JSON document a line"):
        load_run(tmp_path / "run")
    path.unlink()
    assert load_run(tmp_path / "run").history == ()


def test_a_run_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(BadInput, match=r"nothing: no such run; train it first"):
        load_run(tmp_path / "nothing")


def test_saving_over_foreign_files_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BadInput, match=r"holds notes.txt, which is no part of a run"):
        save_run(a_run(), tmp_path)
    with pytest.raises(BadInput, match=r"notes.txt: is a file; give a folder"):
        save_run(a_run(), tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_tensors_keep_type_shape_and_state(tmp_path):
    tensors = {"half": torch.ones(2, 3).half(), "count": torch.tensor(3), "turned": torch.arange(6.0).reshape(2, 3).T}
    tensors["tied"] = tensors["turned"]
    write_tensors(tmp_path / "t.safetensors", tensors, {"epoch": 3, "rows": [1.5]})
    loaded, state = read_tensors(tmp_path / "t.safetensors")
    assert state == {"epoch": 3, "rows": [1.5]}
    assert all(torch.equal(loaded[name], t) and loaded[name].dtype == t.dtype for name, t in tensors.items())

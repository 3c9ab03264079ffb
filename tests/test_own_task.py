"""A system with an objective, data, shipped form and pictures of its own, from training to the report."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from offramp import screen, sources
from offramp.errors import BadInput
from offramp.finetune import Finetuning
from offramp.manifest import check_document, read_manifest
from offramp.models import system as zoo
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.objectives import Objective, Outcome, evaluate, in_tuple
from offramp.models.picture import Picture, png_of
from offramp.models.recipe import Recipe
from offramp.models.run import load_run
from offramp.models.system import System
from offramp.models.training import train
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.quant.scheme import Scheme
from offramp.runtime.report.page import render
from offramp.runtime.verify import agreement_of, top_classes
from PIL import Image
from torch import nn

RECIPE = Recipe(epochs=6, batch_size=16, learning_rate=1e-2, warmup_epochs=0.0, threads=1)


class Pair(nn.Module):
    """(B, 4) and (B, 4) to two numbers, (B, 2), through a scale that ships as part of the last layer."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.last = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, left, right):
        return self.last(torch.relu(self.left(left) + self.right(right))) * self.scale


def folded(network):
    """The scale inside the last layer."""
    with torch.no_grad():
        network.last.weight *= network.scale[:, None]
        network.last.bias *= network.scale
        network.scale = nn.Parameter(torch.ones(2))
    return network


class Distances(Objective):
    """The two sums of the inputs; beside the network trains a layer that stays behind."""

    def companion(self, network, data):
        return nn.Linear(2, 2)

    def loss(self, network, companion, batch):
        outputs = network(*batch.samples)
        loss = (outputs - batch.targets).square().mean() + (companion(outputs) - batch.targets).square().mean()
        return Outcome(loss, batch.samples, outputs)

    def scores(self, outputs, inputs, targets):
        return (outputs[0] - targets).abs()

    def metrics(self, scores):
        return {"error": scores.mean().item(), "largest_error": scores.max().item()}


def sums(name, seed):
    if name != "sums":
        raise BadInput(f"{name}: no such data; give sums")
    draws = torch.Generator().manual_seed(seed)
    left, right = torch.rand(2, 96, 4, generator=draws)
    targets = torch.stack([left.sum(1), right.sum(1)], 1)
    parts = [InMemory((left[part], right[part]), targets[part]) for part in (slice(0, 64), slice(64, 96))]
    return Data("sums", *parts, (), Preprocessing(2.0, (1.0,), (1.0,)))


def pictures(run, inputs, targets):
    outputs = run({name: values[:1] for name, values in inputs.items()})
    assert outputs["sums"].shape == targets[:1].shape
    return (Picture("Sums", "The first sample's.", png_of(outputs["sums"] / 4, scale=8)),)


SYSTEM = System(
    name="pair",
    paper="",
    task="sums",
    build=Pair,
    input_shapes={"left": (1, 4), "right": (1, 4)},
    output_names=("sums",),
    dataset="sums",
    recipe=RECIPE,
    objective=Distances(),
    read=sums,
    ship=folded,
    illustrate=pictures,
    source="made up",
)


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own_task")
    options = Options(
        targets=("onnx", "tflite"),
        scheme=Scheme(samples=64),
        measure=False,
        older_runtime=False,
        runs=folder / "runs",
        out=folder / "dist",
    )
    with pytest.MonkeyPatch.context() as patch:
        for module in (zoo, sources):
            patch.setattr(module, "all_systems", lambda: {"pair": SYSTEM})
        deploy("pair", options)
    return folder / "dist" / "pair"


def test_a_network_of_two_inputs_learns_its_task_and_keeps_its_own_tensors_only(tmp_path):
    run = train(SYSTEM, sums("sums", 0), replace(RECIPE, epochs=30), tmp_path / "pair")
    untrained = evaluate(Pair(), sums("sums", 0).test, Preprocessing(2.0, (1.0,), (1.0,)), SYSTEM.objective)
    assert run.metrics["error"] < 0.5 * untrained["error"]
    assert run.weights.keys() == Pair().state_dict().keys()


def test_what_trains_beside_a_network_is_part_of_a_checkpoint(tmp_path):
    data = sums("sums", 0)
    whole = train(SYSTEM, data, RECIPE, tmp_path / "whole")

    class Stops(InMemory):
        """Cut off after the third of six epochs, each of four batches of training and one of measuring."""

        def batch(self, indices):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            return super().batch(indices)

    cut = Stops(data.train.samples, data.train.labels)
    cut.left = 14
    with pytest.raises(KeyboardInterrupt):
        train(SYSTEM, replace(data, train=cut), RECIPE, tmp_path / "cut")
    train(SYSTEM, data, RECIPE, tmp_path / "cut", resume=True)
    resumed = load_run(tmp_path / "cut")
    assert len(resumed.history) == RECIPE.epochs
    assert all(torch.equal(resumed.weights[name], tensor) for name, tensor in whole.weights.items())


def test_every_artifact_has_the_tasks_own_figures(dist):
    document = read_manifest(dist)
    check_document(document, "pair")
    assert document["float"]["accuracy"] is None and document["data"]["classes"] is None
    assert document["float"]["metrics"].keys() == {"error", "largest_error"}
    assert document["program"]["metrics"]["error"] == pytest.approx(document["float"]["metrics"]["error"], abs=0.05)
    for row in document["artifacts"]:
        assert row["verified"], row["not_verified_because"]
        of = document["float"] if row["precision"] == "float32" else document["program"]
        assert row["metrics"]["error"] == pytest.approx(of["metrics"]["error"], abs=0.02)
        assert (row["accuracy"], row["classes"]) == (None, None)


def test_the_report_shows_figures_and_pictures_of_an_artifact(dist, capsys):
    document = read_manifest(dist)
    (entry,) = document["pictures"]
    assert entry["artifact"] == "pair.onnx" and entry["path"] in document["files"]
    with Image.open(dist / entry["path"]) as image:
        assert image.size == (16, 8)
    page = (dist / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1 and "The first sample" in page
    assert "Largest error" in page and f"{document['float']['metrics']['error']:.4g}" in page
    assert page == render(document, {entry["path"]: (dist / entry["path"]).read_bytes()})
    screen.show_dist(document)
    assert "largest error" in capsys.readouterr().out


def test_a_report_without_its_picture_says_which_is_missing(dist, tmp_path):
    from offramp.runtime.report import write_report

    with pytest.raises(BadInput, match=r"pictures/1\.png: cannot be read .*deploy again"):
        write_report(read_manifest(dist), tmp_path / "report.html")


def test_the_shipped_form_is_what_is_deployed():
    torch.manual_seed(0)
    network, inputs = Pair(), torch.rand(2, 5, 4)
    with torch.no_grad():
        network.scale.copy_(torch.tensor([2.0, -3.0]))
        wanted = network(*inputs)
    assert torch.allclose(folded(network)(*inputs), wanted, atol=1e-6) and network.scale.tolist() == [1, 1]


def test_numbers_that_are_no_class_scores_agree_by_value(dist):
    near = np.array([[1.0, 1.001]], np.float32)
    assert agreement_of(near[:, ::-1], near) == 0 and agreement_of(near[:, ::-1], near, by_value=True) == 1
    assert top_classes(near, by_value=True) is None and top_classes(near) == (1,)


def test_data_of_several_inputs_come_as_batches_of_tuples():
    data = sums("sums", 1)
    (left, right), targets = data.train.batch([3, 5])
    assert left.shape == right.shape == (2, 4) and targets.dtype == torch.float32
    sample, target = data.train[3]
    assert torch.equal(sample[1], right[0]) and torch.equal(target, targets[0])
    assert in_tuple(left) == (left,) and in_tuple([left, right]) == (left, right)


def test_pixels_beyond_their_range_are_cut_off():
    from io import BytesIO

    with Image.open(BytesIO(png_of(np.array([[-1.0, 0.5], [1.0, 7.0]]), scale=3))) as image:
        assert image.size == (6, 6) and np.asarray(image)[::3, ::3].tolist() == [[0, 128], [255, 255]]


def test_a_network_of_several_inputs_is_trained_for_a_precision(tmp_path, monkeypatch):
    for module in (zoo, sources):
        monkeypatch.setattr(module, "all_systems", lambda: {"pair": SYSTEM})
    options = Options(
        targets=("onnx",),
        precisions=("int8",),
        scheme=Scheme(4, 8, samples=64),
        tuning=Finetuning(epochs=2),
        measure=False,
        runs=tmp_path / "runs",
        out=tmp_path / "dist",
    )
    document = deploy("pair", options)
    assert document["artifacts"][0]["verified"] and document["training"]["data"] == "sums"
    assert document["artifacts"][0]["metrics"]["error"] == pytest.approx(
        document["program"]["metrics"]["error"], abs=0.02
    )

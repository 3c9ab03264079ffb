"""SymBrain: the networks' counts, what they train on and ship as, and the way of small ones to their artifacts."""

import io
from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp import sources
from offramp.errors import BadInput
from offramp.manifest import read_manifest
from offramp.models import system as zoo
from offramp.models.brain_midline import Lines, angle_errors
from offramp.models.data import Data, InMemory, Preprocessing
from offramp.models.objectives import Batch
from offramp.models.recipe import Recipe
from offramp.models.symbrain import (
    FULL,
    PAIRS,
    PHANTOMS,
    SIDES,
    XS,
    Concatenation,
    Difference,
    MidlineNetwork,
    PairNetwork,
    phantom_pairs,
    phantom_slices,
    read_pairs,
    read_slices,
    ship_pairs,
)
from offramp.models.symbrain_objectives import AsymmetryDetection, MidlineRegression, auc, to_lines, to_outputs
from offramp.models.symbrain_pictures import FOUND, TRUE, illustrate_midlines, illustrate_pairs
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.options import Options
from offramp.pipeline import deploy
from offramp.quant.scheme import Scheme
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

QUIET = "ignore::offramp.errors.OfframpWarning"
PLAIN = Recipe(epochs=1, batch_size=32, label_smoothing=0.0, warmup_epochs=0.0, threads=1)


# The networks


def counts(network, *inputs):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(*inputs)
    return sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2


def encoder_counts(widths, strides, height, width):
    """Each convolution has a kernel, a gain and an offset for each output, and no bias."""
    total = macs = 0
    for (before, after), stride in zip(pairwise((1, *widths)), strides):
        height, width = -(-height // stride), -(-width // stride)
        total += after * (before * 9 + 2)
        macs += after * before * 9 * height * width
    return total, macs, height * width


@pytest.mark.parametrize(("config", "parameters"), [(FULL, 116_179), (XS, 29_291)])
def test_midline_networks_have_the_counts_of_their_architecture(config, parameters):
    total, macs, _ = encoder_counts(config.widths, config.strides, config.size, config.size)
    expected = total + 3 * (config.widths[-1] + 1), macs + 3 * config.widths[-1]
    assert counts(MidlineNetwork(config), torch.randn(1, 1, config.size, config.size)) == expected
    assert expected[0] == parameters


def test_the_full_network_has_the_published_widths():
    assert (FULL.size, FULL.widths) == (128, (16, 32, 64, 64, 96))


@pytest.mark.parametrize("fusion", [Difference, Concatenation])
def test_pair_networks_have_the_counts_of_their_architecture(fusion):
    """Two halves in one encoder: its parameters count once, its MACs twice."""
    total, macs, area = encoder_counts(SIDES.widths, SIDES.strides, SIDES.size // 2, SIDES.size)
    width, read = SIDES.widths[-1], fusion.factor * SIDES.widths[-1]
    expected = total + width * (read + 1) + width + 1, 2 * macs + area * width * read + width
    halves = torch.randn(2, 1, 1, SIDES.size // 2, SIDES.size)
    assert counts(PairNetwork(SIDES, fusion), *halves) == expected
    assert area == SIDES.size**2 // 2 // prod(SIDES.strides) ** 2


def test_equal_halves_differ_in_nothing_and_swapped_ones_as_much():
    torch.manual_seed(0)
    network = PairNetwork(SIDES).eval()
    upper, lower = torch.randn(2, 3, 1, SIDES.size // 2, SIDES.size)
    torch.testing.assert_close(network(upper, lower), network(lower, upper))
    same = network(upper, upper)
    torch.testing.assert_close(same, same[:1].expand(3, 1))  # whatever they show
    first, second = torch.randn(2, 2, 4, 5, 5)
    torch.testing.assert_close(Difference()(first, second), (first - second).abs())


def test_pairs_ship_with_one_convolution_for_both_differences():
    torch.manual_seed(0)
    trained = PairNetwork(SIDES)
    halves = torch.randn(2, 4, 1, SIDES.size // 2, SIDES.size)
    trained(*halves)  # moves the batch norms' statistics
    trained.eval()
    shipped = ship_pairs(trained)
    torch.testing.assert_close(shipped(*halves), trained(*halves))
    assert set(shipped.compare[0].weight.unique().tolist()) == {-1.0, 0.0, 1.0} and not shipped.training


# Objectives


@settings(deadline=None)
@given(st.floats(-90, 89.9), st.floats(-60, 60), st.sampled_from([96, 128]))
def test_outputs_say_which_line_it_is(angle, offset, size):
    line = Lines(torch.tensor([angle], dtype=torch.float64), torch.tensor([offset], dtype=torch.float64))
    found = to_lines(to_outputs(line, size), size)
    assert angle_errors(found.angles, line.angles).item() < 1e-9
    assert found.offsets.item() == pytest.approx(offset)


def test_midlines_are_measured_in_degrees_and_pixels():
    objective = MidlineRegression(96)
    targets = torch.tensor([[10.0, 2.0], [-10.0, 0.0], [0.0, 0.0]])
    lines = Lines(torch.tensor([11.0, -12.0, 0.0]), torch.tensor([2.0, 3.0, 0.0]))
    scores = objective.scores((to_outputs(lines, 96),), (), targets)
    found = objective.metrics(scores.double())
    assert found == pytest.approx(
        {"angle_error_deg": 1.0, "angle_error_median_deg": 1.0, "offset_error_px": 1.0}, abs=1e-4
    )


def test_a_loss_is_zero_for_the_very_line():
    class Knows(nn.Module):
        def forward(self, image):
            return to_outputs(Lines(torch.tensor([10.0, -5.0]), torch.tensor([1.0, 2.0])), 96)

    batch = Batch(torch.zeros(2, 1, 96, 96), torch.tensor([[10.0, 1.0], [-5.0, 2.0]]), PLAIN, torch.Generator())
    outcome = MidlineRegression(96).loss(Knows(), None, batch)
    assert outcome.loss.item() == 0 and outcome.outputs.shape == (2, 3)


def test_asymmetry_is_measured_by_area_accuracy_and_loss():
    objective = AsymmetryDetection()
    scores = torch.tensor([[2.0, 1.0], [-1.0, 0.0], [1.0, 0.0], [0.5, 1.0]], dtype=torch.float64)
    found = objective.metrics(scores)
    assert found["accuracy"] == 0.75 and found["auc"] == 0.75 == auc(scores[:, 0], scores[:, 1])
    assert found["loss"] == pytest.approx(np.mean(np.log1p(np.exp([-2.0, -1.0, 1.0, -0.5]))))
    assert objective.metrics(scores[:1]).keys() == {"accuracy", "loss"}


def data_of(samples, targets):
    part = InMemory(samples, targets)
    return Data("mine", part, part, (), Preprocessing())


def test_targets_of_another_kind_are_refused():
    images = torch.zeros(4, 1, 96, 96)
    with pytest.raises(BadInput, match=r"mine: targets are not an angle and an offset; give slices with lines"):
        MidlineRegression(96).companion(nn.Identity(), data_of(images, torch.zeros(4)))
    with pytest.raises(BadInput, match=r"mine: targets are not 0 or 1; give pairs of halves"):
        AsymmetryDetection().companion(nn.Identity(), data_of(images, torch.zeros(4, 2)))
    with pytest.raises(BadInput, match=r"mine: every pair has the label 1; give pairs with a lesion and without"):
        AsymmetryDetection().companion(nn.Identity(), data_of((images, images), torch.ones(4, 1)))


@pytest.mark.parametrize("change", [{"flip": True}, {"shift_pixels": 2}, {"mixup": 0.2}])
@pytest.mark.parametrize("objective", [MidlineRegression(96), AsymmetryDetection()])
def test_augmentation_that_knows_no_midline_is_refused(objective, change):
    batch = Batch(torch.zeros(1, 1, 96, 96), torch.zeros(1, 2), replace(PLAIN, **change), torch.Generator())
    with pytest.raises(BadInput, match=r"brain slices: flip, shift_pixels and mixup of the recipe know no midline"):
        objective.loss(nn.Identity(), None, batch)


# Training


def test_a_short_training_finds_angles_better_than_no_turn_at_all(tmp_path):
    system = find_system("symbrain_xs")
    data = phantom_slices(0, XS.size, (512, 64))
    run = train(system, data, replace(system.recipe, epochs=4), tmp_path / "run")
    level = data.test.labels[:, 0].abs().mean().item()
    assert run.metrics["angle_error_deg"] < 0.75 * level and run.metrics["offset_error_px"] < 2


def test_a_short_training_tells_lesions(tmp_path):
    system = find_system("symbrain_pairs")
    run = train(system, phantom_pairs(0, SIDES.size, (256, 100)), replace(system.recipe, epochs=5), tmp_path / "run")
    assert run.metrics["auc"] > 0.6


# Deployment


@pytest.mark.filterwarnings(QUIET)
def test_an_artifact_of_pairs_has_their_figures_and_a_picture(tmp_path, monkeypatch):
    def read(name, seed):
        return phantom_pairs(seed, SIDES.size, (64, 16))

    system = replace(find_system("symbrain_pairs"), recipe=PLAIN, read=read)
    for module in (zoo, sources):
        monkeypatch.setattr(module, "all_systems", lambda: {system.name: system})
    folders = {"runs": tmp_path / "runs", "out": tmp_path / "dist"}
    options = Options(
        targets=("onnx",), scheme=Scheme(samples=16), held_out=16, measure=False, older_runtime=False, **folders
    )
    deploy(system.name, options)
    document = read_manifest(tmp_path / "dist" / system.name)
    for row in document["artifacts"]:
        assert row["verified"], row["not_verified_because"]
        within = 1e-6 if "float" in row["precision"] else 0.1
        assert row["metrics"]["auc"] == pytest.approx(document["float"]["metrics"]["auc"], abs=within)
    assert [picture["title"] for picture in document["pictures"]] == ["Halves and asymmetry"]


def test_a_picture_shows_the_true_and_the_found_midline():
    data = phantom_slices(0, XS.size, (1, 8))
    images, targets = (part.numpy() for part in data.test.batch(range(8)))
    wrong = to_outputs(Lines(torch.tensor([-10.0]), torch.tensor([4.0])), XS.size).numpy()
    calls = []

    def run(inputs):
        calls.append(inputs["image"].shape)
        return {"line": wrong}

    (picture,) = illustrate_midlines(run, {"image": images}, targets)
    assert calls == [(1, 1, 96, 96)] * 6
    pixels = np.asarray(Image.open(io.BytesIO(picture.png)))
    tile = 2 * 96 + 2
    assert pixels.shape == (tile + 96 + 2, 6 * tile, 3)
    for colour in (TRUE, FOUND):
        assert (np.abs(pixels.astype(int) - colour).max(2) <= 1).sum() > 6 * 100
    expected = ", ".join(f"{abs(angle + 10):.1f}" for angle in targets[:6, 0])
    assert f"off by {expected} degrees" in picture.caption


def test_a_picture_of_pairs_is_in_the_order_of_their_scores():
    data = phantom_pairs(0, SIDES.size, (1, 20))
    (upper, lower), targets = data.test.batch(range(20))
    logits = iter([1.0, -2.0, 0.5, 3.0, -1.0, 0.0])

    def run(inputs):
        assert inputs["upper"].shape == inputs["lower"].shape == (1, 1, 32, 64)
        return {"asymmetry": np.full((1, 1), next(logits), np.float32)}

    (picture,) = illustrate_pairs(run, {"upper": upper.numpy(), "lower": lower.numpy()}, targets.numpy())
    assert "0.12, 0.27, 0.50, 0.62, 0.73, 0.95; in truth: none, lesion, lesion, none, none, lesion" in picture.caption
    assert Image.open(io.BytesIO(picture.png)).size == (6 * 64 * 3, 3 * 32 * 3)


# Data


def test_data_are_generated_by_name_or_read_from_a_folder(tmp_path):
    slices, pairs = phantom_slices(3, 64, (6, 4)), phantom_pairs(3, 64, (6, 4))
    assert (slices.name, pairs.name) == (PHANTOMS, PAIRS) and len(slices.train) == 6
    (upper, lower), target = pairs.test[0]
    assert upper.shape == lower.shape == (1, 32, 64) and target.shape == (1,)
    assert torch.equal(phantom_slices(3, 64, (6, 4)).test.samples, slices.test.samples)
    for read, name in ((read_slices, PHANTOMS), (read_pairs, PAIRS)):
        with pytest.raises(BadInput, match=rf"mine: no such data; give {name} or a folder with lines\.csv and images/"):
            read("mine", 0, 64)
        with pytest.raises(BadInput, match=r"expected lines\.csv with images/ID\.png, or \*\.parquet; found nothing"):
            read(str(tmp_path), 0, 64)


def test_generated_slices_have_the_mean_and_spread_that_preprocessing_takes_away():
    data = phantom_slices(0, XS.size, (60, 2))
    seen = data.preprocessing.apply(data.train.samples)
    assert abs(seen.mean().item()) < 0.05 and abs(seen.std().item() - 1) < 0.1

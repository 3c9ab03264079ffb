"""Segmentation on AsCAN: UPerNet's head and its resizing against PyTorch's own, the objective, generated scenes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.ascan import XS
from offramp.models.ascan_segmentation import (
    AscanSegmentation,
    AuxiliaryHead,
    Segmentation,
    SegmentationConfig,
    digit_scenes,
    read_scenes,
)
from offramp.models.data import Data, InMemory
from offramp.models.objectives import Batch, evaluate
from offramp.models.recipe import Recipe
from offramp.models.system import find_system
from offramp.models.training import train
from offramp.models.upernet import Doubling, Remap, UPerHead
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode


def counts(module, *inputs):
    """Parameters and MACs."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        module.eval()(*inputs)
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() // 2


def conv(inputs, outputs, kernel, side, norm=True):
    """Parameters and MACs of a convolution with a batch norm's two vectors, or with a bias."""
    return outputs * inputs * kernel**2 + outputs * (2 if norm else 1), outputs * inputs * kernel**2 * side**2


@settings(max_examples=20, deadline=None)
@given(side=st.integers(1, 9), grid=st.integers(1, 9), seed=st.integers(0, 99))
def test_remaps_are_pytorchs_averages_and_interpolation(side, grid, seed):
    x = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(seed))
    expected = functional.adaptive_avg_pool2d(x, grid)
    torch.testing.assert_close(Remap.average(side, grid)(x), expected, rtol=0, atol=1e-5)
    expected = functional.interpolate(x, (grid, grid), mode="bilinear", align_corners=False)
    torch.testing.assert_close(Remap.interpolate(side, grid)(x), expected, rtol=0, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(height=st.integers(1, 7), width=st.integers(1, 7), seed=st.integers(0, 99))
def test_doubling_is_pytorchs_bilinear_resizing(height, width, seed):
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    expected = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    torch.testing.assert_close(Doubling(3)(x), expected, rtol=0, atol=1e-5)


def test_the_segmentation_head_has_the_cost_of_its_layers():
    """Context with two grids, lateral and smoothing convolutions, doublings of one level and of all so far, merging.

    At first both are one map, which is doubled once.
    """
    head = UPerHead((8, 16, 32), 4, channels=6, classes=5, pools=(1, 2))
    context = [conv(32, 6, 1, 1), conv(32, 6, 1, 2), conv(32 + 2 * 6, 6, 3, 4)]
    remaps = [(0, 2 * channels * 16 * cells) for cells in (1, 4) for channels in ((32 + 6) / 2,)]
    lateral = [conv(8, 6, 1, 16), conv(16, 6, 1, 8), conv(6, 6, 3, 16), conv(6, 6, 3, 8)]
    doublings = [(0, channels * 9 * side**2) for channels, side in ((6, 8), (6, 16), (12, 16))]
    merge = [conv(18, 6, 3, 16), conv(6, 5, 1, 16, norm=False)]
    parts = [*context, *remaps, *lateral, *doublings, *merge]
    maps = [torch.randn(1, width, side, side) for width, side in ((8, 16), (16, 8), (32, 4))]
    assert counts(head, maps) == (sum(p for p, _ in parts), sum(m for _, m in parts))
    assert head(maps).shape == (1, 5, 16, 16)


SCENES = SegmentationConfig(replace(XS, widths=(8, 8, 8, 8)), 32, classes=3, channels=8, pools=(1, 2))


def test_figures_of_segmentation_are_counted_over_the_split():
    """Of two pixels of class 1 one is taken for class 0; class 2 never occurs and does not count."""
    objective = Segmentation(SCENES)
    targets = torch.zeros(2, 1024)
    targets[0, 0] = targets[1, 0] = 1
    said = functional.one_hot(targets.long(), 3).float().reshape(2, 32, 32, 3).permute(0, 3, 1, 2) * 4
    said[1, :, 0, 0] = torch.tensor([4.0, 0.0, 0.0])
    found = objective.metrics(objective.scores((said,), (said,), targets).double())
    assert found["mean_iou"] == pytest.approx((2046 / 2047 + 1 / 2) / 2)
    assert found["pixel_accuracy"] == pytest.approx(2047 / 2048)


def test_pixels_without_a_class_do_not_count():
    objective = Segmentation(SCENES)
    said = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = said.argmax(1).flatten(1).float()
    targets[0, :500] = (targets[0, :500] + 1) % 3  # wrong, then without a class
    assert objective.metrics(objective.scores((said,), (said,), targets).double())["pixel_accuracy"] < 0.8
    targets[0, :500] = -1
    figures = objective.metrics(objective.scores((said,), (said,), targets).double())
    assert figures == {"mean_iou": 1.0, "pixel_accuracy": 1.0}
    plain = objective._cross_entropy(said, targets, Recipe(label_smoothing=0.0))
    kept = targets.flatten() >= 0
    scores = said.flatten(2).transpose(1, 2).reshape(-1, 3)
    torch.testing.assert_close(plain, functional.cross_entropy(scores[kept], targets.flatten()[kept].long()))


def test_the_auxiliary_head_trains_beside_the_network_with_its_weight():
    torch.manual_seed(0)
    network = AscanSegmentation(SCENES).eval()
    objective = Segmentation(SCENES)
    head = AuxiliaryHead(SCENES).eval()
    images, targets = torch.randn(2, 1, 32, 32), torch.zeros(2, 32 * 32)
    outcome = objective.loss(network, head, Batch(images, targets, Recipe(label_smoothing=0.0), torch.Generator()))

    def loss(scores):
        resized = functional.interpolate(scores, (32, 32), mode="bilinear", align_corners=False)
        return functional.cross_entropy(resized, targets.long().reshape(2, 32, 32))

    expected = loss(network(images)) + 0.4 * loss(head(network.backbone(images)[2]))
    torch.testing.assert_close(outcome.loss, expected)
    outcome.loss.backward()
    assert all(p.grad is not None for p in [*network.parameters(), *head.parameters()])
    assert not network.backbone._forward_hooks


def test_scenes_follow_the_seed_and_show_what_their_targets_say():
    first, again, other = (digit_scenes(seed) for seed in (0, 0, 1))
    assert torch.equal(first.test.samples, again.test.samples)
    assert not torch.equal(first.test.samples, other.test.samples)
    ink, classes = first.test.samples.flatten(1), first.test.labels
    assert (ink[classes > 0] >= 64).all() and (ink[classes == 0] < 64).all()
    assert set(classes.unique().tolist()) == set(range(11))


def test_a_segmentation_network_learns_scenes(tmp_path):
    scenes = digit_scenes(0)
    part = InMemory(scenes.train.samples[:64], (scenes.train.labels[:64] > 0).float())
    data = Data("scenes", part, part, (), scenes.preprocessing)
    system = replace(
        find_system("ascan_xs_segmentation"), build=lambda: AscanSegmentation(SCENES), objective=Segmentation(SCENES)
    )
    run = train(system, data, Recipe(epochs=5, batch_size=16, threads=1), tmp_path, progress=False)
    before = evaluate(AscanSegmentation(SCENES), part, data.preprocessing, system.objective)
    assert run.metrics["mean_iou"] > before["mean_iou"]


def test_segmentation_refuses_sizes_and_data_that_do_not_fit():
    with pytest.raises(BadInput, match=r"size 40 leaves a map of 2\.5 in the last stage; it must be a whole number"):
        replace(SCENES, size=40)
    with pytest.raises(BadInput, match=r"leaves a map of 2 in the last stage; .* at least 3, the largest of pools"):
        replace(SCENES, pools=(1, 3))
    with pytest.raises(BadInput, match=r"stages after the first must have stride 2, got \(2, 2, 1, 2\)"):
        replace(SCENES, backbone=replace(XS, strides=(2, 2, 1, 2)))
    for name in ("cityscapes", "digit-scenes"):  # whose pictures this network of other classes cannot take
        with pytest.raises(BadInput, match=f"{name}: no such folder; give one with images/ and annotations/"):
            read_scenes(SCENES, name, 0)

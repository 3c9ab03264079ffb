"""AsCAN as the backbone of a segmentation network: a class for every pixel.

Kag et al., "AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and Generation", NeurIPS 2024,
arXiv 2411.04967. The head is UPerNet's; an auxiliary one on the third stage's map trains with it and is not shipped.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset

from ..errors import BadInput
from .ascan import XS, Backbone, T, initialise
from .ascan_blocks import AscanConfig
from .blocks import conv_bn
from .data import Data, InMemory, Preprocessing
from .data.digits import load_digits
from .data.scene_folder import SceneFormat, load_scene_folder
from .objectives import Batch, Objective, Outcome, in_tuple
from .recipe import Recipe
from .system import System
from .upernet import UPerHead


@dataclass(frozen=True)
class SegmentationConfig:
    """Sizes of a segmentation network.

    Attributes:
        backbone: its classes and head are not used.
        size: side of the image; each stage after the first halves its map.
        classes: of a pixel.
        channels: of the head; UPerNet has 512.
        pools: sides of the grids of averages over the smallest map, none above its side.
    """

    backbone: AscanConfig
    size: int
    classes: int
    channels: int
    pools: tuple[int, ...] = (1, 2, 3, 6)

    def __post_init__(self) -> None:
        if self.backbone.strides[1:] != (2,) * (len(self.backbone.strides) - 1):
            raise BadInput(f"segmentation: stages after the first must have stride 2, got {self.backbone.strides}")
        if self.size % self.stride or max(self.pools) > self.size // self.stride:
            raise BadInput(
                f"segmentation: size {self.size} leaves a map of {self.size / self.stride:g} in the last stage; "
                f"it must be a whole number and at least {max(self.pools)}, the largest of pools"
            )

    @property
    def stride(self) -> int:
        """Of the last stage."""
        return 2 * prod(self.backbone.strides)


class AscanSegmentation(nn.Module):
    """(B, in_channels, H, W) to scores at the first stage's size, (B, classes, H / stride, W / stride)."""

    def __init__(self, config: SegmentationConfig):
        super().__init__()
        self.backbone = Backbone(config.backbone)
        self.head = UPerHead(
            config.backbone.widths,
            config.size // config.stride,
            config.channels,
            config.classes,
            config.pools,
            config.backbone.activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x))


class AuxiliaryHead(nn.Module):
    """Scores from the third stage's map alone, (B, width, H, W) to (B, classes, H, W); for training only."""

    def __init__(self, config: SegmentationConfig):
        super().__init__()
        width = config.backbone.widths[2]
        self.scores = nn.Sequential(
            conv_bn(width, config.channels, 3, activation=config.backbone.activation),
            nn.Conv2d(config.channels, config.classes, 1),
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x)


@dataclass(frozen=True)
class Segmentation(Objective):
    """Cross-entropy of every pixel, of the network's scores and with less weight of the auxiliary head's.

    Targets are the classes of an image's pixels, row by row (B, H W) as floats, below 0 where a pixel has none and does
    not count; scores of a coarser map are resized bilinearly to it. `mean_iou` is the mean over classes of intersection
    over union, counted over the whole split; `pixel_accuracy` the share of pixels.

    Attributes:
        config: of the network.
        auxiliary: weight of the auxiliary head's loss.
    """

    config: SegmentationConfig
    auxiliary: float = 0.4

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        """The auxiliary head; None for a network that shows its outputs alone, as one trained for a precision."""
        return AuxiliaryHead(self.config) if isinstance(network, AscanSegmentation) else None

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs, targets, recipe = in_tuple(batch.samples), batch.targets, batch.recipe
        if companion is None:
            outputs = in_tuple(network(*inputs))[0]
            return Outcome(self._cross_entropy(outputs, targets, recipe), inputs, outputs)
        maps: list[Tensor] = []
        whole = network.module if isinstance(network, DistributedDataParallel) else network
        hook = whole.get_submodule("backbone").register_forward_hook(lambda _, given, found: maps.extend(found))
        try:
            outputs = network(*inputs)
        finally:
            hook.remove()
        loss = self._cross_entropy(outputs, targets, recipe) + self.auxiliary * self._cross_entropy(
            companion(maps[2]), targets, recipe
        )
        return Outcome(loss, inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 3 classes): pixels of each class that are found, that are said to be it, and that are it."""
        labelled = (targets >= 0).unsqueeze(2)
        best = self._resized(outputs[0]).argmax(1).flatten(1)
        said = functional.one_hot(best, self.config.classes) * labelled  # (B, H W, classes)
        true = functional.one_hot(targets.long().clamp(min=0), self.config.classes) * labelled
        return torch.cat([(said * true).sum(1), said.sum(1), true.sum(1)], 1).float()

    def metrics(self, scores: Tensor) -> dict[str, float]:
        found, said, true = scores.sum(0).reshape(3, -1)
        union = said + true - found
        return {
            "mean_iou": (found / union)[union > 0].mean().item(),
            "pixel_accuracy": (found.sum() / true.sum()).item(),
        }

    def _resized(self, scores: Tensor) -> Tensor:
        """(B, classes, size, size)."""
        size = (self.config.size, self.config.size)
        return functional.interpolate(scores, size, mode="bilinear", align_corners=False)

    def _cross_entropy(self, scores: Tensor, targets: Tensor, recipe: Recipe) -> Tensor:
        labels = targets.long().clamp(min=-1)
        every = self._resized(scores).flatten(2)
        return functional.cross_entropy(every, labels, ignore_index=-1, label_smoothing=recipe.label_smoothing)


def read_scenes(config: SegmentationConfig, name_or_path: str, seed: int) -> Data:
    """A folder in ADE20K's layout, or `digit-scenes` for a network of one channel, 32 x 32 pixels and 11 classes.

    Raises:
        BadInput: it is neither; and what `load_scene_folder` refuses.
    """
    form = SceneFormat(config.backbone.in_channels, config.size, config.classes)
    if Path(name_or_path).is_dir():
        return load_scene_folder(Path(name_or_path), form)
    generated = name_or_path == _GENERATED and form == SceneFormat(1, _SCENE, 11)
    if not generated:
        raise BadInput(
            f"{name_or_path}: no such folder; give one with images/ and annotations/, each with training/ and "
            f"validation/, or {_GENERATED} for ascan_xs_segmentation"
        )
    return digit_scenes(seed)


def digit_scenes(seed: int) -> Data:
    """Pictures of 32 x 32 with two handwritten digits, generated; a pixel's class is its digit's, or background (0).

    Digits of the train split stand on training pictures only. A pixel belongs to a digit where it has a quarter of the
    full ink or more; where two overlap, to the one with more ink.
    """
    digits = load_digits(1, 8)
    draws = torch.Generator().manual_seed(seed)
    splits = [_scenes(split, count, draws) for split, count in ((digits.train, 1024), (digits.test, 256))]
    return Data(_GENERATED, splits[0], splits[1], (), Preprocessing(1 / 255, (0.1,), (0.25,)))


def _scenes(split: Dataset, count: int, draws: torch.Generator) -> InMemory:
    assert isinstance(split, InMemory) and isinstance(split.samples, Tensor)
    images, classes = torch.zeros(count, 1, _SCENE, _SCENE), torch.zeros(count, _SCENE, _SCENE)
    for scene in range(count):
        for _ in range(2):
            digit = int(torch.randint(len(split), (), generator=draws))
            row, column = torch.randint(_SCENE - 7, (2,), generator=draws).tolist()
            ink = split.samples[digit, 0]
            place = images[scene, 0, row : row + 8, column : column + 8]
            classes[scene, row : row + 8, column : column + 8][(ink >= 64) & (ink > place)] = split.labels[digit] + 1.0
            place.copy_(place.maximum(ink))
    return InMemory(images, classes.flatten(1))


_GENERATED = "digit-scenes"
_SCENE = 32  # pixels of a picture's side
_SMALL = SegmentationConfig(XS, _SCENE, classes=11, channels=16, pools=(1, 2))
_TINY = SegmentationConfig(replace(T, pools=(1, 2, 1, 1)), 256, classes=150, channels=128)


def _system(name: str, config: SegmentationConfig, dataset: str | None, recipe: Recipe) -> System:
    return System(
        name=name,
        paper="ascan",
        task="segmentation",
        build=lambda: AscanSegmentation(config),
        input_shapes={"image": (1, config.backbone.in_channels, config.size, config.size)},
        output_names=("scores",),
        dataset=dataset,
        recipe=recipe,
        source="Kag et al., AsCAN, NeurIPS 2024, arXiv 2411.04967; reconstructed sizes",
        objective=Segmentation(config),
        read=partial(read_scenes, config),
    )


SYSTEMS = (
    _system("ascan_xs_segmentation", _SMALL, _GENERATED, Recipe(epochs=20, label_smoothing=0.0, threads=1)),
    # ADE20K's classes; published training is at 512 x 512, which multiplies the cost by more than four.
    _system(
        "ascan_t_segmentation", _TINY, None, Recipe(learning_rate=6e-5, weight_decay=0.01, epochs=127, batch_size=16)
    ),
)

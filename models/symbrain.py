"""SymBrain: networks that find a brain's midline on a slice, and asymmetry between the halves beside it.

Gucciardi et al., "Symbrain: A large-scale dataset of MRI images for neonatal brain symmetry analysis", arXiv
2401.11814, give slices with annotated midlines and no network. The regression here is our own; the pair network
follows the group's later Siamese ones, but compares maps of features place by place, |f(L) - f(R)|, where theirs joins
two vectors. Angles are decoded, and slices turned, outside of the networks (`symbrain_objectives`, `brain_midline`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .brain_phantoms import SliceRecipe, draw_halves, draw_slices
from .data import Data, InMemory, Preprocessing
from .data.brain_slices import load_brain_pairs, load_brain_slices
from .recipe import Recipe
from .symbrain_objectives import AsymmetryDetection, MidlineRegression
from .symbrain_pictures import illustrate_midlines, illustrate_pairs
from .system import System

PHANTOMS, PAIRS = "brain-phantoms", "brain-phantom-pairs"
VARIED = (0.25, 1.0)  # natural asymmetry of the generated slices
TRAIN, TEST = 2000, 200
# Mean and spread of generated slices in 0..255.
PREPROCESSING = Preprocessing(1.0, (36.0,), (50.0,))


@dataclass(frozen=True)
class MidlineConfig:
    """Sizes of a midline network.

    Attributes:
        size: height and width of the slice.
        widths: channels of the convolutions.
        strides: of them.
    """

    size: int = 128
    widths: tuple[int, ...] = (16, 32, 64, 64, 96)
    strides: tuple[int, ...] = (2, 2, 2, 2, 2)


@dataclass(frozen=True)
class PairConfig:
    """Sizes of a pair network.

    Attributes:
        size: width of a half, which is half as high.
        widths: channels of the encoder's convolutions.
        strides: of them.
    """

    size: int = 64
    widths: tuple[int, ...] = (8, 16, 16)
    strides: tuple[int, ...] = (2, 2, 1)


def conv_relu(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Convolution of 3 x 3, batch norm and ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class MidlineNetwork(nn.Module):
    """(B, 1, size, size) to (B, 3): sin 2 phi, cos 2 phi, and the offset in halves of the size.

    Where a line lies can be told from an average of maps because the zeros around them tell their places.
    """

    def __init__(self, config: MidlineConfig):
        super().__init__()
        channels = (1, *config.widths)
        layers = zip(channels, channels[1:], config.strides)
        self.encoder = nn.Sequential(*(conv_relu(*layer) for layer in layers))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels[-1], 3)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.pool(self.encoder(image)).flatten(1))


class Difference(nn.Module):
    """|first - second|, of as many channels."""

    factor = 1

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.relu(first - second) + torch.relu(second - first)


class Concatenation(nn.Module):
    """Both, channel after channel: what a difference is compared with."""

    factor = 2

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([first, second], 1)


class PairNetwork(nn.Module):
    """Upper half and mirrored lower half, (B, 1, size / 2, size) each, to a logit (B, 1) of asymmetry.

    One call of the encoder sees both halves, so that a quantized one has one scale for both and makes no difference of
    its own.
    """

    def __init__(self, config: PairConfig, fusion: Callable[[], Difference | Concatenation] = Difference):
        super().__init__()
        channels = (1, *config.widths)
        layers = zip(channels, channels[1:], config.strides)
        self.encoder = nn.Sequential(*(conv_relu(*layer) for layer in layers))
        self.fusion = fusion()
        self.mix = nn.Sequential(nn.Conv2d(self.fusion.factor * channels[-1], channels[-1], 1), nn.ReLU())
        shrunk = prod(config.strides)
        self.pool = nn.MaxPool2d((config.size // 2 // shrunk, config.size // shrunk))
        self.head = nn.Linear(channels[-1], 1)

    def forward(self, upper: Tensor, lower: Tensor) -> Tensor:
        first, second = self.encoder(torch.cat([upper, lower])).chunk(2)
        return self.head(self.pool(self.mix(self.fusion(first, second))).flatten(1))


class ShippedPairNetwork(nn.Module):
    """The network of a `PairNetwork` with differences, of the same outputs: one convolution makes both differences.

    Of [f, g] a 1 x 1 convolution with weights of 1 and -1 gives [f - g, g - f] in the wide sums of an accumulator; a
    subtraction of its own would be rounded to 8 bits, over both signs, before its ReLU.
    """

    def __init__(self, trained: PairNetwork):
        super().__init__()
        assert isinstance(trained.fusion, Difference)
        mix = trained.mix[0]
        assert isinstance(mix, nn.Conv2d) and mix.bias is not None
        count = mix.in_channels
        self.encoder, self.pool, self.head = trained.encoder, trained.pool, trained.head
        self.compare = nn.Sequential(nn.Conv2d(2 * count, 2 * count, 1, bias=False), nn.ReLU())
        self.mix = nn.Sequential(nn.Conv2d(2 * count, mix.out_channels, 1), nn.ReLU())
        same = torch.eye(count)
        signs = torch.cat([torch.cat([same, -same], 1), torch.cat([-same, same], 1)])
        self.compare[0].load_state_dict({"weight": signs[:, :, None, None]})
        self.mix[0].load_state_dict({"weight": mix.weight.detach().repeat(1, 2, 1, 1), "bias": mix.bias.detach()})

    def forward(self, upper: Tensor, lower: Tensor) -> Tensor:
        both = torch.cat(self.encoder(torch.cat([upper, lower])).chunk(2), 1)
        return self.head(self.pool(self.mix(self.compare(both))).flatten(1))


def ship_pairs(trained: nn.Module) -> nn.Module:
    """A trained pair network as it goes to devices."""
    assert isinstance(trained, PairNetwork)
    return ShippedPairNetwork(trained).train(trained.training)


def phantom_slices(seed: int, size: int, counts: tuple[int, int] = (TRAIN, TEST)) -> Data:
    """Generated slices (1, size, size) with angle and offset; half have a fissure, and asymmetry varies."""
    recipe = SliceRecipe(size, VARIED, fissure=0.5)
    draws = torch.Generator().manual_seed(seed)
    parts = [draw_slices(count, recipe, draws) for count in counts]
    train, test = (InMemory(p.images, torch.stack([p.lines.angles, p.lines.offsets], 1)) for p in parts)
    return Data(PHANTOMS, train, test, (), PREPROCESSING)


def phantom_pairs(seed: int, size: int, counts: tuple[int, int] = (TRAIN, TEST)) -> Data:
    """Generated halves in 0..255 of slices cut along their midline; one half of every other has a lesion."""
    recipe = SliceRecipe(size, VARIED, nuclei=2)
    draws = torch.Generator().manual_seed(seed)
    train, test = (
        InMemory((halves.upper, halves.lower), has_lesion[:, None].float())
        for halves, has_lesion in (draw_halves(count, recipe, draws) for count in counts)
    )
    return Data(PAIRS, train, test, (), PREPROCESSING)


def read_slices(name: str, seed: int, size: int) -> Data:
    """Generated slices by name, or the user's folder.

    Raises:
        BadInput: there is neither, or the folder cannot be used.
    """
    if name == PHANTOMS:
        return phantom_slices(seed, size)
    if not Path(name).exists():
        raise BadInput(f"{name}: no such data; give {PHANTOMS} or a folder with lines.csv and images/")
    return load_brain_slices(Path(name), size, seed)


def read_pairs(name: str, seed: int, size: int) -> Data:
    """Generated halves by name, or those of the user's folder.

    Raises:
        BadInput: there is neither, or the folder cannot be used.
    """
    if name == PAIRS:
        return phantom_pairs(seed, size)
    if not Path(name).exists():
        raise BadInput(f"{name}: no such data; give {PAIRS} or a folder with lines.csv and images/")
    return load_brain_pairs(Path(name), size, seed)


FULL = MidlineConfig()
XS = MidlineConfig(size=96, widths=(8, 16, 32, 32, 48), strides=(3, 2, 2, 2, 2))
SIDES = PairConfig()
_RECIPE = Recipe(
    learning_rate=4e-3, weight_decay=0.01, epochs=12, batch_size=32, warmup_epochs=1.0, label_smoothing=0.0
)
_SOURCE = "Gucciardi et al., Symbrain, arXiv 2401.11814 (data); networks our own, pairs after the authors' Siamese ones"


def _midline(name: str, config: MidlineConfig, recipe: Recipe) -> System:
    return System(
        name=name,
        paper="symbrain",
        task="midline-regression",
        build=lambda: MidlineNetwork(config),
        input_shapes={"image": (1, 1, config.size, config.size)},
        output_names=("line",),
        dataset=PHANTOMS,
        recipe=recipe,
        objective=MidlineRegression(config.size),
        read=partial(read_slices, size=config.size),
        illustrate=illustrate_midlines,
        source=_SOURCE,
    )


SYSTEMS = (
    _midline("symbrain", FULL, _RECIPE),
    _midline("symbrain_xs", XS, replace(_RECIPE, learning_rate=8e-3, threads=1)),
    System(
        name="symbrain_pairs",
        paper="symbrain",
        task="asymmetry-detection",
        build=lambda: PairNetwork(SIDES),
        input_shapes=dict.fromkeys(("upper", "lower"), (1, 1, SIDES.size // 2, SIDES.size)),
        output_names=("asymmetry",),
        dataset=PAIRS,
        recipe=replace(_RECIPE, threads=1),
        objective=AsymmetryDetection(),
        read=partial(read_pairs, size=SIDES.size),
        ship=ship_pairs,
        illustrate=illustrate_pairs,
        source=_SOURCE,
    ),
)

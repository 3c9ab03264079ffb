"""eccNET: where to look next, from a search image and a picture of what is looked for.

Gupta et al., "Visual Search Asymmetry: Deep Nets and Humans Share Similar Inherent Biases", NeurIPS 2021, arXiv
2106.02953: a classification network whose poolings average over windows that grow away from the fixation; its features
of the target are laid over those of the search image at three depths.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .eccentricity_pooling import Eccentricity, EccentricityPool
from .recipe import Recipe
from .search_stimuli import TASKS
from .system import System
from .visual_search_pictures import illustrate
from .visual_search_training import DEFAULT, ItemClassification, Searches

VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@dataclass(frozen=True)
class EccNetConfig:
    """Sizes of an eccNET.

    Attributes:
        blocks: output channels of the 3x3 convolutions of each block; a pooling follows each block.
        slopes: of each pooling's windows (`Eccentricity`).
        readouts: blocks, counted from 0, at whose ends target and search image are compared; the last is the deepest.
        channels: of both pictures.
        pixels_per_degree: of both pictures.
        search_side, target_side: of the pictures, pixels; multiples of the stride of the features.
    """

    blocks: tuple[tuple[int, ...], ...] = VGG16
    slopes: tuple[float, ...] = (0.0, 0.0, 0.07, 0.16, 0.32)
    readouts: tuple[int, ...] = (2, 3, 4)
    channels: int = 3
    pixels_per_degree: float = 30
    search_side: int = 800
    target_side: int = 64

    def __post_init__(self) -> None:
        deepest = len(self.blocks) - 1
        if len(self.slopes) != len(self.blocks) or max(self.readouts) != deepest:
            raise BadInput(
                f"eccNET: {len(self.blocks)} blocks need as many slopes and the last of them read out, got "
                f"{len(self.slopes)} slopes and readouts {self.readouts}"
            )
        if self.search_side % 2**deepest or self.target_side % 2 ** (deepest + 1):
            raise BadInput(
                f"eccNET: sides are {self.search_side} (search) and {self.target_side} (target); give multiples of "
                f"{2**deepest} and {2 ** (deepest + 1)}, the strides of their features"
            )

    def eccentricity(self, block: int) -> Eccentricity:
        """Of the pooling behind a block; whole pixels per degree, 7.5 rounds to 8."""
        return Eccentricity(max(1, round(self.pixels_per_degree / 2**block)), self.slopes[block])

    def pools(self, side: int) -> nn.ModuleList:
        """The poolings of a picture, block after block."""
        return nn.ModuleList(
            EccentricityPool(widths[-1], side // 2**block, self.eccentricity(block))
            for block, widths in enumerate(self.blocks)
        )


class Correlation(nn.Module):
    """How alike features (B, C, H, W) are to the target's (B, C, k, k), at every place: (B, 1, H, W).

    A convolution whose kernel is the target, with "same" padding. As devices take no kernel that is computed, each of
    the target's positions is multiplied with all of the features, and a constant kernel of zeros and ones lays the
    k * k maps over one another.
    """

    ones: Tensor

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        self.register_buffer("ones", torch.eye(side**2).reshape(1, side**2, side, side), persistent=False)

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        products = target.flatten(2).transpose(1, 2) @ features.flatten(2)  # (B, k * k, H * W)
        maps = products.unflatten(2, features.shape[2:])
        if self.side == 1:
            return maps
        before, after = (self.side - 1) // 2, self.side // 2
        return functional.conv2d(functional.pad(maps, (before, after, before, after)), self.ones)


class EccNet(nn.Module):
    """Search image (B, C, S, S), fixated at its centre, and target (B, C, t, t) to attention (B, 1, S', S').

    S' is S divided by the stride before the last pooling; attention is in 0..1, and its highest place is where to look
    next.
    """

    def __init__(self, config: EccNetConfig):
        super().__init__()
        self.config = config
        channels, blocks = config.channels, []
        for widths in config.blocks:
            layers: list[nn.Module] = []
            for width in widths:
                layers += [_convolution(channels, width), nn.ReLU()]
                channels = width
            blocks.append(nn.Sequential(*layers))
        self.blocks = nn.ModuleList(blocks)
        self.search_pools = config.pools(config.search_side)
        self.target_pools = config.pools(config.target_side)
        self.correlation = Correlation(config.target_side // 2 ** len(config.blocks))

    def search_features(self, search: Tensor) -> list[Tensor]:
        """Of each readout, before its pooling, averaged down to the deepest one's stride."""
        found, x = [], search
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self.config.readouts:
                found.append(_halved(x, len(self.blocks) - 1 - number))
            x = self.search_pools[number](x) if number + 1 < len(self.blocks) else x
        return found

    def target_features(self, target: Tensor) -> list[Tensor]:
        """Of each readout, after its pooling, averaged down to the deepest one's stride."""
        found, x = [], target
        for number, (block, pool) in enumerate(zip(self.blocks, self.target_pools)):
            x = pool(block(x))
            if number in self.config.readouts:
                found.append(_halved(x, len(self.blocks) - 1 - number))
        return found

    def forward(self, search: Tensor, target: Tensor) -> Tensor:
        _check("search image", search, self.config.channels, self.config.search_side)
        _check("target", target, self.config.channels, self.config.target_side)
        pairs = zip(self.search_features(search), self.target_features(target))
        return combined([self.correlation(features, wanted) for features, wanted in pairs])


def load_vgg16(network: EccNet, weights: Mapping[str, Tensor]) -> None:
    """Fills in the convolutions of a VGG16 by the names that torchvision gives them, `features.N.weight` and `.bias`.

    The network then expects pictures with torchvision's mean and standard deviation. What is not of its features is
    not read.

    Raises:
        BadInput: a convolution is missing, or has another shape.
    """
    mine = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    places = sorted(
        int(name.split(".")[1]) for name in weights if name.startswith("features.") and name.endswith(".weight")
    )
    if len(places) != len(mine):
        raise BadInput(f"VGG16: expected {len(mine)} convolutions features.N.weight, got {len(places)}")
    for place, layer in zip(places, mine):
        for kind in ("weight", "bias"):
            name = f"features.{place}.{kind}"
            given, wanted = weights.get(name), getattr(layer, kind)
            if given is None or given.shape != wanted.shape:
                found = "nothing" if given is None else tuple(given.shape)
                raise BadInput(f"VGG16: {name} is {found}, the network has {tuple(wanted.shape)}; give its weights")
            wanted.data.copy_(given)


def combined(maps: list[Tensor]) -> Tensor:
    """The mean of maps (B, 1, H, W), each scaled to 0..1 and weighted with its highest value."""
    ranges = [_range(each) for each in maps]
    weights = sum(high for _, high in ranges) + 1e-12
    scaled = [(each - low) / (high - low + 1e-12) * (high / weights) for each, (low, high) in zip(maps, ranges)]
    return reduce(torch.add, scaled)


def _range(each: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each map, (B, 1, 1, 1), as poolings, which every target has."""
    side = each.shape[2:]
    return -1.0 * functional.max_pool2d(-1.0 * each, side, side), functional.max_pool2d(each, side, side)


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    """With He's first weights, as there is no norm to set their scale."""
    layer = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _halved(x: Tensor, times: int) -> Tensor:
    """By plain 2x2 averages."""
    for _ in range(times):
        x = functional.avg_pool2d(x, 2)
    return x


def _check(what: str, picture: Tensor, channels: int, side: int) -> None:
    if picture.shape[1:] != (channels, side, side):
        raise BadInput(
            f"{what}: expected (B, {channels}, {side}, {side}), got {tuple(picture.shape)}; resize it, and turn grey "
            "into colour or the reverse"
        )


XS = EccNetConfig(
    blocks=((8,), (16,), (32,)),
    slopes=(0.16, 0.32, 0.32),
    readouts=(0, 1, 2),
    channels=1,
    pixels_per_degree=4,
    search_side=96,
    target_side=16,
)
_GRID, _CELL = TASKS[4].grid, TASKS[4].cell(XS.pixels_per_degree)

SYSTEMS = (
    System(
        name="eccnet_xs",
        paper="visual-search-asymmetry",
        task="visual-search",
        build=lambda: EccNet(XS),
        input_shapes={
            "search": (1, XS.channels, XS.search_side, XS.search_side),
            "target": (1, XS.channels, XS.target_side, XS.target_side),
        },
        output_names=("attention",),
        dataset=DEFAULT,
        recipe=Recipe(learning_rate=8e-3, epochs=6, batch_size=64, label_smoothing=0.0, threads=1),
        objective=ItemClassification(
            features=XS.blocks[-1][-1] * (XS.target_side // 2 ** len(XS.blocks)) ** 2,
            window=XS.search_side,
            grid=_GRID,
            cell=_CELL,
        ),
        read=Searches(XS.pixels_per_degree, XS.search_side, XS.target_side).read,
        illustrate=partial(illustrate, _GRID, _CELL),
        source="Gupta et al., Visual Search Asymmetry: Deep Nets and Humans Share Similar Inherent Biases, NeurIPS "
        "2021, arXiv 2106.02953",
    ),
)

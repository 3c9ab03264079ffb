"""UPerNet's head: a pyramid of maps to a class for every pixel.

Xiao et al., "Unified Perceptual Parsing for Scene Understanding", ECCV 2018, arXiv 1807.10221: averages over grids give
the smallest map context, a pyramid carries it to the larger ones, and all levels meet at the largest map's size.

Resizing is spelled with operators that every integer runtime has: averages over windows and small maps' interpolation
are linear layers with constant weights, and a bilinear doubling is a nearest one and a fixed convolution.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from .ascan import initialise
from .blocks import conv_bn


class Remap(nn.Module):
    """A fixed linear map from (B, C, S, S) to (B, C, G, G), the same for each channel, as one linear layer."""

    matrix: Tensor

    def __init__(self, matrix: Tensor):
        super().__init__()
        self.register_buffer("matrix", matrix, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        side = round(self.matrix.shape[0] ** 0.5)
        return functional.linear(x.flatten(2), self.matrix).unflatten(2, (side, side))  # (B, C, S S) -> (B, C, G G)

    @classmethod
    def average(cls, side: int, grid: int) -> "Remap":
        """`adaptive_avg_pool2d` from `side` to `grid`."""
        units = torch.eye(side**2).reshape(-1, 1, side, side)  # one image for each pixel
        return cls(functional.adaptive_avg_pool2d(units, grid).flatten(1).t().contiguous())

    @classmethod
    def interpolate(cls, grid: int, side: int) -> "Remap":
        """Bilinear resizing from `grid` to `side`, corners not aligned."""
        units = torch.eye(grid**2).reshape(-1, 1, grid, grid)
        resized = functional.interpolate(units, (side, side), mode="bilinear", align_corners=False)
        return cls(resized.flatten(1).t().contiguous())


class Doubling(nn.Module):
    """Bilinear resizing to twice the size, corners not aligned, (B, C, H, W) to (B, C, 2 H, 2 W).

    Every pixel is repeated, the border once more, and smoothed by (1, 2, 1) / 4 along both axes: which gives 3/4 of the
    nearest pixel and 1/4 of the next one, exactly the bilinear weights.
    """

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0]) / 4
        self.register_buffer("kernel", torch.outer(line, line).repeat(channels, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], 2)
        x = torch.cat([x[..., :1], x, x[..., -1:]], 3)
        return functional.conv2d(x, self.kernel, groups=len(self.kernel))


class PyramidPool(nn.Module):
    """Context of the smallest map: its averages over grids, beside itself, (B, inputs, S, S) to (B, outputs, S, S)."""

    def __init__(self, inputs: int, outputs: int, side: int, pools: tuple[int, ...], activation: type[nn.Module]):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                Remap.average(side, grid),
                conv_bn(inputs, outputs, 1, activation=activation),
                Remap.interpolate(grid, side),
            )
            for grid in pools
        )
        self.merge = conv_bn(inputs + len(pools) * outputs, outputs, 3, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat([x, *(branch(x) for branch in self.branches)], 1))


class UPerHead(nn.Module):
    """Maps of all stages, each half the side of the one before, to scores at the first one's size, (B, classes, H, W).

    Args:
        widths: of the maps.
        side: of the last map.
        channels: of the head's own maps; 512 in the paper.
        classes: outputs.
        pools: sides of the grids of averages over the last map.
        activation: behind each convolution.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        side: int,
        channels: int,
        classes: int,
        pools: tuple[int, ...] = (1, 2, 3, 6),
        activation: type[nn.Module] = nn.ReLU,
    ):
        super().__init__()
        *larger, last = widths
        self.context = PyramidPool(last, channels, side, pools, activation)
        self.lateral = nn.ModuleList(conv_bn(width, channels, 1, activation=activation) for width in larger)
        self.smooth = nn.ModuleList(conv_bn(channels, channels, 3, activation=activation) for _ in larger)
        self.grow = Doubling(channels)
        self.align = nn.ModuleList(Doubling(place * channels) for place in range(2, len(larger) + 1))
        self.merge = conv_bn((len(larger) + 1) * channels, channels, 3, activation=activation)
        self.classify = nn.Conv2d(channels, classes, 1)
        self.apply(initialise)

    def forward(self, maps: list[Tensor]) -> Tensor:
        level = stack = self.context(maps[-1])
        for place, stage in enumerate(reversed(range(len(self.lateral)))):
            grown = self.grow(level)
            aligned = self.align[place - 1](stack) if place else grown  # at first, both maps are the context
            level = self.lateral[stage](maps[stage]) + grown
            stack = torch.cat([aligned, self.smooth[stage](level)], 1)  # all levels so far, at this one's size
        return self.classify(self.merge(stack))

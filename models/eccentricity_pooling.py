"""Average pooling whose windows grow with the distance from the fixation, as receptive fields do in the visual cortex.

Gupta et al., "Visual Search Asymmetry: Deep Nets and Humans Share Similar Inherent Biases", NeurIPS 2021, arXiv
2106.02953. The layer is a sum of ordinary poolings, each under a constant mask; rings of equal windows are one.
"""

from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput

STRIDE = 2
LEAST_WINDOW = 2  # pixels


@dataclass(frozen=True)
class Ring:
    """Outputs up to `outer` pixels from the centre (and outside the ring before) average `window` x `window` inputs."""

    outer: int
    window: int


@dataclass(frozen=True)
class Eccentricity:
    """How windows grow away from the centre of a layer's input.

    Attributes:
        pixels_per_degree: of the layer's input, whole.
        slope: pixels that a window gains for each pixel of distance beyond the fovea; 0 is plain pooling.
        fovea: its radius, degrees of visual angle.
        width: of a ring, degrees.
    """

    pixels_per_degree: int
    slope: float
    fovea: float = 4.0
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.pixels_per_degree < 1 or self.slope < 0 or self.fovea <= 0 or self.width <= 0:
            raise BadInput(
                "eccentricity: give at least one pixel per degree, a slope of at least 0, and a fovea and rings wider "
                f"than 0; got {self}"
            )

    def rings(self, side: int) -> tuple[Ring, ...]:
        """From the fovea outwards, for an input of side x side; the last one takes all that lies beyond.

        Radii are in pixels of the output, of which there are ceil(side / 2). An input that the fovea covers has no
        other ring.
        """
        fovea = self.fovea * self.pixels_per_degree
        half = -(-side // STRIDE) / 2
        outer, step = round(fovea / STRIDE), max(1, round(self.width * self.pixels_per_degree / STRIDE))
        rings = [Ring(outer, LEAST_WINDOW)]
        while outer < half:
            outer += step
            rings.append(Ring(outer, LEAST_WINDOW + round(self.slope * (STRIDE * outer - fovea))))
        return tuple(rings)

    def masks(self, side: int) -> dict[int, Tensor]:
        """For each window that occurs, where it is used: (o, o) of zeros and ones that sum to one everywhere."""
        count = -(-side // STRIDE)
        places = torch.arange(count) - count // 2
        distance = (places[:, None].square() + places[None, :].square()).double().sqrt()
        masks: dict[int, Tensor] = {}
        rings, inner = self.rings(side), 0.0
        for ring in rings:
            outer = float("inf") if ring is rings[-1] else ring.outer
            inside = ((distance >= inner) & (distance < outer)).float()
            masks[ring.window] = masks.get(ring.window, torch.zeros(count, count)) + inside
            inner = outer
        return {window: mask for window, mask in masks.items() if mask.any()}


class EccentricityPool(nn.Module):
    """(B, channels, side, side) to (B, channels, ceil(side / 2), ceil(side / 2)).

    A window is centred as TensorFlow's "same" padding has it, and averages only what lies within the input. Windows of
    several sizes are depthwise convolutions with equal weights, which all targets have.
    """

    def __init__(self, channels: int, side: int, eccentricity: Eccentricity):
        super().__init__()
        self.channels, self.side = channels, side
        masks = eccentricity.masks(side)
        self.windows = tuple(masks)
        for window, mask in masks.items():
            padding = self._padding(window)
            # Of an odd number of zeros, one more is behind; a first row and column of zeros make padding even.
            equal = functional.pad(torch.full((1, 1, window, window), window**-2.0), (padding % 2, 0, padding % 2, 0))
            # The padding is in each average; the weight puts right what it is divided by.
            inside = functional.conv2d(torch.ones(1, 1, side, side), equal, None, STRIDE, -(-padding // 2))
            self.register_buffer(f"equal_{window}", equal.repeat(channels, 1, 1, 1), persistent=False)
            self.register_buffer(f"weight_{window}", mask / inside[0, 0], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.windows == (LEAST_WINDOW,) and self.side % STRIDE == 0:
            return functional.avg_pool2d(x, LEAST_WINDOW, STRIDE)
        return reduce(torch.add, [self.averages(x, window) * self._weight(window) for window in self.windows])

    def averages(self, x: Tensor, window: int) -> Tensor:
        """Of every window of one size, zeros of the padding included."""
        padding = -(-self._padding(window) // 2)
        return functional.conv2d(x, getattr(self, f"equal_{window}"), None, STRIDE, padding, groups=self.channels)

    def _weight(self, window: int) -> Tensor:
        return getattr(self, f"weight_{window}")

    def _padding(self, window: int) -> int:
        """Zeros along a side, before and behind together."""
        return max(0, (-(-self.side // STRIDE) - 1) * STRIDE + window - self.side)

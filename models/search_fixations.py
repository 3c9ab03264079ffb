"""The host's part of a visual search: look where attention is highest, never twice in one place, until it is found.

Gupta et al., NeurIPS 2021, arXiv 2106.02953: the network sees a window round the fixation; the grid cell that was
looked at is painted over and ruled out (inhibition of return); an oracle recognises the target where the fixation lies
on its cell. Reaction times are a linear function of the number of fixations, and the asymmetry index compares their
slopes over the number of items.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from .search_stimuli import Trials

MS_PER_FIXATION, MS_OFFSET = 252.359, 376.271

Attend = Callable[[Tensor, Tensor], Tensor]
"""From windows (B, C, W, W), fixated at their centres, and targets (B, C, t, t) to attention (B, 1, H, W)."""


@dataclass(frozen=True)
class Sharpening:
    """Adds to a map the difference of its means under a small and a large Gaussian, several times.

    Attributes:
        small, large: side of the kernel in pixels of the map, odd, and standard deviation.
    """

    small: tuple[int, float] = (3, 1.0)
    large: tuple[int, float] = (5, 3.0)
    times: int = 3

    def __call__(self, maps: Tensor) -> Tensor:
        for _ in range(self.times):
            maps = maps + _blurred(maps, *self.small) - _blurred(maps, *self.large)
        return maps


@dataclass(frozen=True)
class Looking:
    """How pictures are looked at.

    Attributes:
        window: side of what the network sees, pixels; even, and at least twice that of the picture.
        reach: side of the square round a fixation that must touch the target's cell, pixels.
        background: what surrounds a picture, and replaces what was looked at.
        sharpening: of the attention.
    """

    window: int
    reach: int = 1
    background: float = 0.0
    sharpening: Sharpening = Sharpening()


@dataclass(frozen=True)
class Scanpaths:
    """Searches that were made.

    Attributes:
        places: rows and columns, (N, 1 + most, 2), from the picture's middle on; -1 behind the last.
        counts: fixations made, the first one in the middle not counted, (N,).
        found: whether the last one is on the target, (N,).
    """

    places: Tensor
    counts: Tensor
    found: Tensor


def look(attend: Attend, trials: Trials, looking: Looking) -> Scanpaths:
    """Searches side by side, each of at most one fixation more than there are cells.

    Raises:
        BadInput: a picture does not fit into half of the window.
    """
    count, _, size, _ = trials.images.shape
    if 2 * size > looking.window or looking.window % 2:
        raise BadInput(
            f"a window of {looking.window} pixels for pictures of {size}; give an even one, at least twice as wide"
        )
    images, free = trials.images.clone(), torch.ones(count, size, size, dtype=torch.bool)
    most = len(trials.cells) + 1
    places = torch.full((count, 1 + most, 2), -1)
    places[:, 0] = size // 2
    found, active = torch.zeros(count, dtype=torch.bool), torch.arange(count)
    for step in range(1, most + 1):
        windows = torch.stack([window_at(images[i], places[i, step - 1].tolist(), looking) for i in active.tolist()])
        attention = looking.sharpening(attend(windows, trials.targets[active]))
        maps = in_picture(attention, places[active, step - 1], size, looking.window)
        best = maps.masked_fill(~free[active], -torch.inf).flatten(1).argmax(1)
        places[active, step] = torch.stack([best // size, best % size], 1)
        for i in active.tolist():
            row, column = places[i, step].tolist()
            around = _square(size, row, column, looking.reach)
            found[i] = bool((trials.cells[trials.target_cells[i]] & around).any())
            seen = trials.cells[:, row, column]
            looked_at = trials.cells[seen].any(0) if seen.any() else around
            images[i][:, looked_at] = looking.background
            free[i] &= ~looked_at
        active = active[~found[active] & free[active].flatten(1).any(1)]
        if not len(active):
            break
    return Scanpaths(places, (places[:, 1:, 0] >= 0).sum(1), found)


def window_at(image: Tensor, place: Sequence[int], looking: Looking) -> Tensor:
    """What the network sees of (C, S, S) with its centre at a row and a column, (C, window, window)."""
    half, (row, column) = looking.window // 2, place
    surrounded = functional.pad(image, (half, half, half, half), value=looking.background)
    return surrounded[:, row : row + looking.window, column : column + looking.window]


def in_picture(attention: Tensor, places: Tensor, size: int, window: int) -> Tensor:
    """Attention (B, 1, H, W) of windows round places (B, 2), at each pixel of the pictures, (B, size, size)."""
    fine = functional.interpolate(attention, (window, window), mode="bilinear", align_corners=False)
    corners = (window // 2 - places).tolist()
    return torch.stack(
        [each[row : row + size, column : column + size] for each, (row, column) in zip(fine[:, 0], corners)]
    )


def _square(size: int, row: int, column: int, side: int) -> Tensor:
    """(size, size), true in a square round a place."""
    inside = torch.zeros(size, size, dtype=torch.bool)
    top, left = row - side // 2, column - side // 2
    inside[max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = True
    return inside


def _blurred(maps: Tensor, side: int, sigma: float) -> Tensor:
    """With a Gaussian kernel; what lies beyond the border mirrors what is within."""
    places = torch.arange(side) - side // 2
    weights = torch.exp(-(places.float() ** 2) / (2 * sigma**2))
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    return functional.conv2d(functional.pad(maps, (side // 2,) * 4, mode="reflect"), kernel[None, None])


def reaction_time_ms(fixations: float) -> float:
    """Of a human who makes as many fixations."""
    return MS_PER_FIXATION * fixations + MS_OFFSET


def slope_ms(sizes: Sequence[int], fixations: Sequence[float]) -> float:
    """Milliseconds of reaction time that each further item costs, fitted by least squares.

    Raises:
        BadInput: there are not two sizes with a mean number of fixations each.
    """
    if len(sizes) != len(fixations) or len(set(sizes)) < 2:
        raise BadInput(
            f"slope: got {len(fixations)} means of fixations for sizes {tuple(sizes)}; give one each, for two sizes or "
            "more"
        )
    x = torch.tensor(sizes, dtype=torch.float64)
    y = torch.tensor([reaction_time_ms(each) for each in fixations], dtype=torch.float64)
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def asymmetry_index(easy_ms: float, hard_ms: float, least_ms: float = 0.0) -> float:
    """In -1..1 from slopes; positive where the direction that humans find harder is harder.

    Args:
        least_ms: a slope below it counts as 0, as do negative ones; 0 as in the paper.
    """
    easy, hard = (value if value > max(0.0, least_ms) else 0.0 for value in (easy_ms, hard_ms))
    return (hard - easy) / (hard + easy) if hard + easy else 0.0

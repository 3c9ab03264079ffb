"""A slice's line of symmetry: as values, found by its mirror image or its moments, and what lies on its two sides.

Gucciardi et al., "Symbrain", arXiv 2401.11814, annotate midlines; their follow-up turns each onto the middle row and
compares what is above with what is below. A line is kept in normal form here, n . p = c, which has no slope to
overflow: `angle` is its own from the rows, downwards, and `offset` how far from the picture's centre it lies along
n = (-sin angle, cos angle). x goes to the right and y down, in pixels, the first pixel's centre at 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput

MOST_ANGLE = 20.0  # degrees from the rows that are searched
_ROUNDS = ((4.0, 11), (0.8, 11), (0.2, 9))  # step in degrees and number of angles of each round


@dataclass(frozen=True)
class Lines:
    """N lines: `angles` (N,) in degrees, and `offsets` (N,) in pixels."""

    angles: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.angles)

    def canonical(self) -> "Lines":
        """The same lines with angles from -90 to 90, without 90: half a turn also turns the normal around."""
        turns = torch.floor((self.angles + 90) / 180)
        flipped = turns.remainder(2) == 1
        return Lines(self.angles - 180 * turns, torch.where(flipped, -self.offsets, self.offsets))


@dataclass(frozen=True)
class Halves:
    """What is above the midline, and what is below turned over: both (N, 1, S // 2, S), the midline last."""

    upper: Tensor
    lower: Tensor


def lines_through(points: Tensor, angles: Tensor, size: int) -> Lines:
    """Lines through points (N, 2) of x and y, in square pictures of that size."""
    radians = angles.deg2rad()
    away = points - (size - 1) / 2
    return Lines(angles, away[:, 1] * radians.cos() - away[:, 0] * radians.sin()).canonical()


def line_between(first: tuple[float, float], second: tuple[float, float], size: int) -> tuple[float, float]:
    """Angle in degrees, -90 up to 90, and offset in pixels of the line through two points (x, y).

    Raises:
        BadInput: the points are one, or not finite.
    """
    across, down = second[0] - first[0], second[1] - first[1]
    length = math.hypot(across, down)
    if not math.isfinite(length) or length < 1e-6:
        raise BadInput(f"a line from {first} to {second} has no direction; give two points that are apart")
    angle = torch.tensor([math.degrees(math.atan2(down, across))], dtype=torch.float64)
    found = lines_through(torch.tensor([first], dtype=torch.float64), angle, size)
    return found.angles.item(), found.offsets.item()


def ends_of(angle: float, offset: float, size: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Two points of a line, a picture's width apart, around the one that `align` brings to the centre."""
    x, y = _middles(Lines(torch.tensor([angle]), torch.tensor([offset])))[0].tolist()
    middle, reach, radians = (size - 1) / 2, size / 2, math.radians(angle)
    along = reach * math.cos(radians), reach * math.sin(radians)
    return (middle + x - along[0], middle + y - along[1]), (middle + x + along[0], middle + y + along[1])


def angle_errors(found: Tensor, true: Tensor) -> Tensor:
    """Degrees between lines of both angles, 0 to 90."""
    return ((found - true + 90).remainder(180) - 90).abs()


def align(images: Tensor, lines: Lines) -> Tensor:
    """Turns and moves images (N, 1, S, S) so that each line becomes the middle row; zeros come in.

    The point brought to the centre is the middle of the line between the two borders it crosses, which for a line
    along the rows is where it crosses the middle column.
    """
    size = images.shape[3]
    places = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    cos, sin = (function(lines.angles.float().deg2rad())[:, None, None] for function in (torch.cos, torch.sin))
    x0, y0 = (part[:, None, None] for part in _middles(lines).float().unbind(1))
    across, down = places[None, None, :], places[None, :, None]
    looked_at = torch.stack([x0 + cos * across - sin * down, y0 + sin * across + cos * down], 3)
    return functional.grid_sample(images, looked_at * (2 / (size - 1)), align_corners=True)


def _middles(lines: Lines) -> Tensor:
    """(N, 2), points of lines on the middle column, or on the middle row where they are steeper than 45 degrees."""
    radians = lines.angles.deg2rad()
    cos, sin = radians.cos(), radians.sin()
    is_flat = cos.abs() >= sin.abs()
    safe_cos, safe_sin = torch.where(is_flat, cos, 1.0), torch.where(is_flat, 1.0, sin)
    nothing = torch.zeros_like(cos)
    on_column = torch.stack([nothing, lines.offsets / safe_cos], 1)
    on_row = torch.stack([-lines.offsets / safe_sin, nothing], 1)
    return torch.where(is_flat[:, None], on_column, on_row)


def halves_of(aligned: Tensor) -> Halves:
    """Both sides of the middle row of (N, 1, S, S); of an odd number of rows the middle one is in neither."""
    half = aligned.shape[2] // 2
    return Halves(aligned[:, :, :half], aligned[:, :, -half:].flip(2))


def symmetry_index(halves: Halves) -> Tensor:
    """1 - |L - R|^2 / (|L|^2 + |R|^2), (N,): 1 for equal halves, 0 for unrelated ones, -1 for opposite ones.

    Both halves are taken relative to their common mean, so that overall brightness counts for nothing.
    """
    mean = (halves.upper.mean((1, 2, 3), keepdim=True) + halves.lower.mean((1, 2, 3), keepdim=True)) / 2
    upper, lower = (halves.upper - mean).flatten(1), (halves.lower - mean).flatten(1)
    power = upper.square().sum(1) + lower.square().sum(1)
    return 1 - (upper - lower).square().sum(1) / power.clamp(min=1e-12)


def difference_score(halves: Halves, smoothness: float = 1.5) -> Tensor:
    """The largest smoothed difference of halves, (N,): what asymmetry is scored by without learning."""
    from scipy.ndimage import gaussian_filter

    gaps = (halves.upper - halves.lower).abs()[:, 0].numpy()
    return torch.from_numpy(gaussian_filter(gaps, (0, smoothness, smoothness))).amax((1, 2))


def principal_axis(images: Tensor) -> Lines:
    """The longer axis of the brightness of (N, 1, S, S), through its centre of mass: needs no symmetry at all."""
    size = images.shape[3]
    places = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    weights = images[:, 0].double()
    weights = weights / weights.sum((1, 2), keepdim=True).clamp(min=1e-12)
    x, y = (weights * places).sum((1, 2)), (weights * places[:, None]).sum((1, 2))
    across, down = places[None, None, :] - x[:, None, None], places[None, :, None] - y[:, None, None]
    xx, yy, xy = ((weights * product).sum((1, 2)) for product in (across**2, down**2, across * down))
    angles = (torch.atan2(2 * xy, xx - yy) / 2).rad2deg()
    centres = torch.stack([x, y], 1) + (size - 1) / 2
    return lines_through(centres, angles, size)


def mirror_search(images: Tensor, middle_angle: float = 0.0) -> Lines:
    """The lines that images (N, 1, S, S) are most alike about, within 20 degrees of an angle.

    An ellipse has two axes, and only one is the midline, hence the range. For each angle of three ever finer rounds the
    image is turned and multiplied with its mirror image at all offsets at once, by the Fourier transform of its
    columns: relative to the power, the largest product is the least squared difference. Both values are refined by a
    parabola.
    """
    best = torch.full((len(images),), middle_angle)
    offsets = torch.zeros(len(images))
    for step, count in _ROUNDS:
        grid = step * (torch.arange(count) - count // 2)
        angles = best[:, None] + grid  # (N, A)
        found = [_best_offsets(images, column) for column in angles.unbind(1)]
        scores, places = (torch.stack(part, 1) for part in zip(*found))
        top = scores.argmax(1).clamp(1, count - 2)
        _, share = _parabola(*(scores.gather(1, (top + side)[:, None])[:, 0] for side in (-1, 0, 1)))
        best = angles.gather(1, top[:, None])[:, 0] + step * share
        offsets = places.gather(1, top[:, None])[:, 0]
    return Lines(best, offsets).canonical()


def _best_offsets(images: Tensor, angles: Tensor) -> tuple[Tensor, Tensor]:
    """The largest product with the mirror image at given angles (N,), and the offset it is found at."""
    size = images.shape[3]
    turned = align(images, Lines(angles, torch.zeros(len(images))))[:, 0]
    spectrum = torch.fft.rfft(turned, 2 * size, dim=1)
    products = torch.fft.irfft(spectrum.square().sum(2), 2 * size, dim=1)  # at y + y' = 0, 1, ...
    top = products.argmax(1).clamp(1, 2 * size - 2)
    peak, share = _parabola(*(products.gather(1, (top + side)[:, None])[:, 0] for side in (-1, 0, 1)))
    # Turning blurs, but for no angle at all, and what is smoother has less power.
    return peak / turned.square().sum((1, 2)).clamp(min=1e-12), (top + share) / 2 - (size - 1) / 2


def _parabola(before: Tensor, middle: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Height and place, within one half of the middle, of the top of parabolas through three values one apart."""
    bend = (2 * middle - before - after).clamp(min=1e-12)
    share = ((after - before) / (2 * bend)).clamp(-0.5, 0.5)
    return middle + bend * share.square() / 2, share

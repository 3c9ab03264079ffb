"""Generated brain slices with known midline, natural asymmetry and lesions: nearly symmetric texture in an ellipse.

No real slices come with the program: those of Gucciardi et al., "Symbrain", arXiv 2401.11814, are the user's to get
(`data.brain_slices`). As there, the midline lies roughly along the rows, and halves are above and below it.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from .brain_midline import Halves, Lines, align, halves_of, lines_through

DRAWN_AT = 96  # pixels that all lengths below are given for
GREY = 100.0  # level of the tissue in 0..255
TEXTURE = 0.25  # spread of the tissue's own pattern, where its level is 1
SMOOTHNESS = 3.0  # of that pattern
ALONG, ACROSS = (32.0, 38.0), (26.0, 32.0)  # half axes of the ellipse
FISSURE = 1.5  # width
DIAMETERS, CONTRASTS, FROM_AXIS = (5.0, 9.0), (0.6, 1.2), (8.0, 18.0)  # of lesions and nuclei
_AT_A_TIME = 100


@dataclass(frozen=True)
class SliceRecipe:
    """What is drawn.

    Attributes:
        size: pixels of each side; all lengths grow with it.
        asymmetry: share of pattern that one half has without the other; drawn between both for each slice.
        fissure: probability that the halves are parted by a dark line.
        lesions: probability of a bright disc in one half.
        nuclei: bright discs that both halves have, in the same place and of the kind that lesions are of.
        most_turn: of the midline from the rows, in degrees.
        most_shift: of the brain from the middle, in pixels at 96.
        noise: of the scanner, where the tissue's level is 1.
    """

    size: int = DRAWN_AT
    asymmetry: tuple[float, float] = (0.25, 0.25)
    fissure: float = 1.0
    lesions: float = 0.5
    nuclei: int = 0
    most_turn: float = 15.0
    most_shift: float = 6.0
    noise: float = 0.05

    def __post_init__(self) -> None:
        if self.size < 16:
            raise BadInput(f"brain phantoms: size must be at least 16 pixels, got {self.size}")
        low, high = self.asymmetry
        if not 0 <= low <= high:
            raise BadInput(f"brain phantoms: asymmetry must be 0 or more, low before high, got {low:g} to {high:g}")


@dataclass(frozen=True)
class Phantoms:
    """Slices (N, 1, S, S) in 0..255, their midlines, and whether one half has a lesion (N,) of 0 and 1."""

    images: Tensor
    lines: Lines
    has_lesion: Tensor


def draw_slices(count: int, recipe: SliceRecipe, draws: torch.Generator) -> Phantoms:
    """Slices of `count` brains."""
    # As many at a time as stay in a processor's cache.
    parts = [_draw(min(_AT_A_TIME, count - start), recipe, draws) for start in range(0, count, _AT_A_TIME)]
    lines = Lines(*(torch.cat([getattr(part.lines, name) for part in parts]) for name in ("angles", "offsets")))
    return Phantoms(torch.cat([p.images for p in parts]), lines, torch.cat([p.has_lesion for p in parts]))


def _draw(count: int, recipe: SliceRecipe, draws: torch.Generator) -> Phantoms:
    scale = recipe.size / DRAWN_AT
    turns = recipe.most_turn * _uniform(count, (-1, 1), draws)
    middle = (recipe.size - 1) / 2
    centres = middle + scale * recipe.most_shift * _uniform(2 * count, (-1, 1), draws).reshape(count, 2)
    lines = lines_through(centres, turns, recipe.size)
    along, across = _own_frame(centres, turns, recipe.size)
    pattern = _pattern(along, across, recipe, draws)
    tissue = 1 + TEXTURE * pattern
    for _ in range(recipe.nuclei):
        tissue = tissue + _discs(along, across.abs(), scale, draws)
    has_lesion = torch.rand(count, generator=draws) < recipe.lesions
    side = torch.where(torch.rand(count, 1, 1, generator=draws) < 0.5, -1.0, 1.0)
    tissue = tissue + has_lesion[:, None, None] * _discs(along, side * across, scale, draws)
    has_fissure = torch.rand(count, 1, 1, generator=draws) < recipe.fissure
    dark = has_fissure * (scale * FISSURE / 2 - across.abs() + 0.5).clamp(
        0, 1
    )  # its border's pixels are partly covered
    tissue = tissue * (1 - 0.8 * dark)
    half_axes = [scale * _uniform(count, span, draws)[:, None, None] for span in (ALONG, ACROSS)]
    radius = ((along / half_axes[0]).square() + (across / half_axes[1]).square()).sqrt()
    inside = ((1 - radius) * half_axes[1] + 0.5).clamp(0, 1)
    seen = inside * tissue + recipe.noise * torch.randn(tissue.shape, generator=draws)
    return Phantoms((GREY * seen[:, None]).clamp(0, 255), lines, has_lesion.long())


def draw_halves(count: int, recipe: SliceRecipe, draws: torch.Generator) -> tuple[Halves, Tensor]:
    """Halves of slices cut along their midline, and whether one has a lesion (N,)."""
    found = draw_slices(count, recipe, draws)
    return cut(found, 0.0), found.has_lesion


def cut(slices: Phantoms, axis_error: float) -> Halves:
    """Halves on both sides of the midline turned by `axis_error` degrees, of every other slice the other way."""
    signs = 1 - 2.0 * (torch.arange(len(slices.images)) % 2)
    lines = replace(slices.lines, angles=slices.lines.angles + signs * axis_error)
    return halves_of(align(slices.images, lines))


def _own_frame(centres: Tensor, turns: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Where pixels lie along and across the midline from the brain's centre, (N, S, S) each."""
    places = torch.arange(size, dtype=torch.float32)
    x = places[None, None, :] - centres[:, 0, None, None]
    y = places[None, :, None] - centres[:, 1, None, None]
    cos, sin = (function(turns.deg2rad())[:, None, None] for function in (torch.cos, torch.sin))
    return cos * x + sin * y, cos * y - sin * x


def _pattern(along: Tensor, across: Tensor, recipe: SliceRecipe, draws: torch.Generator) -> Tensor:
    """What is alike in both halves, with a spread of 1, and what is not."""
    count, size = len(along), recipe.size
    alike, other = _smooth(count, size, draws), _smooth(count, size, draws)
    alike = (alike + alike.flip(1)) / 2**0.5
    share = _uniform(count, recipe.asymmetry, draws)[:, None, None]
    places = torch.stack([along, across], 3) * (2 / (size - 1))  # where pixels look, from -1 to 1 in the brain's frame
    pattern = (alike + share * other)[:, None]
    return functional.grid_sample(pattern, places, padding_mode="reflection", align_corners=True)[:, 0]


def _smooth(count: int, size: int, draws: torch.Generator) -> Tensor:
    """Gaussian fields with a spread of 1, blurred around the edges, (N, S, S)."""
    sigma = SMOOTHNESS * size / DRAWN_AT
    steps = torch.fft.fftfreq(size).square()[:, None] + torch.fft.rfftfreq(size).square()
    blur = torch.exp(-2 * (math.pi * sigma) ** 2 * steps)  # the Fourier transform of a Gaussian of that width
    noise = torch.randn(count, size, size, generator=draws)
    fields = torch.fft.irfft2(torch.fft.rfft2(noise) * blur, (size, size))
    return fields / fields.std((1, 2), keepdim=True)


def _discs(along: Tensor, across: Tensor, scale: float, draws: torch.Generator) -> Tensor:
    """A disc in each picture, on the side where `across` is positive."""
    count = len(along)
    radius, contrast, distance = (
        _uniform(count, span, draws)[:, None, None]
        for span in ((DIAMETERS[0] / 2, DIAMETERS[1] / 2), CONTRASTS, FROM_AXIS)
    )
    place = _uniform(count, (-16, 16), draws)[:, None, None]
    away = ((along - scale * place).square() + (across - scale * distance).square()).sqrt()
    return contrast * (scale * radius - away + 0.5).clamp(0, 1)


def _uniform(count: int, span: tuple[float, float], draws: torch.Generator) -> Tensor:
    low, high = span
    return low + (high - low) * torch.rand(count, generator=draws)

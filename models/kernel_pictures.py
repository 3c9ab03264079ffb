"""Pictures of sparse coding: kernels, crops as an artifact codes them, and what fewer coefficients leave of them."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .log_gabor import LogGabors
from .picture import Picture, RunArtifact, png_of
from .sparse_coding import Operator, psnr, sparseness, without_small

CUTOFFS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_SHOWN = 6  # crops
_COLOURS = ((0, 90, 160), (200, 80, 0), (0, 130, 70), (140, 40, 140))

Curves = Mapping[str, Sequence[tuple[float, float]]]
"""Points (x, y) by name."""


def illustrate(
    bank: LogGabors, operator: Operator, run: RunArtifact, inputs: dict[str, np.ndarray]
) -> tuple[Picture, ...]:
    """The dictionary, crops beside their reconstructions, and the trade-off between coefficients and quality.

    Args:
        bank: the dictionary.
        operator: makes images of codes with it.
        run: the artifact; its outputs are `code` and `reconstruction`.
        inputs: `image`, (N, 1, H, W).
    """
    images = inputs["image"][:_SHOWN]
    outputs = [run({"image": image[None]}) for image in images]
    code, made = (
        torch.from_numpy(np.concatenate([out[name] for out in outputs])) for name in ("code", "reconstruction")
    )
    given = torch.from_numpy(images)
    zeros, ratio = sparseness(code).mean(), psnr(given, made).mean()
    points = trade_off(operator, given, code)
    return (
        Picture(
            "Dictionary",
            f"{len(bank)} log-Gabor kernels, a row for each orientation; bandwidths widen to the right, even and odd "
            "kernels side by side.",
            png_of(mosaic(bank), 3),
        ),
        Picture(
            "Crops and their reconstruction",
            f"Above, held-out crops; below, what the artifact makes of them: {ratio:.1f} dB from codes that are "
            f"{zeros:.1%} zeros.",
            png_of(_pairs(images[:, 0], made.numpy()[:, 0]), 3),
        ),
        Picture(
            "Fewer coefficients",
            "Coefficients of the artifact's code below "
            f"{', '.join(f'{cutoff:g}' for cutoff in CUTOFFS[1:])} left out, from right to left.",
            png_of(draw_curves({"artifact": points}, "coefficients kept, % of all", "signal-to-noise ratio, dB")),
        ),
    )


def trade_off(operator: Operator, images: torch.Tensor, code: torch.Tensor) -> list[tuple[float, float]]:
    """Percentage of coefficients that are not 0, and mean decibels of what they make, for each cut-off."""
    kept = [without_small(code, cutoff) for cutoff in CUTOFFS]
    return [
        (100 * (1 - float(sparseness(some).mean())), float(psnr(images, operator.synthesise(some)).mean()))
        for some in kept
    ]


def mosaic(bank: LogGabors) -> np.ndarray:
    """The kernels on a grid with a row for each orientation, in 0..1; 0.5 is zero."""
    kernels = bank.kernels().numpy()
    rows = np.pad(
        kernels / (2 * np.abs(kernels).max((1, 2), keepdims=True)) + 0.5, ((0, 0), (1, 1), (1, 1)), constant_values=1
    )
    across = len(bank) // bank.orientations
    side = bank.size + 2
    if across < 4:  # one bandwidth: several orientations share a row
        across = next(n for n in range(12, 0, -1) if len(bank) % n == 0)
    return rows.reshape(-1, across, side, side).transpose(0, 2, 1, 3).reshape(-1, across * side)


def _pairs(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Two rows of images (N, H, W), both with the grey levels of the first."""
    low, high = above.min(), above.max()
    rows = [
        np.concatenate([np.pad((image - low) / (high - low), 1, constant_values=1) for image in some], 1)
        for some in (above, below)
    ]
    return np.concatenate(rows)


def draw_curves(curves: Curves, across: str, up: str, size: tuple[int, int] = (480, 320)) -> np.ndarray:
    """Lines through the points of each curve, (H, W, 3) in 0..1, with axes named `across` and `up`."""
    from PIL import Image, ImageDraw

    width, height = size
    left, right, top, bottom = 48, width - 12, 24, height - 40
    points = np.array([point for some in curves.values() for point in some], np.float64)
    low, high = points.min(0), points.max(0)
    extent = np.where(high > low, high - low, 1.0)
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.line([(left, top), (left, bottom), (right, bottom)], fill="black")
    for share in (0.0, 0.5, 1.0):
        x, y = low + share * extent
        draw.text((left + share * (right - left), bottom + 4), f"{x:.3g}", fill="black", anchor="ma")
        draw.text((left - 4, bottom - share * (bottom - top)), f"{y:.3g}", fill="black", anchor="rm")
    draw.text(((left + right) / 2, height - 4), across, fill="black", anchor="ms")
    draw.text((4, 4), up, fill="black", anchor="la")
    for number, (name, some) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        shares = (np.array(some, np.float64) - low) / extent
        places = [(left + x * (right - left), bottom - y * (bottom - top)) for x, y in shares.tolist()]
        draw.line(places, fill=colour, width=2)
        for x, y in places:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
        draw.text((right, bottom - 6 - 14 * number), name, fill=colour, anchor="rs")  # curves rise to the right
    return np.asarray(image, np.float64) / 255

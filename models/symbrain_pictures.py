"""What the report shows of SymBrain's artifacts: slices with the true and the found midline, and pairs by score."""

import numpy as np
import torch
from torch import Tensor

from .brain_midline import Halves, Lines, align, angle_errors, ends_of, halves_of, symmetry_index
from .picture import Picture, RunArtifact, png_of
from .symbrain_objectives import ANGLE, OFFSET, to_lines

SHOWN = 6
SIDE = 192  # least pixels of a drawn slice
TRUE, FOUND = (64, 200, 96), (255, 120, 40)


def illustrate_midlines(run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray) -> tuple[Picture, ...]:
    """Slices with both lines, and what is left of the symmetry when they are cut along the found ones."""
    images, truth = inputs["image"][:SHOWN], torch.from_numpy(targets[:SHOWN])
    size = images.shape[3]
    outputs = np.concatenate([run({"image": images[i : i + 1]})["line"] for i in range(len(images))])
    found = to_lines(torch.from_numpy(outputs), size)
    shown, middle = _shown(torch.from_numpy(images)), Lines(torch.zeros(len(images)), torch.zeros(len(images)))
    tiles = [
        _with_lines(shown[i], [(TRUE, truth[i].tolist()), (FOUND, [found.angles[i].item(), found.offsets[i].item()])])
        for i in range(len(images))
    ]
    halves = halves_of(align(shown, found))
    rows = [
        np.concatenate(tiles, 1),
        np.concatenate([_gap(halves, i, tiles[0].shape[1]) for i in range(len(images))], 1),
    ]
    before, after = symmetry_index(halves_of(align(shown, middle))), symmetry_index(halves)
    errors = angle_errors(found.angles, truth[:, ANGLE])
    return (
        Picture(
            "Midlines",
            "Held-out slices with their true midline (green) and the one that the artifact found (orange), off by "
            f"{_listed(errors, '.1f')} degrees and {_listed((found.offsets - truth[:, OFFSET]).abs(), '.1f')} pixels; "
            "below, how the halves differ when a slice is cut along the found line. Symmetry index so cut "
            f"{_listed(after, '.2f')}; along the picture's middle row {_listed(before, '.2f')}.",
            png_of(np.concatenate(rows)),
        ),
    )


def illustrate_pairs(run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray) -> tuple[Picture, ...]:
    """Pairs of halves with their difference, from the most symmetric to the least by the artifact's score."""
    upper, lower, labels = inputs["upper"], inputs["lower"], targets[:, 0]
    chosen = np.concatenate([np.flatnonzero(labels == kind)[: SHOWN // 2] for kind in (0, 1)])
    logits = np.array([run({"upper": upper[i : i + 1], "lower": lower[i : i + 1]})["asymmetry"][0, 0] for i in chosen])
    order = np.argsort(logits)
    chosen, chances = chosen[order], torch.from_numpy(logits[order]).sigmoid()
    both = [torch.from_numpy(part[chosen]) for part in (upper, lower)]
    shown = _shown(torch.cat(both, 2)).split(upper.shape[2], 2)
    columns = [
        torch.cat([*(part[i, 0] for part in shown), (shown[0][i, 0] - shown[1][i, 0]).abs()])
        for i in range(len(chosen))
    ]
    kinds = ", ".join("lesion" if label else "none" for label in labels[chosen])
    return (
        Picture(
            "Halves and asymmetry",
            "Held-out pairs: upper half, lower half turned over, and their difference. The artifact gives a lesion the "
            f"probabilities {_listed(chances, '.2f')}; in truth: {kinds}.",
            png_of(torch.cat(columns, 1).numpy(), max(1, SIDE // upper.shape[3])),
        ),
    )


def _shown(images: Tensor) -> Tensor:
    """Each image's values from 0 to 1."""
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low).clamp(min=1e-6)


def _with_lines(image: Tensor, lines: list[tuple[tuple[int, int, int], list[float]]]) -> np.ndarray:
    """A slice (1, S, S) in colour, enlarged, with lines of angle and offset; one pixel's edge below and right."""
    from PIL import Image, ImageDraw

    size = image.shape[2]
    scale = max(1, -(-SIDE // size))
    grey = (image[0].numpy() * 255).round().astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
    picture = Image.fromarray(grey).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for colour, (angle, offset) in lines:
        ends = ends_of(angle, offset, size)
        draw.line([((x + 0.5) * scale, (y + 0.5) * scale) for x, y in ends], colour, 2)
    return np.pad(np.asarray(picture, np.float32) / 255, ((0, 2), (0, 2), (0, 0)), constant_values=1.0)


def _gap(halves: Halves, place: int, width: int) -> np.ndarray:
    """|L - R| of one slice in grey, as wide as a tile."""
    gap = (halves.upper[place, 0] - halves.lower[place, 0]).abs().clamp(0, 1).numpy()
    scale = max(1, (width - 2) // gap.shape[1])
    grey = gap.repeat(scale, 0).repeat(scale, 1)[:, :, None].repeat(3, 2)
    return np.pad(grey, ((0, 2), (0, width - grey.shape[1]), (0, 0)), constant_values=1.0)


def _listed(values: Tensor, form: str) -> str:
    return ", ".join(format(value, form) for value in values.tolist())

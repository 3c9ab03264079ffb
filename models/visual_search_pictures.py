"""What the report shows of a visual search: where an artifact looks, made by executing it fixation by fixation."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .picture import Picture, RunArtifact, png_of
from .search_fixations import Attend, Looking, Scanpaths, look
from .search_stimuli import Trials, grid_cells

SEARCHES = 4
SCALE = 4
_PATH, _START = (210, 40, 30), (30, 90, 200)


def attention_of(run: RunArtifact) -> Attend:
    """An artifact of one sample as the search asks for it."""

    def attend(windows: Tensor, targets: Tensor) -> Tensor:
        rows = []
        for window, target in zip(windows, targets):
            (attention,) = run({"search": window[None].numpy(), "target": target[None].numpy()}).values()
            rows.append(attention)
        return torch.from_numpy(np.concatenate(rows))

    return attend


def illustrate(
    grid: int, cell: int, run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray
) -> tuple[Picture, ...]:
    """Search images under the path of fixations, with the first look's attention and the target beside them.

    Args:
        grid: cells along a side of the search image.
        cell: their side, pixels.
        run: executes the artifact.
        inputs: `search`, windows round the middle of a search image, and `target`.
        targets: whose first column is the target's cell.
    """
    windows = torch.from_numpy(np.ascontiguousarray(inputs["search"][:SEARCHES]))
    wanted = torch.from_numpy(np.ascontiguousarray(inputs["target"][:SEARCHES]))
    side, window = grid * cell, windows.shape[-1]
    inside = slice((window - side) // 2, (window + side) // 2)
    cells = torch.from_numpy(targets[:SEARCHES, 0]).long()
    trials = Trials(windows[:, :, inside, inside], wanted, grid_cells(grid, cell), cells)
    attend = attention_of(run)
    paths = look(attend, trials, Looking(window))
    first = functional.interpolate(attend(windows, wanted), (window, window), mode="bilinear")[:, 0, inside, inside]
    rows = [
        _row(wanted[i, 0], trials.images[i, 0], paths.places[i, : int(paths.counts[i]) + 1].tolist(), first[i])
        for i in range(len(windows))
    ]
    return (
        Picture(
            "Where it looks",
            "From the left: the target; the search image with the fixations, from its middle (blue) to the last one "
            "(red), as the exported file chose them; the attention of the first look. Found after "
            f"{_counts(paths)} fixations.",
            png_of(np.concatenate(rows)),
        ),
    )


def _counts(paths: Scanpaths) -> str:
    return ", ".join(
        f"{count}" + ("" if hit else " (not found)") for count, hit in zip(paths.counts.tolist(), paths.found.tolist())
    )


def _row(target: Tensor, image: Tensor, path: list[list[int]], attention: Tensor) -> np.ndarray:
    """Target, image with its path, attention: (H, W, 3) in 0..1."""
    from PIL import Image, ImageDraw

    drawn = Image.fromarray(np.uint8(_enlarged((image + 1) / 2) * 255))
    canvas = ImageDraw.Draw(drawn)
    points = [((column + 0.5) * SCALE, (row + 0.5) * SCALE) for row, column in path]
    canvas.line(points, _PATH, 2)
    for number, (x, y) in enumerate(points):
        canvas.ellipse([x - 4, y - 4, x + 4, y + 4], _PATH if number else _START)
    shown = torch.ones(len(image), len(target))
    shown[: len(target)] = (target + 1) / 2
    gap = np.ones((drawn.height, 2 * SCALE, 3))
    row = np.concatenate([_enlarged(shown), gap, np.asarray(drawn, np.float64) / 255, gap, _enlarged(attention)], 1)
    return np.pad(row, ((0, 2 * SCALE), (0, 0), (0, 0)), constant_values=1)


def _enlarged(grey: Tensor) -> np.ndarray:
    """(H, W) as (SCALE H, SCALE W, 3) in 0..1."""
    levels = grey.clamp(0, 1).repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1)
    return levels.numpy()[:, :, None].repeat(3, 2).astype(np.float64)

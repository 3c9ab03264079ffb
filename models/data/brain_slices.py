"""The user's own brain slices with annotated midlines, from a folder: for the line, or for the two halves beside it.

Gucciardi et al., Symbrain, arXiv 2401.11814. The folder holds `lines.csv` and `images/ID.png`, or NIfTI volumes that
the list names with a depth, or the data set's `*.parquet`. Slices of one subject or volume are near duplicates, so the
split is by these; the data set's own two parts are modalities and no split.
"""

import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from ...errors import BadInput, OfframpWarning
from ..brain_midline import Halves, Lines, align, halves_of, line_between
from .brain_lists import Row, grouped, read_csv, read_parquet
from .dataset import Data, InMemory, render
from .nifti import Volume, read_nifti
from .pictures import open_picture, tell_left_out
from .preprocessing import Preprocessing

DEPTHS, OF_DEPTH = (76, 101, 126), 203  # slices that the authors take, of how many
HELD_OUT = 0.2  # of the groups
LESION = (23 / 224, (61 / 224, 169 / 224), (0.593, 0.95))  # side and place in a half as wide as 1, midline at 1
LESION_GREY = (140.0, 215.0)

ReadVolume = Callable[[Path], Volume]


@dataclass(frozen=True)
class Slices:
    """What a folder holds: uint8 images (N, 1, S, S), their lines, the group of each, and labels (N,) or None."""

    images: Tensor
    lines: Lines
    groups: list[str]
    lesions: Tensor | None


def load_brain_slices(folder: Path, size: int, seed: int = 0) -> Data:
    """Slices (1, size, size) with angle in degrees and offset in pixels (2,).

    Args:
        seed: of which subjects or volumes are held out.

    Raises:
        BadInput: the folder has another form, a row is malformed, a line has no direction or misses its picture, more
            than half of the pictures cannot be read, or there are not two groups.
    """
    slices = read_slices(folder, size)
    targets = torch.stack([slices.lines.angles, slices.lines.offsets], 1)
    held_in, held_out = _split(folder, slices.groups, seed)
    images = slices.images
    train, test = (InMemory(images[part], targets[part]) for part in (held_in, held_out))
    return Data(folder.resolve().name, train, test, (), _standard(images[held_in].float()))


def load_brain_pairs(folder: Path, size: int, seed: int = 0) -> Data:
    """Halves (1, size / 2, size) of slices turned by their annotated lines, and whether one has a lesion (1,).

    Where the list has no column `lesion`, every other slice is given one, as the authors' follow-up does: a square or a
    disc, a tenth as wide as the slice, near the midline of a random half.

    Args:
        seed: of which subjects or volumes are held out, and of the lesions.

    Raises:
        BadInput: as `load_brain_slices`; or all pairs of a split are of one kind.
    """
    slices = read_slices(folder, size)
    halves = halves_of(align(slices.images.float(), slices.lines))
    labels, draws = slices.lesions, torch.Generator().manual_seed(seed)
    parts = []
    for part in _split(folder, slices.groups, seed):
        own = Halves(halves.upper[part], halves.lower[part])
        if labels is None:
            own, kinds = with_lesions(own, draws)
        else:
            kinds = labels[part]
        if len(kinds.unique()) < 2:
            found = f"{len(kinds)} pairs with the label {int(kinds[0])}"
            raise BadInput(
                f"{folder}: a split has {found} only; give slices with a lesion and without, of more volumes"
            )
        parts.append(InMemory((own.upper, own.lower), kinds[:, None].float()))
    train, test = parts
    assert isinstance(train.samples, tuple)
    return Data(folder.resolve().name, train, test, (), _standard(torch.cat(train.samples)))


def read_slices(folder: Path, size: int) -> Slices:
    """Everything in the folder; pictures that cannot be read are left out, with a warning that counts them.

    Raises:
        BadInput: see `load_brain_slices`.
    """
    rows = _rows(folder)
    volume_of = lru_cache(1)(read_nifti)  # slices of a volume are mostly listed together
    kept, images, lines, faults, coloured = [], [], [], [], 0
    for row, group in zip(rows, grouped(rows)):
        try:
            image, is_coloured = _picture(folder, row, volume_of)
        except BadInput as error:
            faults.append(error)
            continue
        coloured += is_coloured
        lines.append(_line(row, image.shape, size))
        images.append(_squared(image, size))
        kept.append((row, group))
    _tell(folder, rows, faults, coloured)
    lesions = [row.lesion for row, _ in kept]
    known = [lesion for lesion in lesions if lesion is not None]
    if known and len(known) < len(lesions):
        raise BadInput(f"{folder}: {len(known)} of {len(lesions)} slices have a lesion of 0 or 1; give all, or none")
    angles, offsets = torch.tensor(lines).unbind(1)
    return Slices(
        torch.stack(images),
        Lines(angles, offsets),
        [group for _, group in kept],
        torch.tensor(known) if known else None,
    )


def slices_of(volume: Volume, depths: tuple[int, ...] | None = None) -> np.ndarray:
    """Slices of a volume across its third axis in 0..255, (N, X, Y): the first axis goes down, the second right.

    Args:
        depths: None takes the authors' three, 76, 101 and 126 of 203, as far along in other volumes.

    Raises:
        BadInput: there is no such slice.
    """
    deep = volume.voxels.shape[2]
    depths = depths or tuple(round(depth * deep / OF_DEPTH) for depth in DEPTHS)
    if not all(0 <= depth < deep for depth in depths):
        raise BadInput(f"slices {', '.join(map(str, depths))}: the volume has {deep}; give depths from 0 to {deep - 1}")
    chosen = volume.voxels[:, :, list(depths)].transpose(2, 0, 1).astype(np.float32)
    chosen = np.nan_to_num(chosen, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = chosen.min((1, 2), keepdims=True), chosen.max((1, 2), keepdims=True)
    return 255 * (chosen - low) / np.maximum(high - low, 1e-12)


def with_lesions(halves: Halves, draws: torch.Generator) -> tuple[Halves, Tensor]:
    """Every other pair with a bright square or disc in one of its halves, and which they are (N,)."""
    upper, lower = halves.upper.clone(), halves.lower.clone()
    height, width = upper.shape[2:]
    side, across, down = LESION
    extent = max(1, round(side * width))
    kinds = torch.arange(len(upper)) % 2
    for place in kinds.nonzero()[:, 0].tolist():
        chances = torch.rand(5, generator=draws).tolist()
        left = round((across[0] + chances[0] * (across[1] - across[0])) * width - chances[0] * extent)
        top = round((down[0] + chances[1] * (down[1] - down[0])) * height - chances[1] * extent)
        half = upper if chances[2] < 0.5 else lower
        spot = half[place, 0, top : top + extent, left : left + extent]
        spot[_shape(spot.shape, chances[3] < 0.5)] = LESION_GREY[0] + chances[4] * (LESION_GREY[1] - LESION_GREY[0])
    return Halves(upper, lower), kinds


def _shape(size: torch.Size, is_disc: bool) -> Tensor:
    """Which pixels of a rectangle belong to a disc in it, or all."""
    y, x = (torch.arange(n) - (n - 1) / 2 for n in size)
    radius = max(size) / 2
    return (y[:, None].square() + x.square() <= radius**2) if is_disc else torch.ones(size, dtype=torch.bool)


def _rows(folder: Path) -> list[Row]:
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give one with lines.csv and images/ID.png")
    if (folder / "lines.csv").is_file():
        return read_csv(folder / "lines.csv")
    paths = sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")])
    if paths:
        return read_parquet(paths)
    found = sorted(path.name for path in folder.iterdir())
    volumes = " (volumes have no midlines: list them with a depth and a line)" if list(folder.rglob("*.nii*")) else ""
    raise BadInput(
        f"{folder}: expected lines.csv with images/ID.png, or *.parquet; "
        f"found {', '.join(found[:5]) or 'nothing'}{volumes}"
    )


def _picture(folder: Path, row: Row, volume_of: ReadVolume) -> tuple[np.ndarray, bool]:
    """Grey values (H, W) in 0..255, and whether they were colours."""
    if row.content is not None:
        return read_grey(io.BytesIO(row.content), row.where)
    if row.volume.endswith((".nii", ".nii.gz")) and row.depth is not None:
        path = folder / row.volume
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadInput(f"{row.where} names {row.volume}, outside of the folder; copy the volume into it")
        return slices_of(volume_of(path), (row.depth,))[0], False
    path = folder / "images" / f"{row.name}.png"
    return read_grey(path, str(path))


def read_grey(source: Path | io.BytesIO, where: str) -> tuple[np.ndarray, bool]:
    """A picture's grey values (H, W) in 0..255, and whether it had colours.

    Alpha is laid over black. Equal channels are the grey they show, as in the data set's RGBA; colours become grey by
    luma (ITU-R BT.601). More than 8 bits are stretched so that the brightest pixel is 255.

    Raises:
        BadInput: it is no picture, or is cut short.
    """
    image = open_picture(source, where=where)
    if image.mode[0] in "IF":
        values = np.asarray(image, np.float32)
        return 255 * values / max(float(values.max()), 1e-12), False
    pixels = np.asarray(image.convert("RGBA"), np.float32)
    seen = pixels[:, :, :3] * (pixels[:, :, 3:] / 255)
    if (pixels[:, :, :3] == pixels[:, :, :1]).all():
        return seen[:, :, 0], False
    return seen @ np.array([0.299, 0.587, 0.114], np.float32), True


def _line(row: Row, shape: tuple[int, ...], size: int) -> tuple[float, float]:
    """Angle and offset in the picture as it is squared and scaled."""
    height, width = shape
    side = max(height, width)
    down, right = (side - height) // 2, (side - width) // 2

    def moved(point: tuple[float, float]) -> tuple[float, float]:
        x, y = point
        return (x + right + 0.5) * size / side - 0.5, (y + down + 0.5) * size / side - 0.5

    first, second = row.points
    try:
        angle, offset = line_between(moved(first), moved(second), size)
    except BadInput as error:
        raise BadInput(f"{row.where}: {error}") from error
    if abs(offset) > size / 2:
        raise BadInput(f"{row.where} has a line that passes by the brain of its {width} x {height} picture; mend it")
    return angle, offset


def _squared(image: np.ndarray, size: int) -> Tensor:
    """uint8 (1, size, size): black beside the shorter sides, then scaled, so that angles stay."""
    height, width = image.shape
    side = max(height, width)
    down, right = side - height, side - width
    borders = (right // 2, right - right // 2, down // 2, down - down // 2)
    squared = pad(torch.from_numpy(np.ascontiguousarray(image)), borders)
    return render(squared[None, None], 1, size)[0].round().clamp(0, 255).to(torch.uint8)


def _split(folder: Path, groups: list[str], seed: int) -> tuple[Tensor, Tensor]:
    """Places to train on and held out: a fifth of the groups, at least one."""
    names = sorted(set(groups))
    if len(names) < 2:
        raise BadInput(f"{folder}: {len(names)} subject or volume with pictures; give at least two, one to hold out")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = {names[place] for place in order[: max(1, round(HELD_OUT * len(names)))]}
    chosen = torch.tensor([group in held_out for group in groups])
    return (~chosen).nonzero()[:, 0], chosen.nonzero()[:, 0]


def _standard(images: Tensor) -> Preprocessing:
    return Preprocessing(1.0, (round(images.mean().item(), 3),), (max(1e-3, round(images.std().item(), 3)),))


def _tell(folder: Path, rows: list[Row], faults: list[BadInput], coloured: int) -> None:
    tell_left_out(faults, len(rows), "slices", folder)
    if coloured:
        found = f"{folder}: {coloured} of {len(rows)} pictures are coloured and become grey by their luma"
        warnings.warn(OfframpWarning(found), stacklevel=3)

"""The user's own searches, in the folders of the published data set (Gupta et al., NeurIPS 2021, arXiv 2106.02953).

`TASK/CONDITION/{stimuli,target,gt}/NAME.jpg` hold search images, pictures of what is looked for and, bright on dark,
where it is; `TASK/gt_mask.npy` holds the cells of the grid, (cells, S, S) of uint8.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from .data.image_folder import ENDINGS
from .data.pictures import mode_of, open_picture, planes_of, tell_left_out
from .search_stimuli import Trials

STIMULI, TARGET, TRUTH = "stimuli", "target", "gt"

_Search = tuple[Tensor, Tensor, Tensor]  # search image, target, where it is


def load_trials(folder: Path, task: str, condition: str, channels: int, target_side: int, background: int) -> Trials:
    """The searches of one condition, as contrasts to the background in -1..1.

    Grey pictures become colour and colour grey, as `channels` asks. Searches of which a picture cannot be read are left
    out, with a warning that counts them. A search image keeps its size, which is that of the cells; a target is resized
    to `target_side`.

    Args:
        channels: 1 or 3.
        background: grey level of the task's background, 0..255.

    Raises:
        BadInput: a folder is missing, more than half of the searches cannot be read, or a picture or the cells have the
            wrong shape.
    """
    place = Path(folder) / task / condition
    cells = read_cells(Path(folder) / task / "gt_mask.npy")
    searches, faults = [], []
    for path in _listed(place):
        try:
            target, truth = read_picture(_beside(path, TARGET), channels), read_picture(_beside(path, TRUTH), 1)
            searches.append((path, (read_picture(path, channels), target, truth)))
        except BadInput as error:
            faults.append(str(error))
    tell_left_out(faults, len(searches) + len(faults), "searches", place)
    images, targets, truths = zip(*[_checked(path, search, cells, target_side) for path, search in searches])
    contrasts = [(torch.stack(pictures) - background) / 255 for pictures in (images, targets)]
    return Trials(contrasts[0], contrasts[1], cells, _nearest_cells(torch.cat(truths), cells))


def read_cells(path: Path) -> Tensor:
    """The cells of a grid, (cells, S, S) bool.

    Raises:
        BadInput: there is no such file, it holds anything but numbers, or their shape is another.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; it holds the cells of the grid, (cells, S, S) of uint8") from error
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(f"{path}: not an array of plain numbers ({error}); write it with numpy.save") from error
    shape: tuple[int, ...] = getattr(found, "shape", ())
    if len(shape) != 3 or shape[1] != shape[2] or not found.size or found.dtype.kind not in "bui":
        raise BadInput(
            f"{path}: expected the cells of a square picture, (cells, S, S) of uint8, got {tuple(shape)} of "
            f"{getattr(found, 'dtype', 'no array')}"
        )
    cells = torch.from_numpy(found != 0)
    if not cells.flatten(1).any(1).all():
        raise BadInput(f"{path}: a cell without a pixel; each of the {len(cells)} must have some")
    return cells


def read_picture(path: Path, channels: int) -> Tensor:
    """A whole picture in its own size, (channels, H, W) in 0..255; grey becomes colour and the other way round.

    Raises:
        UnreadablePicture: the file is missing, is no picture, or is cut short.
    """
    return planes_of(open_picture(path, mode_of(channels)))


def _listed(place: Path) -> list[Path]:
    """Search images, in the order of their names."""
    folder = place / STIMULI
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = [path for path in found if path.suffix.lower() in ENDINGS]
    if not paths:
        raise BadInput(f"{folder}: no pictures; give TASK/CONDITION with {STIMULI}/, {TARGET}/ and {TRUTH}/ in it")
    return paths


def _beside(path: Path, part: str) -> Path:
    return path.parent.parent / part / path.name


def _checked(path: Path, search: _Search, cells: Tensor, target_side: int) -> _Search:
    """A search of the right sizes."""
    image, target, truth = search
    for where, picture in ((path, image), (_beside(path, TRUTH), truth)):
        if picture.shape[1:] != cells.shape[1:]:
            size, wanted = tuple(picture.shape[1:]), tuple(cells.shape[1:])
            raise BadInput(f"{where}: expected {wanted} pixels as in gt_mask.npy, got {size}; resize one of them")
    if target.shape[1:] != (target_side, target_side):
        resized = functional.interpolate(target[None], (target_side, target_side), mode="bilinear", antialias=True)
        target = resized[0]
    return image, target, truth


def _nearest_cells(truths: Tensor, cells: Tensor) -> Tensor:
    """The cell in which the target's picture (N, S, S) is brightest, (N,)."""
    inside = cells.flatten(1).float()
    return (truths.flatten(1) @ inside.T / inside.sum(1)).argmax(1)

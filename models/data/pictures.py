"""Opening of a user's pictures: whatever is wrong with a file becomes one line that names it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...errors import BadInput, OfframpWarning, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

COLOUR, GREY = "RGB", "L"  # of eight bits a channel
MOST_UNREADABLE = 0.5  # of the samples


class UnreadablePicture(BadInput):
    """A file that is no picture, or is cut short."""


def open_picture(source: Path | IO[bytes], mode: str | None = None, where: str | None = None) -> "Image":
    """A picture, decoded as a whole.

    Args:
        mode: Pillow's, for example `COLOUR`, that pixels are converted to; None keeps the file's own.
        where: what to call it in an error; None takes the path.

    Raises:
        UnreadablePicture: it cannot be opened or decoded.
    """
    from PIL import Image

    try:
        with Image.open(source) as opened:
            return opened.convert(mode) if mode else opened.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = first_line(error)
        name = where or str(source)
        raise UnreadablePicture(f"{name}: cannot be read as a picture ({reason}); replace or remove it") from error


def mode_of(channels: int) -> str:
    """Colour where a network takes 3 channels, else grey."""
    return COLOUR if channels == 3 else GREY


def planes_of(image: "Image") -> Tensor:
    """Pixels of a grey or coloured picture as float32 (1 or 3, H, W) in 0..255."""
    pixels = torch.from_numpy(np.array(image, np.float32))
    return torch.atleast_3d(pixels).permute(2, 0, 1).contiguous()  # (H, W[, C]) -> (C, H, W)


def tell_left_out(faults: Sequence[BadInput | str], count: int, what: str, where: Path) -> None:
    """Warns that some samples of a user's data cannot be read and are left out.

    Args:
        faults: of each sample that cannot be read.
        count: of all samples.
        what: they are, in the plural.
        where: the folder.

    Raises:
        BadInput: more than half of them cannot be read.
    """
    found = f"{where}: {len(faults)} of {count} {what} cannot be read"
    if len(faults) > MOST_UNREADABLE * count:
        raise BadInput(f"{found}, the first: {faults[0]}")
    if faults:
        warnings.warn(OfframpWarning(f"{found} and are left out, the first: {faults[0]}"), stacklevel=3)

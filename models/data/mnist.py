"""MNIST and its kin (Fashion-MNIST, KMNIST) as IDX files, plain or gzipped.

An IDX file is big-endian: a magic number 0x0000_08_DD (unsigned bytes, DD dimensions), one uint32 per dimension, data.
"""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import BadInput
from .dataset import Data, InMemory
from .preprocessing import Preprocessing

MEAN, STD = 0.1307, 0.3081
_LARGEST = 2**31  # bytes; MNIST itself has 47 million


def find_mnist(folder: Path) -> dict[str, Path] | None:
    """The four files by role (`train-images`, `train-labels`, `t10k-images`, `t10k-labels`), or None."""
    found = {}
    for part in ("train", "t10k"):
        for kind, dims in (("images", 3), ("labels", 1)):
            stems = (f"{part}-{kind}-idx{dims}-ubyte", f"{part}-{kind}.idx{dims}-ubyte")
            paths = [folder / f"{stem}{end}" for stem in stems for end in ("", ".gz")]
            present = [path for path in paths if path.is_file()]
            if not present:
                return None
            found[f"{part}-{kind}"] = present[0]
    return found


def load_mnist(folder: Path, channels: int, size: int) -> Data:
    """The data set in `folder`.

    Raises:
        BadInput: a file is not IDX, is cut short, or the counts of images and labels differ.
    """
    files = find_mnist(folder)
    if files is None:
        raise BadInput(f"{folder}: no MNIST; looked for train-images-idx3-ubyte and its three companions (.gz too)")
    parts = {part: _part(files[f"{part}-images"], files[f"{part}-labels"]) for part in ("train", "t10k")}
    classes = int(max(labels.max() for _, labels in parts.values())) + 1
    return Data(
        name=folder.resolve().name,
        train=InMemory(*parts["train"], channels, size),
        test=InMemory(*parts["t10k"], channels, size),
        labels=tuple(str(label) for label in range(classes)),
        preprocessing=Preprocessing(1 / 255, (MEAN,) * channels, (STD,) * channels),
    )


def read_idx(path: Path, dims: int) -> np.ndarray:
    """The array of unsigned bytes with that many dimensions in an IDX file.

    Raises:
        BadInput: wrong magic number, wrong length, or a damaged gzip stream.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            header = file.read(4 + 4 * dims)
            if len(header) < 4 + 4 * dims:
                raise BadInput(f"{path}: cut short inside its header, {len(header)} bytes; fetch it again")
            magic, *shape = struct.unpack(f">{1 + dims}I", header)
            if magic != 0x0800 + dims:
                raise BadInput(
                    f"{path}: not an IDX file of {dims}-D bytes (magic {magic:#010x}, not {0x800 + dims:#010x})"
                )
            expected = int(np.prod(shape, dtype=object))
            if not 0 < expected < _LARGEST:
                raise BadInput(f"{path}: its header announces {expected} bytes, which no such data set has")
            data = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: cannot be read ({error}); fetch it again") from error
    if len(data) != expected:
        raise BadInput(f"{path}: cut short or too long, its header announces {expected} bytes; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _part(images_path: Path, labels_path: Path) -> tuple[Tensor, Tensor]:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise BadInput(f"{images_path} has {len(images)} images and {labels_path.name} {len(labels)} labels")
    return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.copy())

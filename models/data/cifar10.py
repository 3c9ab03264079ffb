"""CIFAR-10 in its binary form (`data_batch_1.bin`) and its Python form (`data_batch_1`, a pickle).

A pickle can run any code when it is loaded. Here it cannot: the only names it may use are replaced by two inert classes
below, which collect an array's shape and bytes, and anything else is refused.
"""

import pickle
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import BadInput
from .dataset import Data, InMemory
from .preprocessing import Preprocessing

LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
GREY_MEAN, GREY_STD = (0.4809,), (0.2392,)
_PIXELS = 3 * 32 * 32
_SUBFOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")


def find_cifar10(folder: Path) -> tuple[list[Path], list[Path]] | None:
    """Train and test files, or None where there is neither form."""
    for inner in _SUBFOLDERS:
        for end in (".bin", ""):
            train = [folder / inner / f"data_batch_{n}{end}" for n in range(1, 6)]
            test = folder / inner / f"test_batch{end}"
            train = [path for path in train if path.is_file()]
            if train and test.is_file():
                return train, [test]
    return None


def load_cifar10(folder: Path, channels: int, size: int) -> Data:
    """The data set in `folder`, from as many of the five train files as are there.

    Raises:
        BadInput: a file is cut short, has labels above 9, or is a pickle of anything but plain values and byte arrays.
    """
    files = find_cifar10(folder)
    if files is None:
        raise BadInput(f"{folder}: no CIFAR-10; looked for data_batch_1 and test_batch, with and without .bin")
    mean, std = (MEAN, STD) if channels == 3 else (GREY_MEAN, GREY_STD)
    return Data(
        name="cifar10",
        train=InMemory(*_read_all(files[0]), channels, size),
        test=InMemory(*_read_all(files[1]), channels, size),
        labels=LABELS,
        preprocessing=Preprocessing(1 / 255, mean, std),
    )


def _read_all(paths: list[Path]) -> tuple[Tensor, Tensor]:
    parts = [_read_binary(path) if path.suffix == ".bin" else _read_pickle(path) for path in paths]
    images = np.concatenate([images for images, _ in parts]).reshape(-1, 3, 32, 32)
    return torch.from_numpy(images), torch.from_numpy(np.concatenate([labels for _, labels in parts]))


def _read_binary(path: Path) -> tuple[np.ndarray, np.ndarray]:
    data = path.read_bytes()
    if not data or len(data) % (1 + _PIXELS):
        raise BadInput(f"{path}: {len(data)} bytes, not a multiple of {1 + _PIXELS}; it is cut short, fetch it again")
    records = np.frombuffer(data, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], _checked(records[:, 0].astype(np.int64), path)


def _read_pickle(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with open(path, "rb") as file:
            content = _InertUnpickler(file, encoding="bytes").load()
        content = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
        images, labels = content["data"].array(), np.array(content["labels"], np.int64)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise BadInput(f"{path}: not a CIFAR-10 batch ({type(error).__name__}: {error}); fetch it again") from error
    if images.shape != (len(labels), _PIXELS) or not len(labels):
        raise BadInput(f"{path}: images of shape {images.shape} for {len(labels)} labels; expected (N, {_PIXELS})")
    return images, _checked(labels, path)


def _checked(labels: np.ndarray, path: Path) -> np.ndarray:
    if labels.min() < 0 or labels.max() >= len(LABELS):
        raise BadInput(f"{path}: labels from {labels.min()} to {labels.max()}; CIFAR-10 has 0 to 9")
    return labels


class _InertType:
    """Stands for `numpy.dtype`; of its state nothing is needed."""

    def __init__(self, code: Any, *_: Any):
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        pass


class _InertArray:
    """Stands for `numpy.ndarray`: keeps shape, type and bytes, and makes the array itself."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _InertType, bool, bytes]) -> None:
        _, self.shape, self.type, self.fortran_order, self.data = state

    def array(self) -> np.ndarray:
        data = self.data.encode("latin1") if isinstance(self.data, str) else self.data
        if self.type.code not in ("u1", "|u1", "uint8") or prod(self.shape) != len(data):
            raise BadInput(f"an array of {self.type.code} {self.shape} with {len(data)} bytes; expected unsigned bytes")
        flat = np.frombuffer(data, np.uint8)
        if self.fortran_order:
            return np.ascontiguousarray(flat.reshape(self.shape[::-1]).T)
        return flat.reshape(self.shape)


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", b"latin1"):
        raise BadInput(f"text in {encoding!r}; expected latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "dtype"): _InertType,
    ("numpy", "ndarray"): _InertArray,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _InertArray(),
    ("numpy._core.multiarray", "_reconstruct"): lambda *_: _InertArray(),
    ("_codecs", "encode"): _latin1,
}


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise BadInput(f"its pickle asks for {module}.{name}, which a CIFAR-10 batch has no use for") from None

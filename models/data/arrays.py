"""`.npz` files: the user's own samples, one array per input of the network, with optional `labels`."""

import zipfile
from pathlib import Path

import numpy as np
import torch

from ...errors import BadInput
from .dataset import Data, InMemory
from .preprocessing import Preprocessing

HELD_OUT = 0.2


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Arrays by input name, each of shape (N, ...), and the labels, (N,), where the file has them.

    Raises:
        BadInput: the file is missing, damaged, holds Python objects, or its arrays differ in length.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise BadInput(f"{path}: not a readable .npz of plain numbers ({error}); write it with numpy.savez") from error
    labels = arrays.pop("labels", None)
    _check(path, arrays, labels)
    return arrays, labels


def load_npz(path: Path, seed: int = 0) -> Data:
    """One input array with `labels`, a stratified fifth of it held out by `seed`.

    Bytes are taken as pixels (scaled by 1/255), floats as they are.

    Raises:
        BadInput: the file has no labels, or more than one input.
    """
    from sklearn.model_selection import train_test_split

    arrays, labels = load_arrays(path)
    if labels is None or len(arrays) != 1:
        raise BadInput(f"{path}: training wants one input array and `labels`, found {', '.join(sorted(arrays))}")
    (samples,) = arrays.values()
    try:
        split = train_test_split(range(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=seed)
    except ValueError as error:
        raise BadInput(f"{path}: cannot hold out a fifth of each class ({error}); add samples") from error
    train, test = (InMemory(torch.from_numpy(samples[part]), torch.from_numpy(labels[part])) for part in split)
    names = tuple(str(label) for label in range(int(labels.max()) + 1))
    scale = 1 / 255 if samples.dtype == np.uint8 else 1.0
    return Data(Path(path).stem, train, test, names, Preprocessing(scale))


def _check(path: Path, arrays: dict[str, np.ndarray], labels: np.ndarray | None) -> None:
    if not arrays:
        raise BadInput(f"{path}: no input array; write one per input of the network, by its name")
    everything = arrays if labels is None else {**arrays, "labels": labels}
    shapes = ", ".join(f"{name} {array.shape}" for name, array in everything.items())
    if any(array.ndim == 0 for array in everything.values()) or len({len(a) for a in everything.values()}) != 1:
        raise BadInput(f"{path}: arrays must share their first dimension, the number of samples; got {shapes}")
    if not len(next(iter(arrays.values()))):
        raise BadInput(f"{path}: holds no sample; got {shapes}")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise BadInput(f"{path}: {name} ({array.dtype}) must hold finite numbers")
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu" or labels.min() < 0):
        raise BadInput(f"{path}: labels must be whole numbers from 0, one a sample; got {labels.dtype} {labels.shape}")

"""The user's own pairs of pictures and sound, and pairs of any arrays.

A folder holds `AudioWAV/ID.wav`, frames in `Image-01-FPS/ID/*.jpg`, and lists of `id,label`: `train.csv` and
`test.csv`, or one `.csv`, of which a fifth of each class is held out. An `.npz` holds one array for each input, and
`labels`.
"""

import csv
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import BadInput, OfframpWarning
from .arrays import HELD_OUT, load_arrays
from .dataset import Data, InMemory
from .image_folder import ENDINGS, GREY_MEAN, GREY_STD, MEAN, STD, read_image
from .preprocessing import Preprocessing
from .sound import Spectrogram

SOUNDS, FRAMES = "AudioWAV", "Image-01-FPS"
MOST_MISSING = 0.5

Listed = list[tuple[str, str]]  # id and label


@dataclass(frozen=True)
class PairedFormat:
    """What a network of a picture and a sound takes.

    Attributes:
        channels, size: of the picture, which is square.
        spectrogram: of the sound.
    """

    channels: int
    size: int
    spectrogram: Spectrogram


class PairedFiles(Dataset):
    """A frame (channels, size, size) and a spectrogram (1, frequencies, frames), standardised, read when asked for.

    The frame is the middle one of the sample's folder.
    """

    def __init__(self, folder: Path, listed: Listed, labels: tuple[str, ...], form: PairedFormat):
        self.folder, self.form = folder, form
        self.listed = [(name, labels.index(label)) for name, label in listed]

    def __len__(self) -> int:
        return len(self.listed)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], int]:
        name, label = self.listed[index]
        frames = _frames(self.folder, name)
        image = read_image(frames[len(frames) // 2], self.form.channels, self.form.size)
        mean, std = (MEAN, STD) if self.form.channels == 3 else (GREY_MEAN, GREY_STD)
        image = Preprocessing(1 / 255, mean, std).apply(image.unsqueeze(0))[0]
        return (image, self.form.spectrogram.of_file(_sound(self.folder, name)).unsqueeze(0)), label


def load_paired_folder(folder: Path, form: PairedFormat, seed: int = 0) -> Data:
    """The data set in `folder`; samples without a sound or a frame are left out, with a warning that counts them.

    Args:
        seed: of the split, where one list serves both parts.

    Raises:
        BadInput: lists are missing, empty or not of two columns, more than half of the samples lack a file, or there
            are fewer than two classes.
    """
    train, test = (_complete(folder, listed) for listed in _lists(folder, seed))
    labels = tuple(sorted({label for _, label in train}))
    if len(labels) < 2:
        raise BadInput(f"{folder}: only one class to train on ({', '.join(labels)}); give samples of two or more")
    unknown = sorted({label for _, label in test} - set(labels))
    if unknown:
        raise BadInput(f"{folder}: held-out classes that none is trained on: {', '.join(unknown)}")
    held_in, held_out = (PairedFiles(folder, listed, labels, form) for listed in (train, test))
    return Data(folder.resolve().name, held_in, held_out, labels, Preprocessing())


def load_paired_arrays(path: Path, names: tuple[str, str], seed: int = 0) -> Data:
    """The data set in an `.npz`: arrays of both names, `labels`, and perhaps `present`, (N, 2) of zeros and ones.

    A fifth of each class is held out by `seed`. Values are taken as they are.

    Raises:
        BadInput: an array is missing, there is another, or there are fewer than two classes.
    """
    arrays, labels = load_arrays(path)
    present = arrays.pop("present", None)
    if labels is None or sorted(arrays) != sorted(names):
        found = ", ".join(sorted([*arrays, *(["labels"] if labels is not None else [])]))
        raise BadInput(f"{path}: expected the arrays {names[0]}, {names[1]} and labels, found {found}")
    if present is not None and (present.shape != (len(labels), 2) or not set(present.flat) <= {0, 1}):
        raise BadInput(f"{path}: present must be zeros and ones, two a sample, got the shape {present.shape}")
    if len(set(labels.tolist())) < 2:
        raise BadInput(f"{path}: only one class to train on ({labels[0]}); give samples of two or more")
    values = [arrays[name] for name in names] + ([] if present is None else [present])
    tensors, targets = [torch.from_numpy(value) for value in values], torch.from_numpy(labels)
    train, test = (
        InMemory(tuple(tensor[chosen] for tensor in tensors), targets[chosen])
        for chosen in map(torch.tensor, _split(path, labels.tolist(), seed))
    )
    return Data(path.stem, train, test, tuple(str(label) for label in range(int(labels.max()) + 1)), Preprocessing())


def _lists(folder: Path, seed: int) -> tuple[Listed, Listed]:
    """What to train on and what to hold out."""
    both = folder / "train.csv", folder / "test.csv"
    if all(path.is_file() for path in both):
        return read_list(both[0]), read_list(both[1])
    found = sorted(path.name for path in folder.glob("*.csv"))
    if len(found) != 1:
        raise BadInput(f"{folder}: expected train.csv and test.csv, or one .csv; found {', '.join(found) or 'none'}")
    listed = read_list(folder / found[0])
    train, test = _split(folder / found[0], [label for _, label in listed], seed)
    return [listed[i] for i in train], [listed[i] for i in test]


def read_list(path: Path) -> Listed:
    """Ids and labels of a `.csv`, whose first line may name the columns.

    Raises:
        BadInput: a line has not two columns, an id names another folder, or there is no line.
    """
    listed = []
    with open(path, newline="", encoding="utf-8") as file:
        try:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInput(f"{path}: cannot be read ({error}); write id,label in each line, as UTF-8") from error
    for number, row in rows:
        if len(row) != 2:
            raise BadInput(f"{path}: line {number} has {len(row)} columns; each line is id,label")
        name, label = (value.strip() for value in row)
        if number == 1 and (name.lower(), label.lower()) == ("id", "label"):
            continue
        if not name or name in (".", "..") or set(name) & set("/\\"):
            raise BadInput(f"{path}: line {number} has the id {name!r}; an id is a file's name without its ending")
        listed.append((name, label))
    if not listed:
        raise BadInput(f"{path}: names no sample; write id,label in each line")
    return listed


def _complete(folder: Path, listed: Listed) -> Listed:
    """The samples that have both files."""
    is_complete = [_sound(folder, name).is_file() and bool(_frames(folder, name)) for name, _ in listed]
    if all(is_complete):
        return listed
    missing, first = is_complete.count(False), listed[is_complete.index(False)][0]
    found = (
        f"{folder}: {missing} of {len(listed)} samples lack {SOUNDS}/ID.wav or frames in {FRAMES}/ID/, first {first}"
    )
    if missing > MOST_MISSING * len(listed):
        raise BadInput(f"{found}; add them, or take these lines out of the list")
    warnings.warn(OfframpWarning(f"{found}; left out"), stacklevel=2)
    return [each for each, complete in zip(listed, is_complete) if complete]


def _sound(folder: Path, name: str) -> Path:
    return folder / SOUNDS / f"{name}.wav"


def _frames(folder: Path, name: str) -> list[Path]:
    frames = folder / FRAMES / name
    return sorted(p for p in frames.iterdir() if p.suffix.lower() in ENDINGS) if frames.is_dir() else []


def _split(path: Path, labels: list, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and to hold out, a fifth of each class."""
    from sklearn.model_selection import train_test_split

    try:
        return train_test_split(range(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=seed)
    except ValueError as error:
        raise BadInput(f"{path}: cannot hold out a fifth of each class ({error}); add samples") from error

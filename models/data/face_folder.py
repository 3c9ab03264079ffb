"""The user's own faces: `IDENTITY/*.jpg`, aligned, one folder a person.

Beside the folders may lie `landmarks.csv`, which tells which faces look ahead, and `pairs.txt`, which says what to
verify on. The persons held out are others than those to train on.
"""

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ...errors import BadInput, OfframpWarning
from .dataset import Data
from .face_lists import Pair, read_landmarks, read_pairs
from .image_folder import ENDINGS
from .pictures import MOST_UNREADABLE, mode_of, open_picture, planes_of, tell_left_out
from .preprocessing import Preprocessing

HELD_OUT = 0.2  # of the persons
# x of left eye, right eye and nose in a picture that is 1 wide, as aligned faces of 112 x 112 pixels have them.
TEMPLATE = (38.3 / 112, 73.5 / 112, 56.0 / 112)
NOWHERE = (0.0, 0.0, 0.0)  # landmarks of a face that does not look ahead


@dataclass(frozen=True)
class Face:
    """A picture of a person; `landmarks` are x of left eye, right eye and nose, as shares of its width."""

    path: Path
    person: str
    landmarks: tuple[float, float, float] = TEMPLATE


class FaceFiles(Dataset):
    """Pictures, decoded when asked for, and targets: person, landmarks in pixels, and where they are part of pairs
    the number of the picture, the pair and the fold.

    Args:
        numbers: of each person.
        pairs: (N, 3) of those numbers, or None.
    """

    def __init__(
        self, faces: list[Face], numbers: dict[str, int], channels: int, size: int, pairs: Tensor | None = None
    ):
        self.faces, self.channels, self.size = faces, channels, size
        persons = torch.tensor([[float(numbers[face.person])] for face in faces])
        # The centre of pixel i is at (i + 1/2) / size.
        landmarks = torch.tensor([face.landmarks for face in faces]) * size - 0.5
        self.labels = torch.cat([persons, landmarks, *([] if pairs is None else [pairs])], 1)

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return read_face(self.faces[index].path, self.channels, self.size), self.labels[index]


def read_face(path: Path, channels: int, size: int) -> Tensor:
    """A whole picture as raw float32 (channels, size, size) in 0..255; grey becomes colour and the other way round.

    Raises:
        UnreadablePicture: the file is no picture, or is cut short.
    """
    from PIL.Image import Resampling

    image = open_picture(path, mode_of(channels))
    if image.size != (size, size):
        image = image.resize((size, size), Resampling.BILINEAR)
    return planes_of(image)


def load_face_folder(folder: Path, channels: int, size: int, seed: int = 0) -> Data:
    """The faces in `folder`; those that cannot be used are left out, with a warning that counts them.

    Every picture is decoded once. A picture that `landmarks.csv` does not name does not look ahead; without that file
    all do.

    Args:
        seed: of which persons are held out, where there is no `pairs.txt`.

    Raises:
        BadInput: there are too few persons, more than half of the pictures cannot be read, or a list is malformed.
    """
    if folder.suffix == ".bin":
        raise BadInput(f"{folder}: a pickled list could run code and is not read; give a folder, with pairs.txt in it")
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; give one with IDENTITY/*.jpg")
    if list(folder.glob("*.bin")):
        _warn(f"{folder}: pickled pair lists (.bin) could run code and are not read; pairs.txt is")
    faces = _with_landmarks(folder, _readable(folder, _listed(folder)))
    preprocessing = Preprocessing(1.0, (127.5,), (128.0,))
    name = folder.resolve().name
    if (folder / "pairs.txt").is_file():
        train, pairs = _paired(folder / "pairs.txt", faces)
        numbers = _numbers(folder, train, [face for pair, _ in pairs for face in pair])
        order = {face.path: place for place, face in enumerate(faces)}
        test = [face for pair, _ in pairs for face in pair]
        places = [
            [float(order[face.path]), float(number), float(fold)]
            for number, (pair, fold) in enumerate(pairs)
            for face in pair
        ]
        held_out = FaceFiles(test, numbers, channels, size, torch.tensor(places))
    else:
        train, test = _split(folder, faces, seed)
        numbers = _numbers(folder, train, test)
        held_out = FaceFiles(test, numbers, channels, size)
    return Data(name, FaceFiles(train, numbers, channels, size), held_out, (), preprocessing)


def _listed(folder: Path) -> list[Face]:
    """Every file that may be a picture, person after person."""
    persons = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [
        Face(path, person.name)
        for person in persons
        for path in sorted(person.iterdir())
        if path.suffix.lower() in ENDINGS and path.is_file()
    ]


def _readable(folder: Path, faces: list[Face]) -> list[Face]:
    """Without those that cannot be decoded."""

    def fault(face: Face) -> BadInput | None:
        try:
            read_face(face.path, 3, 1)
        except BadInput as error:
            return error
        return None

    if not faces:
        raise BadInput(f"{folder}: no pictures in it; give a folder with IDENTITY/*.jpg")
    with ThreadPoolExecutor() as pool:
        faults = list(pool.map(fault, faces))
    bad = [error for error in faults if error is not None]
    tell_left_out(bad, len(faces), "pictures", folder)
    return [face for face, error in zip(faces, faults) if error is None]


def _with_landmarks(folder: Path, faces: list[Face]) -> list[Face]:
    from PIL import Image

    path = folder / "landmarks.csv"
    if not path.is_file():
        _warn(f"{folder}: no landmarks.csv, so every face counts as looking ahead")
        return faces
    known = read_landmarks(path)
    found = []
    for face in faces:
        points = known.get(face.path.relative_to(folder).as_posix())
        with Image.open(face.path) as image:
            width = image.size[0]
        left, right, nose = NOWHERE if points is None else (x / width + 0.5 / width for x in points)
        found.append(Face(face.path, face.person, (left, right, nose)))
    if not any(face.landmarks != NOWHERE for face in found):
        raise BadInput(f"{path}: names none of the {len(faces)} pictures; write paths as IDENTITY/picture.jpg")
    return found


def _split(folder: Path, faces: list[Face], seed: int) -> tuple[list[Face], list[Face]]:
    """A fifth of the persons, at least two, is held out; of those, whoever has one picture cannot be verified."""
    persons = sorted({face.person for face in faces})
    if len(persons) < 4:
        raise BadInput(
            f"{folder}: {len(persons)} identities with pictures; give at least four, two to train on and two held out"
        )
    order = torch.randperm(len(persons), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = {persons[place] for place in order[: max(2, round(HELD_OUT * len(persons)))]}
    counts = {person: sum(face.person == person for face in faces) for person in held_out}
    single = {person for person, count in counts.items() if count < 2}
    if len(held_out - single) < 2:
        raise BadInput(
            f"{folder}: {len(single)} of {len(held_out)} identities held out have one picture; verification needs two "
            "identities with two pictures each"
        )
    if single:
        _warn(f"{folder}: {len(single)} of {len(held_out)} identities held out have one picture and are left out")
    return (
        [face for face in faces if face.person not in held_out],
        [face for face in faces if face.person in held_out - single],
    )


def _paired(path: Path, faces: list[Face]) -> tuple[list[Face], list[tuple[tuple[Face, Face], int]]]:
    """Faces of persons that no pair names, and the pairs whose pictures are there, with their folds."""
    listed = read_pairs(path)
    by_name = {(face.person, face.path.stem): face for face in faces}

    def find(picture: tuple[str, int]) -> Face | None:
        return by_name.get((picture[0], f"{picture[0]}_{picture[1]:04d}"))

    pairs = []
    for pair in listed:
        first, second = find(pair.first), find(pair.second)
        if first is not None and second is not None:
            pairs.append(((first, second), pair.fold))
    _check_missing(path, listed, len(listed) - len(pairs))
    named = {person for pair in listed for person, _ in (pair.first, pair.second)}
    return [face for face in faces if face.person not in named], pairs


def _check_missing(path: Path, listed: list[Pair], missing: int) -> None:
    found = f"{path}: {missing} of {len(listed)} pairs name pictures NAME/NAME_0001.jpg that are not there"
    if missing > MOST_UNREADABLE * len(listed):
        raise BadInput(f"{found}; put the pictures in the folder, or take the pairs out")
    if missing:
        _warn(f"{found}; left out")


def _numbers(folder: Path, train: list[Face], test: list[Face]) -> dict[str, int]:
    """Persons to train on are 0, 1, ..., those held out follow."""
    persons = sorted({face.person for face in train})
    if len(persons) < 2:
        raise BadInput(
            f"{folder}: {len(persons)} identities left to train on; add folders that pairs.txt does not name"
        )
    return {person: number for number, person in enumerate([*persons, *sorted({face.person for face in test})])}


def _warn(text: str) -> None:
    warnings.warn(OfframpWarning(text), stacklevel=3)

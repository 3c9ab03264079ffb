"""What lies beside a folder of faces: `landmarks.csv`, and `pairs.txt` as Labeled Faces in the Wild has it."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from ...errors import BadInput

FOLDS = 10
COLUMNS = 11  # path, and x and y of left eye, right eye, nose, left and right corner of the mouth

Picture = tuple[str, int]  # identity, and number of the picture


@dataclass(frozen=True)
class Pair:
    """Two pictures that are to be told the same person's or not; `fold` is 0..9."""

    first: Picture
    second: Picture
    fold: int


def read_landmarks(path: Path) -> dict[str, tuple[float, float, float]]:
    """x of left eye, right eye and nose of each picture, by its path below the folder, in pixels of the file.

    Raises:
        BadInput: a line is not a path and ten finite numbers, or the file is no text.
    """
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(
            f"{path}: cannot be read ({error}); write it as UTF-8 text, a path and ten numbers a line"
        ) from error
    if rows and rows[0][1][0].strip().lower() == "path":
        rows = rows[1:]
    return dict(_landmarks(path, number, row) for number, row in rows)


def _landmarks(path: Path, number: int, row: list[str]) -> tuple[str, tuple[float, float, float]]:
    if len(row) != COLUMNS:
        raise BadInput(f"{path}: line {number} has {len(row)} columns; each is a path and x, y of five points")
    try:
        values = [float(value) for value in row[1:]]
    except ValueError as error:
        raise BadInput(f"{path}: line {number}: {error}; after the path come ten numbers") from error
    if not all(map(math.isfinite, values)):
        raise BadInput(f"{path}: line {number} holds a number that is not finite; leave out faces without landmarks")
    return Path(row[0].strip()).as_posix(), (values[0], values[2], values[4])


def read_pairs(path: Path) -> list[Pair]:
    """Pairs of `name number number` and `name number name number`, in the order of the file.

    A first line `folds pairs` says how they are dealt out: in each fold as many same as different ones. Without it, or
    where it is one number, they are dealt out one by one.

    Raises:
        BadInput: a line has another form, or there is no pair of either kind.
    """
    try:
        lines = [(number, line.split()) for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)]
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: cannot be read ({error}); write it as UTF-8 text") from error
    lines = [(number, words) for number, words in lines if words]
    header: list[str] = []
    if lines and len(lines[0][1]) <= 2:
        header = lines.pop(0)[1]
        if not all(map(str.isdecimal, header)):
            raise BadInput(f"{path}: line 1 is {' '.join(header)}; expected the number of folds and of pairs in each")
    named = [_pair(path, number, words) for number, words in lines]
    kinds = {first[0] == second[0] for first, second in named}
    if len(kinds) < 2:
        raise BadInput(f"{path}: needs pairs of the same person and of different ones, got {len(named)} of one kind")
    per_fold = 2 * int(header[1]) if len(header) == 2 else 0
    return [
        Pair(first, second, place // per_fold if per_fold else place % FOLDS)
        for place, (first, second) in enumerate(named)
    ]


def _pair(path: Path, number: int, words: list[str]) -> tuple[Picture, Picture]:
    numbers = words[1:] if len(words) == 3 else words[1::2]
    names = words[:1] * 2 if len(words) == 3 else words[::2]
    if len(words) not in (3, 4) or not all(map(str.isdecimal, numbers)) or any("/" in n or ".." in n for n in names):
        raise BadInput(
            f"{path}: line {number} is {' '.join(words)!r}; expected `name 1 2`, or `name 1 other 2` for two persons"
        )
    first, second = zip(names, map(int, numbers))
    return first, second

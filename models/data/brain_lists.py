"""Annotated brain slices as listed: rows of `lines.csv`, or of the data set's parquet files.

Gucciardi et al., Symbrain, arXiv 2401.11814. A row holds its line as x1, y1, x2, y2, or as the data set writes it,
`{"x": 49.1, "y": 143.9} {"x": 243.1, "y": 146.1}`.
"""

import csv
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput, OfframpWarning, first_line

NUMBERS = ("x1", "y1", "x2", "y2")
SLICES_OF_A_VOLUME = 3
_NUMBER = r"([-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?)"
_POINT = rf'\{{\s*"x"\s*:\s*{_NUMBER}\s*,\s*"y"\s*:\s*{_NUMBER}\s*\}}'
_LINE = re.compile(rf"\s*\[?\s*{_POINT}[\s,]*{_POINT}\s*\]?\s*")

Points = tuple[tuple[float, float], tuple[float, float]]  # (x, y) each, in pixels of the picture


@dataclass(frozen=True)
class Row:
    """A slice as listed.

    Attributes:
        where: file and place, for messages.
        name: its id.
        group: subject, or volume, which no split tears apart; None where the list does not tell.
        volume: as listed.
        depth: of the slice in its volume; None where the list does not tell.
        points: of its midline.
        lesion: 0 or 1; None where the list does not tell.
        content: the picture's bytes, where the list holds them.
    """

    where: str
    name: str
    group: str | None
    volume: str
    depth: int | None
    points: Points
    lesion: int | None
    content: bytes | None = None


def parse_line(text: str) -> Points | None:
    """Two points as the data set writes them; None for anything else."""
    found = _LINE.fullmatch(text)
    if found is None:
        return None
    x1, y1, x2, y2 = map(float, found.groups())
    return (x1, y1), (x2, y2)


def read_csv(path: Path) -> list[Row]:
    """Rows of a `.csv` whose first line names id, and x1, y1, x2, y2 or line; perhaps subject, volume, depth, lesion.

    Raises:
        BadInput: a column is missing, or a row has another form.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot be read ({first_line(error)}); write it as UTF-8 text") from error
    names = [name.strip().lower() for name in lines[0][1]] if lines else []
    if "id" not in names or not ("line" in names or set(NUMBERS) <= set(names)):
        raise BadInput(
            f"{path}: has the columns {', '.join(names) or 'none'}; expected id, x1, y1, x2, y2 (or line), and perhaps "
            "subject, volume, depth, lesion"
        )
    rows = []
    for number, values in lines[1:]:
        where = f"{path}: line {number}"
        if len(values) != len(names):
            raise BadInput(f"{where} has {len(values)} columns, the first line names {len(names)}; give each a value")
        rows.append(_row(where, dict(zip(names, (value.strip() for value in values)))))
    if not rows:
        raise BadInput(f"{path}: names no slice; write one in each line")
    return rows


def read_parquet(paths: list[Path]) -> list[Row]:
    """Rows of the data set's own files, which need pyarrow. Their names tell the modality, and no split.

    Raises:
        BadInput: pyarrow is not installed, a file cannot be read, or a row has another form.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise BadInput(
            f"{paths[0]}: parquet needs pyarrow, which is not installed; pip install pyarrow, or export images/ID.png "
            "and lines.csv"
        ) from error
    rows = []
    for path in paths:
        try:
            records = [record for batch in ParquetFile(path).iter_batches() for record in batch.to_pylist()]
        except (ArrowException, OSError) as error:
            raise BadInput(f"{path}: cannot be read as parquet ({first_line(error)}); copy it again") from error
        rows += list(_records(path, records))
    return rows


def _records(path: Path, records: list[dict[str, Any]]) -> Iterator[Row]:
    for number, record in enumerate(records):
        image = record.get("image")
        content = image.get("bytes") if isinstance(image, dict) else None
        where = f"{path}: row {number}"
        if not isinstance(content, bytes) or not isinstance(record.get("line"), str):
            found = ", ".join(sorted(record))
            raise BadInput(f"{where} has the columns {found}; expected image with bytes, and line as text")
        values = {key: str(value) for key, value in record.items() if key != "image" and value is not None}
        yield _row(where, {"id": f"{path.stem}-{number}", **values}, content)


def _row(where: str, values: dict[str, str], content: bytes | None = None) -> Row:
    name = values["id"]
    if not name or name.startswith(".") or set(name) & set("/\\"):
        raise BadInput(f"{where} has the id {name!r}; an id is a picture's name without its ending")
    volume, subject = values.get("volume", ""), values.get("subject", "")
    return Row(
        where,
        name,
        subject or volume or None,
        volume,
        _whole(where, values, "depth", 1 << 15),
        _points(where, values),
        _whole(where, values, "lesion", 2),
        content,
    )


def _points(where: str, values: dict[str, str]) -> Points:
    if "line" in values:
        points = parse_line(values["line"])
        if points is None:
            shown = values["line"][:60]
            raise BadInput(f'{where} has the line {shown!r}; expected {{"x": 1.5, "y": 2}} {{"x": 3, "y": 4}}')
        return points
    numbers = [values[name] for name in NUMBERS]
    if not all(re.fullmatch(_NUMBER, number) for number in numbers):
        raise BadInput(f"{where} has the line {', '.join(numbers)}; expected four numbers x1, y1, x2, y2")
    x1, y1, x2, y2 = map(float, numbers)
    return (x1, y1), (x2, y2)


def _whole(where: str, values: dict[str, str], name: str, below: int) -> int | None:
    text = values.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) >= below:
        raise BadInput(f"{where} has the {name} {text!r}; expected a whole number from 0 to {below - 1}")
    return int(text)


def grouped(rows: list[Row]) -> list[str]:
    """The group of each row: three rows in a row are taken for one volume where the list tells neither."""
    missing = sum(row.group is None for row in rows)
    if missing:
        warnings.warn(
            OfframpWarning(
                f"{missing} of {len(rows)} slices have no subject and no volume; each {SLICES_OF_A_VOLUME} that follow "
                "one another are kept together in the split"
            ),
            stacklevel=2,
        )
    return [row.group or f"rows {place // SLICES_OF_A_VOLUME}" for place, row in enumerate(rows)]

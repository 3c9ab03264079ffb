"""What belongs to a network's own task: its figures beyond accuracy, and the pictures that its system shows."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput
from . import wording


@dataclass(frozen=True)
class TaskFigures:
    """A table of figures by name.

    Attributes:
        names: of the columns, in words.
        rows: what was measured (the float network, the program, each artifact) and the figures in words.
    """

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def task_figures(document: dict[str, Any], names_of: dict[str, str]) -> TaskFigures | None:
    """The task's own figures; None where it has none.

    Args:
        document: a manifest.
        names_of: title of each artifact by its path.
    """
    measured = [("PyTorch float", document["float"].get("metrics"))]
    if document["program"]:
        measured.append(("Quantized program", document["program"].get("metrics")))
    measured += [(names_of[row["path"]], row.get("metrics")) for row in document["artifacts"]]
    names = tuple(dict.fromkeys(name for _, metrics in measured for name in metrics or ()))
    if not names:
        return None
    rows = tuple((title, tuple(_figure(metrics, name) for name in names)) for title, metrics in measured)
    return TaskFigures(tuple(name.replace("_", " ") for name in names), rows)


def read_pictures(document: dict[str, Any], folder: Path) -> dict[str, bytes]:
    """The PNG of each picture of a manifest by its path.

    Raises:
        BadInput: one cannot be read.
    """
    return {entry["path"]: _read(folder / entry["path"]) for entry in document.get("pictures", ())}


def shown_pictures(document: dict[str, Any], pictures: dict[str, bytes]) -> list[tuple[dict[str, str], str]]:
    """Each picture's entry with its bytes as a URL."""
    return [(entry, _url(pictures[entry["path"]])) for entry in document.get("pictures", ())]


def _figure(metrics: dict[str, float] | None, name: str) -> str:
    return wording.NOT_MEASURED if not metrics or name not in metrics else f"{metrics[name]:.4g}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}), and the report shows it; deploy again") from error


def _url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"

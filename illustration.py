"""What a system shows of an artifact: pictures made by executing it, as files of the dist."""

from pathlib import Path
from typing import Any

from .runtime.samples import Samples
from .runtime.session import open_session
from .sources import Source
from .storage import atomic_path

FOLDER = "pictures"


def illustrate(source: Source, rows: list[dict[str, Any]], held_out: Samples, folder: Path) -> list[dict[str, str]]:
    """Writes the pictures into `folder/pictures/`.

    Args:
        rows: of the artifacts, in the manifest's form; the first verified one of the narrowest precision is executed.

    Returns:
        The manifest's `pictures`; none where the system has none, or no artifact was verified.
    """
    draw = source.system.illustrate if source.system is not None else None
    shown = [row for row in rows if row["verified"]]
    if draw is None or not shown or held_out.targets is None:
        return []
    row = min(shown, key=lambda row: row["precision"].startswith("float"))
    pictures = draw(open_session(folder / row["path"]).run, held_out.inputs, held_out.targets)
    (folder / FOLDER).mkdir()
    entries = []
    for number, picture in enumerate(pictures, 1):
        path = f"{FOLDER}/{number}.png"
        with atomic_path(folder / path) as beside:
            beside.write_bytes(picture.png)
        entries.append({"title": picture.title, "caption": picture.caption, "path": path, "artifact": row["path"]})
    return entries

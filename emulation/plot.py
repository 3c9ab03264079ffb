"""A sweep's plot as an SVG file that stands on its own: the report's charts, and where accuracy breaks."""

from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..runtime.report.emulation import read_text
from ..runtime.report.figure import figure_svg
from ..runtime.report.sweep import Sweep, break_text, sweep_charts, sweep_of, undrawn_text
from ..storage import atomic_path


def check_plot_path(path: Path) -> None:
    """Raises BadInput unless the path's ending is .svg."""
    if path.suffix.lower() != ".svg":
        raise BadInput(f"{path}: a plot is written as SVG; give it that ending, as {path.stem or 'sweep'}.svg")


def write_plot(document: dict[str, Any], path: Path) -> None:
    """Writes a sweep's charts as one SVG file, atomically; equal documents give equal bytes.

    Args:
        document: of `emulate_network`, with a sweep.
        path: ends in .svg.

    Raises:
        BadInput: the path has another ending, or cannot be written.
    """
    check_plot_path(path)
    sweep = sweep_of(document)
    assert sweep is not None, "a sweep has points"
    title = f"{document['name']} on {document['synapse']}: {document['device']['title']}"
    text = figure_svg(title, sweep_charts(sweep, "sweep"), _note(document, sweep)).encode()
    with atomic_path(path) as beside:
        beside.write_bytes(text)


def _note(document: dict[str, Any], sweep: Sweep) -> str:
    """What the marks are and where they break, as a paragraph."""
    chips = document["chips"]
    marks = f"means over {chips} chips, whiskers the 95 % interval of the mean" if chips > 1 else "of one chip"
    measured = f"Marks are {marks}, on {document['samples']:,} held-out samples; dashed is the digital program."
    return " ".join(part for part in (break_text(sweep), measured, undrawn_text(sweep), read_text(document)) if part)

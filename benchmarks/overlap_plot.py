"""Overlaps of the multitasking-hebbian study against dilution and noise, beside the laws they are held against."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..reproductions._spins import hierarchy, learnt_overlap, noise_of, noisy_overlap
from ..runtime.report.charts import Axis
from ..runtime.report.figure import figure_svg
from ..runtime.report.lines import Line, LineChart, Spot, Swept, line_chart

Table = dict[str, Any]
Law = Callable[[float], float]
_POINTS = 61  # of a law's curve
_TITLE = "Overlaps of diluted patterns against dilution and noise"
_NOTE = (
    "Marks are means over the seeds, whiskers the 95 % interval of the mean; dotted is the law: d^(k - 1) of the "
    "hierarchy, the largest root of n = tanh(n / T), and erf(1 / sqrt(2 rho)) with rho = (1 - r^2) / (M r^2) for M "
    "examples of quality r. Overlaps but the archetype's are over 1 - d."
)


def overlaps_svg(document: dict[str, Any]) -> str:
    """The tables of a recorded study as one SVG file's text."""
    tables = [claim["table"] for claim in document["claims"] if claim["table"]]
    charts = [_DRAWN[table["columns"][0]](table, f"overlaps-{place}") for place, table in enumerate(tables, 1)]
    return figure_svg(_TITLE, charts, f"{_NOTE} {document['seeds']} seeds.")


def _against_dilution(table: Table, slug: str) -> LineChart:
    count = len(table["columns"]) - 2
    laws = [_share_of_hierarchy(rank, count) for rank in range(count)]
    return _chart(table, slug, "dilution d", _first(table), [str(rank) for rank in range(1, count + 1)], laws, "k")


def _share_of_hierarchy(rank: int, patterns: int) -> Law:
    return lambda dilution: float(hierarchy(dilution, patterns)[rank] / (1 - dilution))


def _against_temperature(table: Table, slug: str) -> LineChart:
    names = [column.split()[0] for column in table["columns"][1:-1]]
    return _chart(table, slug, "temperature T", _first(table), names, [noisy_overlap, None], "patterns")


def _against_noise_of_examples(table: Table, slug: str) -> LineChart:
    shown = {**table, "rows": [row[1:] for row in table["rows"]]}
    places = [noise_of(float(quality), int(examples)) for quality, examples, *_ in table["rows"]]
    axis, names = "noise rho of the mean example", ["with", "without"]
    return _chart(shown, slug, axis, places, names, [learnt_overlap, None], "labels", is_log=True)


_DRAWN = {"dilution": _against_dilution, "temperature": _against_temperature, "quality": _against_noise_of_examples}


def _first(table: Table) -> list[float]:
    return [float(row[0]) for row in table["rows"]]


def _chart(
    table: Table,
    slug: str,
    axis: str,
    places: Sequence[float],
    names: Sequence[str],
    laws: Sequence[Law | None],
    key: str,
    is_log: bool = False,
) -> LineChart:
    space = np.geomspace if is_log else np.linspace
    curve = [float(value) for value in space(min(places), max(places), _POINTS)]
    x = _axis(axis, places, is_log)
    lines = []
    for column, (name, law) in enumerate(zip(names, laws), 1):
        spots = [_spot(place, row[column]) for place, row in sorted(zip(places, table["rows"]))]
        expected = tuple((value, law(value)) for value in curve) if law else ()
        lines.append(Line(name, tuple(spots), expected))
    most = max(spot.high for line in lines for spot in line.spots)
    ticks = tuple((tick / 5, f"{tick / 5:g}") for tick in range(6))
    y = Axis("Overlap", 0.0, 1.03 * max(most, 1.0), ticks, False, lambda value: f"{value:.2f}")
    title = table["title"].removeprefix("Overlaps with ").replace(" over 1 - d", "")
    return line_chart(slug, title, lines, x, y, key=key)


def _axis(name: str, places: Sequence[float], is_log: bool) -> Swept:
    low, high = min(places), max(places)
    margin = 1.2 if is_log else 0.06 * (high - low)
    ends = (low / margin, high * margin) if is_log else (low - margin, high + margin)
    ticks = tuple((place, f"{place:.3g}") for place in sorted(places))
    return Swept(Axis(name, *ends, ticks, is_log, lambda value: f"{value:.3g}"), {place: place for place in places})


def _spot(place: float, cell: str) -> Spot:
    """Of a cell like `0.54 ± 0.03`; overlaps are magnitudes, so no whisker goes below 0."""
    mean, spread = map(float, cell.split(" ± "))
    return Spot(place, mean, max(mean - spread, 0.0), mean + spread)

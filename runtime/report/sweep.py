"""Sweeps over figures of devices and arrays, from a document of `offramp emulate`: plots, and where accuracy breaks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .charts import accuracy_axis
from .lines import Line, LineChart, Spot, Swept, line_chart, swept_axis
from .wording import percent_text

MOST_CHARTS, MOST_LINES = 6, 8
BREAK_POINTS = 1.0  # percentage points below the digital program
_NAMES_SHOWN = 6
# What a 0 stands for where it sets no limit.
_NO_LIMIT = {"levels": "continuum", "adc": "ideal", "dac": "ideal", "slice": "all bits"}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Measure:
    """What chips are judged by: accuracy against the digital program's or, without labels, agreement with it.

    Attributes:
        key: in the document.
        digital: the digital program's share.
    """

    key: str
    digital: float

    def change(self, found: dict[str, Any]) -> float:
        """How far the mean of an emulation or a point is from the digital program, as a share."""
        return float(found[self.key]["mean"] - self.digital)

    def is_broken(self, found: dict[str, Any]) -> bool:
        """Whether the whole interval of an emulation or a point lies more than `BREAK_POINTS` below the digital."""
        return round((self.digital - found[self.key]["high"]) * 100, 7) > BREAK_POINTS


@dataclass(frozen=True)
class Sweep:
    """What was swept, and what was found.

    Attributes:
        names: of the swept figures; the first is plotted against, the second has a line for each value.
        points: as in the document.
        x: the axis of the first figure.
        groups: values of the figures after the second -> value of the second, or 0 -> points from left to right.
    """

    measure: Measure
    chips: int
    names: tuple[str, ...]
    points: tuple[dict[str, Any], ...]
    x: Swept
    groups: dict[tuple[float, ...], dict[float, list[dict[str, Any]]]]


def measure_of(document: dict[str, Any]) -> Measure:
    """The measure of an emulation."""
    if document["accuracy"] is None or document["digital_accuracy"] is None:
        return Measure("agreement", 1.0)
    return Measure("accuracy", document["digital_accuracy"])


def sweep_of(document: dict[str, Any]) -> Sweep | None:
    """An emulation's sweep; None where there is none, or no point has its measure and a value of every figure."""
    measure, sweep = measure_of(document), document["sweep"] or {"axes": [], "points": []}
    names = tuple(axis["name"] for axis in sweep["axes"])
    points = [p for p in sweep["points"] if p[measure.key] is not None and set(names) <= set(p["settings"])]
    if not names or not points:
        return None
    places = [list(_axis(name, [point["settings"][name] for point in points]).places) for name in names]
    values = {id(point): tuple(point["settings"][name] for name in names) for point in points}
    groups: dict[tuple[float, ...], dict[float, list[dict[str, Any]]]] = {}
    for point in sorted(points, key=lambda p: [place.index(v) for place, v in zip(places, values[id(p)])]):
        _, number, *others = (*values[id(point)], 0.0) if len(names) == 1 else values[id(point)]
        groups.setdefault(tuple(others), {}).setdefault(number, []).append(point)
    x = _axis(names[0], [point["settings"][names[0]] for point in points])
    return Sweep(measure, document["chips"], names, tuple(points), x, groups)


def sweep_charts(sweep: Sweep, slug: str) -> list[LineChart]:
    """The first figure across, a line for each value of the second, a chart for each combination of the others.

    Args:
        slug: for ids, unique in the page.
    """
    measure, (first, *others) = sweep.measure, sweep.names
    shares = [point[measure.key][end] for point in sweep.points for end in ("mean", "low", "high")]
    y = replace(accuracy_axis([*shares, measure.digital]), name=f"{measure.key.capitalize()} (%)")
    found: list[LineChart] = []
    for values, lines in list(sweep.groups.items())[:MOST_CHARTS]:
        title = ", ".join([f"{measure.key.capitalize()} against {first}", *_said(others[1:], values)])
        drawn = [
            Line(value_text(others[0], number) if others else "", tuple(_spot(sweep, point) for point in points))
            for number, points in _some(list(lines.items()))
        ]
        slugged = f"{slug}-{len(found) + 1}"
        found.append(line_chart(slugged, title, drawn, sweep.x, y, measure.digital, others[0] if others else ""))
    return found


def undrawn_text(sweep: Sweep) -> str:
    """What the charts leave to the table; empty where they show all."""
    lines = max(map(len, sweep.groups.values()))
    parts = [f"{MOST_LINES} of {lines} values of {sweep.names[1]}"] if lines > MOST_LINES else []
    if len(sweep.groups) > MOST_CHARTS:
        parts.append(f"the first {MOST_CHARTS} of {len(sweep.groups)} combinations of {_listed(sweep.names[2:])}")
    return f"Drawn are {' and '.join(parts)}; the table has all points." if parts else ""


def break_text(sweep: Sweep) -> str:
    """One sentence: for each line the first value, from its better end, at which chips fall short of the digital."""
    measure, names = sweep.measure, sweep.names
    outcomes: dict[str, list[str]] = {}
    for others, lines in sweep.groups.items():
        for number, points in lines.items():
            words = _said(names[1:], (number, *others))
            said = value_text(names[1], number) if len(names) == 2 else " with ".join([*words[:1], _listed(words[1:])])
            outcomes.setdefault(_outcome(sweep, points), []).append(said)
    which = {1: "", 2: f" for {names[-1]} "}.get(len(names), " for ")
    parts = [outcome + (f"{which}{_listed(said)}" if which else "") for outcome, said in outcomes.items()]
    what = "its whole 95 % interval over chips" if sweep.chips > 1 else "that of the one chip"
    return (
        f"{measure.key.capitalize()} breaks ({what} lies more than {BREAK_POINTS:g} point below the digital program's "
        f"{percent_text(measure.digital)}) {'; '.join(parts)}."
    )


def value_text(name: str, value: float) -> str:
    """A swept value: `8`, `0.05`, `10⁻⁵`, or the word for a 0 that sets no limit."""
    if value == 0:
        return _NO_LIMIT.get(name, "0")
    if 1e-4 <= abs(value) < 1e6:
        return f"{value:,.7g}"
    mantissa, exponent = f"{value:.3e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    return power if mantissa == "1" else f"{mantissa}×{power}"


def _axis(name: str, values: Sequence[float]) -> Swept:
    return swept_axis(name, values, lambda value: value_text(name, value), name in _NO_LIMIT)


def _spot(sweep: Sweep, point: dict[str, Any]) -> Spot:
    found = point[sweep.measure.key]
    return Spot(point["settings"][sweep.names[0]], found["mean"], found["low"], found["high"])


def _outcome(sweep: Sweep, points: list[dict[str, Any]]) -> str:
    """Where a line breaks, looked through from its better end."""
    measure, name = sweep.measure, sweep.names[0]
    ordered = points if measure.change(points[0]) >= measure.change(points[-1]) else points[::-1]
    broken = [measure.is_broken(point) for point in ordered]
    if not any(broken):
        return "nowhere in this sweep"
    if all(broken):
        return "at every value"
    said = [value_text(name, point["settings"][name]) for point in ordered]
    first = broken.index(True)
    back = [text for text, is_broken in zip(said[first:], broken[first:]) if not is_broken]
    return f"first at {name} {said[first]}" + (f" (though not at {_listed(back)})" if back else "")


def _said(names: Sequence[str], values: Sequence[float]) -> list[str]:
    return [f"{name} {value_text(name, value)}" for name, value in zip(names, values)]


def _listed(words: Sequence[str]) -> str:
    if len(words) > _NAMES_SHOWN:
        return f"{', '.join(words[:_NAMES_SHOWN])} and {len(words) - _NAMES_SHOWN} more"
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _some(lines: list[tuple[float, list[dict[str, Any]]]]) -> list[tuple[float, list[dict[str, Any]]]]:
    """All lines or, of too many, some from the first to the last."""
    if len(lines) <= MOST_LINES:
        return lines
    return [lines[round(place * (len(lines) - 1) / (MOST_LINES - 1))] for place in range(MOST_LINES)]

"""Scatter plots as geometry: what stands where in an SVG of `WIDTH` by `height`; `chart.svg.j2` draws it.

Sizes are on a logarithmic axis (int8 against float32 is a factor of four), accuracy on a linear one around the data,
latency on a linear one from zero or, beyond a factor of eight, on a logarithmic one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .labels import FONT_SIZE, Box, Label, place_labels, text_width
from .wording import binary_unit, bytes_text, three_digits

WIDTH = 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 10.0, 26.0, 44.0
_HEIGHT, _POINTS, _MORE_PER_POINT = 300.0, 9, 8.0  # a plot of more points is higher
_LOG_BEYOND = 8.0


@dataclass(frozen=True)
class Point:
    """One artifact in a plot.

    Attributes:
        label: its name beside the mark.
        kind, shape: target and precision, which choose colour and form.
        x, y: in the axes' units.
        low, high: the spread of y, drawn as a whisker.
        hollow: drawn without a filling, for a figure to be taken with care.
    """

    label: str
    kind: str
    shape: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    hollow: bool = False


@dataclass(frozen=True)
class Axis:
    """A scale: the values at its ends, its ticks, its name and how a value is said."""

    name: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    log: bool
    say: Callable[[float], str]

    def at(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Mark:
    """A point at its place, with its label (None where there was no room) and its whisker's ends."""

    point: Point
    x: float
    y: float
    label: Label | None
    whisker: tuple[float, float] | None
    title: str


@dataclass(frozen=True)
class Reference:
    """A line across the plot, and where its name stands."""

    y: float
    name: str
    box: Box


@dataclass(frozen=True)
class Chart:
    """Everything that the drawing needs, in SVG units."""

    slug: str
    title: str
    description: str
    plot: Box
    height: float
    x_name: str
    y_name: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    marks: tuple[Mark, ...]
    reference: Reference | None


def scatter(
    slug: str, title: str, points: Sequence[Point], x: Axis, y: Axis, reference: tuple[float, str] | None = None
) -> Chart:
    """Lays a plot out.

    Args:
        slug: for the ids in the page.
        title: says what is plotted against what.
        points: at least one.
        x, y: axes that hold all points.
        reference: a value of y to draw a line at, and its name.
    """
    height = _HEIGHT + _MORE_PER_POINT * max(0, len(points) - _POINTS)
    plot = Box(_LEFT, _TOP, WIDTH - _RIGHT, height - _BOTTOM)

    def across(value: float) -> float:
        return round(plot.left + x.at(value) * (plot.right - plot.left), 1)

    def down(value: float) -> float:
        return round(plot.bottom - y.at(value) * (plot.bottom - plot.top), 1)

    centres = [(across(p.x), down(p.y)) for p in points]
    line = None if reference is None else _reference(plot, down(reference[0]), reference[1], centres)
    taken = [Box(x - 2, high, x + 2, low) for (x, _), p in zip(centres, points) for low, high in _ends(p, down)]
    if line:
        taken += [line.box, Box(plot.left, line.y - 1, plot.right, line.y + 1)]
    labels = place_labels([(x, y, p.label) for (x, y), p in zip(centres, points)], plot, taken)
    marks = tuple(
        Mark(p, *centre, label, next(iter(_ends(p, down)), None), f"{p.label}: {x.say(p.x)}, {y.say(p.y)}")
        for p, centre, label in zip(points, centres, labels)
    )
    return Chart(
        slug, title, "; ".join(mark.title for mark in marks), plot, height, x.name, y.name,
        tuple((across(value), text) for value, text in x.ticks), tuple((down(value), text) for value, text in y.ticks),
        marks, line,
    )  # fmt: skip


def size_axis(sizes_bytes: Sequence[float]) -> Axis:
    """Logarithmic, in one binary unit."""
    sizes = [max(size, 1.0) for size in sizes_bytes]
    low, high = min(sizes) / 1.35, max(sizes) * 1.35
    unit, scale = binary_unit(max(sizes))
    ticks = tuple((tick * scale, _plain(tick)) for tick in _log_ticks(low / scale, high / scale))
    return Axis(f"Size ({unit})", low, high, ticks, True, lambda value: bytes_text(int(value)))


def accuracy_axis(shares: Sequence[float]) -> Axis:
    """Linear around the data, at least two points wide, in percent."""
    low, high = min(shares) * 100, max(shares) * 100
    margin = max((high - low) * 0.18, 1.0)
    low, high = low - margin, high + margin
    ticks = tuple((tick / 100, _plain(tick)) for tick in _linear_ticks(low, high) if 0 <= tick <= 100)
    return Axis("Accuracy (%)", low / 100, high / 100, ticks, False, lambda value: f"{value * 100:.2f} %")


def decibel_axis(values_db: Sequence[float]) -> Axis:
    """Linear around the data, in dB."""
    margin = max((max(values_db) - min(values_db)) * 0.12, 1.0)
    low, high = min(values_db) - margin, max(values_db) + margin
    ticks = tuple((tick, _plain(tick)) for tick in _linear_ticks(low, high))
    return Axis("Signal to noise (dB)", low, high, ticks, False, lambda value: f"{value:.1f} dB")


def latency_axis(times_ms: Sequence[float]) -> Axis:
    """Linear from zero, or logarithmic where the times lie far apart."""
    times = [max(time, 1e-6) for time in times_ms]
    low, high = min(times) / 1.3, max(times) * 1.15
    log = max(times) > _LOG_BEYOND * min(times)
    found = _log_ticks(low, high) if log else _linear_ticks(0.0, high)
    ticks = tuple((tick, _plain(tick)) for tick in found)
    return Axis("Latency, p50 (ms)", low if log else 0.0, high, ticks, log, lambda value: f"{three_digits(value)} ms")


def _ends(point: Point, down: Callable[[float], float]) -> list[tuple[float, float]]:
    """The whisker's lower and upper end, where there is one."""
    return [] if point.low is None or point.high is None else [(down(point.low), down(point.high))]


def _reference(plot: Box, y: float, name: str, marks: list[tuple[float, float]]) -> Reference:
    """The line and its name, at whichever end and side of the line no mark stands."""
    width, high = text_width(name), FONT_SIZE + 4
    rooms = [
        Box(left, top, left + width, top + high)
        for top in (y - high, y + 1)
        for left in (plot.right - width, plot.left + 4)
    ]
    free = [box for box in rooms if not any(_grown(box).overlaps(Box(x, at, x, at)) for x, at in marks)]
    return Reference(y, name, next(iter(free), rooms[0]))


def _grown(box: Box, by: float = 8.0) -> Box:
    return Box(box.left - by, box.top - by, box.right + by, box.bottom + by)


def _linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten; whole powers alone where that would be too many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    all_ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    ticks = [tick for tick in all_ticks if low <= tick <= high]
    if len(ticks) < 2:
        return _linear_ticks(low, high, 4)
    return ticks if len(ticks) <= 7 else [tick for tick in ticks if math.log10(tick) % 1 < 1e-9]


def _plain(value: float) -> str:
    return f"{value:,.10f}".rstrip("0").rstrip(".") if abs(value) >= 1e-4 or value == 0 else three_digits(value)

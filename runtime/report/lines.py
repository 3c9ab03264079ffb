"""Line plots as geometry: shares with their intervals against a swept figure, a line for each value of a second one.

`chart.svg.j2` draws them. Lines carry their names at their ends, beside the plot, so that a name covers no mark.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .charts import WIDTH, Axis
from .labels import FONT_SIZE, Box, Segment, text_width

_LEFT, _TOP, _BOTTOM, _HEIGHT = 46.0, 26.0, 44.0, 300.0
_MARGIN = 0.08  # of the axis, beyond the first and the last value
_LOG_BEYOND, _SMALLEST = 8.0, 1e-150  # largest over smallest; what a logarithmic axis can hold
_LEADER, _KEY = 14.0, 13.0  # from the plot to the marks beside it, and from these to their names
_LINE = FONT_SIZE + 1.0
_SHIFT, _MOST_SHIFTED = 2.5, 8  # between marks of neighbouring lines at one value


@dataclass(frozen=True)
class Spot:
    """A value of the swept figure, and the share there with its interval."""

    value: float
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """Spots that belong together, in the order of the axis.

    Attributes:
        name: empty where there is one line only.
        expected: (value, share) of a curve that the spots are held against, drawn without marks.
    """

    name: str
    spots: tuple[Spot, ...]
    expected: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Swept:
    """The horizontal axis of a sweep.

    Attributes:
        axis: linear, logarithmic or, for values equally spaced, one that counts them.
        places: where each value stands, in the axis's units and in the order from left to right.
    """

    axis: Axis
    places: dict[float, float]


@dataclass(frozen=True)
class LineMark:
    """A spot at its place; low and high are the ends of its whisker."""

    x: float
    y: float
    low: float
    high: float
    title: str


@dataclass(frozen=True)
class DrawnLine:
    """A line's path and marks, and the path of what is expected, or ""; its number chooses colour and form."""

    number: int
    path: str
    marks: tuple[LineMark, ...]
    expected: str


@dataclass(frozen=True)
class End:
    """A name beside the plot, with the leader from what it names: a line by number, or None for the digital program.

    Between leader and name stands a line's mark.
    """

    text: str
    number: int | None
    x: float
    y: float
    leader: Segment


@dataclass(frozen=True)
class LineChart:
    """Everything that the drawing needs, in SVG units; `digital` is where the line of a digital program lies."""

    slug: str
    title: str
    description: str
    plot: Box
    height: float
    x_name: str
    y_name: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    lines: tuple[DrawnLine, ...]
    ends: tuple[End, ...]
    digital: float | None
    key: str


def swept_axis(name: str, values: Sequence[float], say: Callable[[float], str], is_zero_most: bool = False) -> Swept:
    """Linear; logarithmic where all values are above 0 and far apart.

    Values are equally spaced, and the name says so, where a logarithmic axis would have to hold a 0 and where a 0 means
    that there is no limit.

    Args:
        values: at least one.
        say: a value as text.
        is_zero_most: 0 stands for no limit and so comes last.
    """
    ordered = sorted(set(values), key=lambda value: (is_zero_most and value == 0, value))
    above = [value for value in ordered if value > 0]
    is_wide = bool(above) and max(above) > _LOG_BEYOND * min(above)
    low, high = min(ordered), max(ordered)
    if len(ordered) == 1 or (0 in ordered and (is_zero_most or (low == 0 and is_wide))):
        places = {value: float(place) for place, value in enumerate(ordered)}
        counted = tuple((place, say(value)) for value, place in places.items())
        margin = max(_MARGIN * len(ordered), 0.2)
        name = f"{name} (equally spaced)" if len(ordered) > 1 else name
        return Swept(Axis(name, -margin, len(ordered) - 1 + margin, counted, False, say), places)
    is_log = is_wide and low > _SMALLEST and high < 1 / _SMALLEST
    margin = (high / low) ** _MARGIN if is_log else (high - low) * _MARGIN
    ends = (low / margin, high * margin) if is_log else (low - margin, high + margin)
    ticks = tuple((value, say(value)) for value in ordered)
    return Swept(Axis(name, *ends, ticks, is_log, say), {value: value for value in ordered})


def line_chart(
    slug: str, title: str, lines: Sequence[Line], x: Swept, y: Axis, digital: float | None = None, key: str = ""
) -> LineChart:
    """Lays a plot out.

    Args:
        slug: for the ids in the page.
        title: says what is plotted against what.
        lines: at least one, with at least one spot each.
        x, y: axes that hold all spots.
        digital: the digital program's share, drawn as a line across; None where there is none.
        key: what the lines' names are values of.
    """
    names = [*(line.name for line in lines), *([] if digital is None else ["digital"])]
    plot = Box(_LEFT, _TOP, WIDTH - _LEADER - _KEY - max(map(text_width, names)), _HEIGHT - _BOTTOM)

    def down(share: float) -> float:
        return round(plot.bottom - y.at(share) * (plot.bottom - plot.top), 1)

    def across(place: float) -> float:
        return plot.left + x.axis.at(place) * (plot.right - plot.left)

    drawn = tuple(_drawn(line, number, len(lines), x, y, across, down, key) for number, line in enumerate(lines))
    ticks = tuple((round(across(place), 1), text) for place, text in x.axis.ticks)
    level = None if digital is None else down(digital)
    return LineChart(
        slug, title, "; ".join(mark.title for line in drawn for mark in line.marks), plot, _HEIGHT, x.axis.name, y.name,
        _readable(ticks), tuple((down(value), text) for value, text in y.ticks), drawn,
        _ends(drawn, [line.name for line in lines], plot, level), level, key,
    )  # fmt: skip


def spread_apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places at least `gap` apart from `low` to `high`, as near to the wanted ones as that lets them.

    Args:
        wanted: ascending.
    """
    groups: list[tuple[float, int]] = []  # those that touch: their sum, each less what stands before it, and how many
    for place, value in enumerate(wanted):
        total, count = value - gap * place, 1
        while groups and groups[-1][0] / groups[-1][1] > total / count:
            before = groups.pop()
            total, count = total + before[0], count + before[1]
        groups.append((total, count))
    found = [total / count for total, count in groups for _ in range(count)]
    last = high - gap * (len(wanted) - 1)
    return [max(min(value, last), low) + gap * place for place, value in enumerate(found)]


def _drawn(
    line: Line,
    number: int,
    count: int,
    x: Swept,
    y: Axis,
    across: Callable[[float], float],
    down: Callable[[float], float],
    key: str,
) -> DrawnLine:
    """Marks of several lines stand a little beside each other, or their whiskers would lie on one another."""
    shift = _SHIFT * (number - (count - 1) / 2) if count <= _MOST_SHIFTED else 0.0
    head = f"{key} {line.name}, " if line.name else ""
    marks = tuple(
        LineMark(
            round(across(x.places[spot.value]) + shift, 1),
            down(spot.mean),
            down(spot.low),
            down(spot.high),
            f"{head}{x.axis.say(spot.value)}: {y.say(spot.mean)} ({y.say(spot.low)} to {y.say(spot.high)})",
        )
        for spot in line.spots
    )
    expected = [f"{round(across(value), 1)} {down(share)}" for value, share in line.expected]
    return DrawnLine(number, _path(f"{mark.x} {mark.y}" for mark in marks), marks, _path(expected))


def _path(points: Iterable[str]) -> str:
    found = "L".join(points)
    return f"M{found}" if found else ""


def _ends(lines: Sequence[DrawnLine], names: Sequence[str], plot: Box, digital: float | None) -> tuple[End, ...]:
    """Names from top to bottom, each near the end of its line."""
    wanted: list[tuple[float, float, int | None, str]] = []
    if digital is not None:
        wanted.append((digital, plot.right, None, "digital"))
    wanted += [(line.marks[-1].y, line.marks[-1].x, line.number, name) for line, name in zip(lines, names) if name]
    wanted.sort(key=lambda entry: entry[0])
    places = spread_apart([entry[0] for entry in wanted], _LINE, plot.top, plot.bottom)
    left = plot.right + _LEADER
    near = {True: left + _KEY - 3, False: left}  # where a leader ends: at the name, or at the mark before it
    return tuple(
        End(text, number, left + _KEY, round(place, 1), (x, y, near[number is None], round(place, 1)))
        for (y, x, number, text), place in zip(wanted, places)
    )


def _readable(ticks: Sequence[tuple[float, str]]) -> tuple[tuple[float, str], ...]:
    """Ticks from the left whose texts do not touch."""
    found: list[tuple[float, str]] = []
    for x, text in ticks:
        if not found or x - found[-1][0] > (text_width(text) + text_width(found[-1][1])) / 2 + 4:
            found.append((x, text))
    return tuple(found)

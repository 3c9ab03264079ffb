"""What is left of a search or a relaxation, against its steps: a small SVG with one line for each run."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 480.0, 280.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 92.0, 40.0, 42.0
_COLOURS = ("#00806b", "#b45309", "#8a35b8", "#15191e", "#1d6fb8", "#b8325a")
_STYLE = """
text { fill: #57606c; font: 11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
.head { fill: #15191e; font-size: 14px; font-weight: 600; } .grid { stroke: #dce0e6; stroke-width: .75; }
.axis { stroke: #57606c; stroke-width: 1; } .run { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
"""

Place = Callable[[float], float]
History = Sequence[Mapping[str, float]]
"""The rows of a run, one an epoch."""


def trace_svg(history: History | Mapping[str, History], column: str, title: str) -> str:
    """A column on a logarithmic axis, as the text of an SVG file that stands on its own.

    Args:
        history: of one run, or of several by name. Rows are placed by `iterations` where they have it, else by
            `epoch`. Rows without the column, and values that are not above 0 or not finite, are left out.
        column: for example `gap` or `residual`.
        title: above the plot.

    Raises:
        ValueError: no row has the column.
    """
    runs = history if isinstance(history, Mapping) else {"": history}
    lines = {name: points for name, rows in runs.items() if (points := _points(rows, column))}
    if not lines:
        raise ValueError(f"no row has a {column} above 0")
    values = [y for points in lines.values() for _, y in points]
    low, high = _decades(min(values), max(values))
    last = max(x for points in lines.values() for x, _ in points)
    steps = "iterations" if any("iterations" in row for rows in runs.values() for row in rows) else "epoch"

    def across(x: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * x / last

    def down(y: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (high - math.log10(y)) / (high - low)

    parts = [f'<text class="head" x="{_LEFT:g}" y="22">{escape(title)}</text>']
    parts += _grid(low, high, last, across, down)
    parts.append(f'<text x="{WIDTH - _RIGHT:g}" y="{HEIGHT - 8:g}" text-anchor="end">{steps}</text>')
    parts.append(f'<text x="{_LEFT - 8:g}" y="{_TOP - 8:g}" text-anchor="end">{escape(column)}</text>')
    ends = _apart([down(points[-1][1]) for points in lines.values()])
    for number, ((name, points), end) in enumerate(zip(lines.items(), ends)):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in _thinned(points))
        parts.append(f'<polyline class="run" stroke="{colour}" points="{path}"/>')
        at = across(points[-1][0])
        parts.append(f'<circle cx="{at:.1f}" cy="{down(points[-1][1]):.1f}" r="2.6" fill="{colour}"/>')
        parts.append(f'<text x="{at + 7:.1f}" y="{end + 4:.1f}" style="fill: {colour}">{escape(name)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{1.25 * WIDTH:g}" height="{1.25 * HEIGHT:g}" '
        f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-labelledby="title">\n<title id="title">{escape(title)}'
        f'</title>\n<style>{_STYLE}</style>\n<rect width="{WIDTH:g}" height="{HEIGHT:g}" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _points(rows: History, column: str) -> list[tuple[float, float]]:
    """Steps and values, as far as they can be drawn."""
    placed = [(float(row.get("iterations", row.get("epoch", number + 1))), row) for number, row in enumerate(rows)]
    return [(x, float(row[column])) for x, row in placed if column in row and 0 < row[column] < math.inf]


def _decades(least: float, most: float) -> tuple[float, float]:
    """Whole powers of ten around the values; at least one apart."""
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
    return low, max(high, low + 1)


def _grid(low: float, high: float, last: float, across: Place, down: Place) -> list[str]:
    """Lines and numbers: powers of ten, and round numbers of steps."""
    parts = []
    decades = int(high - low)
    for power in range(int(low), int(high) + 1, max(1, math.ceil(decades / 6))):
        y = down(10.0**power)
        parts.append(f'<line class="grid" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">{_power(power)}</text>')
    bottom = HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT:g}" x2="{WIDTH - _RIGHT:g}" y1="{bottom:g}" y2="{bottom:g}"/>')
    for x in _round_steps(last):
        parts.append(f'<text x="{across(x):.1f}" y="{bottom + 16:g}" text-anchor="middle">{x:,.0f}</text>')
    return parts


def _power(power: int) -> str:
    return f"{10.0**power:g}" if -4 <= power <= 4 else f"1e{power}"


def _round_steps(last: float) -> list[float]:
    """0 and up to five multiples of 1, 2 or 5 times a power of ten."""
    rough = last / 5
    size = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
    return [step * number for number in range(int(last / step) + 1)]


def _thinned(points: list[tuple[float, float]], most: int = 600) -> list[tuple[float, float]]:
    """So many points at most, the last among them."""
    stride = max(1, math.ceil(len(points) / most))
    return points[::stride] + ([points[-1]] if (len(points) - 1) % stride else [])


def _apart(places: list[float], distance: float = 13.0) -> list[float]:
    """Heights of names: each by its line's end, none over another."""
    order = sorted(range(len(places)), key=places.__getitem__)
    found = list(places)
    for before, after in pairwise(order):
        found[after] = max(found[after], found[before] + distance)
    return found

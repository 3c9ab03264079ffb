"""A fit as a picture: readings of all sweeps, the fitted curves through them and the figures with their intervals.

An SVG of 720 by 480 units, written here, so that equal fits give equal bytes. Colours are two of Okabe and Ito's
("Color universal design", 2008), told apart by colour-blind eyes; form and dashes tell the same.
"""

import math
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from ...storage import atomic_path
from .fit import Fit, curve_of
from .pulse_file import PulseTrain

WIDTH, HEIGHT = 720, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 424.0, 60.0, 428.0  # of the axes
_TABLE, _VALUES, _EDGE, _ROW = 444.0, 592.0, 708.0, 19.0  # of the figures
_MOST_POINTS = 2000  # drawn of a direction; more are thinned out evenly
_MOST_SHARE = 2.0  # of a sweep's pulses, that the axis shows
_LONGEST_NAME = 48
_INK, _SOFT, _LINE = "#15191e", "#57606c", "#dce0e6"
_WAYS = ((1, "rising (LTP)", "#0072b2", "none"), (-1, "falling (LTD)", "#d55e00", "7 4"))
_UNITS = ((1.0, "S"), (1e-3, "mS"), (1e-6, "µS"), (1e-9, "nS"), (1e-12, "pS"))
_ROWS = (
    ("g_min", "g_min"), ("g_max", "g_max"), ("pulses_up", "pulses up"), ("pulses_down", "pulses down"),
    ("nonlinearity_up", "label up"), ("nonlinearity_down", "label down"), ("cycle_noise", "cycle noise"),
    ("read_noise", "read noise"), ("high_spread", "g_max spread"), ("low_spread", "g_min spread"),
    ("nonlinearity_spread", "label spread"),
)  # fmt: skip


def write_fit_plot(path: Path, fit: Fit, trains: Sequence[PulseTrain]) -> None:
    """Writes `fit_svg` to a file, whole or not at all.

    Raises:
        BadInput: the file cannot be written.
    """
    text = fit_svg(fit, trains)
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8")


def fit_svg(fit: Fit, trains: Sequence[PulseTrain]) -> str:
    """The picture as text.

    Args:
        fit: of `fit_pulses`.
        trains: what it was fitted to.
    """
    top = max(fit.device.g_max, *(float(train.conductance.max()) for train in trains))
    scale, unit = next((each for each in _UNITS if top >= each[0]), _UNITS[-1])
    lengths = {1: fit.device.pulses_up, -1: fit.device.pulses_down}
    longest = max(train.pulses[-1] / lengths[train.direction] for train in trains)
    axes = _Axes(min(max(1.0, float(longest)), _MOST_SHARE), top / scale * 1.04)
    name = _words(fit.device.name, _LONGEST_NAME)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}" role="img">',
        f"<title>{name}: fitted pulse response</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="16" y="27" font-size="16" font-weight="600">{name}</text>',
        f'<text x="16" y="46" fill="{_SOFT}">{_subtitle(fit)}</text>',
        *axes.drawn(unit),
        *(_points(axes, trains, way, lengths[way], scale) for way, *_ in _WAYS),
        *(_curve(axes, fit, way, scale) for way, *_ in _WAYS),
        *_legend(),
        *_figures(fit, scale, unit),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


class _Axes:
    """Where values stand: shares of a sweep from 0 to `right`, conductances from 0 to `top`."""

    def __init__(self, right: float, top: float):
        self.right, self.top = right, top

    def x(self, share: float) -> float:
        return round(_LEFT + share / self.right * (_RIGHT - _LEFT), 1)

    def y(self, value: float) -> float:
        return round(_BOTTOM - value / self.top * (_BOTTOM - _TOP), 1)

    def drawn(self, unit: str) -> list[str]:
        """Grid, ticks and names."""
        parts = []
        for value in _ticks(self.top):
            y = self.y(value)
            parts.append(f'<path d="M{_LEFT} {y}H{_RIGHT}" stroke="{_LINE}"/>')
            parts.append(f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end" fill="{_SOFT}">{value:g}</text>')
        for value in _ticks(self.right):
            x = self.x(value)
            parts.append(f'<path d="M{x} {_BOTTOM}v5" stroke="{_SOFT}"/>')
            parts.append(f'<text x="{x}" y="{_BOTTOM + 19}" text-anchor="middle" fill="{_SOFT}">{value:g}</text>')
        middle = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
        parts.append(f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="{_SOFT}"/>')
        parts.append(f'<text x="{middle[0]}" y="{HEIGHT - 12}" text-anchor="middle">Pulses, share of a sweep</text>')
        turned = f'transform="translate(18 {middle[1]}) rotate(-90)"'
        parts.append(f'<text {turned} text-anchor="middle">Conductance ({unit})</text>')
        return parts


def _ticks(top: float) -> list[float]:
    """Round numbers from 0 to `top`, four to nine of them."""
    rough = top / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.9999)
    return [float(f"{place * step:.12g}") for place in range(int(top / step * 1.000001) + 1)]


def _points(axes: _Axes, trains: Sequence[PulseTrain], way: int, length: int, scale: float) -> str:
    """Readings of a direction as one path: discs of a round pen for rising, crosses for falling."""
    own = [train for train in trains if train.direction == way]
    shares = np.concatenate([train.pulses for train in own]) / length
    values = np.concatenate([train.conductance for train in own]) / scale
    picked = np.linspace(0, len(shares) - 1, min(len(shares), _MOST_POINTS)).round().astype(int)
    picked = picked[shares[picked] <= axes.right]
    mark = "h0" if way > 0 else "m-2-2l4 4m0-4l-4 4"
    pen = 'stroke-width="4.4" stroke-linecap="round"' if way > 0 else 'stroke-width="1.1"'
    opacity = max(0.25, min(0.7, 40 / math.sqrt(len(picked) + 1) / 3))
    path = "".join(f"M{axes.x(shares[place])} {axes.y(values[place])}{mark}" for place in picked)
    colour = _WAYS[0][2] if way > 0 else _WAYS[1][2]
    return f'<path d="{path}" fill="none" stroke="{colour}" {pen} stroke-opacity="{opacity:.2f}"/>'


def _curve(axes: _Axes, fit: Fit, way: int, scale: float) -> str:
    length = fit.device.pulses_up if way > 0 else fit.device.pulses_down
    shares = np.linspace(0.0, 1.0, 101)
    values = curve_of(fit.device, way, shares * length) / scale
    path = " ".join(f"{axes.x(share)} {axes.y(value)}" for share, value in zip(shares, values))
    _, _, colour, dashes = _WAYS[0] if way > 0 else _WAYS[1]
    return f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dashes}"/>'


def _legend() -> list[str]:
    parts = []
    for place, (way, words, colour, dashes) in enumerate(_WAYS):
        y = _TOP + 8 + place * _ROW
        mark = "M{0} {1}h0" if way > 0 else "M{0} {1}m-2.5-2.5l5 5m0-5l-5 5"
        pen = 'stroke-width="5.5" stroke-linecap="round"' if way > 0 else 'stroke-width="1.4"'
        parts.append(f'<path d="{mark.format(_TABLE + 4, y)}" stroke="{colour}" {pen} fill="none"/>')
        parts.append(
            f'<path d="M{_TABLE + 16} {y}h34" stroke="{colour}" stroke-width="2.2" stroke-dasharray="{dashes}"/>'
        )
        parts.append(f'<text x="{_TABLE + 60}" y="{y + 4}">{words}: readings, fit</text>')
    return parts


def _figures(fit: Fit, scale: float, unit: str) -> list[str]:
    """A table of what was fitted."""
    y = _TOP + 74
    parts = [
        f'<text x="{_TABLE}" y="{y}" font-weight="600">Fitted</text>',
        f'<text x="{_EDGE}" y="{y}" text-anchor="end" fill="{_SOFT}">95 % interval</text>',
        f'<path d="M{_TABLE} {y + 7}H{_EDGE}" stroke="{_LINE}"/>',
    ]
    for figure, words in _ROWS:
        if figure not in fit.intervals:
            continue
        y += _ROW + (6 if len(parts) == 3 else 0)
        factor, mark = (1 / scale, f" ({unit})") if figure.startswith("g_") else (1.0, "")
        if figure.endswith("noise") or figure in ("high_spread", "low_spread"):
            factor, mark = 100.0, " (%)"
        numbers = (getattr(fit.device, figure), *fit.intervals[figure])
        value, low, high = _rounded([number * factor for number in numbers])
        span = f"{low} to {high}" if not figure.startswith("pulses") or low != high else "as measured"
        parts.append(f'<text x="{_TABLE}" y="{y}">{words}{mark}</text>')
        parts.append(f'<text x="{_VALUES}" y="{y}" text-anchor="end" font-weight="600">{value}</text>')
        parts.append(f'<text x="{_EDGE}" y="{y}" text-anchor="end" fill="{_SOFT}">{span}</text>')
    return parts


def _rounded(numbers: list[float]) -> list[str]:
    """Value, low and high with the digits that the interval leaves, three decimals at most."""
    if all(isinstance(number, int) or number.is_integer() for number in numbers):
        return [str(int(number)) for number in numbers]
    largest = max(abs(number) for number in numbers)
    width = max(numbers[2] - numbers[1], largest * 5e-3, 1e-12)
    digits = max(0, min(1 - math.floor(math.log10(width)), 3))
    return [f"{round(number, digits) + 0.0:.{digits}f}".replace("-", "−") for number in numbers]


def _subtitle(fit: Fit) -> str:
    devices = f" of {fit.devices} devices" if fit.devices > 1 else ""
    fitted = f"{fit.device.response} response, {fit.sweeps} sweeps{devices}"
    return _words(f"{fitted}; readings lie {fit.residual:.1%} of the range from it (rms)".replace("%", " %"), 110)


def _words(text: str, most: int) -> str:
    """Text as XML may hold it, cut where it is long."""
    plain = " ".join(re.sub("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", " ", text).split())
    return escape(plain if len(plain) <= most else plain[: most - 1] + "…")

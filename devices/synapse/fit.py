"""A device from measured sweeps: the figures that explain them, with 95 % intervals, or the mean sweeps as they are.

`fit_walk` says what a sweep is taken for, `fit_noise` how noise is measured.
"""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np
import torch
from scipy.stats import chi2
from scipy.stats import t as student

from ...errors import BadInput
from .device import LABEL_BOUNDS, Pulse, SynapseDevice
from .fit_noise import Estimates, noise_of
from .fit_walk import FEWEST_SWEEPS, FLOOR, Sweeps, closest, expected, first_curve, half_widths, moved_by, side_by_side
from .nonlinearity import LARGEST, STRAIGHT, label_of
from .pulse_file import PulseTrain
from .response import nominal_curve

TITLE, SOURCE = "measured device", "measured pulse responses"
_ROUNDS, _SETTLED = 12, 1e-4  # between curve and noise
_WAYS = ((1, "rising", "pulses_up", "nonlinearity_up"), (-1, "falling", "pulses_down", "nonlinearity_down"))
_LABELS = ("nonlinearity_up", "nonlinearity_down")


@dataclass(frozen=True)
class Fit:
    """A fitted device.

    Attributes:
        device: response "exponential", or "linear" where neither label can be told from 0.
        intervals: 95 % interval of each fitted field of `device`, in its units; of pulses, fewest and most.
        residual: root mean square distance of readings from the nominal device's curves, as a share of the range.
        sweeps, devices: how many there were.
        method: how the intervals came about.
    """

    device: SynapseDevice
    intervals: dict[str, tuple[float, float]]
    residual: float
    sweeps: int
    devices: int
    method: str


def fit_pulses(trains: Sequence[PulseTrain], name: str, title: str = TITLE, source: str = SOURCE) -> Fit:
    """Fits the exponential response. Several devices are fitted one by one; their mean and their spread are given.

    Args:
        trains: sweeps, in both directions of each device.
        name, title, source: of the device that is found.

    Raises:
        BadInput: there is no sweep, a device lacks a direction, or its readings are all the same.
    """
    by_device: dict[str, list[PulseTrain]] = {}
    for train in trains:
        by_device.setdefault(train.device, []).append(train)
    for label, own in by_device.items():
        _check(f"synapse {name}, device {label}" if label else f"synapse {name}", own)
    if not by_device:
        raise BadInput(f"synapse {name}: no sweep to fit; give at least a rising and a falling one")
    lengths = {way: [int(train.pulses[-1]) for train in trains if train.direction == way] for way, *_ in _WAYS}
    pulses = {way: int(np.median(counts)) for way, counts in lengths.items()}
    found = [_fitted(side_by_side(own, pulses)) for own in by_device.values()]
    averaged = {
        figure: _averaged(np.array([each[figure] for each in found]), -LARGEST if figure in _LABELS else 0.0)
        for figure in found[0]
    }
    averaged |= {figure: (pulses[way], min(lengths[way]), max(lengths[way])) for way, _, figure, _ in _WAYS}
    averaged |= _spreads(found, averaged["g_max"][0] - averaged["g_min"][0]) if len(found) > 1 else {}
    values: dict[str, Any] = {figure: value for figure, (value, _, _) in averaged.items()}
    values |= {label: min(max(values[label], low), high) for label, (low, high) in LABEL_BOUNDS.items()}
    residual = _residual(trains, SynapseDevice(name, title, source, response="exponential", **values))
    is_straight = all(_is_straight(np.array([each[label] for each in found])) for label in _LABELS)
    if is_straight:
        values |= dict.fromkeys((*_LABELS, "nonlinearity_spread"), 0.0)
    device = SynapseDevice(name, title, source, response="linear" if is_straight else "exponential", **values)
    intervals = {figure: (low, high) for figure, (_, low, high) in averaged.items()}
    return Fit(device, intervals, residual, len(trains), len(found), _method(list(by_device.values())))


def _check(place: str, trains: Sequence[PulseTrain]) -> None:
    for way, word, *_ in _WAYS:
        if not any(train.direction == way for train in trains):
            raise BadInput(f"{place}: no {word} sweep; each device needs one in either direction")
    if max(train.conductance.max() for train in trains) == min(train.conductance.min() for train in trains):
        raise BadInput(f"{place}: all readings are the same; a response needs a range")


def _method(by_device: list[list[PulseTrain]]) -> str:
    fewest = min(sum(train.direction == way for train in own) for own in by_device for way, *_ in _WAYS)
    widened = ", widened to the scatter of the sweeps" if fewest >= FEWEST_SWEEPS else ""
    return f"Student's t over {len(by_device)} devices" if len(by_device) > 1 else f"Jacobian{widened}"


def _fitted(sweeps: Sweeps) -> Estimates:
    """The figures of one device, curve and noise in turns until they settle."""
    curve, noise = first_curve(sweeps), (0.0, 0.0)
    for _ in range(_ROUNDS):
        before = curve
        noise, noises = noise_of(curve, sweeps, noise)
        found = closest(curve, _errors(curve, noise, sweeps), sweeps)
        curve = found.x
        if np.abs(curve - before).max() < _SETTLED * max(1.0, np.abs(curve).max()):
            break
    figures = _curve_figures(curve, half_widths(found, sweeps), noise, sweeps)
    low, high = figures["g_min"], figures["g_max"]
    value, least, most = noises["cycle_noise"]  # a share of a range that is known only so well
    open_share = min(0.9, (high[2] - high[1] + low[2] - low[1]) / 2 / (high[0] - low[0]))
    return figures | noises | {"cycle_noise": (value, least * (1 - open_share), most / (1 - open_share))}


def _errors(curve: np.ndarray, noise: tuple[float, float], sweeps: Sweeps) -> Callable[[np.ndarray], np.ndarray]:
    """What tried curves leave of each reading, over the standard deviation that it has at `curve`."""
    sd = np.sqrt(expected(curve, noise, sweeps)[1])
    return lambda tried: (sweeps.states - expected(tried, noise, sweeps)[0]) / sd


def _curve_figures(curve: np.ndarray, widths: np.ndarray, noise: tuple[float, float], sweeps: Sweeps) -> Estimates:
    low, high, floor = float(curve[0]), float(curve[0] + curve[1]), FLOOR * float(curve[1])
    low_most, low_least = low + widths[0] + floor, low - widths[0] - floor - _beyond(curve, noise, sweeps, -1)
    high_least, high_most = high - widths[4] - floor, high + widths[4] + floor + _beyond(curve, noise, sweeps, 1)
    ends = {"g_min": (low, max(0.0, low_least), low_most), "g_max": (high, high_least, high_most)}
    found = {name: _estimate(each * sweeps.unit for each in end) for name, end in ends.items()}
    for name, bend, width in zip(_LABELS, curve[2:], widths[2:]):
        found[name] = _estimate((_label(bend), _label(bend - width) - FLOOR, _label(bend + width) + FLOOR))
    return found


def _estimate(numbers: Iterable[float]) -> tuple[float, float, float]:
    value, low, high = map(float, numbers)
    return value, low, high


def _label(bend: float) -> float:
    """The published label of 1 / A."""
    return float(label_of(torch.tensor(1.0 / bend, dtype=torch.float64))) if abs(bend) > 1e-9 else 0.0


def _beyond(curve: np.ndarray, noise: tuple[float, float], sweeps: Sweeps, sign: int) -> float:
    """How much farther out than readings an end may lie: nothing where two sweeps or three readings ended there.

    Otherwise what looks like the end may be where one walk happened to stop, short of it by a sweep's noise.
    """
    leads = sweeps.sign[:, 0] == sign
    end = curve[0] + (curve[1] if sign > 0 else 0.0)
    reached = np.nanmax(sign * sweeps.states[leads], axis=1)
    is_extreme = np.abs(sign * sweeps.states - reached.max()) < FLOOR * curve[1]
    if (sign * end - reached < 0.5 * noise[0] * curve[1] + 2 * noise[1] * end).sum() > 1 or is_extreme.sum() > 2:
        return 0.0
    grown = moved_by(curve, sweeps, np.asarray(end), sweeps.length)[2][leads]
    return 1.96 * noise[0] * math.sqrt(float(grown[0, 0]) / leads.sum())


def _averaged(devices: np.ndarray, lowest: float) -> tuple[float, float, float]:
    """Mean and interval of figures (devices, 3): value, low and high; the interval from `lowest` on."""
    if len(devices) == 1:
        return _estimate(devices[0].tolist())
    mean = float(devices[:, 0].mean())
    within = ((devices[:, 2] - devices[:, 1]) / 3.92) ** 2
    width = student.ppf(0.975, len(devices) - 1) * math.sqrt(
        max(devices[:, 0].var(ddof=1), within.mean()) / len(devices)
    )
    return _estimate((mean, max(lowest, mean - width), mean + width))


def _is_straight(devices: np.ndarray) -> bool:
    """Whether a label's interval holds 0, that of the mean by what each device's own sweeps leave open."""
    mean, width = devices[:, 0].mean(), math.sqrt(((devices[:, 2] - devices[:, 1]) ** 2).sum()) / 2 / len(devices)
    if len(devices) == 1:
        return bool(devices[0, 1] < STRAIGHT and devices[0, 2] > -STRAIGHT)
    return bool(mean - width < STRAIGHT and mean + width > -STRAIGHT)


def _spreads(found: list[Estimates], span: float) -> Estimates:
    """Standard deviations from device to device, less what the intervals of each leave open; chi-squared intervals."""
    spreads: Estimates = {}
    for name, figures, unit in (
        ("high_spread", ("g_max",), span), ("low_spread", ("g_min",), span), ("nonlinearity_spread", _LABELS, 1.0),
    ):  # fmt: skip
        values = np.array([[each[figure] for each in found] for figure in figures]) / unit
        total = values[..., 0].var(axis=1, ddof=1).mean()
        within = (((values[..., 2] - values[..., 1]) / 3.92) ** 2).mean()
        free = values[..., 0].size - len(figures)
        low, high = (total * free / float(chi2.ppf(share, free)) for share in (0.975, 0.025))
        spreads[name] = _estimate(math.sqrt(max(0.0, each - within)) for each in (total, low, high))
    return spreads


def _residual(trains: Sequence[PulseTrain], device: SynapseDevice) -> float:
    squares = [((train.conductance - curve_of(device, train.direction, train.pulses)) ** 2) for train in trains]
    return float(np.sqrt(np.concatenate(squares).mean()) / (device.g_max - device.g_min))


def curve_of(device: SynapseDevice, direction: int, pulses: np.ndarray) -> np.ndarray:
    """Conductance in siemens of the nominal device after pulses of a direction, 1 or -1, from the end it begins at."""
    curve = nominal_curve(device, direction > 0).numpy()
    return device.g_min + (device.g_max - device.g_min) * np.interp(pulses, np.arange(len(curve)), curve)


def measured_device(trains: Sequence[PulseTrain], name: str, title: str = TITLE, source: str = SOURCE) -> SynapseDevice:
    """A device that follows the mean of measured sweeps; its noise and spread are 0, for `fit_pulses` to find.

    Args:
        trains: sweeps, in both directions. One that was not read before its first pulse is taken to begin where those
            of the other direction end, on average.
        name, title, source: of the device.

    Raises:
        BadInput: a direction is missing, or the mean does not go its way with every pulse.
    """
    _check(f"synapse {name}", trains)
    curves, ends = {}, {}
    for way, word, *_ in _WAYS:
        mean = _mean_curve(trains, way)
        if (wrong := np.flatnonzero(way * np.diff(mean) <= 0)).size:
            raise BadInput(
                f"synapse {name}: pulse {wrong[0] + 1} of the mean {word} sweep goes the wrong way, so it is no "
                f"curve to look up; average more cycles, or fit the exponential response"
            )
        ends[way] = min(mean[0], mean[-1]), max(mean[0], mean[-1])
        shares = (mean - ends[way][0]) / (ends[way][1] - ends[way][0])
        curves[way] = tuple(shares.tolist())
    low, high = (float(ends[1][place] + ends[-1][place]) / 2 for place in (0, 1))
    return SynapseDevice(
        name, title, source, low, high, response="measured", curve_up=curves[1], curve_down=curves[-1],
        pulses_up=len(curves[1]) - 1, pulses_down=len(curves[-1]) - 1,
    )  # fmt: skip


def _mean_curve(trains: Sequence[PulseTrain], way: int) -> np.ndarray:
    """Mean conductance after 0, 1, 2, ... pulses; pulses that were not read lie between those that were."""
    own = [train for train in trains if train.direction == way]
    start = np.mean([train.conductance[-1] for train in trains if train.direction != way])
    grid = np.arange(int(np.median([train.pulses[-1] for train in own])) + 1)
    rows = []
    for train in own:
        lacks = [0] if train.pulses[0] > 0 else []
        pulses, conductance = np.append(lacks, train.pulses), np.append([start] if lacks else [], train.conductance)
        rows.append(np.interp(grid, pulses, conductance, right=np.nan))
    return np.nanmean(rows, axis=0)


def device_toml(device: SynapseDevice, comment: str = "") -> str:
    """A device as an entry of a catalogue: a TOML table by its name with the fields that are not as by default.

    Siemens, seconds and volts; `comment` comes before it, line by line.
    """
    lines = [f"# {' '.join(line.split())}".rstrip() for line in comment.splitlines()]
    lines.append(f"[{device.name if re.fullmatch('[A-Za-z0-9_-]+', device.name) else _toml(device.name)}]")
    for each in fields(device):
        value = getattr(device, each.name)
        if each.name != "name" and (each.default is MISSING or value != each.default):
            lines.append(f"{each.name} = {_toml(value)}")
    return "\n".join(lines) + "\n"


def _toml(value: str | int | float | Pulse | tuple) -> str:
    if isinstance(value, Pulse):
        return f"{{ volts = {_toml(float(value.volts))}, seconds = {_toml(float(value.seconds))} }}"
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):  # as JSON has it, but for one more character that must not stand as it is
        return json.dumps(value.encode(errors="replace").decode(), ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)

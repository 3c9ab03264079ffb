"""`SynapseDevice`: one kind of electronic synapse, as its publication or a measurement describes it."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Any

from ...errors import BadInput

LARGEST = 9.0  # nonlinearity label, of the published table; the curve is then all but a step
# Of a curve that begins flat: cells are kept in float32, in which the first steps of a flatter one would be lost.
LARGEST_FLAT = 7.0
RETENTIONS = ("power-law", "phase-change", "filament", "oxide")
RESPONSES = ("linear", "constant-step", "soft-bounds", "exponential", "measured")


@dataclass(frozen=True)
class Pulse:
    """A voltage pulse: volts, of either sign, for so many seconds."""

    volts: float
    seconds: float


@dataclass(frozen=True)
class SynapseDevice:
    """A device whose conductance is set by pulses.

    Shares are of the nominal range g_max - g_min; spreads and noises are standard deviations.

    Attributes:
        name: what the user types, for example `epiram`.
        title: material and kind.
        source: citation of its figures.
        g_min, g_max: conductances in siemens, g_min < g_max.
        response: how a pulse moves the conductance, of `RESPONSES`.
        pulses_up, pulses_down: pulses from g_min to g_max, and back.
        nonlinearity_up, nonlinearity_down: published labels of an exponential response, within `LABEL_BOUNDS`.
        levels: distinguishable states when it is programmed; None for pulses_up + 1, 0 for a continuum.
        curve_up, curve_down: of a measured response, conductance as a share of the range after 0, 1, 2, ... pulses.
        high_spread, low_spread: of g_max and g_min from device to device, as shares.
        nonlinearity_spread: of both labels from device to device, in labels.
        nonlinearity_correlation: between a device's two label deviations, -1 to 1.
        step_spread: of the size of a step from device to device, as a share of the step.
        asymmetry_spread: of what is added to steps up and taken from steps down, as a share of the step.
        cycle_noise: of each pulse's outcome, as a share of the range.
        cycle_step_noise: of each pulse's outcome, as a share of the step.
        read_noise: of each read, as a share of the conductance.
        retention: law of what time does, of `RETENTIONS`; others than `power-law` are laws of one device each, have
            their own spread of programming, and leave `program_error` and the figures of the drift out.
        program_error: of a programmed conductance, as a share of the range, where it is written once.
        verify_tolerance: what write-and-verify leaves at most, as a share of the range.
        stuck: share of devices that no pulse moves.
        stuck_at: where these stand: `low`, `high` or `any`.
        drift, drift_spread: exponent nu of G(t) = G (t / drift_start)^-nu, and its spread.
        drift_start: seconds after programming at which drift begins.
        write_up, write_down, read: pulses, where published.
    """

    name: str
    title: str
    source: str
    g_min: float
    g_max: float
    response: str = "linear"
    pulses_up: int = 64
    pulses_down: int = 64
    nonlinearity_up: float = 0.0
    nonlinearity_down: float = 0.0
    levels: int | None = None
    curve_up: tuple[float, ...] = field(default=(), repr=False)
    curve_down: tuple[float, ...] = field(default=(), repr=False)
    high_spread: float = 0.0
    low_spread: float = 0.0
    nonlinearity_spread: float = 0.0
    nonlinearity_correlation: float = 0.0
    step_spread: float = 0.0
    asymmetry_spread: float = 0.0
    cycle_noise: float = 0.0
    cycle_step_noise: float = 0.0
    read_noise: float = 0.0
    program_error: float = 0.0
    verify_tolerance: float = 0.01
    stuck: float = 0.0
    stuck_at: str = "any"
    retention: str = "power-law"
    drift: float = 0.0
    drift_spread: float = 0.0
    drift_start: float = 1.0
    write_up: Pulse | None = None
    write_down: Pulse | None = None
    read: Pulse | None = None

    def __post_init__(self) -> None:
        if faults := _faults(self):
            raise BadInput(f"synapse {self.name}: {'; '.join(faults)}")

    def to_json(self) -> dict[str, Any]:
        """Every field as a plain value."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @property
    def on_off(self) -> float:
        """g_max / g_min; infinite where g_min is 0."""
        return self.g_max / self.g_min if self.g_min else math.inf

    def joules(self, pulse: Pulse) -> float:
        """Energy that one pulse takes at mid range: V² G t. Not that of a gate, through which no current flows."""
        return pulse.volts**2 * (self.g_min + self.g_max) / 2 * pulse.seconds

    @property
    def states(self) -> int:
        """Distinguishable states when it is programmed; 0 for a continuum."""
        return self.pulses_up + 1 if self.levels is None else self.levels


LABEL_BOUNDS = {"nonlinearity_up": (-LARGEST_FLAT, LARGEST), "nonlinearity_down": (-LARGEST, LARGEST_FLAT)}


def _faults(device: SynapseDevice) -> list[str]:
    """Every figure that no device can have, each with its bound."""
    found = [f"{name} must be a number, got {value}" for name, value in _numbers(device) if not math.isfinite(value)]
    if found:
        return found
    if not 0 <= device.g_min < device.g_max:
        found.append(f"g_min must be from 0 to below g_max ({device.g_max:g}), got {device.g_min:g}")
    if device.response not in RESPONSES:
        found.append(f"response must be one of {', '.join(RESPONSES)}, got {device.response}")
    if device.retention not in RETENTIONS:
        found.append(f"retention must be one of {', '.join(RETENTIONS)}, got {device.retention}")
    for name in ("pulses_up", "pulses_down"):
        if getattr(device, name) < 1:
            found.append(f"{name} must be 1 or more, got {getattr(device, name)}")
    if device.levels is not None and device.levels < 2 and device.levels != 0:
        found.append(f"levels must be 2 or more, or 0 for a continuum, got {device.levels}")
    for name, (low, high) in LABEL_BOUNDS.items():
        if not low <= getattr(device, name) <= high:
            found.append(f"{name} must be from {low:g} to {high:g}, got {getattr(device, name):g}")
    if abs(device.nonlinearity_correlation) > 1:
        found.append(f"nonlinearity_correlation must be from -1 to 1, got {device.nonlinearity_correlation:g}")
    for name in _NOT_NEGATIVE:
        if getattr(device, name) < 0:
            found.append(f"{name} must be 0 or more, got {getattr(device, name):g}")
    if device.stuck > 1:
        found.append(f"stuck must be a share from 0 to 1, got {device.stuck:g}")
    if device.stuck_at not in ("low", "high", "any"):
        found.append(f"stuck_at must be low, high or any, got {device.stuck_at}")
    if not device.drift_start > 0:
        found.append(f"drift_start must be above 0 seconds, got {device.drift_start:g}")
    for name in ("write_up", "write_down", "read"):
        pulse = getattr(device, name)
        if pulse is not None and not pulse.seconds > 0:
            found.append(f"{name}.seconds must be above 0, got {pulse.seconds:g}")
    return found + (_curve_faults(device) if device.response == "measured" else [])


def _numbers(device: SynapseDevice) -> Iterator[tuple[str, float]]:
    """Every figure with its name, those inside curves and pulses too."""
    for each in fields(device):
        value = getattr(device, each.name)
        if isinstance(value, int | float):
            yield each.name, value
        elif isinstance(value, tuple):
            yield from ((each.name, number) for number in value)
        elif isinstance(value, Pulse):
            yield from ((f"{each.name}.{name}", number) for name, number in vars(value).items())


def _curve_faults(device: SynapseDevice) -> list[str]:
    found = []
    for name, sign in (("curve_up", 1), ("curve_down", -1)):
        curve = getattr(device, name)
        if len(curve) < 2:
            found.append(f"{name} must have 2 points or more, got {len(curve)}")
        elif any(sign * (after - before) <= 0 for before, after in pairwise(curve)):
            place = next(i for i, (a, b) in enumerate(pairwise(curve)) if sign * (b - a) <= 0)
            found.append(f"{name} must {'rise' if sign > 0 else 'fall'} with each pulse; pulse {place + 1} does not")
        elif (min(curve), max(curve)) != (0.0, 1.0):
            found.append(f"{name} must go between 0 and 1, got {min(curve):g} to {max(curve):g}")
    return found


_NOT_NEGATIVE = (
    *("high_spread", "low_spread", "nonlinearity_spread", "step_spread", "asymmetry_spread", "cycle_noise"),
    *("cycle_step_noise", "read_noise", "program_error", "verify_tolerance", "stuck", "drift", "drift_spread"),
)

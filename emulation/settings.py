"""Figures of devices and arrays by the names that a user sets and sweeps them with."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any

from ..devices.synapse.design import ArrayDesign
from ..devices.synapse.device import SynapseDevice
from ..errors import BadInput

Hardware = tuple[SynapseDevice, ArrayDesign]
MOST_POINTS, MOST_LEVELS = 1000, 65536


@dataclass(frozen=True)
class Setting:
    """A figure that can be set.

    Attributes:
        meaning: what it is, and its unit.
        apply: puts a value into a device and an array.
        is_whole: whether only whole numbers make sense.
    """

    meaning: str
    apply: Callable[[SynapseDevice, ArrayDesign, float], Hardware]
    is_whole: bool = False


@dataclass(frozen=True)
class Axis:
    """One setting and the values that a sweep gives it."""

    name: str
    values: tuple[float, ...]


def _of_device(*fields: str) -> Callable[[SynapseDevice, ArrayDesign, float], Hardware]:
    def apply(device: SynapseDevice, design: ArrayDesign, value: float) -> Hardware:
        changed: dict[str, Any] = dict.fromkeys(fields, value)
        return replace(device, **changed), design

    return apply


def _of_array(field: str) -> Callable[[SynapseDevice, ArrayDesign, float], Hardware]:
    def apply(device: SynapseDevice, design: ArrayDesign, value: float) -> Hardware:
        changed: dict[str, Any] = {field: value}
        return device, replace(design, **changed)

    return apply


def _levels(device: SynapseDevice, design: ArrayDesign, value: float) -> Hardware:
    """A device of so many states; one that is set by pulses then takes one pulse fewer from end to end."""
    levels = int(value)
    if levels > MOST_LEVELS:
        raise BadInput(f"levels must be at most {MOST_LEVELS}, or 0 for a continuum, got {levels}")
    pulses = max(levels - 1, 1)
    if levels == 0 or device.response == "measured":
        return replace(device, levels=levels), design
    return replace(device, levels=levels, pulses_up=pulses, pulses_down=pulses), design


def _on_off(device: SynapseDevice, design: ArrayDesign, value: float) -> Hardware:
    if not value > 1:
        raise BadInput(f"on_off must be above 1, got {value:g}")
    return replace(device, g_min=device.g_max / value), design


def _d2d(device: SynapseDevice, design: ArrayDesign, value: float) -> Hardware:
    """Both ends spread by the same share of themselves."""
    span = device.g_max - device.g_min
    high, low = value * device.g_max / span, value * device.g_min / span
    return replace(device, high_spread=high, low_spread=low), design


def _nonlinearity(device: SynapseDevice, design: ArrayDesign, value: float) -> Hardware:
    return replace(device, response="exponential", nonlinearity_up=value, nonlinearity_down=-value), design


SETTINGS = {
    "levels": Setting("states of a device; 0 for a continuum", _levels, is_whole=True),
    "on_off": Setting("largest conductance over smallest", _on_off),
    "d2d": Setting("spread of a device's largest and smallest conductance, as a share of each", _d2d),
    "c2c": Setting("noise of a pulse's outcome, as a share of the range", _of_device("cycle_noise")),
    "nonlinearity": Setting("label up; down is its negative", _nonlinearity),
    "nonlinearity_spread": Setting("of labels from device to device", _of_device("nonlinearity_spread")),
    "program_error": Setting("of a written conductance, as a share of the range", _of_device("program_error")),
    "read_noise": Setting("of each read, as a share of the conductance", _of_device("read_noise")),
    "stuck": Setting("share of devices that no pulse moves", _of_device("stuck")),
    "drift": Setting("exponent of the drift", _of_device("drift")),
    "adc": Setting("bits of the ADCs; 0 for ideal ones", _of_array("adc_bits"), is_whole=True),
    "adc_share": Setting("share of partial sums within the ADCs' range; beyond, they clip", _of_array("adc_share")),
    "dac": Setting("bits of the DACs; 0 for ideal ones", _of_array("dac_bits"), is_whole=True),
    "rows": Setting("of an array", _of_array("rows"), is_whole=True),
    "columns": Setting("of an array", _of_array("columns"), is_whole=True),
    "slice": Setting("bits of a weight in one device; 0 for all", _of_array("slice_bits"), is_whole=True),
    "clip": Setting("share of weights within the range of conductances", _of_array("clip_share")),
    "wire": Setting("ohms from one cell to the next", _of_array("wire_ohms")),
    "verify": Setting("rounds of write-and-verify", _of_array("verify_rounds"), is_whole=True),
    "time": Setting("seconds from writing to reading", _of_array("seconds")),
}


_OF_PULSES = ("c2c", "nonlinearity", "nonlinearity_spread")
_OF_POWER_LAW = ("drift", "program_error")


def with_settings(device: SynapseDevice, design: ArrayDesign, settings: Iterable[tuple[str, float]]) -> Hardware:
    """The device and the array with several figures set, in the order of `SETTINGS`, since some depend on others.

    Raises:
        BadInput: a value is beyond what its figure can be, or the device has no such figure.
    """
    order = list(SETTINGS)
    for name, value in sorted(settings, key=lambda setting: order.index(setting[0])):
        device, design = with_setting(device, design, name, value)
    return device, design


def with_setting(device: SynapseDevice, design: ArrayDesign, name: str, value: float) -> Hardware:
    """The device and the array with one figure set.

    Raises:
        BadInput: the value is beyond what the figure can be.
    """
    setting = SETTINGS[name]
    if name in _OF_PULSES and not device.states:
        raise BadInput(f"{name}: {device.name} has a continuum of states and no pulses; give it states with levels=N")
    if name in _OF_POWER_LAW and device.retention != "power-law":
        raise BadInput(f"{name}: {device.name} has a law of its own for what writing and time do ({device.retention})")
    if setting.is_whole and value != int(value):
        raise BadInput(f"{name}: must be a whole number, got {value:g}")
    try:
        return setting.apply(device, design, int(value) if setting.is_whole else value)
    except BadInput as fault:
        raise BadInput(f"{name}={value:g}: {fault}") from fault


def parse_axis(text: str) -> Axis:
    """`levels=2,4,8` as a setting and its values.

    Raises:
        BadInput: the name is unknown, or a value is no number.
    """
    name, _, values = text.partition("=")
    if name not in SETTINGS:
        near = get_close_matches(name, SETTINGS, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadInput(f"{text}: no figure is named {name or '(nothing)'}; {hint}known are {', '.join(SETTINGS)}")
    try:
        numbers = tuple(float(part) for part in values.split(","))
    except ValueError as error:
        raise BadInput(f"{text}: {name} takes numbers with commas between, as {name}=1,2") from error
    if not all(abs(number) < float("inf") for number in numbers):
        raise BadInput(f"{text}: {name} takes finite numbers")
    return Axis(name, tuple(dict.fromkeys(numbers)))


def parse_setting(text: str) -> tuple[str, float]:
    """`levels=16` as a setting and its value.

    Raises:
        BadInput: the name is unknown, or there is not one number.
    """
    axis = parse_axis(text)
    if len(axis.values) != 1:
        raise BadInput(f"--set {text}: takes one value; several go to --sweep")
    return axis.name, axis.values[0]


def grid(axes: Sequence[Axis]) -> list[dict[str, float]]:
    """Every combination of the axes' values, the last axis turning fastest; one empty combination for no axes.

    Raises:
        BadInput: an axis appears twice, or there are too many combinations.
    """
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise BadInput(f"--sweep: {next(n for n in names if names.count(n) > 1)} appears twice; give its values in one")
    points: list[dict[str, float]] = [{}]
    for axis in axes:
        points = [{**point, axis.name: value} for point in points for value in axis.values]
        if len(points) > MOST_POINTS:
            raise BadInput(f"--sweep: more than {MOST_POINTS} combinations; take fewer values")
    return points

"""Published devices by name, and a user's own in the same form: a table of a TOML file for each, checked by field."""

import difflib
import math
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

from ...errors import BadInput, first_line
from .device import Pulse, SynapseDevice

_FOLDER = Path(__file__).parent
_ENDING = ".toml"


def catalogue() -> dict[str, SynapseDevice]:
    """The published devices that come with the package, by the name that a user types."""
    return dict(_packaged())


def published_accuracies() -> dict[str, float]:
    """MNIST accuracies, 0 to 1, that MLP+NeuroSim V3.0 reports for devices of the catalogue."""
    tables = tomllib.loads((_FOLDER / "published_accuracies.toml").read_text(encoding="utf-8"))
    return {name: table["accuracy"] for name, table in tables.items()}


def find_device(name_or_path: str) -> SynapseDevice:
    """A device of the catalogue, or of a file.

    Args:
        name_or_path: a name, a path to a `.toml` file of one device, or `file.toml:name`.

    Raises:
        BadInput: nothing of that name, or the file is not what it must be; one line.
    """
    known = _packaged()
    if name_or_path in known:
        return known[name_or_path]
    path, name = name_or_path, ""
    if not path.endswith(_ENDING):
        path, colon, name = name_or_path.rpartition(f"{_ENDING}:")
        if not colon:
            raise BadInput(
                f"synapse {_short(name_or_path)} is not known{_nearest(name_or_path, known)}; known: {', '.join(known)}"
                f"; or give a file of your own, FILE{_ENDING} or FILE{_ENDING}:NAME"
            )
        path += _ENDING
    return _one_of(path, load_device_file(Path(path)), name)


def load_device_file(path: Path) -> dict[str, SynapseDevice]:
    """The devices of a TOML file, by name.

    Raises:
        BadInput: it cannot be read, is no TOML, holds no device, or a device has faults; one line, with all of them.
    """
    name = _shown(str(path))
    tables = _read(path, name)
    loose = [key for key, value in tables.items() if not isinstance(value, dict)]
    if loose:
        raise BadInput(
            f"{name}: {_short(loose[0])} stands outside a device; put a device's fields under its name, as [mine]"
        )
    if not tables:
        raise BadInput(f"{name}: holds no device; give each its table, as [mine], with {', '.join(_NEEDED)}")
    try:
        return {key: device_from_table(key, table) for key, table in tables.items()}
    except BadInput as fault:
        raise BadInput(f"{name}: {fault}") from fault


def check_name(name: str) -> None:
    """Holds a device's name to what can be part of a file's.

    Raises:
        BadInput: it has other characters than letters, digits, `.`, `_` and `-`, or begins with a dot.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise BadInput(f"synapse {_short(name)}: a name must be of letters, digits, '.', '_' and '-'; give it another")


def device_from_table(name: str, table: dict[str, Any]) -> SynapseDevice:
    """The device that a table describes.

    Args:
        name: what a user types.
        table: fields of `SynapseDevice` other than its name; a pulse is a table of volts and seconds.

    Raises:
        BadInput: one line with every fault: a field that is unknown, missing, of the wrong type or out of its bounds.
    """
    check_name(name)
    unknown = [f"{_shown(str(key))} is no field{_nearest(str(key), _READERS)}" for key in table if key not in _READERS]
    missing = [f"{key} is missing: give {_MEANING[key]}" for key in _NEEDED if key not in table]
    values, bad = _values(table)
    found = [*unknown, *missing, *bad]
    try:
        device = SynapseDevice(name=name, **_completed(values, table))
    except BadInput as fault:
        found.append(str(fault).removeprefix(f"synapse {name}: "))
    if found:
        raise BadInput(f"synapse {name}: {'; '.join(found)}")
    return device


@cache
def _packaged() -> dict[str, SynapseDevice]:
    return load_device_file(_FOLDER / "catalogue.toml")


def _one_of(path: str, devices: dict[str, SynapseDevice], name: str) -> SynapseDevice:
    if name in devices:
        return devices[name]
    held = ", ".join(devices)
    if name:
        raise BadInput(f"{_shown(path)}: holds no synapse {_short(name)}{_nearest(name, devices)}; it holds {held}")
    if len(devices) > 1:
        raise BadInput(f"{_shown(path)}: holds {len(devices)} synapses; name one, as FILE{_ENDING}:NAME, of {held}")
    return next(iter(devices.values()))


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        text = Path(path).read_bytes()
    except (OSError, ValueError) as error:  # a path with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise BadInput(f"{name}: cannot read ({reason}); check the path") from error
    try:
        return tomllib.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # digits or nesting beyond what Python's parser takes
        raise BadInput(
            f"{name}: no TOML ({_shown(first_line(error))}); mend it, as [mine] and then g_max = 1e-6"
        ) from error


def _values(table: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields that are of the right type, and what is wrong with the others."""
    values, faults = {}, []
    for key in (key for key in table if key in _READERS):
        try:
            values[key] = _READERS[key](key, table[key])
        except BadInput as fault:
            faults.append(str(fault))
    return values, faults


def _completed(values: dict[str, Any], table: dict[str, Any]) -> dict[str, Any]:
    """Values, and harmless ones for what is needed but absent or bad, so that the others can be checked too."""
    if "g_min" not in values or "g_max" not in values:
        values = {**values, "g_min": _HARMLESS["g_min"], "g_max": _HARMLESS["g_max"]}
    wanted = {*_NEEDED, *table} - set(values)
    return {**values, **{key: value for key, value in _HARMLESS.items() if key in wanted}}


def _text(key: str, value: Any) -> str:
    line = " ".join(value.split()) if isinstance(value, str) else ""
    if not line or not line.isprintable():
        raise BadInput(f"{key} must be a line of text, got {_short(value)}")
    return line


def _number(key: str, value: Any) -> float:
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadInput(f"{key} must be a number, got {_short(value)}")
    return number


def _count(key: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _MOST:
        raise BadInput(f"{key} must be a whole number of at most {_MOST}, got {_short(value)}")
    return value


def _numbers(key: str, value: Any) -> tuple[float, ...]:
    if not isinstance(value, list):
        raise BadInput(f"{key} must be a list of numbers, as [0.0, 0.5, 1.0], got {_short(value)}")
    return tuple(_number(f"{key}[{place}]", each) for place, each in enumerate(value))


def _pulse(key: str, value: Any) -> Pulse:
    if not isinstance(value, dict) or set(value) != {"volts", "seconds"}:
        raise BadInput(f"{key} must be a pulse, as {{ volts = 1.5, seconds = 1e-6 }}, got {_short(value)}")
    return Pulse(_number(f"{key}.volts", value["volts"]), _number(f"{key}.seconds", value["seconds"]))


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name.lower()[:60], list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _shown(text: str) -> str:
    """A path or key as one line."""
    return text if text.isprintable() else ascii(text)[1:-1]


def _short(value: Any) -> str:
    """A value as it stands in a message: one line, cut where it is long."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # more digits or nesting than Python prints
        text = "what cannot be printed"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_MOST = 1_000_000_000
_LONGEST = 60
_HARMLESS: dict[str, Any] = {
    **{"title": "-", "source": "-", "g_min": 0.0, "g_max": 1.0},
    **{"curve_up": (0.0, 1.0), "curve_down": (1.0, 0.0)},
}
_OF_TYPE: dict[Any, Callable[[str, Any], Any]] = {
    str: _text,
    float: _number,
    int: _count,
    int | None: _count,
    tuple[float, ...]: _numbers,
    Pulse | None: _pulse,
}
_READERS = {each.name: _OF_TYPE[each.type] for each in fields(SynapseDevice) if each.name != "name"}
_NEEDED = tuple(
    each.name
    for each in fields(SynapseDevice)
    if each.name != "name" and each.default is MISSING and each.default_factory is MISSING
)
_MEANING = {
    "title": "material and kind as text",
    "source": "where its figures come from as text",
    "g_min": "the lowest conductance in siemens",
    "g_max": "the highest conductance in siemens",
}

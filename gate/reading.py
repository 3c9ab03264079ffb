"""Reads a baseline file. People edit it, so every field is held to what it must be, and a slip is named."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..storage import read_json
from .baseline import RIGHT, VERSION, WRONG, Baseline, Figures, FloatFigures, SampleSet, Tolerances

_MEND = "mend it or write it again with --update"


def read_baseline(path: Path) -> Baseline:
    """Reads and checks a file.

    Raises:
        BadInput: it is missing, damaged, of another version, or a field is not what it must be; one line, with the
            path of the field.
    """
    try:
        document = read_json(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # digits or nesting beyond what Python's parser takes
        raise BadInput(f"{path}: not a baseline ({error}); {_MEND}") from error
    try:
        return from_json(document)
    except BadInput as fault:
        raise BadInput(f"{path}: {fault}") from fault


def from_json(document: Any) -> Baseline:
    """The baseline that a document stands for.

    Raises:
        BadInput: as `read_baseline`, without the file's name.
    """
    if not isinstance(document, dict) or "version" not in document:
        raise BadInput(f"holds no baseline of version {VERSION}; write it again with --update")
    if document["version"] != VERSION or isinstance(document["version"], bool):
        raise BadInput(
            f"version {_short(document['version'])}, this offramp reads {VERSION}; use the offramp that wrote it, "
            "or write it again with --update"
        )
    _check_keys("", document, {"version", "name", "samples", "tolerances", "float", "artifacts"})
    samples = _samples(document["samples"])
    artifacts = _object("artifacts", document["artifacts"])
    for name in artifacts:
        _printable("the name of an artifact", name)
    return Baseline(
        _printable("name", document["name"]),
        samples,
        FloatFigures(**_scored("float", document["float"], {"accuracy", "hits"}, samples.count)),
        {name: _figures(f"artifacts.{name}", value, samples.count) for name, value in artifacts.items()},
        _tolerances(document["tolerances"]),
    )


def _samples(value: Any) -> SampleSet:
    found = _object("samples", value)
    _check_keys("samples.", found, {"name", "count", "sha256"})
    count = _whole("samples.count", found["count"])
    if count < 1:
        raise BadInput(f"samples.count must be 1 or more, got {count}; {_MEND}")
    sha256 = _text("samples.sha256", found["sha256"])
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise BadInput(f"samples.sha256 must be 64 hexadecimal digits, got {_short(sha256)}; {_MEND}")
    return SampleSet(_printable("samples.name", found["name"]), count, sha256)


def _tolerances(value: Any) -> Tolerances:
    names = {entry.name for entry in fields(Tolerances)}
    found = _object("tolerances", value)
    _check_keys("tolerances.", found, names)
    numbers = {name: _number(f"tolerances.{name}", found[name]) for name in names}
    if not 0 < numbers["alpha"] < 1:
        raise BadInput(f"tolerances.alpha must lie between 0 and 1, got {numbers['alpha']:g}; {_MEND}")
    return Tolerances(**numbers)


def _figures(where: str, value: Any, count: int) -> Figures:
    found = _scored(where, value, {entry.name for entry in fields(Figures)}, count)
    macs = _object(f"{where}.macs", found["macs"])
    for bits, number in macs.items():
        if not (bits.isascii() and bits.isdecimal()):
            raise BadInput(f"{where}.macs must be given by bits, got {_short(bits)}; {_MEND}")
        _whole(f"{where}.macs.{bits}", number)
    steps = found["max_step_difference"]
    return Figures(
        found["accuracy"],
        _share(f"{where}.float_agreement", found["float_agreement"]),
        _whole(f"{where}.bytes", found["bytes"]),
        macs,
        None if steps is None else _number(f"{where}.max_step_difference", steps),
        found["hits"],
    )


def _scored(where: str, value: Any, keys: set[str], count: int) -> dict[str, Any]:
    """The object with its hits in one line, held to the number of samples and to its accuracy."""
    found = dict(_object(where, value))
    _check_keys(f"{where}.", found, keys)
    accuracy = _share(f"{where}.accuracy", found["accuracy"])
    hits = found["hits"]
    if hits is not None:
        if not isinstance(hits, list) or not all(isinstance(line, str) for line in hits):
            raise BadInput(f"{where}.hits must be lines of text, got {_short(hits)}; {_MEND}")
        hits = "".join(hits)
        if len(hits) != count or set(hits) - {RIGHT, WRONG}:
            raise BadInput(f"{where}.hits must be {count} times {RIGHT} or {WRONG}, got {_short(hits)}; {_MEND}")
        share = hits.count(RIGHT) / count
        if accuracy is None or abs(accuracy - share) > 1e-6:
            raise BadInput(f"{where}.accuracy is {_short(accuracy)}, but its hits say {share:.6g}; {_MEND}")
    return found | {"accuracy": accuracy, "hits": hits}


def _check_keys(where: str, found: dict[str, Any], wanted: set[str]) -> None:
    missing, unknown = sorted(wanted - found.keys()), sorted(found.keys() - wanted)
    if missing:
        raise BadInput(f"{where}{missing[0]} is missing; {_MEND}")
    if unknown:
        raise BadInput(f"{where}{_short(unknown[0], quote=False)} is nothing that a baseline holds; {_MEND}")


def _object(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadInput(f"{where} must be an object, got {_short(value)}; {_MEND}")
    return value


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadInput(f"{where} must be a text, got {_short(value)}; {_MEND}")
    return value


def _printable(where: str, value: Any) -> str:
    """A text that fits into one line of a message."""
    if not _text(where, value).isprintable():
        raise BadInput(f"{where} must be printable, got {_short(value)}; {_MEND}")
    return value


def _whole(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadInput(f"{where} must be a whole number from 0, got {_short(value)}; {_MEND}")
    return value


def _number(where: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise BadInput(f"{where} must be a number from 0, got {_short(value)}; {_MEND}")
    return value


def _share(where: str, value: Any) -> float | None:
    if value is not None and _number(where, value) > 1:
        raise BadInput(f"{where} must be a share from 0 to 1, got {_short(value)}; {_MEND}")
    return value


def _short(value: Any, quote: bool = True) -> str:
    text = ascii(value) if quote else ascii(value)[1:-1]
    return text if len(text) <= 60 else f"{text[:57]}..."

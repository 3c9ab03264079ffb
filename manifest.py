"""The schema of a dist: `manifest.json`, its reading, writing and hashing.

A manifest says what `dist/NAME/` holds, how it was made and what was measured of it; `null` means not measured, never
zero. `manifest.schema.json` (JSON Schema, draft 2020-12) is the contract with other programs. The SHA-256 of every file
stands in `files`, an `.mlpackage` file by file, and nothing else may lie in the folder. There are no timestamps: two
equal deploys give equal manifests but for the measured times.
"""

import json
import math
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from .errors import BadInput
from .storage import read_json, sha256_of, size_bytes_of, write_json

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
_FAULTS_SHOWN = 3
_COMPLAINTS = {
    "type": "must be {}",
    "enum": "must be one of {}",
    "const": "must be {}",
    "minimum": "must be at least {}",
    "exclusiveMinimum": "must be above {}",
    "maximum": "must be at most {}",
    "minLength": "must not be empty",
    "minItems": "must not be empty",
    "contains": "must hold an engine that ran, since the artifact counts as verified",
}
_MEND = "restore it or run `offramp deploy` again"


def schema() -> dict[str, Any]:
    """The JSON Schema of a manifest; a fresh copy at every call."""
    return json.loads(_schema_text())


def check_document(document: Any, where: str) -> None:
    """Holds a manifest document against the schema.

    Args:
        document: what is to be written, or was read.
        where: named at the head of the message, for example the file's path.

    Raises:
        BadInput: the first faults, each with the path of its field, in one line.
    """
    if isinstance(document, dict) and document.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        found = _short(document["schema"])
        raise BadInput(f"{where}: schema {found}, this offramp reads {SCHEMA_VERSION}; use the offramp that wrote it")
    try:
        faults = [f"{path}: must be a finite number, got {number}" for path, number in _non_finite(document, ())]
        faults = faults or _schema_faults(document)
    except RecursionError as error:
        raise BadInput(f"{where}: nested too deeply for a manifest; run `offramp deploy` again") from error
    if faults:
        raise BadInput(f"{where}: {_some_of(faults)}; run `offramp deploy` again")


def write_manifest(folder: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Writes `folder/manifest.json` atomically, with `files` taken from what the folder holds now.

    Args:
        folder: the dist, complete but for its manifest.
        document: a manifest; its `files` is replaced, the argument itself is left as it is.

    Returns:
        The document as written.

    Raises:
        BadInput: a field breaks the schema, or an artifact is not what the document says of it.
    """
    folder = Path(folder)
    complete = {**document, "files": _hashes_of(folder)}
    check_document(complete, str(folder / MANIFEST))
    _check_artifacts(folder, complete)
    write_json(folder / MANIFEST, complete)
    return complete


def read_manifest(folder: Path, check_hashes: bool = True) -> dict[str, Any]:
    """Reads `folder/manifest.json`.

    Args:
        folder: a dist.
        check_hashes: also hold every file against its SHA-256, and refuse files that the manifest does not list.

    Raises:
        BadInput: there is no manifest, it is damaged or breaks the schema, or the files are not the listed ones.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    if not path.exists():
        raise BadInput(f"{folder}: holds no {MANIFEST}; name a folder that `offramp deploy` wrote")
    try:
        document = read_json(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:  # digits or nesting beyond what Python's parser takes
        raise BadInput(f"{path}: not a manifest ({error}); run `offramp deploy` again") from error
    check_document(document, str(path))
    if check_hashes:
        _check_files(folder, document["files"])
        _check_artifacts(folder, document)
    return document


@cache
def _schema_text() -> str:
    return Path(__file__).with_name("manifest.schema.json").read_text(encoding="utf-8")


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator

    return Draft202012Validator(schema())


def _hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 by relative path of every file in the folder, the manifest apart."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; run `offramp deploy` first")
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return {name: _hash_of(folder / name) for name in sorted(found) if name != MANIFEST}


def _hash_of(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot read ({error.strerror or error}); {_MEND}") from error


def _check_files(folder: Path, listed: dict[str, str]) -> None:
    """Raises BadInput unless the folder holds the listed files, unchanged, and no others."""
    found = _hashes_of(folder)
    faults = [f"{folder / name}: listed in {MANIFEST} but missing; {_MEND}" for name in sorted(listed.keys() - found)]
    faults += [
        f"{folder / name}: changed since {MANIFEST} was written (SHA-256 {found[name][:12]}…, "
        f"expected {listed[name][:12]}…); {_MEND}"
        for name in sorted(listed.keys() & found)
        if found[name] != listed[name]
    ]
    faults += [
        f"{folder / name}: not listed in {MANIFEST}; remove it or run `offramp deploy` again"
        for name in sorted(found.keys() - listed)
    ]
    if faults:
        raise BadInput(_some_of(faults, shown=1))


def _check_artifacts(folder: Path, document: dict[str, Any]) -> None:
    """Raises BadInput unless every artifact row names what lies in the folder, by size and by hash, once."""
    faults, seen = [], set()
    for place, artifact in enumerate(document["artifacts"]):
        path = folder / artifact["path"]
        if artifact["path"] in seen:
            faults.append(f"artifacts[{place}].path: {artifact['path']} appears twice")
        elif not path.exists():
            faults.append(f"artifacts[{place}].path: {artifact['path']} is not in the folder")
        elif size_bytes_of(path) != artifact["bytes"]:
            faults.append(f"artifacts[{place}].bytes: is {size_bytes_of(path)}, the row says {artifact['bytes']}")
        elif sha256_of(path) != artifact["sha256"]:
            faults.append(f"artifacts[{place}].sha256: is not that of {artifact['path']}")
        seen.add(artifact["path"])
    if faults:
        raise BadInput(f"{folder / MANIFEST}: {_some_of(faults)}; run `offramp deploy` again")


def _schema_faults(document: Any) -> list[str]:
    errors = sorted(_validator().iter_errors(document), key=lambda error: [str(part) for part in error.absolute_path])
    return list(dict.fromkeys(f"{_field(error.absolute_path)}: {_complaint(error)}" for error in errors))


def _complaint(error: Any) -> str:
    """What was expected and what was found, without the whole instance that jsonschema prints."""
    found, wanted = error.instance, error.validator_value
    if error.validator == "required":
        return f"{', '.join(name for name in wanted if name not in found)} missing"
    if error.validator in _COMPLAINTS:
        choices = " or ".join(map(str, wanted)) if isinstance(wanted, list) else wanted
        return f"{_COMPLAINTS[error.validator].format(choices)}, got {_short(found)}"
    if error.validator == "pattern":
        return f"{_short(found)} is not of the form {error.schema.get('description', wanted)}"
    return _short(error.message, quote=False)


def _non_finite(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, float]]:
    """Every NaN and infinity (Python's JSON reader lets them pass), with the path of its field."""
    if isinstance(value, float) and not math.isfinite(value):
        yield _field(path), value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _non_finite(inner, (*path, key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _non_finite(inner, (*path, place))


def _field(path: Iterable[str | int]) -> str:
    """("artifacts", 2, "latency_ms", "p50") -> `artifacts[2].latency_ms.p50`."""
    text = ""
    for part in path:
        name = part if isinstance(part, str) and part.isprintable() else repr(part)
        text += f"[{part}]" if isinstance(part, int) else f".{name}"
    return text.lstrip(".") or "the document"


def _short(value: Any, quote: bool = True) -> str:
    text = repr(value) if quote else " ".join(str(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _some_of(faults: list[str], shown: int = _FAULTS_SHOWN) -> str:
    more = len(faults) - shown
    return "; ".join(faults[:shown]) + (f" (and {more} more)" if more > 0 else "")

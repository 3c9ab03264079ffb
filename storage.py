"""Writes that either happen whole or leave what was there before.

A file is written beside its destination, flushed to disk, then renamed over it. A folder is filled beside its
destination and swapped in, so that a crash or a full disk never leaves half a `runs/NAME` or `dist/NAME`.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import BadInput


def cache_folder() -> Path:
    """Where what can be made again is kept: `$OFFRAMP_CACHE`, else `offramp` in `$XDG_CACHE_HOME` or `~/.cache`."""
    if chosen := os.environ.get("OFFRAMP_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "offramp"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yields a path beside `path` to write to; on success it is renamed to `path`, on failure removed.

    Raises:
        BadInput: the disk is full or the folder cannot be written, naming `path`.
    """
    path = Path(path)
    beside: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        with open(beside, "rb+") as written:
            os.fsync(written.fileno())
        beside.chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder beside `path`; on success it takes the place of `path`, on failure it is removed.

    Raises:
        BadInput: the disk is full or the folder cannot be written, naming `path`.
    """
    path = Path(path)
    beside: Path | None = None
    made = [parent for parent in path.parents if not parent.exists()]  # innermost first
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        beside.chmod(0o755)
        yield beside
        _swap(beside, path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
        with suppress(OSError):  # what was made only for a folder that did not come to be goes with it
            for parent in made if not path.exists() else ():
                parent.rmdir()


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, atomically; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        BadInput: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not valid JSON ({error}); the file is damaged, write it again") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, or of a folder as the hash over its sorted relative paths and their files' hashes."""
    path = Path(path)
    if path.is_dir():
        digest = hashlib.sha256()
        for inner in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{inner.relative_to(path).as_posix()}\0{sha256_of(inner)}\n".encode())
        return digest.hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def size_bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    path = Path(path)
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def _swap(beside: Path, path: Path) -> None:
    """Puts `beside` where `path` is; a previous `path` goes only once its successor stands."""
    if not path.exists():
        os.replace(beside, path)
        return
    previous = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    try:
        os.replace(path, previous / path.name)
        try:
            os.replace(beside, path)
        except OSError:
            os.replace(previous / path.name, path)
            raise
    finally:
        shutil.rmtree(previous, ignore_errors=True)


def _cannot_write(path: Path, error: OSError) -> BadInput:
    reason = error.strerror or str(error)
    return BadInput(f"{path}: cannot write ({reason}); free some space or choose another folder, nothing was changed")

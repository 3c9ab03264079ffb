"""Writes `.pt2` archives, and reads them without executing anything that stands in them.

`torch.export.load` trusts its file: it unpickles weights, constants and sample inputs without limits, loads compiled
libraries, evaluates size expressions with `sympify`, and writes the names of values into Python source. So an archive
is read through here first, and refused when it holds more than tensors as plain bytes and a graph of plain names.
"""

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import BadInput
from ..storage import atomic_path

# What `torch.export.save` writes for a network of tensors, behind the archive's own folder.
_PLAIN_FILES = re.compile(
    r"models/model\.json|data/(weights/(weight_\d+|model_weights_config\.json)"
    r"|constants/(tensor_\d+|model_constants_config\.json)|sample_inputs/model\.pt)"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|extra/.+"
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*|")
_SIZE_WORDS = {
    *("Symbol", "Integer", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv"),
    *("positive", "integer", "nonnegative", "True", "False"),
}
_SIZE_WORD = re.compile(r"[A-Za-z_]\w*")
_SYMBOL = re.compile(r"[su]\d+")


def save_exported(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes a `.pt2` file, atomically; by way of memory, since PyTorch's own writer words a full disk as its fault."""
    content = io.BytesIO()
    torch.export.save(program, content)
    with atomic_path(path) as beside:
        beside.write_bytes(content.getvalue())


def load_exported(path: Path) -> torch.export.ExportedProgram:
    """Loads a `.pt2` file.

    Raises:
        BadInput: the file is missing, truncated, no exported program, or holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged:
                raise BadInput(f"{path}: damaged inside ({damaged}); write it again")
            _refuse_code(path, archive)
        with open(path, "rb") as file:
            program = torch.export.load(file)
    except BadInput:
        raise
    except Exception as error:  # torch.export.load raises many kinds; each becomes one line for the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{path}: not a sound exported program ({reason}); write it again") from error
    program._guards_code = []  # Python source of checks on inputs, which nothing here runs
    return program


def _refuse_code(path: Path, archive: zipfile.ZipFile) -> None:
    files = {name.partition("/")[2]: name for name in archive.namelist()}
    if "models/model.json" not in files:  # also where a cut file ends in another archive, that of the sample inputs
        raise ValueError("it holds no models/model.json")
    for inner in files:
        if not _PLAIN_FILES.fullmatch(inner):
            raise _refused(path, f"the archive holds {inner}")
    for inner, name in files.items():
        if inner.endswith("_config.json"):
            for payload in json.loads(archive.read(name))["config"].values():
                if payload["use_pickle"] or not re.fullmatch(r"(weight|tensor)_\d+", payload["path_name"]):
                    raise _refused(path, f"{inner} names a pickle")
        elif inner.startswith("data/sample_inputs"):
            _refuse_pickled_code(path, inner, archive.read(name))
        elif inner == "models/model.json":
            for key, text in _strings(json.loads(archive.read(name))):
                if key == "name" and not _NAME.fullmatch(text):
                    raise _refused(path, f"a value is named {text[:40]!r}")
                if key == "expr_str" and not _is_size(text):
                    raise _refused(path, f"a size reads {text[:40]!r}")


def _refuse_pickled_code(path: Path, inner: str, content: bytes) -> None:
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # whatever cannot be read as plain tensors would be unpickled as code
        raise _refused(path, f"{inner} holds more than tensors") from error


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a JSON value with the key it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for inner_key, inner in value.items():
            yield from _strings(inner, inner_key)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, key)


def _is_size(text: str) -> bool:
    """Arithmetic on integers and symbols, in the few words that PyTorch writes it in."""
    return "__" not in text and all(word in _SIZE_WORDS or _SYMBOL.fullmatch(word) for word in _SIZE_WORD.findall(text))


def _refused(path: Path, reason: str) -> BadInput:
    return BadInput(f"{path}: refused, because loading it could run code ({reason}); export it again from its network")

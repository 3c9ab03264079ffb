"""Runs a logic network's C on this machine, the form of straight-line code: 32 samples a call."""

import ctypes
import re
import tempfile
from pathlib import Path

import numpy as np

from ..c_compiler import compile_library
from ..errors import BadInput

_ENTRY = re.compile(r"^void (\w+)_run\(const int32_t \*in, int32_t \*out\);$", re.M)
_SIZES = re.compile(r"^#define \w+_(IN|OUT)_LENGTH (\d+)$", re.M)


def run_chunked(path: Path, inputs: np.ndarray) -> np.ndarray:
    """Compiles a netlist's `.c` file in chunked form, which has its header beside it, and runs it.

    Args:
        path: of the C file.
        inputs: (N, inputs) bool.

    Returns:
        (N, outputs) bool.

    Raises:
        BadInput: the header holds no netlist in chunked form, or the inputs have another shape.
        NoCompiler: there is none.
    """
    header = Path(path).with_suffix(".h")
    text = header.read_text(encoding="utf-8", errors="replace") if header.is_file() else ""
    entry, sizes = _ENTRY.search(text), dict(_SIZES.findall(text))
    if entry is None or set(sizes) != {"IN", "OUT"}:
        raise BadInput(f"{header}: is no netlist in chunked form; write it with form chunked")
    if inputs.ndim != 2 or inputs.shape[1] != int(sizes["IN"]):
        raise BadInput(f"inputs must have shape (N, {sizes['IN']}), got {inputs.shape}")
    given = _words(inputs)
    found = np.zeros((len(given), int(sizes["OUT"])), np.int32)
    with tempfile.TemporaryDirectory(prefix="offramp-logic-") as folder:
        library = Path(folder) / "network.so"
        compile_library([Path(path).resolve()], library, "portable")
        run = getattr(ctypes.CDLL(str(library)), f"{entry[1]}_run")
        for before, after in zip(given, found):
            run(ctypes.c_void_p(before.ctypes.data), ctypes.c_void_p(after.ctypes.data))
    octets = np.ascontiguousarray(found.T).astype("<i4", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little", count=len(inputs)).T.astype(bool)


def _words(inputs: np.ndarray) -> np.ndarray:
    """(words of 32 samples, inputs) int32."""
    padded = np.pad(inputs.T, ((0, 0), (0, -len(inputs) % 32)))
    packed = np.ascontiguousarray(np.packbits(padded, axis=1, bitorder="little")).view("<i4")
    return np.ascontiguousarray(packed.T).astype(np.int32, copy=False)

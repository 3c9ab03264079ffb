"""Runs a logic network's C on this machine, the form with a table of gates: compiled and loaded as a library."""

import ctypes
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..c_compiler import compile_library, compiler_version
from ..errors import BadInput

_ENTRY = re.compile(r"^void (\w+)_run\(const uint64_t \*in, uint64_t \*out, size_t words\);$", re.M)
_SIZES = re.compile(r"^#define \w+_(INPUTS|OUTPUTS) (\d+)$", re.M)


class LogicSession:
    """A netlist's `.c` file with its header beside it, ready to run.

    Args:
        path: of the C file.
        kernels: of `c_compiler.KERNEL_SETS`: the widest vectors that it is compiled for.

    Raises:
        BadInput: a file is missing or holds no netlist in table form.
        NoCompiler: there is none, or it lacks the instruction set.
    """

    def __init__(self, path: Path, kernels: str = "native"):
        self.path = Path(path)
        header = self.path.with_suffix(".h")
        if not self.path.is_file() or not header.is_file():
            raise BadInput(f"{self.path}: needs {header.name} beside it, both as they were written")
        text = header.read_text(encoding="utf-8", errors="replace")
        entry, sizes = _ENTRY.search(text), dict(_SIZES.findall(text))
        if entry is None or set(sizes) != {"INPUTS", "OUTPUTS"}:
            raise BadInput(f"{header}: is no netlist in table form; write it with form table")
        self.inputs, self.outputs = int(sizes["INPUTS"]), int(sizes["OUTPUTS"])
        self.engine = f"{compiler_version()} ({kernels} kernels)"
        with tempfile.TemporaryDirectory(prefix="offramp-logic-") as folder:
            library = Path(folder) / "network.so"
            compile_library([self.path.resolve()], library, kernels)
            loaded = ctypes.CDLL(str(library))
        self._run, self._pack, self._unpack = (
            getattr(loaded, f"{entry[1]}_{name}") for name in ("run", "pack", "unpack")
        )

    def run(self, inputs: np.ndarray) -> np.ndarray:
        """Outputs for many samples, packing and unpacking by the C functions for it.

        Args:
            inputs: (N, inputs), bool or numbers of ±1.

        Returns:
            (N, outputs): bool for bool, int8 of ±1 for numbers.
        """
        given = np.asarray(inputs)
        if given.ndim != 2 or given.shape[1] != self.inputs:
            raise BadInput(f"inputs must have shape (N, {self.inputs}), got {given.shape}")
        call, found = self.call_rows(np.ascontiguousarray(given, np.int8))
        call()
        return found > 0 if given.dtype == bool else found

    def call_rows(self, rows: np.ndarray) -> tuple[Callable[[], None], np.ndarray]:
        """Packing, running and unpacking in C, for timing, and the array of (N, outputs) int8 that they write.

        Args:
            rows: (N, inputs) int8, above 0 for +1.
        """
        planes = np.zeros((self.inputs, -(-len(rows) // 64)), np.uint64)
        found = np.zeros((len(rows), self.outputs), np.int8)
        run, words = self.call(planes)
        samples = ctypes.c_size_t(len(rows))

        def call() -> None:
            self._pack(_pointer(rows), samples, _pointer(planes))
            run()
            self._unpack(_pointer(words), samples, _pointer(found))

        return call, found

    def run_words(self, planes: np.ndarray) -> np.ndarray:
        """(inputs, words) uint64 -> (outputs, words), as `export.logic.pack` packs them."""
        call, out = self.call(planes)
        call()
        return out

    def call(self, planes: np.ndarray) -> tuple[Callable[[], None], np.ndarray]:
        """The bare C call on fixed inputs, for timing, and the array that it writes.

        Raises:
            BadInput: the inputs have another shape or type.
        """
        if planes.ndim != 2 or len(planes) != self.inputs or planes.dtype != np.uint64:
            raise BadInput(f"packed inputs must be uint64 ({self.inputs}, words), got {planes.dtype} {planes.shape}")
        given = np.ascontiguousarray(planes)
        out = np.zeros((self.outputs, given.shape[1]), np.uint64)
        words = ctypes.c_size_t(given.shape[1])

        def call() -> None:
            self._run(_pointer(given), _pointer(out), words)

        return call, out


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    """Valid while the array is held elsewhere."""
    return ctypes.c_void_p(array.ctypes.data)

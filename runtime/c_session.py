"""Runs a C artifact on this machine: compiled with the system's compiler and loaded as a library."""

import ctypes
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..c_compiler import compile_library, compiler_version
from .border import checked_inputs
from .c_source import CSource, Described, read_c_source, spec_of

_LISTENER = """\
static void (*listener)(const char *, const void *);
void offramp_listen(void (*function)(const char *, const void *));
void offramp_trace(const char *value, const void *data);
void offramp_listen(void (*function)(const char *, const void *)) { listener = function; }
void offramp_trace(const char *value, const void *data) { if (listener) listener(value, data); }
"""
_Callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_void_p)


class CSession:
    """A `.c` file ready to run; see `Session`. It is compiled at the first run, and once more for `intermediates`."""

    target = "c"

    def __init__(self, path: Path, threads: int = 1, kernels: str = "native"):
        self.path = Path(path)
        self.threads = threads
        self.kernels = kernels
        self.source: CSource = read_c_source(self.path)
        self.inputs = tuple(map(spec_of, self.source.inputs))
        self.outputs = tuple(map(spec_of, self.source.outputs))
        self.engine = f"{compiler_version()} ({kernels} kernels)"
        self._run: Callable[..., None] | None = None

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name, real values."""
        return self._called(self._loaded(), inputs)

    def intermediates(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every value computed on the way, real values by name."""
        library = self._library(trace=True)
        found: dict[str, np.ndarray] = {}

        def listen(name: bytes, data: int) -> None:
            value = self.source.values.get(name.decode())
            if value is not None:
                found[value.name] = value.read(ctypes.string_at(data, value.size_bytes))

        callback = _Callback(listen)
        library.offramp_listen(callback)
        outputs = self._called(getattr(library, self.source.function), inputs)
        library.offramp_listen(_Callback())
        return found | outputs

    def call(self, inputs: dict[str, np.ndarray]) -> Callable[[], None]:
        """The bare C call on fixed inputs, for timing."""
        return partial(self._loaded(), *self.buffers(inputs)[1])

    def _loaded(self) -> Callable[..., None]:
        if self._run is None:
            self._run = getattr(self._library(), self.source.function)
        return self._run

    def _library(self, trace: bool = False) -> Any:
        """The artifact as a loaded library."""
        with tempfile.TemporaryDirectory(prefix="offramp-c-") as folder:
            sources, flags = [self.path.resolve()], []
            if trace:
                listener = Path(folder) / "listener.c"
                listener.write_text(_LISTENER, encoding="utf-8")
                sources.append(listener)
                flags.append(f"-D{self.source.trace}=offramp_trace")
            library = Path(folder) / "network.so"
            compile_library(sources, library, self.kernels, self.threads, flags)
            return ctypes.CDLL(str(library))

    def _called(self, function: Callable[..., None], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        buffers, pointers = self.buffers(inputs)
        function(*pointers)
        results = buffers[len(self.inputs) :]
        return {value.name: value.real(array) for value, array in zip(self.source.outputs, results)}

    def buffers(self, inputs: dict[str, np.ndarray]) -> tuple[list[np.ndarray], list[ctypes.c_void_p]]:
        """Arrays that the function reads and writes, and pointers that keep them alive."""
        values = checked_inputs(self.path, self.inputs, inputs)
        given = [value.codes(values[value.name]) for value in self.source.inputs]
        taken = [_empty(value) for value in self.source.outputs]
        buffers = [*given, *taken]
        return buffers, [array.ctypes.data_as(ctypes.c_void_p) for array in buffers]


def _empty(value: Described) -> np.ndarray:
    return np.zeros(value.shape, value.kind)

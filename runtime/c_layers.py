"""How long each operation of a C network takes on this machine: a clock is read where the source tells of a value."""

import ctypes
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..c_compiler import compile_library
from .c_session import CSession
from .c_source import Call

_CLOCK = """\
#define _POSIX_C_SOURCE 199309L
#include <time.h>
static double *times;
static int place;
void offramp_start(double *array);
void offramp_trace(const char *value, const void *data);
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}
void offramp_start(double *array) { times = array; place = 0; times[place++] = now(); }
void offramp_trace(const char *value, const void *data) { (void)value; (void)data; times[place++] = now(); }
"""


@dataclass(frozen=True)
class LayerTime:
    """One operation: the call that the source describes, and the median of its milliseconds."""

    call: Call
    ms: float


def layer_times(session: CSession, inputs: dict[str, np.ndarray], runs: int = 50) -> list[LayerTime]:
    """Median time of each operation over `runs` runs after as many to warm up; reading the clock is part of it."""
    calls = session.source.calls
    with tempfile.TemporaryDirectory(prefix="offramp-c-") as folder:
        clock, library = Path(folder) / "clock.c", Path(folder) / "network.so"
        clock.write_text(_CLOCK, encoding="utf-8")
        flags = [f"-D{session.source.trace}=offramp_trace"]
        compile_library([session.path.resolve(), clock], library, session.kernels, session.threads, flags)
        loaded = ctypes.CDLL(str(library))
    function = getattr(loaded, session.source.function)
    buffers, pointers = session.buffers(inputs)
    marks = np.zeros((2 * runs, len(calls) + 1))
    for row in marks:
        loaded.offramp_start(ctypes.c_void_p(row.ctypes.data))
        function(*pointers)
    del buffers
    medians = np.median(np.diff(marks[runs:], axis=1), axis=0)
    return [LayerTime(call, float(ms)) for call, ms in zip(calls, medians)]

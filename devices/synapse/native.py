"""The C kernels, compiled the first time that they are needed; without a compiler PyTorch does the same work."""

import ctypes
import tempfile
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...c_compiler import compile_library
from ...errors import BadInput, OfframpWarning
from .kernels import SOURCE

_Pointer, _I64, _U32 = ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint32


class CellStruct(ctypes.Structure):
    """`struct cells` of the C source."""

    _fields_ = (
        *((name, _Pointer) for name in ("state", "offset_up", "slope_up", "offset_down", "slope_down", "low", "high")),
        ("rows", _I64),
        ("columns", _I64),
        ("seed", _U32),
        ("key", _U32),
        ("relative", ctypes.c_float),
        ("additive", ctypes.c_float),
    )


CellArray = ctypes.Array[CellStruct]


class Library:
    """The kernels, called with tensors that lie contiguous in this machine's memory."""

    def __init__(self, path: Path):
        loaded = ctypes.CDLL(str(path))
        self._normals, self._uniforms, self._draw_trains = loaded.normals, loaded.uniforms, loaded.draw_trains
        self._apply_counts, self._apply_trains = loaded.apply_counts, loaded.apply_trains
        self._normals.argtypes = self._uniforms.argtypes = (_U32, _U32, _U32, _U32, _I64, _Pointer)
        self._draw_trains.argtypes = (_U32, _U32, _U32, _I64, _I64, ctypes.c_int32, _Pointer, _Pointer)
        self._apply_counts.argtypes = (_Pointer, _I64, _Pointer, _U32)
        self._apply_trains.argtypes = (_Pointer, _Pointer, _Pointer, _I64, _U32)
        self._normals.restype = self._uniforms.restype = self._draw_trains.restype = None

    def normals(self, seed: int, key: int, step: int, first: int, count: int) -> Tensor:
        """As `Draws.normal`."""
        out = torch.empty(count, dtype=torch.float32)
        self._normals(seed, key, step, first, count, out.data_ptr())
        return out

    def uniforms(self, seed: int, key: int, step: int, first: int, count: int) -> Tensor:
        """As `Draws.uniform`."""
        out = torch.empty(count, dtype=torch.float32)
        self._uniforms(seed, key, step, first, count, out.data_ptr())
        return out

    def draw_trains(self, seed: int, key: int, step: int, probability: Tensor, slots: int) -> Tensor:
        """As `pulse_trains.trains`."""
        out = torch.empty(probability.shape, dtype=torch.int32)
        self._draw_trains(seed, key, step, *probability.shape, slots, probability.data_ptr(), out.data_ptr())
        return out

    def apply_counts(self, stack: CellArray, counts: Tensor, step: int) -> None:
        """As `cells.Cells.pulse`: int32 counts (replicas, rows, columns)."""
        _check(self._apply_counts(stack, len(stack), counts.data_ptr(), step))

    def apply_trains(self, cells: CellArray, rows: Tensor, columns: Tensor, step: int) -> None:
        """As `cells.Cells.pulse_trains`: int32 (batch, rows) and (batch, columns)."""
        _check(self._apply_trains(cells, rows.data_ptr(), columns.data_ptr(), len(rows), step))


@cache
def library() -> Library | None:
    """The kernels for this machine; None, with a warning, where they cannot be compiled."""
    try:
        return compiled("native")
    except BadInput as fault:
        warnings.warn(OfframpWarning(f"PyTorch emulates the devices, more slowly: {fault}"), stacklevel=2)
        return None


def compiled(kernels: str) -> Library:
    """The kernels in one of the instruction sets that `c_compiler.KERNEL_SETS` names.

    Raises:
        NoCompiler: none is there, or it lacks the instruction set.
    """
    with tempfile.TemporaryDirectory(prefix="offramp-synapse-") as folder:
        source, built = Path(folder) / SOURCE.name, Path(folder) / "synapse.so"
        source.write_text(source_text(), encoding="utf-8")
        compile_library([source], built, kernels, flags=("-ffp-contract=off",))
        return Library(built)


def source_text() -> str:
    """C of the kernels, the tables of `draws.py` in front."""
    from . import draws

    tables = {"LOG": draws.LOG, "SIN": draws.SIN, "COS": draws.COS}
    lines = [
        f"static const float {name}[] = {{{', '.join(map(_literal, values))}}};" for name, values in tables.items()
    ]
    lines += [f"#define {name} {_literal(getattr(draws, name))}" for name in ("LN2", "EIGHTH_TURN")]
    return "\n".join([*lines, SOURCE.read_text(encoding="utf-8")])


def _literal(value: float) -> str:
    return f"{float(np.float32(value)).hex()}f"


def _check(done: int) -> None:
    if not done:
        raise MemoryError("the pulses of one update do not fit into memory; update in smaller batches")


def described(
    state: Tensor,
    figures: Sequence[Tensor | None],
    keys: Sequence[tuple[int, int]],
    noises: Sequence[tuple[float, float]],
) -> CellArray:
    """A `struct cells` for each array of a stack.

    Args:
        state: float32 (stack, rows, columns), contiguous; must outlive what is returned, as the figures must.
        figures: as many, of the state's shape: offset and slope up, offset and slope down, low, high.
        keys: seed and key of the draws of each array.
        noises: relative and additive noise of each array.
    """
    stack, rows, columns = state.shape
    size = rows * columns * state.element_size()

    def pointer(tensor: Tensor | None, place: int) -> int | None:
        return None if tensor is None else tensor.data_ptr() + place * size

    return (CellStruct * stack)(
        *(
            CellStruct(
                pointer(state, place),
                *(pointer(each, place) for each in figures),
                rows,
                columns,
                *keys[place],
                *noises[place],
            )
            for place in range(stack)
        )
    )

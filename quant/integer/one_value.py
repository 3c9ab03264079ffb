"""Operations that are a function of one code, and of its channel: their results for every code."""

from dataclasses import replace

import numpy as np
import torch

from . import sums  # noqa: F401, says how these operations run
from .operations import Add, Lookup, Multiply, Operation, Slopes
from .running import run
from .values import Value

Tables = tuple[np.ndarray, int | None]
_EVERY_CODE = torch.arange(-128, 128, dtype=torch.int32)


def tables_of(operation: Operation) -> Tables | None:
    """int8 (channels, 256) results by channel and code + 128, and the channels' axis; None for any other operation.

    One row, and no axis, where all channels are alike.
    """
    if isinstance(operation, Lookup):
        return operation.table[None], None
    if isinstance(operation, Slopes):
        return _results(replace(operation, axis=0), _EVERY_CODE[None]), operation.axis
    if isinstance(operation, Add | Multiply):
        return _with_constant(operation)
    return None


def moving_input(operation: Operation) -> Value:
    """The input that is no constant."""
    return next(value for value in operation.inputs if value.constant is None)


def _with_constant(operation: Add | Multiply) -> Tables | None:
    """A sum or product with one number for each channel."""
    constants = [value for value in operation.inputs if value.constant is not None]
    if len(constants) != 1:
        return None
    place = 0 if operation.inputs[0].constant is not None else 1
    constant, moving = operation.inputs[place], operation.inputs[1 - place]
    if constant.constant is None or moving.shape != operation.output.shape:
        return None
    rank = len(moving.shape)
    sizes = (*[1] * (rank - len(constant.shape)), *constant.shape)
    wide = [axis for axis, size in enumerate(sizes) if size > 1]
    if len(wide) > 1:
        return None
    theirs = torch.from_numpy(constant.constant.reshape(-1, 1)).to(torch.int32)
    inputs = (theirs, _EVERY_CODE) if place == 0 else (_EVERY_CODE, theirs)
    return _results(operation, *inputs), wide[0] if wide else None


def _results(operation: Operation, *inputs: torch.Tensor) -> np.ndarray:
    return run(operation, *inputs).to(torch.int8).numpy()

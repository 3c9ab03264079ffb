"""Operations that are a function of one code, and of its channel: their results for every code."""

import numpy as np
import torch

from .arithmetic import requantize
from .operations import Add, Lookup, Multiply, Operation, Slopes
from .values import Value

Tables = tuple[np.ndarray, int | None]


def tables_of(operation: Operation) -> Tables | None:
    """int8 (channels, 256) results by channel and code + 128, and the channels' axis; None for any other operation.

    One row, and no axis, where all channels are alike.
    """
    if isinstance(operation, Lookup):
        return operation.table[None], None
    if isinstance(operation, Slopes):
        return _slopes(operation), operation.axis
    if isinstance(operation, Add | Multiply):
        return _with_constant(operation)
    return None


def moving_input(operation: Operation) -> Value:
    """The input that is no constant."""
    return next(value for value in operation.inputs if value.constant is None)


def _slopes(operation: Slopes) -> np.ndarray:
    x, y = operation.inputs[0].meaning, operation.output.meaning
    centred = torch.arange(-128, 128) - x.zero_point
    below = torch.from_numpy(operation.below)[:, None]
    multiplier = torch.where(centred >= 0, torch.tensor(operation.above, dtype=torch.float32), below)
    return requantize(centred, multiplier, y.zero_point, y.qmin, y.qmax).to(torch.int8).numpy()


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
    theirs = torch.from_numpy(constant.constant.reshape(-1, 1).astype(np.int64)) - constant.meaning.zero_point
    ours = torch.arange(-128, 128) - moving.meaning.zero_point
    if isinstance(operation, Add):
        sums = ours * operation.factors[1 - place] + theirs * operation.factors[place]
    else:
        sums = ours * theirs
    zero = operation.output.meaning.zero_point
    codes = requantize(sums, operation.multiplier, zero, operation.low, operation.high)
    return codes.to(torch.int8).numpy(), wide[0] if wide else None

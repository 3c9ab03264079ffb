"""Folds everything between a sum of signs and the next sign into one threshold a channel.

A sum of ±1 products, its requantization, and functions of one code that grow with it (batch norms, clamps, shifts): the
sign behind them is +1 exactly where the sum is at least some whole number. An engine that packs signs into bits then
compares a popcount and writes the next bits; the 8-bit values between are never made. Each threshold is found by
computing the chain for every code, or every sum, there is.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from .arithmetic import requantize
from .one_value import moving_input, tables_of
from .operations import MaxPool, Operation, Reshape, Sign, SignConvolution, SignLinear
from .values import Kind, Value


def fold_signs(operations: Sequence[Operation], outputs: Sequence[Value]) -> list[Operation]:
    """Moves every sign as far towards its sum as it goes."""
    kept = {value.name for value in outputs}
    found = list(operations)
    place = 0
    while place < len(found):
        operation = found[place]
        changed = _fold(operation, found, kept) if isinstance(operation, Sign) else None
        if changed is None:
            place += 1
        else:
            found, place = changed, 0
    return found


def _fold(sign: Sign, operations: list[Operation], kept: set[str]) -> list[Operation] | None:
    """The operations with one step of a sign's way done; None where it has arrived."""
    source = sign.inputs[0]
    readers = [operation for operation in operations if source in operation.inputs]
    producer = next((operation for operation in operations if operation.output is source), None)
    if producer is None or len(readers) != 1 or source.name in kept:
        return None
    by: list[Operation] | None = None
    if isinstance(producer, SignConvolution | SignLinear):
        by = [replace(producer, output=sign.output, at_least=_at_least(producer, sign))]
    elif isinstance(producer, MaxPool) or (isinstance(producer, Reshape) and _keeps_channels(producer)):
        by = _swapped(producer, sign)
    else:
        least = _through(producer, sign)
        by = None if least is None else [replace(sign, inputs=(moving_input(producer),), least=least)]
    if by is None:
        return None
    # The producer's place is early enough for all that takes over; what it was goes, as only the sign read it.
    at = operations.index(producer)
    return [*operations[:at], *by, *(o for o in operations[at + 1 :] if o is not sign)]


def _through(producer: Operation, sign: Sign) -> np.ndarray | None:
    """Thresholds on the code that goes into a function of one code; None where it does not grow with it."""
    tables = tables_of(producer)
    if tables is None or tables[1] not in (None, sign.axis):
        return None
    positive = tables[0].astype(np.int16) >= sign.least[:, None]
    if (positive[:, :-1] & ~positive[:, 1:]).any():
        return None
    return (128 - positive.sum(1)).astype(np.int16)


def _at_least(layer: SignConvolution | SignLinear, sign: Sign) -> np.ndarray:
    """The least sum of each channel whose code reaches the sign's threshold; products + 1 for never."""
    products = int(layer.weight[0].size)
    sums = torch.arange(-products, products + 1, dtype=torch.int32)[:, None] + torch.from_numpy(layer.bias)
    zero = layer.output.meaning.zero_point
    codes = requantize(sums, torch.from_numpy(layer.multiplier), zero, layer.low, layer.high)
    positive = codes.numpy() >= sign.least
    return (products + 1 - positive.sum(0)).astype(np.int32)


def _keeps_channels(reshape: Reshape) -> bool:
    """Whether only sizes of one come or go behind the channels: (N, C, 1, 1) to (N, C)."""
    before, after = reshape.inputs[0].shape, reshape.output.shape
    return len(before) > 1 and before[:2] == after[:2] and all(size == 1 for size in (*before[2:], *after[2:]))


def _swapped(producer: Operation, sign: Sign) -> list[Operation] | None:
    """sign(move(x)) as move(sign(x)): a maximum is +1 where any of its signs is."""
    x = producer.inputs[0]
    if sign.axis != 1:
        return None
    inner = Value(f"{sign.output.name}_before", x.shape, Kind.SIGNS)
    return [replace(sign, inputs=(x,), output=inner), replace(producer, inputs=(inner,), output=sign.output)]

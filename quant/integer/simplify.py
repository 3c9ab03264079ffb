"""Takes out what another operation can do on its way, and what nothing reads."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .one_value import moving_input, tables_of
from .operations import Add, Convolution, Lookup, Multiply, Operation, Pad, Window
from .values import Value


def simplify(operations: Sequence[Operation], outputs: Sequence[Value]) -> list[Operation]:
    """Functions of one code in a row become one table, and padding with zeros a convolution's own.

    Outputs of the network are kept.
    """
    kept = {value.name for value in outputs}
    found = list(operations)
    while True:
        before = [id(operation) for operation in found]
        found = [_as_table(operation) for operation in found]
        producers = {operation.output.name: operation for operation in found}
        readers = _reader_counts(found)
        alone = {name for name, count in readers.items() if count == 1 and name not in kept}
        found = [_with_padding(_merged(operation, producers, alone), producers) for operation in found]
        readers = _reader_counts(found)
        found = [o for o in found if o.output.name in readers or o.output.name in kept]
        if [id(operation) for operation in found] == before:
            return found


def _reader_counts(operations: Sequence[Operation]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for operation in operations:
        for value in operation.inputs:
            counts[value.name] = counts.get(value.name, 0) + 1
    return counts


def _as_table(operation: Operation) -> Operation:
    """A sum or product with one constant number is a function of one code."""
    if not isinstance(operation, Add | Multiply):
        return operation
    tables = tables_of(operation)
    if tables is None or tables[1] is not None:
        return operation
    return Lookup((moving_input(operation),), operation.output, operation.module, tables[0][0])


def _merged(operation: Operation, producers: dict[str, Operation], alone: set[str]) -> Operation:
    """A table behind a table that nothing else reads is one table."""
    if not isinstance(operation, Lookup):
        return operation
    first = producers.get(operation.inputs[0].name)
    if not isinstance(first, Lookup) or first.output.name not in alone:
        return operation
    return replace(operation, inputs=first.inputs, table=operation.table[first.table.astype(np.int64) + 128])


def _with_padding(operation: Operation, producers: dict[str, Operation]) -> Operation:
    if not isinstance(operation, Convolution):
        return operation
    pad = producers.get(operation.inputs[0].name)
    if not isinstance(pad, Pad) or pad.fill != pad.output.meaning.zero_point:
        return operation
    behind = [o - i - b for i, o, b in zip(pad.inputs[0].shape, pad.output.shape, pad.before)]
    if any(pad.before[:2]) or any(behind[:2]):
        return operation
    front, back = (([0, *sides] if len(sides) == 1 else list(sides)) for sides in (pad.before[2:], behind[2:]))
    window = operation.window
    top, left, bottom, right = window.padding
    padding = (top + front[0], left + front[1], bottom + back[0], right + back[1])
    own = Window(window.kernel, window.stride, padding, window.dilation)
    return replace(operation, inputs=pad.inputs, window=own)

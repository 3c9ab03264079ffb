"""The order of each value's axes in memory.

Images lie channels last, where a convolution reads a patch's channels in one go; sequences and matrices as PyTorch has
them. A permutation is then only another order of the same bytes, and so are most reshapes. Where an operation cannot
take its input as it lies, a copy in another order goes before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...quant.integer.operations import (
    AveragePool,
    Convolution,
    Dequantize,
    FloatOperation,
    IntegerProgram,
    Linear,
    MatrixProduct,
    MaxPool,
    Operation,
    Permute,
    Quantize,
    Reshape,
    Sign,
    SignConvolution,
    SignLinear,
)
from ...quant.integer.values import Value
from .real_operators import lies_channels_last, takes_any_order

Order = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Reorder(Operation):
    """A copy of a value whose axes lie in another order."""


@dataclass(frozen=True)
class Layout:
    """Operations with the copies between them, the outputs, and each value's axes from the outermost on."""

    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]
    orders: dict[str, Order]


def plain(rank: int) -> Order:
    """As PyTorch has them."""
    return tuple(range(rank))


def channels_last(rank: int) -> Order:
    """Axis 1 innermost."""
    return plain(rank) if rank < 3 else (0, *range(2, rank), 1)


def lay_out(program: IntegerProgram) -> Layout:
    """Chooses an order for every value; inputs and outputs of the network lie as PyTorch has them."""
    return _Layouts(program).made()


class _Layouts:
    def __init__(self, program: IntegerProgram):
        self.program = program
        self.operations: list[Operation] = []
        self.orders: dict[str, Order] = {value.name: plain(len(value.shape)) for value in program.inputs}
        self.wishes = _wishes(program)
        self.copies: dict[tuple[str, Order], Value] = {}

    def made(self) -> Layout:
        for operation in self.program.operations:
            inputs = tuple(self._taken(operation, value) for value in operation.inputs)
            operation = replace(operation, inputs=inputs)
            if isinstance(operation, Reshape):
                operation = self._reshaped(operation)
            self.orders[operation.output.name] = self._order_of(operation)
            self.operations.append(operation)
        outputs = self._finished()
        return Layout(tuple(self.operations), outputs, self.orders)

    def _taken(self, operation: Operation, value: Value) -> Value:
        """An input as the operation can read it."""
        if value.constant is not None:
            return value
        wanted = demand(operation, value)
        return value if wanted is None else self._in(value, wanted, operation.module)

    def _in(self, value: Value, wanted: Order, module: str) -> Value:
        if _same_memory(value.shape, self.orders[value.name], wanted):
            return value
        key = value.name, wanted
        if key not in self.copies:
            copy = replace(value, name=f"{value.name}_reordered{len(self.copies) or ''}")
            self.copies[key] = copy
            self.orders[copy.name] = wanted
            self.operations.append(Reorder((value,), copy, module))
        return self.copies[key]

    def _reshaped(self, operation: Reshape) -> Reshape:
        """A reshape of bytes that may stay where they are."""
        source = operation.inputs[0]
        if reshaped_order(source.shape, self.orders[source.name], operation.output.shape) is not None:
            return operation
        return replace(operation, inputs=(self._in(source, plain(len(source.shape)), operation.module),))

    def _order_of(self, operation: Operation) -> Order:
        rank = len(operation.output.shape)
        computed = [value for value in operation.inputs if value.constant is None]
        full = [value for value in computed if len(value.shape) == rank]
        if isinstance(operation, Permute):
            return tuple(operation.order.index(axis) for axis in self.orders[computed[0].name])
        if isinstance(operation, Reshape):
            source = computed[0]
            found = reshaped_order(source.shape, self.orders[source.name], operation.output.shape)
            assert found is not None
            return found
        own = demand(operation, operation.output)
        if own is not None:
            return own
        if isinstance(operation, Quantize | Dequantize):  # loops over the output, in any order
            return self.wishes.get(operation.output.name) or (self.orders[full[0].name] if full else plain(rank))
        wide = [value for value in full if value.shape == operation.output.shape] or full
        return self.orders[wide[0].name] if wide else plain(rank)

    def _finished(self) -> tuple[Value, ...]:
        """The outputs, each lying as PyTorch has it."""
        return tuple(
            value if value.constant is not None else self._in(value, plain(len(value.shape)), "")
            for value in self.program.outputs
        )


def demand(operation: Operation, value: Value) -> Order | None:
    """The only order in which an operation takes or makes a value; None where any will do."""
    rank = len(value.shape)
    if isinstance(operation, Convolution | SignConvolution | AveragePool | MaxPool):
        return channels_last(rank)
    if isinstance(operation, Linear | SignLinear | MatrixProduct):
        return plain(rank)
    if isinstance(operation, Sign):
        return (*(axis for axis in range(rank) if axis != operation.axis), operation.axis)
    if isinstance(operation, FloatOperation) and not takes_any_order(operation):
        return channels_last(rank) if lies_channels_last(operation) else plain(rank)
    return None


def _wishes(program: IntegerProgram) -> dict[str, Order]:
    """The order in which a value's readers want it, looked for through operations that take any."""
    wishes: dict[str, Order] = {}
    for value in program.outputs:
        wishes[value.name] = plain(len(value.shape))
    for operation in reversed(program.operations):
        own = wishes.get(operation.output.name)
        for value in operation.inputs:
            wanted = demand(operation, value)
            if wanted is None and own is not None and len(value.shape) == len(own):
                wanted = own if not isinstance(operation, Permute) else tuple(operation.order[a] for a in own)
            if wanted is not None:
                wishes[value.name] = wanted
    return wishes


def _same_memory(shape: Sequence[int], one: Order, other: Order) -> bool:
    """Whether two orders put every element at the same place: they differ in axes of one element only."""
    return [axis for axis in one if shape[axis] != 1] == [axis for axis in other if shape[axis] != 1]


def reshaped_order(before: Sequence[int], order: Order, after: Sequence[int]) -> Order | None:
    """The order of the new axes if the elements stay where they are; None where no order of them does that.

    Axes are cut into groups that hold the same elements before and after. Within a group all must lie in PyTorch's
    order; the groups may lie in any.
    """
    groups = _groups(before, after)
    if groups is None:
        return plain(len(after)) if _same_memory(before, order, plain(len(before))) else None
    placed: list[tuple[int, tuple[int, ...]]] = []
    for old, new in groups:
        wide = [axis for axis in old if before[axis] != 1]
        places = [order.index(axis) for axis in wide]
        between = [axis for axis in order if before[axis] != 1]
        if wide and (places != sorted(places) or _scattered(wide, between)):
            return plain(len(after)) if _same_memory(before, order, plain(len(before))) else None
        placed.append((min(places, default=-1), new))
    placed.sort(key=lambda entry: entry[0])
    return tuple(axis for _, new in placed for axis in new)


def _scattered(wide: Sequence[int], between: Sequence[int]) -> bool:
    """Whether other axes lie between those of a group."""
    first = between.index(wide[0])
    return list(between[first : first + len(wide)]) != list(wide)


def _groups(before: Sequence[int], after: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """(old axes, new axes) that hold the same elements, in order; None for a value without elements."""
    if not int(np.prod(before, dtype=np.int64)):
        return None
    found = []
    old, new = 0, 0
    while old < len(before) or new < len(after):
        ours, theirs = [], []
        a = b = 1
        if old < len(before):
            ours.append(old)
            a, old = a * before[old], old + 1
        if new < len(after):
            theirs.append(new)
            b, new = b * after[new], new + 1
        while a != b:
            if a < b:
                ours.append(old)
                a, old = a * before[old], old + 1
            else:
                theirs.append(new)
                b, new = b * after[new], new + 1
        found.append((tuple(ours), tuple(theirs)))
    return found

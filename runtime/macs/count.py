"""`MacCount`: the multiplications of a network, one entry per operator call, with the sums that reports ask for."""

from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class CountedOperation:
    """One call of a multiplying operator.

    Attributes:
        name: of the node or of its output value.
        operator: `aten.conv2d.default`, `Conv`, `CONV_2D`.
        module: path of the PyTorch module that calls it; empty where it is not known.
        macs: multiply-accumulates of this call.
        bits: the wider of its operands: 1 to 8 where both are integer codes, 16 or 32 in floating point.
        weight_bits, activation_bits: of its constant and of its computed operands, counted on a program; None where it
            has none.
    """

    name: str
    operator: str
    module: str
    macs: int
    bits: int
    weight_bits: int | None = None
    activation_bits: int | None = None


@dataclass(frozen=True)
class MacCount:
    """What one inference costs, at the shapes of the graph; a free batch size counts as one.

    Attributes:
        operations: every counted call, in order.
        uncounted: operators that might multiply and have no rule, `operator (name)`; the total is then a lower bound.
        parameters: elements of weights, biases and norm parameters that the graph reads; not running statistics,
            scales, zero points, shapes or indices.
        weight_bytes: bytes, as stored, of the constants that counted operators multiply by; biases left out.
        weight_bits: bits that those constants need: a program stores a ±1 as an int8, and needs one bit for it. For a
            file, the bits of the types in which it stores them.
    """

    operations: tuple[CountedOperation, ...]
    uncounted: tuple[str, ...]
    parameters: int
    weight_bytes: int
    weight_bits: int = 0

    @property
    def total(self) -> int:
        return sum(operation.macs for operation in self.operations)

    @property
    def by_bits(self) -> dict[int, int]:
        """MACs by the wider of activation and weight bits."""
        return self._sums(lambda operation: operation.bits)

    @property
    def by_operator(self) -> dict[str, int]:
        return self._sums(lambda operation: operation.operator)

    @property
    def by_module(self) -> dict[str, int]:
        """MACs by the path of the module that calls the operator."""
        return self._sums(lambda operation: operation.module)

    def __str__(self) -> str:
        return f"{'at least ' if self.uncounted else ''}{self.total:,} MACs"

    def _sums(self, key: Callable[[CountedOperation], Hashable]) -> dict:
        sums: Counter = Counter()
        for operation in self.operations:
            sums[key(operation)] += operation.macs
        return dict(sums)

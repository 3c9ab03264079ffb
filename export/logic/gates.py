"""`Gates`: gates put one behind the other as they come, none of them shared, left out or simplified.

What is read from a file or spelled out from a definition is built with it, so that nothing that simplifies can hide in
what a netlist is held against.
"""

from collections.abc import Sequence

import numpy as np

from .netlist import Netlist
from .tables import FALSE, TRUE, VARIABLES, applied

AND, OR, XOR = 0x80, 0xFE, 0x96  # of three operands

Value = tuple[int, bool]
"""A signal, and whether its inverse is meant."""


class Gates:
    """Gates over a number of inputs; signal 0 is the constant 0, signals 1 to `inputs` are the inputs."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self._tables: list[int] = []
        self._operands: list[tuple[int, ...]] = []

    def __len__(self) -> int:
        return len(self._tables)

    def gate(self, table: int, reads: Sequence[int] = ()) -> int:
        """The signal of a new gate, of up to three signals."""
        self._tables.append(table)
        self._operands.append((*reads, *[0] * (3 - len(reads))))
        return self.inputs + len(self._tables)

    def of(self, table: int, values: Sequence[Value]) -> Value:
        """A new gate whose operands may be inverses."""
        places = [VARIABLES[k] ^ (TRUE if inverse else FALSE) for k, (_, inverse) in enumerate(values)]
        return self.gate(applied(table, *places, *[FALSE] * (3 - len(places))), [signal for signal, _ in values]), False

    def joined(self, table: int, values: Sequence[Value]) -> Value:
        """The AND, OR or XOR of any number of values, three at a time."""
        neutral = (0, table == AND)
        left = list(values) or [neutral]
        while len(left) > 1:
            three, left = left[:3], left[3:]
            left.append(self.of(table, [*three, *[neutral] * (3 - len(three))]))
        return left[0]

    def netlist(self, outputs: Sequence[Value]) -> Netlist:
        """All gates, with these as outputs."""
        return Netlist(
            self.inputs,
            np.array(self._tables, np.uint8),
            np.array(self._operands, np.int32),
            np.array([signal for signal, _ in outputs], np.int32),
            np.array([inverse for _, inverse in outputs], bool),
        )

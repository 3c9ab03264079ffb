"""`Builder`: puts gates together and simplifies while it does.

It works on literals: twice a signal's number, plus 1 for the signal's inverse. So there are no inverters; a gate that
reads an inverse has another table. Constants, ignored and repeated operands fall away, a gate that exists is not made
again, and a gate takes in one that it reads where both together have three operands at most.
"""

from collections.abc import Sequence

import numpy as np

from .netlist import Netlist
from .tables import (
    FALSE,
    TRUE,
    VARIABLES,
    applied,
    canonical_orders,
    used_operands,
)

ZERO, ONE = 0, 1  # literals of the constants


class Builder:
    """Gates over a number of inputs."""

    def __init__(self, inputs: int):
        self.inputs = inputs
        self._gates: list[tuple[int, tuple[int, ...]]] = []
        self._known: dict[tuple[int, tuple[int, ...]], int] = {}

    def input(self, number: int) -> int:
        """The literal of an input."""
        return 2 * (number + 1)

    def gate(self, table: int, *literals: int) -> int:
        """The literal of a function of up to three literals."""
        table, operands = _plain(table, literals)
        table, operands = self._absorbed(table, operands)
        if len(operands) <= 1:
            literal = 2 * operands[0] if operands else ZERO
            return literal ^ (table & 1)
        # Of a function and its inverse, one gate: that which is 0 where its operands are.
        inverse = table & 1
        table, orders = canonical_orders(table ^ (TRUE if inverse else FALSE))
        key = (table, min(tuple(operands[k] for k in order) for order in orders))
        if key not in self._known:
            self._known[key] = self.inputs + 1 + len(self._gates)
            self._gates.append(key)
        return 2 * self._known[key] + inverse

    def netlist(self, outputs: Sequence[int]) -> Netlist:
        """The gates that some literals need, with these as outputs."""
        first = self.inputs + 1
        needed = {literal >> 1 for literal in outputs}
        for signal in range(first + len(self._gates) - 1, self.inputs, -1):
            if signal in needed:
                needed.update(self._gates[signal - first][1])
        kept = sorted(signal for signal in needed if signal >= first)
        number = {signal: first + k for k, signal in enumerate(kept)} | {s: s for s in range(first)}
        gates = [self._gates[signal - first] for signal in kept]
        operands = [[*(number[s] for s in sources), *(0 for _ in range(3 - len(sources)))] for _, sources in gates]
        return Netlist(
            self.inputs,
            np.array([table for table, _ in gates], np.uint8),
            np.array(operands, np.int32).reshape(-1, 3),
            np.array([number[literal >> 1] for literal in outputs], np.int32),
            np.array([literal & 1 for literal in outputs], bool),
        )

    def _absorbed(self, table: int, operands: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The function with gates that it reads written out, while three operands suffice."""
        for k, signal in enumerate(operands):
            if signal <= self.inputs:
                continue
            inner, sources = self._gates[signal - self.inputs - 1]
            merged = sorted({*operands[:k], *operands[k + 1 :], *sources})
            if len(merged) <= 3:
                place = dict(zip(merged, VARIABLES))
                taken = [place[s] for s in sources] + [FALSE] * (3 - len(sources))
                place[signal] = applied(inner, *taken)
                read = [place[s] for s in operands] + [FALSE] * (3 - len(operands))
                table, kept = _used(applied(table, *read), merged)
                return self._absorbed(table, kept)
        return table, operands


def simplified(netlist: Netlist) -> Netlist:
    """An equal netlist, built again: no gate is there twice, is constant, inverts or copies, or is of no use."""
    builder = Builder(netlist.inputs)
    literals = [2 * signal for signal in range(netlist.first_gate)]
    for table, operands in zip(netlist.tables.tolist(), netlist.operands.tolist()):
        literals.append(builder.gate(table, *(literals[signal] for signal in operands)))
    outputs = zip(netlist.outputs.tolist(), netlist.inverted.tolist())
    return builder.netlist([literals[signal] ^ int(inverse) for signal, inverse in outputs])


def _plain(table: int, literals: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The function on distinct signals, none of them inverted, constant or ignored."""
    signals: list[int] = []
    place = [FALSE] * 3
    for k, literal in enumerate(literals):
        signal = literal >> 1
        if signal and signal not in signals:
            signals.append(signal)
        value = VARIABLES[signals.index(signal)] if signal else FALSE
        place[k] = value ^ (TRUE if literal & 1 else FALSE)
    return _used(applied(table, *place), signals)


def _used(table: int, signals: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The function without operands that it ignores, those that are left first."""
    used = used_operands(table)
    place = [FALSE] * 3
    for k, old in enumerate(used):
        place[old] = VARIABLES[k]
    return applied(table, *place), tuple(signals[k] for k in used)

"""`Netlist`: a network of gates on single bits, and `evaluate`, what it computes.

A bit stands for a value of ±1: 1 for +1, 0 for -1. Every gate is a function of up to three signals, a truth table of 8
bits (see `tables`).
"""

from dataclasses import dataclass

import numpy as np

from ...errors import BadInput
from .tables import FALSE, TRUE, applied, used_operands

_WORD = 64


@dataclass(frozen=True, eq=False)
class Netlist:
    """Gates in an order in which each reads only what is known before it.

    Signal 0 is the constant 0, signals 1 to `inputs` are the inputs, and those behind are the gates.

    Attributes:
        inputs: how many there are.
        tables: (gates,) uint8, the truth tables.
        operands: (gates, 3) int32, the signals that each gate reads; 0 where its table ignores one.
        outputs: (m,) int32, a signal each.
        inverted: (m,) bool, whether an output is the inverse of its signal.
    """

    inputs: int
    tables: np.ndarray
    operands: np.ndarray
    outputs: np.ndarray
    inverted: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", np.asarray(self.tables, np.uint8))
        object.__setattr__(self, "operands", np.asarray(self.operands, np.int32).reshape(-1, 3))
        object.__setattr__(self, "outputs", np.asarray(self.outputs, np.int32))
        object.__setattr__(self, "inverted", np.asarray(self.inverted, bool))
        if self.inputs < 1 or not self.outputs.size:
            raise BadInput(f"a netlist needs inputs and outputs, got {self.inputs} and {self.outputs.size}")
        if self.tables.shape != (len(self.operands),) or self.outputs.shape != self.inverted.shape:
            raise BadInput("a netlist needs one table for each row of operands, and one `inverted` for each output")
        early = np.arange(self.first_gate, self.signals)[:, None]
        wrong = np.flatnonzero(((self.operands < 0) | (self.operands >= early)).any(axis=1))
        if wrong.size:
            raise BadInput(f"gate {wrong[0]} reads a signal that is not known before it; sort the gates")
        if self.outputs.min() < 0 or self.outputs.max() >= self.signals:
            raise BadInput(f"outputs must be signals from 0 to {self.signals - 1}, got {self.outputs.max()}")

    @property
    def gates(self) -> int:
        return len(self.tables)

    @property
    def first_gate(self) -> int:
        """The signal of gate 0."""
        return self.inputs + 1

    @property
    def signals(self) -> int:
        return self.first_gate + self.gates

    @property
    def depth(self) -> int:
        """Gates on the longest way from an input to a gate."""
        return int(levels(self).max(initial=0))


def levels(netlist: Netlist) -> np.ndarray:
    """(signals,) int32: gates on the longest way to each signal, 0 for inputs."""
    found = [0] * netlist.signals
    for signal, (a, b, c) in enumerate(netlist.operands.tolist(), netlist.first_gate):
        found[signal] = 1 + max(found[a], found[b], found[c])
    return np.array(found, np.int32)


def evaluate(netlist: Netlist, inputs: np.ndarray) -> np.ndarray:
    """What a netlist computes, for many samples at once, 64 of them to a word.

    Args:
        inputs: (N, inputs), bool or numbers of ±1.

    Returns:
        (N, outputs): bool for bool, int8 of ±1 for numbers.

    Raises:
        BadInput: another shape, or a number that is neither +1 nor -1.
    """
    given = np.asarray(inputs)
    if given.ndim != 2 or given.shape[1] != netlist.inputs:
        raise BadInput(f"inputs must have shape (N, {netlist.inputs}), got {given.shape}")
    if given.dtype != bool and not (np.abs(given) == 1).all():
        raise BadInput("inputs must be bool, or numbers that are all +1 or -1")
    bits = given if given.dtype == bool else given > 0
    planes = evaluate_planes(netlist, pack(bits))
    found = unpack(planes, len(bits))
    return found if given.dtype == bool else np.where(found, np.int8(1), np.int8(-1))


def pack(bits: np.ndarray) -> np.ndarray:
    """(N, n) bool -> (n, words) uint64: bit s of word w is sample 64 w + s, 0 beyond the last."""
    padded = np.pad(bits.T, ((0, 0), (0, -len(bits) % _WORD)))
    packed = np.packbits(padded, axis=1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u8").astype(np.uint64, copy=False)


def unpack(planes: np.ndarray, samples: int) -> np.ndarray:
    """(n, words) uint64 -> (N, n) bool, the inverse of `pack`."""
    octets = np.ascontiguousarray(planes).astype("<u8", copy=False).view(np.uint8)
    return np.unpackbits(octets, axis=1, bitorder="little", count=samples).T.astype(bool)


def evaluate_planes(netlist: Netlist, planes: np.ndarray) -> np.ndarray:
    """(inputs, words) uint64 -> (outputs, words), bits packed as `pack` packs them."""
    values = signal_planes(netlist, planes)
    return values[netlist.outputs] ^ np.where(netlist.inverted, ~np.uint64(0), np.uint64(0))[:, None]


def signal_planes(netlist: Netlist, planes: np.ndarray) -> np.ndarray:
    """(inputs, words) uint64 -> (signals, words): the value of every signal."""
    values = np.zeros((netlist.signals, planes.shape[1]), np.uint64)
    values[1 : netlist.first_gate] = planes
    level = levels(netlist)[netlist.first_gate :]
    order = np.lexsort((netlist.tables, level))
    kinds = np.stack([level, netlist.tables])[:, order]
    starts = np.flatnonzero((kinds[:, 1:] != kinds[:, :-1]).any(axis=0)) + 1
    for group in np.split(order, starts):
        if group.size:  # gates of one level and table
            operands = [values[netlist.operands[group, k]] for k in range(3)]
            values[netlist.first_gate + group] = _gate(int(netlist.tables[group[0]]), operands)
    return values


def _gate(table: int, operands: list[np.ndarray]) -> np.ndarray:
    """The sum of products that a truth table spells out."""
    used = used_operands(table)
    found = np.zeros_like(operands[0])
    for place in range(1 << len(used)):
        fixed = [TRUE if k in used and place >> used.index(k) & 1 else FALSE for k in range(3)]
        if applied(table, *fixed) == TRUE:
            term = np.full_like(found, ~np.uint64(0))
            for bit, k in enumerate(used):
                term &= operands[k] if place >> bit & 1 else ~operands[k]
            found |= term
    return found

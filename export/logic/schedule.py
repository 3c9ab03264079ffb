"""The order in which gates are computed, and the places their values take."""

import heapq
from dataclasses import dataclass

import numpy as np

from .netlist import Netlist

# Gates whose order is changed at most. More make longer runs of one table, fewer keep values in nearer memory.
WINDOW = 4096


@dataclass(frozen=True)
class Schedule:
    """A netlist laid out for a loop over its gates.

    Attributes:
        gates: (G,) in order, by number in the netlist.
        runs: (table, gates) of neighbours with the same table, in order.
        slots: (signals,) the place of each signal; one that is needed no more leaves its place to another.
        size: places in all.
    """

    gates: np.ndarray
    runs: list[tuple[int, int]]
    slots: np.ndarray
    size: int


def schedule(netlist: Netlist, window: int = WINDOW) -> Schedule:
    """Orders gates by level and table within windows of the netlist's own order, and gives them places."""
    order = _in_runs(netlist, window)
    tables = netlist.tables[order]
    starts = np.flatnonzero(np.r_[True, tables[1:] != tables[:-1]]) if len(order) else np.zeros(0, int)
    lengths = np.diff(np.r_[starts, len(order)])
    runs = list(zip(tables[starts].tolist(), lengths.tolist()))
    slots, size = _places(netlist, order)
    return Schedule(order, runs, slots, size)


def _in_runs(netlist: Netlist, window: int) -> np.ndarray:
    """Gates by window, by level within it, by table, by number."""
    place = np.arange(netlist.gates)
    begin = netlist.first_gate + place // window * window
    operands = netlist.operands
    # Most gates read nothing from their own window and are on level 1; the others are taken in turn.
    inner = np.flatnonzero((operands >= begin[:, None]).any(axis=1))
    level = [0] * netlist.first_gate + [1] * netlist.gates
    for gate, (a, b, c), first in zip(inner.tolist(), operands[inner].tolist(), begin[inner].tolist()):
        reads = (level[signal] for signal in (a, b, c) if signal >= first)
        level[netlist.first_gate + gate] = 1 + max(reads)
    return np.lexsort(
        (place, operands[:, 0], netlist.tables, np.array(level[netlist.first_gate :], np.int64), place // window)
    )


def _places(netlist: Netlist, order: np.ndarray) -> tuple[np.ndarray, int]:
    """A place for every signal: that of the constant is 0; inputs have theirs from the start, outputs to the end."""
    steps = len(order)
    last = np.full(netlist.signals, -1)
    for k in range(3):
        np.maximum.at(last, netlist.operands[order, k], np.arange(steps))
    last[0] = steps
    last[netlist.outputs] = steps
    until = last.tolist()
    slots = list(range(netlist.first_gate)) + [0] * netlist.gates
    # The lowest free place first, so that few places are in use and near to each other.
    free: list[int] = sorted(signal for signal in range(1, netlist.first_gate) if until[signal] < 0)
    size = netlist.first_gate
    for step, (gate, operands) in enumerate(zip(order.tolist(), netlist.operands[order].tolist())):
        for signal in {*operands}:
            if until[signal] == step:
                heapq.heappush(free, slots[signal])
        if free:
            slots[netlist.first_gate + gate] = heapq.heappop(free)
        else:
            slots[netlist.first_gate + gate] = size
            size += 1
        if until[netlist.first_gate + gate] < 0:
            heapq.heappush(free, slots[netlist.first_gate + gate])
    return np.array(slots, np.int64), size

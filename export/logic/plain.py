"""Layers of neurons exactly as they were read, and a netlist that spells each out by the definition of its sum.

Nothing is shared, merged or simplified, and no gate comes from where `builder` and `threshold` make theirs: so it is
what a simplified netlist is held against.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from .gates import Gates
from .netlist import Netlist
from .tables import SELECT

MOST_GATES = 1 << 18


@dataclass(frozen=True, eq=False)
class Neurons:
    """A layer `y = sgn(w·x)`.

    Attributes:
        name: of the module or operator that it comes from.
        reads: the number of the layer whose outputs it reads; -1 for the network's inputs.
        rows: (out, in + 1) int64; the last column is the weight of the constant node, which is -1.
        tie: the sign of a sum of 0: +1 or -1, and 0 where no sum can be 0.
        inverse: whether its outputs are `-sgn(w·x)`.
    """

    name: str
    reads: int
    rows: np.ndarray
    tie: int
    inverse: bool = False


def plain_netlist(inputs: int, layers: Sequence[Neurons], inverse: bool = False) -> Netlist | None:
    """A netlist of layers, the outputs being those of the last.

    Args:
        inputs: of the network.
        layers: each behind the one that it reads.
        inverse: whether the outputs are inverted.

    Returns:
        None where it would have more than 2^18 gates, as wide layers with many weights have.
    """
    gates = Gates(inputs)
    known = [list(range(1, inputs + 1))]
    for layer in layers:
        read = known[layer.reads + 1]
        made = []
        for row in layer.rows:
            signal = _neuron(gates, read, row, layer.tie, layer.inverse)
            if signal is None:
                return None
            made.append(signal)
        known.append(made)
    return gates.netlist([(signal, inverse) for signal in known[-1]])


def _neuron(gates: Gates, read: list[int], row: np.ndarray, tie: int, inverse: bool) -> int | None:
    """Weight by weight: each selects the sum that goes on, and the last three the sign of what it comes to."""
    used = np.flatnonzero(row[:-1]).tolist()
    weights, signals = row[used].tolist(), [read[k] for k in used]
    last = max(len(used) - 3, 0)
    sums = [{-int(row[-1])}]
    for weight in weights[:last]:
        sums.append({total + sign * weight for total in sums[-1] for sign in (-1, 1)})
        if sum(map(len, sums)) + len(gates) > MOST_GATES:
            return None
    after = {
        total: gates.gate(_sign_table(weights[last:], total, tie, inverse), signals[last:]) for total in sums[last]
    }
    for place in range(last - 1, -1, -1):
        weight = weights[place]
        after = {
            total: gates.gate(SELECT, [after[total - weight], after[total + weight], signals[place]])
            for total in sums[place]
        }
    return after[-int(row[-1])]


def _sign_table(weights: list[int], total: int, tie: int, inverse: bool) -> int:
    """The truth table of the sign of `total + weights · x` for up to three x of ±1."""
    table = 0
    for place, bits in enumerate(product((-1, 1), repeat=3)):
        found = total + sum(w * x for w, x in zip(weights, reversed(bits)))
        assert found or tie, "a neuron that can tie was let through"
        table |= ((found or tie) > 0) << place
    return table ^ (0xFF if inverse else 0)

"""Neurons as gates: `sum of weights of the literals that are 1 >= threshold`, for any integer weights.

Up to three literals are one truth table. More are counted in binary by full adders, in the manner of Harley and Seal,
with an offset that makes the answer the count's highest bit; or decided literal by literal, which takes fewer gates
where few sums matter (a wide AND). The smaller of the two is taken.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from .builder import ONE, ZERO, Builder
from .netlist import Netlist
from .tables import MAJORITY, PARITY, SELECT, threshold_table


def neuron(builder: Builder, literals: Sequence[int], weights: Sequence[int], bias: int, tie: int) -> int:
    """The literal of `weights · x + bias > 0`, x being the ±1 that the literals stand for.

    Args:
        bias: added to the sum.
        tie: +1 where a sum of 0 counts as positive, else -1.
    """
    merged: dict[int, int] = {}
    for literal, weight in zip(literals, weights):
        if literal <= ONE:
            bias += weight if literal == ONE else -weight
        else:
            signed = -weight if literal & 1 else weight
            merged[literal >> 1] = merged.get(literal >> 1, 0) + signed
    positive = sorted((-abs(w), 2 * signal + (w < 0)) for signal, w in merged.items() if w)
    sizes = tuple(-w for w, _ in positive)
    # sum of ±w + bias = 2 (sum of w where 1) - sum of w + bias, which is to be >= 0, or > 0.
    threshold = -((bias - sum(sizes) - (tie < 0)) // 2)
    return at_least(builder, tuple(literal for _, literal in positive), sizes, threshold)


def at_least(builder: Builder, literals: Sequence[int], weights: tuple[int, ...], threshold: int) -> int:
    """The literal of `sum of weights of the literals that are 1 >= threshold`, for falling weights above 0."""
    if threshold <= 0 or threshold > sum(weights):
        return ONE if threshold <= 0 else ZERO
    if len(weights) <= 3:
        return builder.gate(threshold_table(weights, threshold), *literals, *[ZERO] * (3 - len(weights)))
    form = _smallest(weights, threshold)
    known = [ZERO, *literals]
    for table, operands in zip(form.tables.tolist(), form.operands.tolist()):
        known.append(builder.gate(table, *(known[signal] for signal in operands)))
    return known[form.outputs[0]] ^ int(form.inverted[0])


@lru_cache(maxsize=1 << 14)
def _smallest(weights: tuple[int, ...], threshold: int) -> Netlist:
    """The form of a threshold function with the fewest gates."""
    forms = [counted(weights, threshold)]
    limit = 2 * forms[0].gates + 8
    decided = decided_in_turn(weights, threshold, limit)
    return min([*forms, decided] if decided else forms, key=lambda form: form.gates)


def counted(weights: tuple[int, ...], threshold: int) -> Netlist:
    """By full adders: bits of equal worth, three at a time, give one of that worth and one of twice that."""
    builder = Builder(len(weights))
    bits = 0
    while (1 << bits) < threshold or (1 << bits) <= sum(weights) - threshold:
        bits += 1
    # With this added, the sum reaches 2^bits where it was to reach the threshold, and stays below 2^(bits + 1).
    offset = (1 << bits) - threshold
    columns: list[deque[int]] = [deque() for _ in range(bits + 2)]
    for number, weight in enumerate(weights):
        for place in range(weight.bit_length()):
            if weight >> place & 1:
                columns[place].append(builder.input(number))
    for place, column in enumerate(columns[:bits]):
        if offset >> place & 1:
            column.append(ONE)
        while len(column) > 1:
            three = [column.popleft() if column else ZERO for _ in range(3)]
            column.append(builder.gate(PARITY, *three))
            columns[place + 1].append(builder.gate(MAJORITY, *three))
    # Below 2^(bits + 1), so at most one of these is 1, and the sum of bits is their parity.
    top = ZERO
    for literal in columns[bits]:
        top = builder.gate(PARITY, top, literal, ZERO)
    return builder.netlist([top])


def decided_in_turn(weights: tuple[int, ...], threshold: int, limit: int) -> Netlist | None:
    """By the literals in turn, the heaviest first: each selects what is left to reach. None above `limit` gates."""
    builder = Builder(len(weights))
    left = [sum(weights[k:]) for k in range(len(weights) + 1)]
    known: dict[tuple[int, int], int] = {}

    def decide(first: int, wanted: int) -> int:
        if wanted <= 0 or wanted > left[first]:
            return ONE if wanted <= 0 else ZERO
        if (first, wanted) not in known:
            if len(known) > limit:
                return ZERO
            if len(weights) - first <= 3:
                table = threshold_table(weights[first:], wanted)
                literals = [builder.input(k) for k in range(first, len(weights))]
                found = builder.gate(table, *literals, *[ZERO] * (3 - len(literals)))
            else:
                without = decide(first + 1, wanted)
                found = builder.gate(SELECT, without, decide(first + 1, wanted - weights[first]), builder.input(first))
            known[first, wanted] = found
        return known[first, wanted]

    if len(weights) > 600:  # deeper than functions should call each other
        return None
    literal = decide(0, threshold)
    return None if len(known) > limit else builder.netlist([literal])

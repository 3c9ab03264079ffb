"""What a gate is called, and how it is written for people: and, or, xor, majority, select, of operands or inverses."""

from collections.abc import Sequence
from functools import cache
from itertools import permutations, product

import numpy as np

from .netlist import Netlist
from .tables import (
    FALSE,
    MAJORITY,
    PARITY,
    SELECT,
    TRUE,
    VARIABLES,
    applied,
    implicants,
    operators,
    used_operands,
)

KINDS = ("and", "or", "xor", "majority", "select", "other", "wire", "inverter", "constant")


@cache
def kind_of(table: int) -> str:
    """One of `KINDS`. The operands of an and, or, xor, majority or select may be inverted; its result is not."""
    used = used_operands(table)
    if len(used) < 2:
        return ("constant", "inverter" if table & 1 else "wire")[len(used)]
    rows = table.bit_count() >> (3 - len(used))  # of the truth table of what is used
    if rows == 1:
        return "and"
    if rows == (1 << len(used)) - 1:
        return "or"
    if table in _parities(used):
        return "xor"
    return "majority" if _placed(MAJORITY, table) else "select" if _placed(SELECT, table) else "other"


def count_kinds(netlist: Netlist) -> dict[str, int]:
    """How many gates of each kind there are, of those that occur, in the order of `KINDS`."""
    counts = dict.fromkeys(KINDS, 0)
    for table, count in zip(*np.unique(netlist.tables, return_counts=True)):
        counts[kind_of(int(table))] += int(count)
    return {kind: count for kind, count in counts.items() if count}


def verilog_of(table: int, operands: Sequence[str]) -> str:
    """A Verilog expression of a table: `a & ~b`, `(a & b) | (a & c) | (b & c)`, `c ? b : a`.

    Args:
        operands: three texts, of which those count that the table uses.
    """
    kind, used = kind_of(table), used_operands(table)
    if kind == "constant":
        return "1'b1" if table else "1'b0"
    if kind == "and":
        (cube,) = implicants(table)
        return " & ".join(_literal(operands[k], not cube[k]) for k in used)
    if kind == "or":
        (cube,) = implicants(table ^ TRUE)
        return " | ".join(_literal(operands[k], bool(cube[k])) for k in used)
    if kind == "xor":
        joined = " ^ ".join(operands[k] for k in used)
        return f"~({joined})" if table & 1 else joined
    if kind in ("majority", "select"):
        order, flips = _placed(MAJORITY if kind == "majority" else SELECT, table)[0]
        a, b, c = (_literal(operands[k], flip) for k, flip in zip(order, flips))
        return f"({a} & {b}) | ({a} & {c}) | ({b} & {c})" if kind == "majority" else f"{c} ? {b} : {a}"
    if not table & 1:
        return operators(table, operands)
    inner = operators(table ^ TRUE, operands)
    return f"~{inner}" if len(used) == 1 else f"~({inner})"


def _literal(text: str, inverse: bool) -> str:
    return f"~{text}" if inverse else text


def _parities(used: tuple[int, ...]) -> tuple[int, int]:
    table = applied(PARITY, *(VARIABLES[k] if k in used else FALSE for k in range(3)))
    return table, table ^ TRUE


@cache
def _placed(wanted: int, table: int) -> tuple[tuple[tuple[int, ...], tuple[bool, ...]], ...]:
    """Each way to get a table from another: which operand, and whether its inverse, stands in each of its places.

    Those with the fewest inverses come first.
    """
    found = []
    for flips in sorted(product((False, True), repeat=3), key=sum):
        for order in permutations(range(3)):
            placed = [VARIABLES[k] ^ (TRUE if flip else FALSE) for k, flip in zip(order, flips)]
            if applied(wanted, *placed) == table:
                found.append((order, flips))
    return tuple(found)

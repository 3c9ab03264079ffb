"""Truth tables of functions of three bits, as numbers of 8 bits: bit a + 2 b + 4 c is the value at (a, b, c).

A gate has such a table and three operands. Operands that a table ignores come last, and are the constant 0.
"""

from collections.abc import Sequence
from functools import cache
from itertools import permutations, product

# The tables of the three operands themselves.
VARIABLES = (0xAA, 0xCC, 0xF0)
FALSE, TRUE = 0x00, 0xFF
MAJORITY, PARITY = 0xE8, 0x96
SELECT = 0xCA  # c ? b : a

# What a processor does to two whole words at once: on tables, and whether the words may be swapped.
_STEPS = {
    "both": (lambda a, b: a & b, True),
    "either": (lambda a, b: a | b, True),
    "differ": (lambda a, b: a ^ b, True),
    "without": (lambda a, b: a & ~b & TRUE, False),
}
_CALLS = {name: f"{name}(%s, %s)" for name in _STEPS}
_OPERATORS = {"both": "(%s & %s)", "either": "(%s | %s)", "differ": "(%s ^ %s)", "without": "(%s & ~%s)"}
_Formula = int | tuple[str, "_Formula", "_Formula"]  # an operand, or a step on two of them
# As few steps as others, of which the two share one, so that compilers compute it once.
_FULL_ADDER: dict[int, _Formula] = {
    PARITY: ("differ", ("differ", 0, 1), 2),
    MAJORITY: ("either", ("both", 0, 1), ("both", ("differ", 0, 1), 2)),
}


@cache
def applied(table: int, a: int, b: int, c: int) -> int:
    """The table of a gate whose operands have tables themselves."""
    found = 0
    for place in range(8):
        if table >> place & 1:
            found |= (a if place & 1 else ~a) & (b if place & 2 else ~b) & (c if place & 4 else ~c)
    return found & TRUE


@cache
def cofactor(table: int, operand: int, value: int) -> int:
    """The table with one operand fixed, which it then ignores."""
    fixed = [(TRUE if value else FALSE) if k == operand else VARIABLES[k] for k in range(3)]
    return applied(table, *fixed)


@cache
def used_operands(table: int) -> tuple[int, ...]:
    """Operands that a table depends on."""
    return tuple(k for k in range(3) if cofactor(table, k, 0) != cofactor(table, k, 1))


@cache
def reordered(table: int, order: tuple[int, ...]) -> int:
    """The table for operands given in another order: the new operand k is the old operand `order[k]`."""
    moved = [FALSE] * 3
    for k, old in enumerate(order):
        moved[old] = VARIABLES[k]
    return applied(table, *moved)


@cache
def canonical_orders(table: int) -> tuple[int, tuple[tuple[int, ...], ...]]:
    """The least table that an order of the used operands gives, and every order that gives it.

    The orders name the used operands alone.
    """
    tables = {order: reordered(table, order) for order in permutations(used_operands(table))}
    least = min(tables.values())
    return least, tuple(order for order, found in tables.items() if found == least)


@cache
def implicants(table: int) -> tuple[tuple[int | None, ...], ...]:
    """The prime implicants of a table: for each operand the bit that it must have, or None where it may have either.

    The table is 1 where one of them fits, and nowhere else. A constant 0 has none, a constant 1 one without conditions.
    """
    tables = {}
    for cube in product((None, 0, 1), repeat=3):
        fits = TRUE
        for variable, bit in zip(VARIABLES, cube):
            fits &= TRUE if bit is None else variable if bit else ~variable & TRUE
        if not fits & ~table:
            tables[cube] = fits
    return tuple(
        cube
        for cube, fits in tables.items()
        if not any(fits != wider and fits & ~wider == 0 for wider in tables.values())
    )


def threshold_table(weights: tuple[int, ...], threshold: int) -> int:
    """The table of `sum of weights of the operands that are 1 >= threshold`, for up to three weights."""
    sums = [sum(w for k, w in enumerate(weights) if place >> k & 1) for place in range(8)]
    return sum((total >= threshold) << place for place, total in enumerate(sums))


def calls(table: int, operands: Sequence[str] = "abc") -> str:
    """C that computes a table by functions in the fewest steps: `either(both(a, b), both(either(a, b), c))`."""
    return _written(formulas()[table], operands, _CALLS)


def operators(table: int, operands: Sequence[str]) -> str:
    """C that computes a table by operators in the fewest steps: `(a & b) | ((a | b) & c)`."""
    text = _written(formulas()[table], operands, _OPERATORS)
    return text[1:-1] if text.startswith("(") else text


def _written(formula: _Formula, operands: Sequence[str], forms: dict[str, str]) -> str:
    if isinstance(formula, int):
        return operands[formula]
    step, left, right = formula
    return forms[step] % (_written(left, operands, forms), _written(right, operands, forms))


@cache
def formulas() -> dict[int, _Formula]:
    """Every table that is 0 where all operands are 0 and that is not the constant, by rising number of steps."""
    known: dict[int, _Formula] = {table: k for k, table in enumerate(VARIABLES)}
    by_cost: list[list[int]] = [sorted(known)]
    while len(known) < 127:
        cost = len(by_cost)
        fresh: dict[int, _Formula] = {}
        for left in range(cost):
            for first, second in product(by_cost[left], by_cost[cost - 1 - left]):
                for name, (step, swaps) in _STEPS.items():
                    found = step(first, second)
                    if found and found not in known and not (swaps and first > second):
                        fresh.setdefault(found, (name, known[first], known[second]))
        known |= fresh
        by_cost.append(sorted(fresh))
    return known | _FULL_ADDER

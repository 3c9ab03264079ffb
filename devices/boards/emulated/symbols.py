"""Functions of a linked program, from its symbol table as `nm` prints it."""

import re
from bisect import bisect_right
from dataclasses import dataclass

_LINE = re.compile(r"^([0-9a-f]+) (?:([0-9a-f]+) )?([a-zA-Z]) (\S+)$", re.MULTILINE)
_CODE = set("tTwW")
# What follows the last function, where its symbol has no size.
_TAIL_BYTES = 256


@dataclass(frozen=True)
class Function:
    """A function: its name in C and the addresses [start, end) of its code."""

    name: str
    start: int
    end: int


def parse_functions(text: str) -> list[Function]:
    """The functions in rising order of their addresses, from `nm --print-size --defined-only`.

    A function reaches to the next one, so that code without a name or without a size (literal pools, hand-written
    assembly) counts to the one before it. Of several names for one address the plainest is taken.
    """
    at: dict[int, tuple[int, str]] = {}
    for address, size, kind, name in _LINE.findall(text):
        if kind in _CODE:
            start = int(address, 16)
            known = at.get(start)
            entry = (int(size, 16) if size else 0, c_name(name))
            at[start] = entry if known is None or _plainness(entry[1]) < _plainness(known[1]) else known
    starts = sorted(at)
    ends = [*starts[1:], starts[-1] + (at[starts[-1]][0] or _TAIL_BYTES)] if starts else []
    return [Function(at[start][1], start, end) for start, end in zip(starts, ends)]


def c_name(symbol: str) -> str:
    """The function that a symbol is of: compilers append `.constprop.0` and the like to what they specialise."""
    return symbol if symbol.startswith(".") else symbol.partition(".")[0]


def function_at(functions: list[Function], address: int) -> str:
    """Name of the function that holds an address, else the address itself."""
    index = bisect_right([f.start for f in functions], address) - 1
    return functions[index].name if index >= 0 and address < functions[index].end else f"{address:#x}"


def _plainness(name: str) -> tuple[bool, int, str]:
    return (name.startswith("_"), len(name), name)

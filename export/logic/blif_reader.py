"""Reads netlists in BLIF: of the format, the part without memory and hierarchy.

That is one `.model` of `.inputs`, `.outputs` and `.names`, with covers of ones or of zeros, comments, and lines that a
backslash continues.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter

from ...errors import BadInput
from .circuit import NAMES, Circuit, is_name
from .gates import AND, OR, Gates, Value
from .tables import FALSE, TRUE, VARIABLES, applied

_SEQUENTIAL = (".latch", ".mlatch", ".clock")


def read_blif(text: str, where: str = "the netlist") -> Circuit:
    """Reads BLIF as it stands: one gate for each `.names` of up to three inputs, several for a wider one.

    Args:
        text: of one model; covers of ones or of zeros, comments and lines continued by a backslash.
        where: heads messages, for example the file's name.

    Raises:
        BadInput: what is not in the part of BLIF that is read (latches, subcircuits, don't-cares), signals that nothing
            or two things drive, or cycles; with the number of the line.
    """
    model = _Model(where)
    for number, words in _lines(text):
        model.take(number, words)
    return model.circuit()


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The number of each line and its words, without comments and with continued lines joined to the first."""
    held: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.split("#", 1)[0].rstrip()
        first = first or number
        held += plain.removesuffix("\\").split()
        if plain.endswith("\\"):
            continue
        if held:
            yield first, held
        held, first = [], 0
    if held:
        yield first, held


@dataclass
class _Cover:
    """One `.names`: the line it begins in, the signals it reads, and where the result is `value`."""

    line: int
    reads: tuple[str, ...]
    rows: list[str] = field(default_factory=list)
    value: str = "1"


class _Model:
    """What was read so far."""

    def __init__(self, where: str):
        self.where = where
        self.name = ""
        self.inputs: dict[str, int] = {}  # name -> line
        self.outputs: dict[str, int] = {}
        self.covers: dict[str, _Cover] = {}
        self.begun = self.ended = False
        self.open: _Cover | None = None  # whose rows are being read

    def fault(self, line: int, message: str) -> BadInput:
        return BadInput(f"{self.where}, line {line}: {message}")

    def take(self, line: int, words: list[str]) -> None:
        keyword = words[0]
        if self.ended:
            raise self.fault(line, f"{keyword} stands behind .end; give a file of one model")
        if not keyword.startswith("."):
            self._row(line, words)
            return
        self.open = None
        if keyword == ".model":
            if self.begun:
                raise self.fault(line, "a second .model; give a file of one model")
            self.name = words[1] if len(words) > 1 else ""
            if self.name and not is_name(self.name):
                raise self.fault(line, f"{self.name!r}: {NAMES}")
        elif keyword in (".inputs", ".outputs"):
            self._ports(line, self.inputs if keyword == ".inputs" else self.outputs, words[1:])
        elif keyword == ".names":
            self._cover(line, words[1:])
        elif keyword == ".end":
            self.ended = True
        else:
            kind = "holds memory" if keyword in _SEQUENTIAL else "is not read"
            raise self.fault(line, f"{keyword} {kind}; a netlist is made of .names alone")
        self.begun = True

    def _ports(self, line: int, ports: dict[str, int], names: list[str]) -> None:
        for name in names:
            if not is_name(name):
                raise self.fault(line, f"{name!r}: {NAMES}")
            if name in self.inputs or name in self.outputs:
                raise self.fault(line, f"{name} is named twice among inputs and outputs; give each its own name")
            if ports is self.inputs and name in self.covers:
                raise self.fault(line, f"{name} is an input, and line {self.covers[name].line} drives it")
            ports[name] = line

    def _cover(self, line: int, names: list[str]) -> None:
        if not names:
            raise self.fault(line, ".names without a signal; name what it drives")
        *reads, name = names
        if name in self.inputs:
            raise self.fault(line, f"{name} is an input, and cannot be driven")
        if name in self.covers:
            raise self.fault(line, f"{name} is driven twice, in line {self.covers[name].line} too")
        self.open = self.covers[name] = _Cover(line, tuple(reads))

    def _row(self, line: int, words: list[str]) -> None:
        cover = self.open
        if cover is None:
            raise self.fault(line, f"{words[0]} is not part of a .names")
        wanted = 2 if cover.reads else 1
        pattern, value = (words[0] if wanted == 2 else ""), words[-1]
        if len(words) != wanted or len(pattern) != len(cover.reads) or not re.fullmatch("[01-]*", pattern):
            raise self.fault(line, f"{' '.join(words)}: needs {len(cover.reads)} of 0, 1 and -, and then 0 or 1")
        if value not in ("0", "1"):
            raise self.fault(line, f"{' '.join(words)}: a result is 0 or 1, got {value}")
        if cover.rows and value != cover.value:
            raise self.fault(line, "results of 0 and of 1 in one .names; give the one or the other")
        cover.rows.append(pattern)
        cover.value = value

    def circuit(self) -> Circuit:
        if not self.inputs or not self.outputs:
            missing = ".inputs" if not self.inputs else ".outputs"
            raise BadInput(f"{self.where}: no {missing}; a netlist needs inputs and outputs")
        if not self.ended:
            raise BadInput(f"{self.where}: no .end, so its end may be missing; restore the file")
        gates = Gates(len(self.inputs))
        known: dict[str, Value] = {name: (signal, False) for signal, name in enumerate(self.inputs, 1)}
        for name in self._order():
            cover = self.covers[name]
            known[name] = _driven(gates, [known[read] for read in cover.reads], cover)
        for name, line in self.outputs.items():
            if name not in known:
                raise self.fault(line, f"output {name} is driven by nothing")
        netlist = gates.netlist([known[name] for name in self.outputs])
        return Circuit(self.name or "netlist", netlist, tuple(self.inputs), tuple(self.outputs))

    def _order(self) -> list[str]:
        """The driven signals, each behind those it reads."""
        for cover in self.covers.values():
            for read in cover.reads:
                if read not in self.covers and read not in self.inputs:
                    raise self.fault(cover.line, f"{read} is driven by nothing")
        reads = {name: [r for r in cover.reads if r in self.covers] for name, cover in self.covers.items()}
        try:
            return list(TopologicalSorter(reads).static_order())
        except CycleError as error:
            cycle = error.args[1]
            raise self.fault(
                self.covers[cycle[0]].line, f"{' -> '.join(cycle)} is a cycle; a netlist has none"
            ) from None


def _driven(gates: Gates, reads: list[Value], cover: _Cover) -> Value:
    """The value of a cover: one gate of up to three signals, and several of more."""
    flip = TRUE if cover.value == "0" else FALSE
    if len(reads) <= 3:
        table = FALSE
        for row in cover.rows:
            table |= applied(AND, *_literals(row))
        return gates.of(table ^ flip, reads)
    terms = []
    for row in cover.rows:
        kept = [(signal, inverse ^ (bit == "0")) for (signal, inverse), bit in zip(reads, row) if bit != "-"]
        terms.append(gates.joined(AND, kept))
    return gates.of(VARIABLES[0] ^ flip, [gates.joined(OR, terms)])


def _literals(row: str) -> list[int]:
    """Tables of the literals of a row of up to three places."""
    places = {"1": VARIABLES, "0": tuple(v ^ TRUE for v in VARIABLES), "-": (TRUE,) * 3}
    return [places[bit][k] for k, bit in enumerate(row)] + [TRUE] * (3 - len(row))

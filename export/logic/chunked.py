"""A netlist as straight-line C, for processors that have no memory to spare: 32 samples, one to a bit.

A function holds a few hundred gates, so that a compiler's time stays in proportion to their number. Values that other
functions read lie in a static array, whose places are used again; all others are variables.
"""

import numpy as np

from ..c.text import comment_safe, guarded, identifier
from .netlist import Netlist
from .tables import operators

CHUNK = 128  # gates in a function
_HEADER = """\
#define {macro}_IN_LENGTH {inputs}
#define {macro}_OUT_LENGTH {outputs}
#define {macro}_GATES {gates}

/* Computes {bits} samples. A bit is 1 for +1 and 0 for -1: bit s of in[i] is input i of sample s, bit s of out[o] is
   output o of that sample. `in` and `out` do not overlap. It is not to be called while it runs. */
void {name}_run(const {border} *in, {border} *out);"""


def chunked_source(netlist: Netlist, stem: str, chunk: int = CHUNK, bits: int = 32) -> tuple[str, str]:
    """The text of NAME.h and NAME.c.

    Args:
        netlist: whose tables are those of `simplified`.
        chunk: gates in a function.
        bits: samples at once, 32 or 64.
    """
    word, border = f"uint{bits}_t", {32: "int32_t", 64: "uint64_t"}[bits]
    name = identifier(stem).lower()
    title = comment_safe(f"{stem}: {netlist.gates} gates, {netlist.inputs} inputs, {len(netlist.outputs)} outputs")
    common = {"name": name, "macro": name.upper(), "bits": bits, "border": border}
    sizes = {"inputs": netlist.inputs, "outputs": len(netlist.outputs), "gates": netlist.gates}
    places, size = _places(netlist, chunk)
    targets = _targets(netlist, places, border)
    parts = [f"/* {title} */", f'#include "{stem}.h"', ""]
    if size:
        parts += ["/* Values that another function reads. */", f"static {word} values[{size}];", ""]
    run = [f"void {name}_run(const {border} *in, {border} *out)", "{", "    (void)in;"]
    for number, start in enumerate(range(0, netlist.gates, chunk)):
        gates = range(start, min(start + chunk, netlist.gates))
        lines = _lines(netlist, gates, places, targets, word)
        # A function takes what its lines use.
        used = [p for p in ("in", "out") if any(f"{p}[" in line for line in lines)]
        declared = {"in": f"const {border} *in", "out": f"{border} *out"}
        parameters = ", ".join(declared[p] for p in used) or "void"
        parts += [f"static void gates_{number}({parameters})", "{", *lines, "}", ""]
        run.append(f"    gates_{number}({', '.join(used)});")
    for signal in sorted(s for s in targets if s < netlist.first_gate):
        value = f"in[{signal - 1}]" if signal else f"({border})0"
        run += [f"    {target.format(value)};" for target in targets[signal]]
    header = guarded(title, name.upper(), [_HEADER.format(**common, **sizes)])
    return header, "\n".join([*parts, *run, "}", ""])


def _lines(
    netlist: Netlist, gates: range, places: dict[int, int], targets: dict[int, list[str]], word: str
) -> list[str]:
    """C of some gates: each is a variable, and goes where others or the caller find it."""
    first = netlist.first_gate
    lines = []

    def read(signal: int) -> str:
        if signal < first:
            return f"({word})in[{signal - 1}]" if word == "uint32_t" else f"in[{signal - 1}]"
        return f"s{signal}" if signal >= first + gates.start else f"values[{places[signal]}]"

    tables, operands = netlist.tables[gates.start : gates.stop], netlist.operands[gates.start : gates.stop]
    for signal, (table, sources) in enumerate(zip(tables.tolist(), operands.tolist()), first + gates.start):
        names = [read(s) if s else "" for s in sources]
        lines.append(f"    const {word} s{signal} = {operators(table, names)};")
        lines += [f"    {target.format(f's{signal}')};" for target in targets.get(signal, ())]
    return lines


def _targets(netlist: Netlist, places: dict[int, int], border: str) -> dict[int, list[str]]:
    """Signal -> C that keeps it, with `{}` for its value."""
    found = {signal: [f"values[{place}] = {{}}"] for signal, place in places.items()}
    for number, (signal, inverse) in enumerate(zip(netlist.outputs.tolist(), netlist.inverted.tolist())):
        cast = f"({border})" if border == "int32_t" and signal >= netlist.first_gate else ""
        found.setdefault(signal, []).append(f"out[{number}] = {cast}{'~' if inverse else ''}{{}}")
    return found


def _places(netlist: Netlist, chunk: int) -> tuple[dict[int, int], int]:
    """Gate's signal -> place in the common array, of those that another function reads, and the array's size."""
    first = netlist.first_gate
    home = np.arange(netlist.gates) // chunk
    last = np.full(netlist.signals, -1)
    for k in range(3):
        np.maximum.at(last, netlist.operands[:, k], home)
    places: dict[int, int] = {}
    ending: dict[int, list[int]] = {}
    free: list[int] = []
    size = now = 0
    for gate in np.flatnonzero(last[first:] > home).tolist():
        # A place is free from the function on that comes after its last reader.
        for passed in range(now, int(home[gate])):
            free += ending.pop(passed, [])
        now = int(home[gate])
        if not free:
            free.append(size)
            size += 1
        places[first + gate] = free.pop()
        ending.setdefault(int(last[first + gate]), []).append(places[first + gate])
    return places, size

"""Netlists as BLIF, the Berkeley logic interchange format, which yosys and ABC read. A value of +1 is 1, of -1 is 0."""

from collections.abc import Sequence
from pathlib import Path

from ..artifact import Artifact
from ..c.text import comment_safe
from .circuit import Circuit
from .circuit_file import write_text
from .tables import implicants, used_operands

_WIDTH = 100


def write_blif(circuit: Circuit, path: Path) -> Artifact:
    """Writes a circuit as `path`, which ends in `.blif`, whole or not at all.

    Raises:
        BadInput: the path ends otherwise, or cannot be written.
    """
    return write_text(circuit, Path(path), "blif", ".blif", blif_text(circuit))


def blif_text(circuit: Circuit) -> str:
    """The text of a circuit: a `.names` for each gate and each output."""
    netlist, names = circuit.netlist, circuit.signal_names()
    title = f"{circuit.name}: {netlist.gates} gates, {netlist.inputs} inputs, {len(netlist.outputs)} outputs"
    lines = [f"# {comment_safe(title)}; 1 is +1, 0 is -1", f".model {circuit.name}"]
    lines += [*_listed(".inputs", circuit.inputs), *_listed(".outputs", circuit.outputs)]
    gates = [
        (table, [operands[k] for k in used_operands(table)])
        for table, operands in zip(netlist.tables.tolist(), netlist.operands.tolist())
    ]
    if any(0 in operands for _, operands in gates):
        lines.append(f".names {names[0]}")
    for name, (table, operands) in zip(names[netlist.first_gate :], gates):
        lines += _names([names[signal] for signal in operands], name, table)
    for name, signal, inverse in zip(circuit.outputs, netlist.outputs.tolist(), netlist.inverted.tolist()):
        if signal:
            lines += [f".names {names[signal]} {name}", "0 1" if inverse else "1 1"]
        else:
            lines += [f".names {name}", *(["1"] if inverse else [])]
    return "\n".join([*lines, ".end", ""])


def _listed(keyword: str, names: Sequence[str]) -> list[str]:
    lines, line = [], keyword
    for name in names:
        if len(line) + len(name) > _WIDTH:
            lines.append(f"{line} \\")
            line = ""
        line += f" {name}"
    return [*lines, line]


def _names(operands: list[str], name: str, table: int) -> list[str]:
    used = used_operands(table)
    cubes = implicants(table)
    rows = ["".join("-" if cube[k] is None else str(cube[k]) for k in used) for cube in cubes]
    return [" ".join([".names", *operands, name]), *(f"{row} 1".strip() for row in rows)]

"""`write_netlist`: NAME.c and NAME.h of a netlist, for a host or for a small processor."""

from pathlib import Path

import numpy as np

from ...errors import BadInput
from ..artifact import Artifact, TensorSpec
from ..c.text import write_source
from .builder import simplified
from .chunked import CHUNK, chunked_source
from .host import host_source
from .netlist import Netlist
from .tables import canonical_orders, used_operands

FORMS = ("table", "chunked")


def write_netlist(netlist: Netlist, path: Path, form: str = "table", chunk: int = CHUNK) -> Artifact:
    """Writes a netlist as `path`, which ends in `.c`, and the header beside it.

    Args:
        form: `table`, a loop over a table of gates, for processors with vectors and memory; or `chunked`, straight-line
            code for 32 samples, for small ones.
        chunk: gates in a function of straight-line code.

    Returns:
        The artifact. Its border is that of the chunked form's NAME_run: one word of 32 samples for each input and
        output; a table's takes as many words as the caller likes (see NAME.h and `LogicSession`).

    Raises:
        BadInput: the form is unknown, or the path does not end in `.c`.
    """
    path = Path(path)
    if form not in FORMS:
        raise BadInput(f"form {form}: unknown; choose from {', '.join(FORMS)}")
    if path.suffix != ".c":
        raise BadInput(f"{path}: a netlist is written as C; give a path that ends in .c")
    if chunk < 1:
        raise BadInput(f"chunk {chunk}: a function needs at least one gate")
    plain = written_form(netlist)
    header, source = host_source(plain, path.stem) if form == "table" else chunked_source(plain, path.stem, chunk)
    write_source(path, header, source)
    kind = "uint64" if form == "table" else "int32"
    inputs = (TensorSpec("in", (1, netlist.inputs), kind),)
    outputs = (TensorSpec("out", (1, len(netlist.outputs)), kind),)
    details = {"form": form, "gates": str(plain.gates), "depth": str(plain.depth)}
    return Artifact("c", "logic", path, inputs, outputs, {}, details)


def written_form(netlist: Netlist) -> Netlist:
    """The netlist as C is written from it, simplified unless it is fit as it is.

    It is where no table is 1 where its operands are 0, each is in its canonical order and has two operands or three,
    none of them a constant, and every gate is read or an output.
    """
    read = np.zeros(netlist.signals, bool)
    read[netlist.operands] = True
    read[netlist.outputs] = True
    counts = np.zeros(256, int)
    for table in map(int, np.unique(netlist.tables)):
        if table & 1 or canonical_orders(table)[0] != table:
            return simplified(netlist)
        counts[table] = len(used_operands(table))
    used = np.arange(3) < counts[netlist.tables][:, None]
    fit = (used.sum(axis=1) > 1).all() and netlist.operands[used].all() and read[netlist.first_gate :].all()
    return netlist if fit else simplified(netlist)

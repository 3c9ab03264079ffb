"""A circuit's text as a file, and what is known of it as an artifact."""

from pathlib import Path

from ...errors import BadInput
from ...storage import atomic_path
from ..artifact import Artifact, TensorSpec
from .circuit import Circuit


def write_text(circuit: Circuit, path: Path, form: str, suffix: str, text: str) -> Artifact:
    """Writes the text of a circuit whole or not at all.

    Raises:
        BadInput: the path does not end in the suffix, or cannot be written.
    """
    if path.suffix != suffix:
        raise BadInput(f"{path}: give a path that ends in {suffix}")
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8")
    netlist = circuit.netlist
    inputs = (TensorSpec("in", (1, netlist.inputs), "bool"),)
    outputs = (TensorSpec("out", (1, len(netlist.outputs)), "bool"),)
    details = {"form": form, "gates": str(netlist.gates), "depth": str(netlist.depth)}
    return Artifact(form, "logic", path, inputs, outputs, {}, details)

"""`Circuit`: a netlist whose inputs and outputs have names, as files for people and other tools need them."""

import re
from dataclasses import dataclass

from ...errors import BadInput
from .netlist import Netlist

_NAME = re.compile(r"[!-~]+")  # printable ASCII
_NOT_IN_NAMES = frozenset("#\\=")
NAMES = "a name is printable ASCII without spaces, #, = and backslashes"


@dataclass(frozen=True, eq=False)
class Circuit:
    """A netlist with names.

    Attributes:
        name: of the whole.
        netlist: what it computes.
        inputs, outputs: a name each, in order, all different: printable ASCII without spaces, `#`, `=` and backslashes.

    Raises:
        BadInput: names that are too many, too few, not different or not printable.
    """

    name: str
    netlist: Netlist
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        for what, names, wanted in (
            ("input", self.inputs, self.netlist.inputs),
            ("output", self.outputs, len(self.netlist.outputs)),
        ):
            if len(names) != wanted:
                raise BadInput(f"{self.name}: {len(names)} {what} names for {wanted} {what}s")
        for name in (self.name, *self.inputs, *self.outputs):
            if not is_name(name):
                raise BadInput(f"{name!r}: {NAMES}")
        seen: set[str] = set()
        for name in (*self.inputs, *self.outputs):
            if name in seen:
                raise BadInput(f"{name}: names two inputs or outputs; give each its own name")
            seen.add(name)

    def signal_names(self) -> list[str]:
        """A name for each signal: the inputs' own, and `nN` for the constant 0 and the gates."""
        prefix = "n"
        while any(re.fullmatch(rf"{prefix}\d+", name) for name in (*self.inputs, *self.outputs)):
            prefix += "_"
        gates = range(self.netlist.first_gate, self.netlist.signals)
        return [f"{prefix}0", *self.inputs, *(f"{prefix}{signal}" for signal in gates)]


def is_name(text: str) -> bool:
    """Whether a text can name a circuit, an input or an output."""
    return bool(_NAME.fullmatch(text)) and not _NOT_IN_NAMES & set(text)


def bits_of(name: str, count: int) -> tuple[str, ...]:
    """Names of the bits of a value: `x[0]`, `x[1]`, ...; the name itself where there is one bit."""
    return (name,) if count == 1 else tuple(f"{name}[{k}]" for k in range(count))

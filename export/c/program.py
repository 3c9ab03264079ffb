"""`to_c`: from a program to one header and one source file of C99.

The source holds the kernels that the network calls, its constants, one block of memory for everything it computes, and
the function that runs it. The same program gives the same text.
"""

from dataclasses import dataclass
from pathlib import Path

from torch.export import ExportedProgram

from ...errors import BadInput
from ...quant.capture import module_paths
from ...quant.integer.lowering import integer_program
from ..artifact import Artifact, is_quantized, offers
from ..specs import border_specs

# Each says how some operations are written, by registering them with `emit`.
from . import emit_codes, emit_layers, emit_moves, emit_reals, emit_signs  # noqa: F401
from .layout import lay_out
from .placement import place
from .text import write_source
from .writer import Writer


@dataclass(frozen=True)
class Source:
    """A network as C.

    Attributes:
        name: what its functions and macros begin with.
        header, source: the two files' text.
        arena_bytes: of the block of memory that it computes in.
        busiest: module of the operation during which most of it is in use.
        constant_bytes: of each array of weights, biases and tables.
    """

    name: str
    header: str
    source: str
    arena_bytes: int
    busiest: str
    constant_bytes: dict[str, int]


def to_c(
    program: ExportedProgram,
    path: Path,
    *,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    precision: str,
    integer_io: bool = False,
    metadata: dict[str, str] | None = None,
    ram: int | None = None,
    flash: int | None = None,
) -> Artifact:
    """Writes `program` as `path`, which ends in `.c`, and the header beside it.

    Args:
        program: float or quantized.
        input_names, output_names: of the function's arguments, in order.
        precision: `float32`, or the scheme's name of a quantized program.
        integer_io: take and give int8 codes at the border instead of float (quantized programs only).
        metadata: facts for the comment at the top.
        ram, flash: bytes that the block of memory, and the constants, may take at most; None for no limit.

    Raises:
        UnsupportedOperator: C has no form of an operator (named with its module path).
        BadInput: the precision is float16, which C99 does not have, or a limit is passed.
    """
    if not offers("c", precision):
        raise BadInput(f"{precision}: c has no such form; choose float32 or a quantized precision")
    path = Path(path)
    found = source_of_program(program, path.stem, input_names, output_names, integer_io, metadata)
    _check_limits(found, ram, flash)
    write_source(path, found.header, found.source)
    details = {
        "border": "int8" if integer_io and is_quantized(precision) else "float32",
        "arena_bytes": str(found.arena_bytes),
        "constant_bytes": str(sum(found.constant_bytes.values())),
        "function": f"{found.name}_run",
    }
    inputs, outputs = border_specs(program, input_names, output_names)
    return Artifact("c", precision, path, inputs, outputs, module_paths(program), details)


def source_of_program(
    program: ExportedProgram,
    stem: str,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    integer_io: bool = False,
    metadata: dict[str, str] | None = None,
) -> Source:
    """The text of both files, to be named `stem`."""
    integers = integer_program(program, input_names, output_names, integer_io)
    layout = lay_out(integers)
    placement = place(layout, integers.inputs)
    facts = dict(metadata or {})
    name = facts.pop("name", stem)
    title = f"{name}: {', '.join(f'{key} {value}' for key, value in sorted(facts.items()))}" if facts else name
    writer = Writer(layout, placement, integers.inputs, input_names, output_names, stem, title)
    source = writer.source()
    return Source(writer.name, writer.header(), source, placement.size, placement.busiest, writer.out.constant_bytes)


def _check_limits(found: Source, ram: int | None, flash: int | None) -> None:
    if ram is not None and found.arena_bytes > ram:
        raise BadInput(
            f"{found.busiest or found.name}: needs {found.arena_bytes:,} bytes of memory while it is computed, more "
            f"than --ram {ram:,}; make its layer or the input smaller"
        )
    total = sum(found.constant_bytes.values())
    if flash is not None and total > flash:
        largest = max(found.constant_bytes, key=lambda name: found.constant_bytes[name])
        raise BadInput(
            f"{largest}: the constants take {total:,} bytes, more than --flash {flash:,}, this one "
            f"{found.constant_bytes[largest]:,} of them; take fewer channels, or ±1 weights with --scheme binary"
        )

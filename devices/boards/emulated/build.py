"""Builds a network's C, with the harness round it, into a program for a board, and takes the network's sizes."""

import shutil
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

from ....errors import BadInput
from ....export.artifact import TensorSpec
from .board import KIB, Board, Region
from .border import C_TYPES, Border, sample_shape
from .harness import FOLDER
from .link_map import PADDING, Sizes, measure, parse_map
from .symbols import Function, parse_functions
from .toolchain import CommandFailed, complaint, overflows, run

# -std=c99 also keeps a compiler from fusing products with sums, which would round differently.
NETWORK_FLAGS = ("-std=c99", "-O2", "-ffunction-sections", "-fdata-sections")
_HARNESS_FLAGS = ("-std=gnu11", "-O2", "-ffunction-sections", "-fdata-sections")
# Tables for unwinding a stack, which no network needs; some compilers write them for C too.
_NO_TABLES = ("-fno-unwind-tables", "-fno-asynchronous-unwind-tables")
_HARNESS = ("main.c", "stack.c", "measure.c")
_STACK_BYTES = 256 * KIB
_OBJECT, _HEADER, _GLUE = "network.o", "the_network.h", "glue.c"
_CONTENTS = {"CODE": "code", "CONSTANTS": "constants", "RAM": "arena, variables and stack"}


@dataclass(frozen=True)
class Program:
    """A program in a folder of its own.

    Attributes:
        path: the ELF file.
        functions: of the program, in rising order.
        marks: addresses of `measure_begin` and `measure_end`.
        sizes: of the network alone.
    """

    path: Path
    functions: list[Function]
    marks: tuple[int, int]
    sizes: Sizes


def build(board: Board, border: Border, folder: Path, extra: tuple[Path, ...] = ()) -> Program:
    """Compiles and links a network for a board.

    Args:
        board: what to build for; its tools are installed.
        border: of the network; its C file is `path`, and the header lies beside it.
        folder: an empty folder to build in.
        extra: C files that take the place of those of the same name in the harness.

    Raises:
        BadInput: the network does not compile, or does not fit in the memories.
    """
    bench = _Bench(board, folder, border.path)
    if board.bare:
        (folder / "memory.ld").write_text(memory_script(board.regions), encoding="utf-8")
    bench.compile((*NETWORK_FLAGS, *_NO_TABLES, "-o", _OBJECT), [str(border.path.resolve())])
    needed = f"-Wl,--entry={border.entry},--undefined={border.entry}"
    alone = bench.link([_OBJECT], "alone", needed) if board.bare else None
    program = bench.link([_OBJECT, *_harness(bench, border, extra)], "program")
    functions = parse_functions(bench.run(f"{board.prefix}nm", "-S", "--defined-only", program.name))
    starts = {function.name: function.start for function in functions}
    return Program(
        path=program,
        functions=functions,
        marks=(starts["measure_begin"], starts["measure_end"]),
        sizes=_sizes(board, alone or program, padding=alone is not None),
    )


@dataclass(frozen=True)
class _Bench:
    """A folder to build in for a board; `name` is the network's file, for messages."""

    board: Board
    folder: Path
    name: Path

    def compile(self, flags: tuple[str, ...], sources: list[str]) -> None:
        self.run(self.board.compiler, *self.board.flags, *flags, "-c", *sources)

    def link(self, objects: list[str], program: str, *flags: str) -> Path:
        """The program's path; its map lies beside it."""
        script = ("-T", str(FOLDER / "cortex_m.ld")) if self.board.bare else ()
        libraries = ("-Wl,--start-group", "-lm", "-lc", "-lgcc", "-Wl,--end-group") if self.board.bare else ("-lm",)
        options = (*self.board.link, *script, "-Wl,--gc-sections", f"-Wl,-Map={program}.map", *flags)
        self.run(self.board.compiler, *self.board.flags, *options, *objects, "-o", f"{program}.elf", *libraries)
        return self.folder / f"{program}.elf"

    def run(self, *command: str) -> str:
        try:
            return run(command, self.folder)
        except CommandFailed as failure:
            where = self.board.name
            if too_many := overflows(failure.output):
                reason = f"does not fit on {where}: {_overflow(self.board, too_many)}"
            else:
                reason = f"{command[0]} refuses it for {where} ({complaint(failure.output)})"
            raise BadInput(f"{self.name}: {reason}") from failure


def glue(border: Border) -> str:
    """C that gives the harness a network's buffers and its one call."""
    prefix, count = border.entry.removesuffix("_run").upper(), len(border.inputs)
    lines = ['#include "harness.h"', '#include "measure.h"', f'#include "{_HEADER}"', "#include <stdint.h>", ""]
    lines += _buffers("input", border.inputs, border.parameters[:count], prefix)
    lines += _buffers("output", border.outputs, border.parameters[count:], prefix)
    names = [f"input_{i}" for i in range(count)] + [f"output_{i}" for i in range(len(border.outputs))]
    calls = ["    measure_begin();", f"    {border.entry}({', '.join(names)});", "    measure_end();"]
    return "\n".join([*lines, "void harness_sample(void)", "{", *calls, "}", ""])


def memory_script(regions: tuple[Region, ...]) -> str:
    """The part of a linker script that says which memories there are."""
    lines = [f"    {r.name} (rwx) : ORIGIN = {r.origin:#x}, LENGTH = {r.length:#x}" for r in regions]
    return "\n".join(["MEMORY", "{", *lines, "}", f"stack_bytes = {_STACK_BYTES:#x};", ""])


def _harness(bench: _Bench, border: Border, extra: tuple[Path, ...]) -> list[str]:
    """Compiles everything but the network; returns the objects."""
    # Under a name of our own: a network may be called what a header of the harness is called.
    shutil.copyfile(border.path.with_suffix(".h"), bench.folder / _HEADER)
    (bench.folder / _GLUE).write_text(glue(border), encoding="utf-8")
    files = {name: FOLDER / name for name in (*_HARNESS, *bench.board.harness)} | {path.name: path for path in extra}
    sources = [_GLUE, *map(str, files.values())]
    bench.compile((*_HARNESS_FLAGS, f"-I{FOLDER}", "-I."), sources)
    return [f"{Path(source).stem}.o" for source in sources]


def _sizes(board: Board, program: Path, padding: bool) -> Sizes:
    """Of the network, from the map of a program.

    Bare, that program is the network linked without the harness: nothing is in it but what the network calls, and the
    padding is its own too. Elsewhere it is the whole program, and what belongs to the network is told by the archive.
    """
    pieces = parse_map(program.with_suffix(".map").read_text(encoding="utf-8", errors="replace"))
    return measure(pieces, partial(_belongs, board.libraries, padding))


def _belongs(libraries: tuple[str, ...], padding: bool, origin: str) -> bool:
    if origin in (_OBJECT, "linker stubs"):
        return True
    return padding if origin == PADDING else "(" in origin and origin.startswith(libraries)


def _overflow(board: Board, too_many: dict[str, int]) -> str:
    sizes = {region.name: region.length for region in board.regions}
    return ", ".join(
        f"{_CONTENTS.get(memory, memory)} take {count:,} bytes more than the {sizes.get(memory, 0):,} there"
        for memory, count in too_many.items()
    )


def _buffers(kind: str, specs: tuple[TensorSpec, ...], parameters: tuple[str, ...], prefix: str) -> list[str]:
    """Arrays for the inputs or the outputs, and the table of them.

    The header's own lengths are held to those of the specs: a wrong one would let the network run over an array.
    """
    lines = []
    for index, (spec, parameter) in enumerate(zip(specs, parameters)):
        length, macro = prod(sample_shape(spec)), f"{prefix}_{parameter.upper()}_LENGTH"
        lines += [f"#if defined({macro}) && {macro} != {length}", f"#error {macro} is not {length}", "#endif"]
        lines.append(f"static {C_TYPES[spec.dtype]} {kind}_{index}[{length}] __attribute__((aligned(64)));")
    entries = ", ".join(f"{{{kind}_{index}, sizeof {kind}_{index}}}" for index in range(len(specs)))
    lines.append(f"const buffer harness_{kind}s[] = {{{entries}}};")
    return [*lines, f"const size_t harness_{kind}_count = {len(specs)};", ""]

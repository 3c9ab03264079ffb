"""What a network takes of a program's memory, from the map that GNU ld writes (`-Wl,-Map`)."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

_START = "Linker script and memory map"
# An output section begins at the first column, what it is made of one column in. A long name has a line to itself.
_PIECE = re.compile(r"^ (\S+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)(?:\s+(\S.*))?$")
_OUTPUT = re.compile(r"^([.\w]\S*)(?:\s+0x[0-9a-f]+\s+0x[0-9a-f]+.*)?$")
_MEMBER = re.compile(r"([^/(]+)\(([^)]+)\)$")
PADDING = "padding"

# Kept in flash as long as the device lives.
_CONSTANT = (
    ".text",
    ".rodata",
    ".vectors",
    ".init",
    ".fini",
    ".ARM.ex",
    ".eh_frame",
    ".gcc_except_table",
    ".got",
    ".data.rel.ro",
)
# In flash for the start, and in RAM while it runs.
_INITIALISED = (".data", ".tdata")
_ZEROED = (".bss", ".tbss", ".noinit")


@dataclass(frozen=True)
class Piece:
    """What one object contributed to a section of the program.

    Attributes:
        output: section of the program, for example `.text`.
        section: section of the object, for example `.text.net_run`.
        size: bytes.
        origin: the object: `net.o`, `libm.a(s_expf.o)`, or `padding` for what the linker put in between.
    """

    output: str
    section: str
    size: int
    origin: str


@dataclass(frozen=True)
class Sizes:
    """Bytes of a network: `flash` holds code, constants and start values, `ram` variables and the arena.

    `by_object` says where both come from, object -> (flash, ram), largest first.
    """

    flash: int
    ram: int
    by_object: dict[str, tuple[int, int]]


def parse_map(text: str) -> list[Piece]:
    """Every piece of the program, in order. Pieces of no bytes and sections that were thrown away are left out."""
    found, output, name = [], "", ""
    for line in text.partition(_START)[2].splitlines():
        line = line.rstrip()
        if line and not line[0].isspace():
            output = heading[1] if (heading := _OUTPUT.match(line)) else ""
        # A name that fills its column stands alone; the figures follow on the next line.
        elif re.fullmatch(r" [^\s*]\S*", line):
            name = line
            continue
        elif piece := _PIECE.match(name + line):
            size = int(piece[2], 16)
            if size and output:
                found.append(Piece(output, piece[1], size, _origin(piece[1], piece[3] or "")))
        name = ""
    return found


def measure(pieces: list[Piece], counts: Callable[[str], bool]) -> Sizes:
    """Flash and RAM of the objects that count.

    Args:
        pieces: of `parse_map`.
        counts: whether an origin belongs to the network.
    """
    flash: Counter[str] = Counter()
    ram: Counter[str] = Counter()
    for piece in pieces:
        if counts(piece.origin):
            constant = piece.output.startswith(_CONSTANT)
            kept = constant or piece.output.startswith(_INITIALISED)
            variable = not constant and piece.output.startswith(_INITIALISED + _ZEROED)
            flash[piece.origin] += piece.size if kept else 0
            ram[piece.origin] += piece.size if variable else 0
    origins = [name for name in sorted(flash, key=lambda n: -flash[n] - ram[n]) if flash[name] or ram[name]]
    return Sizes(flash.total(), ram.total(), {name: (flash[name], ram[name]) for name in origins})


def _origin(section: str, where: str) -> str:
    if section == "*fill*":
        return PADDING
    if member := _MEMBER.search(where):
        return f"{member[1]}({member[2]})"
    return PurePosixPath(where).name or section

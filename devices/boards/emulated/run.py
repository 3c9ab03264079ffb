"""Runs a network on an emulated board: its outputs, and what it costs there in flash, RAM, stack and instructions."""

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from ....errors import BadInput
from ....export.artifact import Artifact, TensorSpec
from .board import Board
from .border import read_border, sample_shape
from .build import NETWORK_FLAGS, Program, build
from .counting import prepare, read_report
from .known import find_board
from .symbols import function_at
from .toolchain import CommandFailed, EmulatorUnavailable, complaint, ending, require_tools, run, version_of

RUN_SECONDS = 600.0
# Exit codes of harness/host.h.
_FAULT, _NO_FILE, _STACK = 3, 4, 5
# Bits of the configurable fault status register, and what they mean.
_FAULTS = ((0x0000_00FF, "memory fault"), (0x0000_FF00, "bus fault"), (0xFFFF_0000, "usage fault"))


@dataclass(frozen=True)
class EmulatedRun:
    """What a network computed and cost on an emulated board.

    Attributes:
        board: its name.
        outputs: output name -> (N, *shape of a sample), as the C program computed them.
        flash_bytes: the network's code, constants and start values of variables, with the library functions it calls.
        ram_bytes: its arena and variables. Its inputs, outputs and stack are the caller's, and not in it.
        stack_bytes: the deepest its stack grew on the first sample.
        instructions: of one run, on the first sample.
        instructions_range: of the shortest and of the longest run over all samples.
        by_function: `instructions` by C function, largest first.
        by_object: object or library member -> (flash, RAM) bytes, largest first.
        compiler, emulator: with versions.
        flags: that the network was compiled with.
    """

    board: str
    outputs: dict[str, np.ndarray]
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int
    instructions: int
    instructions_range: tuple[int, int]
    by_function: dict[str, int]
    by_object: dict[str, tuple[int, int]]
    compiler: str
    emulator: str
    flags: tuple[str, ...]


def run_on(
    board: str,
    artifact: Artifact,
    inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray],
    seconds: float = RUN_SECONDS,
) -> EmulatedRun:
    """Builds a network for an emulated board and runs it there on every sample, in one start of the emulator.

    Args:
        board: its name, one of `boards()`.
        artifact: the network in C: `path` is NAME.c and NAME.h lies beside it; `inputs` and `outputs` in the order of
            the parameters of NAME_run.
        inputs: by name, or in order: (N, *shape of a sample) each, of the element type that the header declares.
        seconds: after which the emulator is stopped.

    Raises:
        BadInput: no such board, files or inputs that do not fit, a program that crashes or does not end in time.
        EmulatorUnavailable: a compiler or emulator is not installed.
    """
    target = find_board(board)
    border = read_border(artifact)
    samples = pack_inputs(border.inputs, inputs)
    require_tools(target)
    with tempfile.TemporaryDirectory(prefix="offramp-board-") as name:
        folder = Path(name)
        program = build(target, border, folder)
        samples.tofile(folder / "inputs.bin")
        emulator = version_of(target.emulator[0], folder)
        options = prepare(program, emulator, folder)
        _emulate(target, artifact.path, program, options, folder, seconds)
        counted = read_report(program, folder)
        if counted is None:
            raise EmulatorUnavailable(f"{emulator}: does not load the instruction counter; tried with QEMU 7.2")
        outputs, stack_bytes = unpack_outputs(border.outputs, (folder / "outputs.bin").read_bytes(), len(samples))
        return EmulatedRun(
            board=board,
            outputs=outputs,
            flash_bytes=program.sizes.flash,
            ram_bytes=program.sizes.ram,
            stack_bytes=stack_bytes,
            instructions=counted.first,
            instructions_range=(counted.least, counted.most),
            by_function=counted.by_function,
            by_object=_named(program.sizes.by_object, artifact.path),
            compiler=version_of(target.compiler, folder),
            emulator=emulator,
            flags=(*target.flags, *NETWORK_FLAGS),
        )


def pack_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray] | Sequence[np.ndarray]) -> np.ndarray:
    """The bytes of every sample as the harness reads them, (N, bytes of all inputs of a sample).

    Raises:
        BadInput: an input is missing or too many, has another element type or sample size, or there are no samples.
    """
    names = [spec.name for spec in specs]
    given = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(names, inputs))
    if set(given) != set(names) or len(inputs) != len(names):
        got = ", ".join(given) if isinstance(inputs, Mapping) else f"{len(inputs)} arrays"
        raise BadInput(f"inputs must be {', '.join(names)}, got {got or 'none'}")
    counts = {len(given[name]) if np.ndim(given[name]) else 0 for name in names}
    if len(counts) != 1 or counts == {0}:
        raise BadInput(f"inputs must hold equally many samples and at least one, got {sorted(counts)}")
    (count,) = counts
    return np.concatenate([_sample_bytes(spec, np.asarray(given[spec.name]), count) for spec in specs], axis=1)


def unpack_outputs(specs: Sequence[TensorSpec], data: bytes, count: int) -> tuple[dict[str, np.ndarray], int]:
    """Outputs by name, (N, *shape of a sample) each, and the bytes of stack that the harness found used.

    Raises:
        BadInput: the program wrote another number of bytes than its outputs have.
    """
    # The harness writes in the byte order of the board; every board here is little-endian.
    fields = [(f"f{i}", np.dtype(spec.dtype).newbyteorder("<"), sample_shape(spec)) for i, spec in enumerate(specs)]
    row = np.dtype(fields)
    if len(data) != count * row.itemsize + 4:
        raise BadInput(f"the program wrote {len(data)} bytes of outputs, expected {count * row.itemsize + 4}")
    rows = np.frombuffer(data, row, count)
    outputs = {spec.name: np.ascontiguousarray(rows[f"f{i}"]).astype(spec.dtype) for i, spec in enumerate(specs)}
    return outputs, int.from_bytes(data[-4:], "little")


def _sample_bytes(spec: TensorSpec, values: np.ndarray, count: int) -> np.ndarray:
    length = prod(sample_shape(spec))
    if values.size != count * length:
        raise BadInput(f"{spec.name}: a sample must have shape {sample_shape(spec)}, got {values.shape[1:]}")
    if values.dtype != np.dtype(spec.dtype):
        raise BadInput(f"{spec.name}: elements must be {spec.dtype}, got {values.dtype}")
    little = np.ascontiguousarray(values).astype(np.dtype(spec.dtype).newbyteorder("<")).reshape(count, length)
    return little.view(np.uint8)


def _emulate(board: Board, name: Path, program: Program, options: list[str], folder: Path, seconds: float) -> None:
    command, *arguments = board.emulator
    try:
        run([command, *options, *arguments, program.path.name], folder, seconds)
    except CommandFailed as failure:
        # QEMU's own complaint, for example of a plugin interface of another version; then nothing has run.
        if "plugin" in failure.output:
            raise EmulatorUnavailable(f"{command}: {complaint(failure.output)}; tried with QEMU 7.2") from failure
        reason = crash(failure, program, seconds)
        raise BadInput(f"{name}: on {board.name} {reason}") from failure


def crash(failure: CommandFailed, program: Program, seconds: float) -> str:
    """How a program ended that did not end well, in words."""
    if failure.code is None:
        return f"it did not end within {seconds:.0f} s; give fewer samples or more time"
    if failure.code == _FAULT and (found := re.search(r"pc ([0-9a-f]+) status ([0-9a-f]+)", failure.output)):
        status = int(found[2], 16)
        kind = next((text for bits, text in _FAULTS if status & bits), "hard fault")
        return f"it stopped in {function_at(program.functions, int(found[1], 16))} with a {kind} (status {status:#x})"
    if failure.code == _NO_FILE:
        return "it could not read its samples or write its outputs; is the disk full?"
    if failure.code == _STACK:
        return "it uses more stack than there is"
    said = complaint(failure.output) if failure.output.strip() else ""
    return f"it crashed ({ending(failure.code)}{': ' + said if said else ''})"


def _named(by_object: dict[str, tuple[int, int]], path: Path) -> dict[str, tuple[int, int]]:
    """The network's object under the name of its source."""
    return {path.name if name == "network.o" else name: sizes for name, sizes in by_object.items()}

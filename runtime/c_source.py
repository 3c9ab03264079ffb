"""Reads what a C artifact says of itself from its text: its function, its border, its values; nothing is compiled."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import BadInput
from ..export.artifact import TensorSpec
from ..quant.affine import Affine


@dataclass(frozen=True)
class Described:
    """A value as the source's comments describe it.

    Attributes:
        name, kind, shape: of the program's value; kind is `int8`, `signs`, `float32` or `int32`.
        order: its axes in memory, from the outermost.
        meaning: of codes; None for other kinds.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    order: tuple[int, ...]
    meaning: Affine | None

    @property
    def size_bytes(self) -> int:
        """In memory; signs take whole words of 64 along the innermost axis."""
        count = int(np.prod(self.shape, dtype=np.int64))
        if self.kind != "signs":
            return count * {"int8": 1, "float32": 4, "int32": 4}[self.kind]
        channels = self.shape[self.order[-1]]
        return count // channels * -(-channels // 64) * 8

    def read(self, data: bytes) -> np.ndarray:
        """The value in PyTorch's order: real numbers, or -1 and +1 of signs."""
        sizes = [self.shape[axis] for axis in self.order]
        if self.kind == "signs":
            bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
            rows = bits.reshape(*sizes[:-1], -1)[..., : sizes[-1]]
            values = np.where(rows, np.float32(1), np.float32(-1))
        else:
            values = np.frombuffer(data, self.kind).reshape(sizes)
        placed = values.transpose(np.argsort(self.order)) if self.order else values
        return self.real(np.ascontiguousarray(placed))

    def real(self, codes: np.ndarray) -> np.ndarray:
        """Codes as the float32 numbers they mean; others as they are."""
        return codes if self.meaning is None else self.meaning.real(codes)

    def codes(self, real: np.ndarray) -> np.ndarray:
        """Real numbers as codes; others as they are."""
        return np.ascontiguousarray(real, self.kind) if self.meaning is None else self.meaning.codes(real)


@dataclass(frozen=True)
class Call:
    """One operation of the network.

    Attributes:
        value: name of what it computes.
        operation: `Convolution`, `aten.layer_norm.default`.
        module: path of the PyTorch module.
        kernel: the C function that it calls; empty for loops written out.
        times: how often it calls that.
        numbers: the call's own numbers, and the fields of the structure that it reads.
    """

    value: str
    operation: str
    module: str
    kernel: str
    times: int
    numbers: tuple[int, ...]
    fields: dict[str, str]


@dataclass(frozen=True)
class CSource:
    """What header and source say.

    Attributes:
        function: that runs the network.
        trace: the macro that names a function to be told of each value.
        arena_bytes: memory that it computes in.
        inputs, outputs: in order.
        values: by name, those that are traced.
        calls: the operations in order.
        arrays: constant arrays by name: type and text.
    """

    path: Path
    function: str
    trace: str
    arena_bytes: int
    inputs: tuple[Described, ...]
    outputs: tuple[Described, ...]
    values: dict[str, Described]
    calls: tuple[Call, ...]
    arrays: dict[str, tuple[str, str]]


_AFFINE = r"(?:, (?:real = )?\(code ([+-] \d+)\) \* (\S+))?"
_BORDER = re.compile(rf"^ \* (\w+): (int8|float32|int32) (scalar|\d+(?:x\d+)*){_AFFINE}$", re.M)
_VALUE = re.compile(
    rf"^    /\* (\S+) = [^:]*: (int8|signs|float32|int32) (scalar|\d+(?:x\d+)*)(?: lying ([\d ]+?))?{_AFFINE} \*/$",
    re.M,
)


_OPERATION = re.compile(r"^    /\* (\S+) = (\S+?)(?: at ([^:]*))?: ")
_LOOP = re.compile(r"^( *)for \(int32_t \w+ = 0; \w+ < (\d+); ")
_CALL = re.compile(r"^( *)((?:run|share)_\w+)\((?:&(\w+))?(.*)\);$")
_ARRAY = re.compile(r"^static const (\w+) (\w+)\[\d+\] ALIGNED = \{[^\n]*\n(.*?)\n\};$", re.M | re.S)
_STRUCTURE = re.compile(r"^static const \w+ (\w+) = \{\n(.*?)\n\};$", re.M | re.S)


def read_c_source(path: Path) -> CSource:
    """Reads NAME.c and the NAME.h beside it.

    Raises:
        BadInput: a file is missing, or not one that offramp wrote.
    """
    path = Path(path)
    header_path = path.with_suffix(".h")
    try:
        header = header_path.read_text(encoding="utf-8")
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: needs {header_path.name} beside it, both as they were exported ({error})") from error
    signature = re.search(r"^void (\w+)_run\(([^)]*)\);$", header, re.M)
    arena = re.search(r"^#define \w+_ARENA_BYTES (\d+)", header, re.M)
    if signature is None or arena is None:
        raise BadInput(f"{path}: is no network that offramp wrote; export it again")
    borders = {
        match[1]: _described(match[1], match[2], match[3], None, match[4], match[5])
        for match in _BORDER.finditer(header)
    }
    parameters = [part.split() for part in signature[2].split(",")]
    try:
        inputs = tuple(borders[words[-1].lstrip("*")] for words in parameters if words[0] == "const")
        outputs = tuple(borders[words[-1].lstrip("*")] for words in parameters if words[0] != "const")
    except KeyError as error:
        raise BadInput(f"{header_path}: says nothing of {error}; export it again") from error
    values = {m[1]: _described(m[1], m[2], m[3], m[4], m[5], m[6]) for m in _VALUE.finditer(source)}
    name = signature[1]
    return CSource(
        path,
        f"{name}_run",
        f"{name.upper()}_TRACE",
        int(arena[1]),
        inputs,
        outputs,
        values,
        _calls(source),
        arrays_in(source),
    )


def arrays_in(source: str) -> dict[str, tuple[str, str]]:
    """The constant arrays of a source by name: type and text."""
    return {match[2]: (match[1], match[3]) for match in _ARRAY.finditer(source)}


def _calls(source: str) -> tuple[Call, ...]:
    """Every operation that the comments of the last function name, with the kernel that it calls."""
    structures = {
        match[1]: dict(line.strip(" ,.").split(" = ", 1) for line in match[2].splitlines())
        for match in _STRUCTURE.finditer(source)
    }
    found: list[Call] = []
    loops: list[tuple[int, int]] = []
    for line in source[source.rfind("\nvoid ") :].splitlines():
        if operation := _OPERATION.match(line):
            loops = []
            found.append(Call(operation[1], operation[2], operation[3] or "", "", 0, (), {}))
        elif loop := _LOOP.match(line):
            loops = [*((indent, n) for indent, n in loops if indent < len(loop[1])), (len(loop[1]), int(loop[2]))]
        elif (call := _CALL.match(line)) and found:
            times = int(np.prod([n for indent, n in loops if indent < len(call[1])], dtype=np.int64))
            numbers = tuple(int(part) for part in call[4].split(", ") if part.strip().isdigit())
            found[-1] = replace(
                found[-1], kernel=call[2], times=times, numbers=numbers, fields=structures.get(call[3] or "", {})
            )
    return tuple(found)


def _described(name: str, kind: str, shape: str, order: str | None, zero: str | None, scale: str | None) -> Described:
    sizes = () if shape == "scalar" else tuple(map(int, shape.split("x")))
    axes = tuple(range(len(sizes))) if order is None else tuple(map(int, order.split()))
    meaning = None if scale is None else Affine(float(scale), -int((zero or "0").replace(" ", "")))
    return Described(name, kind, sizes, axes, meaning)


def spec_of(value: Described) -> TensorSpec:
    """What a session takes or gives for a border value: real numbers where it holds codes."""
    return TensorSpec(value.name, value.shape, "float32" if value.meaning is not None else value.kind)

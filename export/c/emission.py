"""`Emission`: the C of one network as it is written, operation by operation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from ...errors import UnsupportedOperator
from ...quant.integer.operations import Operation
from ...quant.integer.values import Kind, Value
from .layout import Order, plain
from .loops import Nest, broadcast, in_order, nest, strides_of
from .text import array, identifier

C_TYPE = {Kind.CODES: "int8_t", Kind.SIGNS: "uint64_t", Kind.REAL: "float", Kind.WHOLE: "int32_t"}
_WORTH_SHARING = 4_000_000  # products, some ten microseconds
_SIZES = {"int8_t": 1, "int16_t": 2, "int32_t": 4, "uint32_t": 4, "float": 4, "uint64_t": 8}
BYTES = {Kind.CODES: 1, Kind.REAL: 4, Kind.WHOLE: 4}


def bytes_of(value: Value, order: Order) -> int:
    """Bytes of a value in memory; signs take whole words of 64 along the innermost axis."""
    if value.kind is not Kind.SIGNS:
        return value.size * BYTES[value.kind]
    channels = value.shape[order[-1]]
    return value.size // max(channels, 1) * -(-channels // 64) * 8


@dataclass
class Emission:
    """What has been written of a network.

    Attributes:
        orders: of the axes of each value in memory.
        pointers: value -> the C variable that points to it.
        fragments: kernels that are called, by name, in the order of their first use.
        constants: arrays and structures that the calls read.
        lines: of the function that runs the network.
        scratch: the expression of the memory that the operation at hand may use.
        constant_bytes: of each array.
    """

    orders: dict[str, Order]
    pointers: dict[str, str]
    fragments: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    scratch: str = "NULL"
    constant_bytes: dict[str, int] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _arrays: dict[bytes, str] = field(default_factory=dict)

    def need(self, *fragments: str) -> None:
        """Notes kernels that the lines to come call."""
        self.fragments += [name for name in fragments if name not in self.fragments]

    def runner(self, kernel: str, products: int) -> str:
        """The function that runs a kernel: shared among threads, where there are any, if it has enough to do."""
        if products < _WORTH_SHARING:
            return f"run_{kernel}"
        self.need(f"share_{kernel}")
        return f"share_{kernel}"

    def order(self, value: Value) -> Order:
        return self.orders.get(value.name) or plain(len(value.shape))

    def pointer(self, value: Value) -> str:
        """The variable that points to a value; a constant is written out at its first use."""
        if value.name not in self.pointers:
            assert value.constant is not None, value.name
            self.pointers[value.name] = self.array(C_TYPE[value.kind], value.name, value.constant)
        return self.pointers[value.name]

    def array(self, kind: str, name: str, values: np.ndarray | Sequence, comment: str = "") -> str:
        """A constant array under a free name close to `name`; one of the same numbers is shared."""
        count = np.asarray(values).size  # tells numbers of 4 and of 8 bytes apart
        key = f"{kind} {count} ".encode() + np.ascontiguousarray(values).tobytes()
        if key not in self._arrays:
            self._arrays[key] = self.name(name)
            self.constants.append(array(kind, self._arrays[key], values, comment))
            self.constant_bytes[self._arrays[key]] = count * _SIZES[kind]
        return self._arrays[key]

    def structure(self, kind: str, name: str, fields: dict[str, str]) -> str:
        """A constant structure; fields are C already."""
        free = self.name(name)
        text = ",\n".join(f"    .{key} = {value}" for key, value in fields.items())
        self.constants.append(f"static const {kind} {free} = {{\n{text},\n}};")
        return free

    def name(self, wanted: str) -> str:
        """A free identifier of the file."""
        base = identifier(wanted)
        free, count = base, 1
        while free in self._names:
            free, count = f"{base}_{count}", count + 1
        self._names.add(free)
        return free

    def strides(self, value: Value, shape: Sequence[int] | None = None) -> tuple[int, ...]:
        """A value's strides along each axis of `shape` (its own by default), broadcast."""
        own = strides_of(value.shape, self.order(value))
        return own if shape is None else broadcast(own, value.shape, shape)

    def walk(self, output: Value, *inputs: Value) -> Nest:
        """Loops through an output in the order of its memory; value 0 is the output, the inputs follow."""
        order = self.order(output)
        strides = [self.strides(value, output.shape) for value in (output, *inputs)]
        return nest(in_order(output.shape, order), *(in_order(own, order) for own in strides))

    def loop(self, output: Value, inputs: Sequence[Value], body: str) -> None:
        """Writes loops around one statement; `{y}`, `{a}`, `{b}` stand for the elements."""
        loops = self.walk(output, *inputs)
        elements = {
            name: f"{self.pointer(value)}[{loops.offset(place)}]"
            for place, (name, value) in enumerate(zip("yabc", (output, *inputs)))
        }
        self.lines += loops.text([body.format(**elements)])


@singledispatch
def emit(operation: Operation, out: Emission) -> None:
    """Writes one operation: its constants, the kernels that it needs, and its lines.

    Raises:
        UnsupportedOperator: it has no C form.
    """
    raise UnsupportedOperator(type(operation).__name__, operation.module, "c", "leave this target out")


@singledispatch
def scratch_of(operation: Operation) -> int:
    """Bytes that an operation needs while it runs."""
    return 0


@singledispatch
def works_in_place(operation: Operation) -> bool:
    """Whether an operation may write over an input that it reads element by element."""
    return False


def images(x: Value, y: Value, out: Emission, call: str) -> list[str]:
    """A call for each image of a batch."""
    batch = x.shape[0]
    a, b = out.pointer(x), out.pointer(y)
    if batch == 1:
        return [f"    {call.format(a=a, y=b)}"]
    steps = (value_elements(v, out) // batch for v in (x, y))
    a, b = (f"{pointer} + i * {step}" for pointer, step in zip((a, b), steps))
    return [f"    for (int32_t i = 0; i < {batch}; i++)", f"        {call.format(a=a, y=b)}"]


def matrices(y: Value, a: Value, b: Value, out: Emission, call: str) -> list[str]:
    """A call for each matrix of a batch, whose axes lead and broadcast as in PyTorch."""
    lead = y.shape[:-2]
    loops = nest(lead, *(out.strides(value, (*lead, *value.shape[-2:]))[:-2] for value in (y, a, b)))
    pointers = {}
    for place, (name, value) in enumerate({"y": y, "a": a, "b": b}.items()):
        offset = loops.offset(place)
        pointers[name] = out.pointer(value) if offset == "0" else f"{out.pointer(value)} + {offset}"
    return loops.text([call.format(**pointers)])


def value_elements(value: Value, out: Emission) -> int:
    """Elements in memory: words for signs."""
    return bytes_of(value, out.order(value)) // BYTES.get(value.kind, 8)

"""The text of header and source, from a network whose values have their places."""

from dataclasses import dataclass

from ...quant.affine import Affine
from ...quant.integer.operations import Operation
from ...quant.integer.values import Kind, Value
from .emission import C_TYPE, Emission, emit, scratch_of
from .kernels import source_of
from .layout import Layout
from .placement import Placement
from .text import comment_safe, guarded, identifier

_KIND = {Kind.CODES: "int8", Kind.SIGNS: "signs", Kind.REAL: "float32", Kind.WHOLE: "int32"}


@dataclass(frozen=True)
class Border:
    """An argument of the network's function: the value that it points to, and its name."""

    value: Value
    name: str
    is_input: bool

    @property
    def parameter(self) -> str:
        return f"{'const ' if self.is_input else ''}{C_TYPE[self.value.kind]} *{self.name}"

    @property
    def description(self) -> str:
        a = self.value.affine
        meaning = "" if a is None else f", real = {_meaning(a)}"
        return f"{self.name}: {_described(self.value)}{meaning}"


class Writer:
    """Writes one network.

    Args:
        layout, placement: of its values.
        inputs: values that the caller gives.
        input_names, output_names: of the function's arguments.
        stem: of the files' names.
        title: of the files' first comment.
    """

    def __init__(
        self,
        layout: Layout,
        placement: Placement,
        inputs: tuple[Value, ...],
        input_names: tuple[str, ...],
        output_names: tuple[str, ...],
        stem: str,
        title: str,
    ):
        self.layout, self.placement, self.stem, self.title = layout, placement, stem, comment_safe(title)
        self.name = identifier(stem).lower()
        self.macro = self.name.upper()
        self.out = Emission(layout.orders, {})
        self.inputs = [Border(v, self.out.name(n), True) for v, n in zip(inputs, input_names)]
        self.outputs = [Border(v, self.out.name(n), False) for v, n in zip(layout.outputs, output_names)]
        self.out.pointers |= {border.value.name: border.name for border in self.inputs}

    @property
    def signature(self) -> str:
        parameters = ", ".join(border.parameter for border in (*self.inputs, *self.outputs))
        return f"void {self.name}_run({parameters})"

    def header(self) -> str:
        borders = (*self.inputs, *self.outputs)
        lengths = [f"#define {self.macro}_{b.name.upper()}_LENGTH {b.value.size}" for b in borders]
        return guarded(
            self.title,
            self.macro,
            [
                "/* Memory that it computes in, static in the source, and elements of what goes in and out. */",
                f"#define {self.macro}_ARENA_BYTES {self.placement.size}",
                *lengths,
                "",
                "/* Runs the network once. It is not to be called while it runs.",
                " *",
                *(f" * {comment_safe(border.description)}" for border in borders),
                " */",
                f"{self.signature};",
            ],
        )

    def source(self) -> str:
        lines = self._body()
        trace = f"{self.macro}_TRACE"
        arena = f"static uint8_t arena[{self.macro}_ARENA_BYTES] ALIGNED;\n"
        parts = [
            f"/* {self.title} */",
            f'#include "{self.stem}.h"\n',
            *self._scratch_bytes(),
            source_of(self.out.fragments),
            f"#ifdef {trace} /* the name of a function that is told of each value */",
            f"void {trace}(const char *value, const void *data);",
            f"#define TRACE(value, data) {trace}(value, data)",
            "#else",
            "#define TRACE(value, data)",
            "#endif\n",
            *(f"{constant}\n" for constant in self.out.constants),
            *([arena] if self.placement.size else []),
            self.signature,
            "{",
            *lines,
            "}",
            "",
        ]
        return "\n".join(parts)

    def _scratch_bytes(self) -> list[str]:
        """The scratch of a thread beside the first, where layers that need some are shared."""
        if "share_conv_int8" not in self.out.fragments:
            return []
        most = max(map(scratch_of, self.layout.operations))
        return [f"enum {{ SCRATCH_BYTES = {most} }}; /* that a convolution needs for each thread */\n"]

    def _body(self) -> list[str]:
        """The lines of the function: each operation under a comment that says what it computes."""
        out, declared = self.out, {border.name for border in (*self.inputs, *self.outputs)}
        for place, operation in enumerate(self.layout.operations):
            value, root = operation.output, self.placement.roots[operation.output.name]
            pointer = out.pointers[value.name] = self._pointer(value, root)
            offset = self.placement.scratch.get(place)
            out.scratch = "NULL" if offset is None else f"arena + {offset}"
            before = len(out.lines)
            emit(operation, out)
            written, out.lines = out.lines[before:], out.lines[:before]
            if not written:
                continue
            out.lines += [*([""] if out.lines else []), f"    /* {comment_safe(self._comment(operation))} */"]
            if pointer not in declared:
                kind = C_TYPE[value.kind]
                start = self.placement.offsets[root.name]
                out.lines.append(f"    {kind} *const {pointer} = ({kind} *)(arena + {start});")
                declared.add(pointer)
            out.lines += [*written, f'    TRACE("{value.name}", {pointer});']
        for border in self.outputs:
            pointer = out.pointer(border.value)
            if pointer != border.name:
                out.lines.append(f"    memcpy({border.name}, {pointer}, {border.value.size} * sizeof(*{border.name}));")
        return out.lines

    def _pointer(self, value: Value, root: Value) -> str:
        """The variable that points to a value: the caller's, that of what it shares memory with, or one of its own."""
        if root.name in self.placement.outside:
            return self.outputs[self.placement.outside[root.name]].name
        if root.name != value.name and root.kind is value.kind:
            return self.out.pointers[root.name]
        return self.out.name(value.name)

    def _comment(self, operation: Operation) -> str:
        """What is computed, by which module, how it lies in memory and what its codes mean."""
        value = operation.output
        verb = str(getattr(operation, "target", type(operation).__name__))
        text = f"{value.name} = {verb}{f' at {operation.module}' if operation.module else ''}: {_described(value)}"
        order = self.layout.orders[value.name]
        if order != tuple(range(len(order))):
            text += f" lying {' '.join(map(str, order))}"
        if value.affine is not None:
            text += f", {_meaning(value.affine)}"
        return text


def _meaning(a: Affine) -> str:
    """What a code stands for: `(code + 128) * 0.01`."""
    sign = "+" if a.zero_point < 0 else "-"
    return f"(code {sign} {abs(a.zero_point)}) * {a.scale!r}"


def _described(value: Value) -> str:
    return f"{_KIND[value.kind]} {'x'.join(map(str, value.shape)) or 'scalar'}"

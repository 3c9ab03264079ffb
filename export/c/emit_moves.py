"""Movements as loops that copy; reshapes and permutations move nothing."""

from collections.abc import Sequence

from ...quant.integer.operations import Concatenate, Expand, MaxPool, Pad, Permute, Reshape, Slice, Upsample
from ...quant.integer.values import Kind, Value
from .emission import C_TYPE, Emission, emit, images
from .emit_layers import geometry_of
from .layout import Reorder
from .loops import Nest, in_order, nest
from .text import real


@emit.register
def _(operation: Reshape, out: Emission) -> None:
    """The same memory."""


@emit.register
def _(operation: Permute, out: Emission) -> None:
    """The same memory, its axes in another order."""


@emit.register
def _(operation: Reorder, out: Emission) -> None:
    out.lines += _copied(out, operation.output, operation.inputs[0], out.walk(operation.output, operation.inputs[0]))


@emit.register
def _(operation: Expand, out: Emission) -> None:
    out.lines += _copied(out, operation.output, operation.inputs[0], out.walk(operation.output, operation.inputs[0]))


@emit.register
def _(operation: Slice, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    own = out.strides(x)
    start = sum(s * t for s, t in zip(operation.starts, own))
    order = out.order(y)
    steps = [s * t for s, t in zip(operation.steps, own)]
    loops = nest(in_order(y.shape, order), in_order(out.strides(y), order), in_order(steps, order))
    out.lines += _copied(out, y, x, loops, from_start=start)


@emit.register
def _(operation: Concatenate, out: Emission) -> None:
    y = operation.output
    order, own = out.order(y), out.strides(y)
    start = 0
    for part in operation.inputs:
        loops = nest(in_order(part.shape, order), in_order(own, order), in_order(out.strides(part), order))
        out.lines += _copied(out, y, part, loops, to_start=start * own[operation.axis])
        start += part.shape[operation.axis]


@emit.register
def _(operation: Pad, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    target, order, own = out.pointer(y), out.order(y), out.strides(y)
    if y.kind is Kind.CODES:
        out.lines.append(f"    memset({target}, {int(operation.fill)}, {y.size});")
    else:
        fill = real(operation.fill) if y.kind is Kind.REAL else str(int(operation.fill))
        out.lines += nest([y.size], [1]).text([f"{target}[i] = {fill};"])
    start = sum(b * t for b, t in zip(operation.before, own))
    loops = nest(in_order(x.shape, order), in_order(own, order), in_order(out.strides(x), order))
    out.lines += _copied(out, y, x, loops, to_start=start)


@emit.register
def _(operation: Upsample, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    order, to, own = out.order(y), out.strides(y), out.strides(x)
    sizes: list[int] = []
    steps: tuple[list[int], list[int]] = ([], [])
    for axis in order:
        factor = operation.factors[axis]
        sizes += [x.shape[axis], factor]
        steps[0].extend((to[axis] * factor, to[axis]))
        steps[1].extend((own[axis], 0))
    out.lines += _copied(out, y, x, nest(sizes, *steps))


@emit.register
def _(operation: MaxPool, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    fragment, run = {
        Kind.CODES: ("max_pool_int8", "run_max_pool_int8"),
        Kind.REAL: ("max_pool_float", "run_max_pool_float"),
        Kind.SIGNS: ("binary_max_pool", "run_max_pool_binary"),
    }[x.kind]
    out.need(fragment)
    shape = out.structure("geometry", f"{y.name}_layer", _fields(geometry_of(x.shape, y.shape, operation.window)))
    out.lines += images(x, y, out, f"{run}(&{shape}, {{a}}, {{y}});")


_GEOMETRY = (
    *("height", "width", "channels", "out_height", "out_width", "out_channels", "kernel_height", "kernel_width"),
    *("stride_height", "stride_width", "pad_top", "pad_left", "dilation_height", "dilation_width"),
)


def _fields(geometry: str) -> dict[str, str]:
    return dict(zip(_GEOMETRY, geometry.strip("{}").split(", ")))


def _copied(out: Emission, y: Value, x: Value, loops: Nest, to_start: int = 0, from_start: int = 0) -> Sequence[str]:
    """Loops that copy; whole runs at once where both values have them."""
    target, source = _from(out.pointer(y), to_start), _from(out.pointer(x), from_start)
    is_run = loops.sizes and all(strides[-1] == 1 for strides in loops.strides) and loops.sizes[-1] > 3
    if not is_run:
        left = _indexed(out.pointer(y), loops.offset(0), to_start)
        return loops.text([f"{left} = {_indexed(out.pointer(x), loops.offset(1), from_start)};"])
    rows = Nest(loops.sizes[:-1], tuple(own[:-1] for own in loops.strides))
    target, source = (_from(pointer, rows.offset(i)) for i, pointer in enumerate((target, source)))
    size = f"{loops.sizes[-1]}" if y.kind is Kind.CODES else f"{loops.sizes[-1]} * sizeof({C_TYPE[y.kind]})"
    return rows.text([f"memcpy({target}, {source}, {size});"])


def _from(pointer: str, start: int | str) -> str:
    return pointer if str(start) == "0" else f"{pointer} + {start}"


def _indexed(pointer: str, offset: str, start: int) -> str:
    if not start:
        return f"{pointer}[{offset}]"
    return f"{pointer}[{start}]" if offset == "0" else f"{pointer}[{start} + {offset}]"

"""Operations on codes, element by element or in small sums, as C."""

from dataclasses import replace

import numpy as np

from ...quant.integer.operations import (
    Add,
    AveragePool,
    Dequantize,
    Lookup,
    MatrixProduct,
    Mean,
    Multiply,
    Quantize,
    Slopes,
    Softmax,
)
from ...quant.integer.values import Value
from .emission import Emission, emit, images, matrices, works_in_place
from .emit_layers import geometry_of
from .loops import INDICES, in_order, nest
from .text import real

for _type in (Add, Lookup, Multiply, Slopes):
    works_in_place.register(_type, lambda operation: True)


@emit.register
def _(operation: Quantize, out: Emission) -> None:
    y = operation.output.meaning
    out.need("quantize")
    steps = real(np.float32(1.0 / y.scale))
    call = f"{{y}} = quantize({{a}}, {steps}, {y.zero_point}, {y.qmin}, {y.qmax});"
    out.loop(operation.output, operation.inputs, call)


@emit.register
def _(operation: Dequantize, out: Emission) -> None:
    x = operation.inputs[0].meaning
    out.loop(operation.output, operation.inputs, f"{{y}} = (float){centred('{a}', x.zero_point)} * {real(x.scale)};")


@emit.register
def _(operation: Lookup, out: Emission) -> None:
    table = out.array("int8_t", f"{operation.output.name}_table", operation.table, "code of the result for -128 to 127")
    out.loop(operation.output, operation.inputs, f"{{y}} = {table}[{{a}} + 128];")


@emit.register
def _(operation: Slopes, out: Emission) -> None:
    out.need("slope")
    x, y = operation.inputs[0].meaning, operation.output.meaning
    name = out.array("float", f"{operation.output.name}_below", operation.below)
    below = Value(name, _along(operation.output.shape, operation.axis), operation.output.kind)
    out.pointers[name] = name
    call = f"{{y}} = slope({centred('{a}', x.zero_point)}, {real(operation.above)}, {{b}}, "
    out.loop(operation.output, (operation.inputs[0], below), f"{call}{y.zero_point}, {y.qmin}, {y.qmax});")


def _along(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return tuple(size if place == axis else 1 for place, size in enumerate(shape))


@emit.register
def _(operation: Add, out: Emission) -> None:
    terms = [
        f"{centred(f'{{{name}}}', value.meaning.zero_point)} * {factor}"
        for name, value, factor in zip("ab", operation.inputs, operation.factors)
    ]
    _coded(operation, out, f"{terms[0]} + {terms[1]}")


@emit.register
def _(operation: Multiply, out: Emission) -> None:
    factors = [centred(f"{{{name}}}", v.meaning.zero_point) for name, v in zip("ab", operation.inputs)]
    _coded(operation, out, f"{factors[0]} * {factors[1]}")


def _coded(operation: Add | Multiply, out: Emission, sums: str) -> None:
    out.need("requantize")
    zero = operation.output.meaning.zero_point
    call = f"{{y}} = requantize({sums}, {real(operation.multiplier)}, {zero}, {operation.low}, {operation.high});"
    out.loop(operation.output, operation.inputs, call)


def centred(element: str, zero: int) -> str:
    """A code less its zero point."""
    if zero == 0:
        return element
    return f"({element} - {zero})" if zero > 0 else f"({element} + {-zero})"


@emit.register
def _(operation: Mean, out: Emission) -> None:
    out.need("requantize")
    x, y = operation.inputs[0], operation.output
    order = out.order(x)
    kept = [axis for axis in order if axis not in operation.axes]
    summed = [axis for axis in order if axis in operation.axes]
    own = out.strides(x)
    count = int(np.prod([x.shape[axis] for axis in summed]))
    to = out.strides(y, y.shape)
    if len(y.shape) == len(x.shape):
        theirs = {axis: to[axis] for axis in kept}
    else:
        left = [axis for axis in range(len(x.shape)) if axis not in operation.axes]
        theirs = {axis: to[place] for place, axis in enumerate(left)}
    outer = nest([x.shape[a] for a in kept], [theirs[a] for a in kept], [own[a] for a in kept])
    inner = nest([x.shape[a] for a in summed], [own[a] for a in summed])
    source, target = out.pointer(x), out.pointer(y)
    shifted = replace(inner, indices=INDICES[len(outer.sizes) :])
    start = f"{source}[{outer.offset(1)} + {shifted.offset(0)}]" if outer.sizes else f"{source}[{shifted.offset(0)}]"
    multiplier = real(np.float32(operation.ratio) / np.float32(count))
    zero = y.meaning.zero_point
    body = [
        "int32_t sum = 0;",
        *shifted.text([f"sum += {start};"], indent=0),
        f"{target}[{outer.offset(0)}] = requantize(sum - {count * x.meaning.zero_point}, {multiplier}, {zero}, "
        f"{operation.low}, {operation.high});",
    ]
    out.lines += outer.text(body) if outer.sizes else ["    {", *(f"        {line}" for line in body), "    }"]


@emit.register
def _(operation: AveragePool, out: Emission) -> None:
    out.need("average_pool_int8")
    x, y = operation.inputs[0], operation.output
    counted = operation.divisor or (0 if operation.counts_padding else -1)
    name = out.structure(
        "average_pool_int8",
        f"{y.name}_layer",
        {
            "shape": geometry_of(x.shape, y.shape, operation.window),
            "divisor": str(counted),
            "ratio": real(operation.ratio),
            "zero_in": str(x.meaning.zero_point),
            "zero_out": str(y.meaning.zero_point),
            "low": str(operation.low),
            "high": str(operation.high),
        },
    )
    out.lines += images(operation.inputs[0], y, out, f"run_average_pool_int8(&{name}, {{a}}, {{y}});")


@emit.register
def _(operation: MatrixProduct, out: Emission) -> None:
    out.need("matrix_product_int8")
    a, b = operation.inputs
    y = operation.output
    rows, depth = a.shape[-2:]
    columns = y.shape[-1]
    across, down = (1, depth) if operation.transposed else (columns, 1)
    name = out.structure(
        "matrix_product_int8",
        f"{y.name}_layer",
        {
            "rows": str(rows),
            "depth": str(depth),
            "columns": str(columns),
            "step_depth": str(across),
            "step_column": str(down),
            "zero_a": str(a.meaning.zero_point),
            "zero_b": str(b.meaning.zero_point),
            "multiplier": real(operation.multiplier),
            "zero_out": str(y.meaning.zero_point),
            "low": str(operation.low),
            "high": str(operation.high),
        },
    )
    out.lines += matrices(y, a, b, out, f"run_matrix_product_int8(&{name}, {{a}}, {{b}}, {{y}});")


@emit.register
def _(operation: Softmax, out: Emission) -> None:
    out.need("softmax_int8")
    x, y = operation.inputs[0], operation.output
    order = out.order(x)
    place = order.index(operation.axis)
    sizes = in_order(x.shape, order)
    outer, inner = int(np.prod(sizes[:place])), int(np.prod(sizes[place + 1 :]))
    table = out.array("uint32_t", f"{y.name}_exponentials", operation.table)
    arguments = f"{table}, {outer}, {sizes[place]}, {inner}, {out.pointer(x)}, {out.pointer(y)}"
    out.lines.append(f"    run_softmax_int8({arguments});")

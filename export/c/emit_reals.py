"""Operators on real numbers as C: expressions in loops, and kernels for products, norms and pools."""

import re

import numpy as np

from ...errors import UnsupportedOperator
from ...quant.integer.operations import FloatOperation
from ...quant.integer.values import Kind, Value
from ...quant.integer.windows import average_counts, convolution_window, pool_window
from . import real_operators
from .emission import C_TYPE, Emission, emit, images, matrices, works_in_place
from .emit_layers import geometry_of
from .loops import INDICES, in_order, nest
from .real_operators import aten
from .text import real


@works_in_place.register
def _(operation: FloatOperation) -> bool:
    return operation.target in real_operators.OF_ONE or operation.target in real_operators.OF_TWO


@emit.register
def _(operation: FloatOperation, out: Emission) -> None:
    target = operation.target
    if target in real_operators.OF_ONE and not any(operation.is_input[1:]):
        expression = real_operators.OF_ONE[target](*operation.arguments[1:])
        _loop(operation, out, "x", f"{{y}} = {expression};")
    elif target in real_operators.OF_TWO:
        _two(operation, out)
    elif target in _WRITERS:
        _WRITERS[target](operation, out)
    else:
        mend = "write it another way, or leave this target out"
        raise UnsupportedOperator(str(target), operation.module, "c", mend)


def _loop(operation: FloatOperation, out: Emission, names: str, body: str) -> None:
    """Loops around a statement in which letters stand for the inputs' elements."""
    loops = out.walk(operation.output, *operation.inputs)
    lines = [
        f"const {C_TYPE[value.kind]} element_{name} = {out.pointer(value)}[{loops.offset(place + 1)}];"
        for place, (name, value) in enumerate(zip(names, operation.inputs))
    ]
    out.need("math")
    target = f"{out.pointer(operation.output)}[{loops.offset(0)}]"
    # An input may be called as the letter is, and a declaration would hide it from itself.
    body = re.sub(rf"\b([{names}])\b", r"element_\1", body)
    written = [*lines, body.format(y=target)]
    out.lines += loops.text(written) if loops.sizes else ["    {", *(f"        {line}" for line in written), "    }"]


def _two(operation: FloatOperation, out: Emission) -> None:
    """Two values, or a value and a number; `alpha` scales what is added."""
    expression = real_operators.OF_TWO[operation.target]
    if len(operation.inputs) == 2 and operation.is_input[:2] == (True, True):
        _loop(operation, out, "ab", f"{{y}} = {expression};")
        return
    number = real(float(operation.arguments[0 if operation.is_input[1] else 1]))
    name, other = ("b", "a") if operation.is_input[1] else ("a", "b")
    _loop(operation, out, name, f"{{y}} = {expression.replace(other, number)};")


def _given(operation: FloatOperation, place: int, default: object) -> object:
    return operation.arguments[place] if len(operation.arguments) > place else default


def _input(operation: FloatOperation, place: int) -> Value | None:
    """The input at a place of the arguments; None where a constant None or nothing stands there."""
    if place >= len(operation.arguments) or not operation.is_input[place]:
        return None
    return operation.inputs[operation.arguments[place]]


def _pointer(out: Emission, value: Value | None) -> str:
    return "NULL" if value is None else out.pointer(value)


def _constant(operation: FloatOperation, place: int) -> np.ndarray:
    value = _input(operation, place)
    if value is None or value.constant is None:
        raise UnsupportedOperator(f"{operation.target} with computed weights", operation.module, "c", "fix its weights")
    return value.constant


def _convolution(operation: FloatOperation, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    weight = _constant(operation, 1)
    window, groups = convolution_window(operation.arguments, weight.shape[2:])
    weight = weight.reshape(*weight.shape[:2], *window.kernel)
    out.need("conv_float")
    bias = _input(operation, 2)
    name = out.structure(
        "conv_float",
        f"{y.name}_layer",
        {
            "shape": geometry_of(x.shape, y.shape, window),
            "groups": str(groups),
            "weights": out.array("float", f"{y.name}_weights", _outputs_innermost(weight, groups)),
            "bias": _pointer(out, bias),
        },
    )
    out.lines += images(x, y, out, f"run_conv_float(&{name}, {{a}}, {{y}});")


def _outputs_innermost(weight: np.ndarray, groups: int) -> np.ndarray:
    """(O, I, kh, kw) as [group][kernel row][kernel column][input][output of the group]."""
    outputs, inputs, height, width = weight.shape
    return weight.reshape(groups, outputs // groups, inputs, height, width).transpose(0, 3, 4, 2, 1)


def _linear(operation: FloatOperation, out: Emission) -> None:
    x, weight, y = operation.inputs[0], operation.inputs[1], operation.output
    out.need("linear_float")
    outputs, inputs = weight.shape
    bias = _pointer(out, _input(operation, 2))
    sizes = f"{x.size // inputs}, {inputs}, {outputs}"
    out.lines.append(
        f"    run_linear_float({sizes}, {out.pointer(weight)}, {bias}, {out.pointer(x)}, {out.pointer(y)});"
    )


def _matmul(operation: FloatOperation, out: Emission) -> None:
    a, b = operation.inputs
    y = operation.output
    if min(len(a.shape), len(b.shape)) < 2:
        raise UnsupportedOperator(f"{operation.target} of a vector", operation.module, "c", "give it two axes")
    out.need("matrix_product_float")
    sizes = f"{a.shape[-2]}, {a.shape[-1]}, {b.shape[-1]}"
    out.lines += matrices(y, a, b, out, f"run_matrix_product_float({sizes}, {{a}}, {{b}}, {{y}});")


def _softmax(operation: FloatOperation, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    out.need("softmax_float")
    order = out.order(x)
    place = order.index(int(operation.arguments[1]) % len(x.shape))
    sizes = in_order(x.shape, order)
    outer, inner = int(np.prod(sizes[:place])), int(np.prod(sizes[place + 1 :]))
    out.lines.append(f"    run_softmax_float({outer}, {sizes[place]}, {inner}, {out.pointer(x)}, {out.pointer(y)});")


def _layer_norm(operation: FloatOperation, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    out.need("layer_norm")
    width = int(np.prod(operation.arguments[1]))
    weight, bias = (_pointer(out, _input(operation, place)) for place in (2, 3))
    epsilon = real(float(_given(operation, 4, 1e-5)))  # type: ignore[arg-type]
    sizes = f"{x.size // width}, {width}, {epsilon}"
    out.lines.append(f"    run_layer_norm({sizes}, {weight}, {bias}, {out.pointer(x)}, {out.pointer(y)});")


def _group_norm(operation: FloatOperation, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    out.need("group_norm")
    groups = int(operation.arguments[1])
    weight, bias = (_pointer(out, _input(operation, place)) for place in (2, 3))
    epsilon = real(float(_given(operation, 4, 1e-5)))  # type: ignore[arg-type]
    batch, channels = x.shape[:2]
    sizes = f"{batch}, {groups}, {channels // groups}, {x.size // (batch * channels)}, {epsilon}"
    out.lines.append(f"    run_group_norm({sizes}, {weight}, {bias}, {out.pointer(x)}, {out.pointer(y)});")


def _prelu(operation: FloatOperation, out: Emission) -> None:
    slopes = _constant(operation, 1)
    x = operation.inputs[0]
    shape = [1] * len(x.shape)
    shape[1 if len(shape) > 1 else 0] = slopes.size
    name = out.array("float", f"{operation.output.name}_slopes", slopes)
    value = Value(name, tuple(shape), Kind.REAL)
    out.pointers[name] = name
    moved = FloatOperation((x, value), operation.output, operation.module, operation.target, (0, 1), (True, True))
    _loop(moved, out, "xb", "{y} = x > 0.0f ? x : x * b;")


def _batch_norm(operation: FloatOperation, out: Emission) -> None:
    """One that no convolution could take in: x times one number a channel, plus another."""
    x = operation.inputs[0]
    mean, variance = _constant(operation, 3).astype(np.float64), _constant(operation, 4).astype(np.float64)
    weight = _constant(operation, 1) if operation.is_input[1] else np.ones_like(mean)
    bias = _constant(operation, 2) if operation.is_input[2] else np.zeros_like(mean)
    scale = weight / np.sqrt(variance + float(_given(operation, 7, 1e-5)))  # type: ignore[arg-type]
    shape = [1] * len(x.shape)
    shape[1] = mean.size
    values = []
    for kind, numbers in (("scale", scale), ("offset", bias - mean * scale)):
        name = out.array("float", f"{operation.output.name}_{kind}", numbers.astype(np.float32))
        out.pointers[name] = name
        values.append(Value(name, tuple(shape), Kind.REAL))
    moved = FloatOperation((x, *values), operation.output, operation.module, operation.target, (), ())
    _loop(moved, out, "xab", "{y} = x * a + b;")


def _reduction(operation: FloatOperation, out: Emission) -> None:
    """A mean or sum over axes."""
    x, y = operation.inputs[0], operation.output
    rank = len(x.shape)
    given = operation.arguments[1] if len(operation.arguments) > 1 and operation.arguments[1] else range(rank)
    axes = {axis % rank for axis in ([given] if isinstance(given, int) else given)}
    order, own, to = out.order(x), out.strides(x), out.strides(y)
    left = [axis for axis in range(rank) if axis not in axes]
    theirs = {axis: to[axis if len(y.shape) == rank else place] for place, axis in enumerate(left)}
    kept, summed = [a for a in order if a not in axes], [a for a in order if a in axes]
    outer = nest([x.shape[a] for a in kept], [theirs[a] for a in kept], [own[a] for a in kept])
    inner = nest([x.shape[a] for a in summed], [own[a] for a in summed])
    inner = type(inner)(inner.sizes, inner.strides, INDICES[len(outer.sizes) :])
    count = int(np.prod([x.shape[axis] for axis in summed]))
    over = "" if operation.target is aten.sum.dim_IntList else f" * {real(1 / count)}"
    body = [
        "float sum = 0.0f;",
        *inner.text([f"sum += {out.pointer(x)}[{outer.offset(1)} + {inner.offset(0)}];"], indent=0),
        f"{out.pointer(y)}[{outer.offset(0)}] = sum{over};",
    ]
    out.lines += outer.text(body) if outer.sizes else ["    {", *(f"        {line}" for line in body), "    }"]


def _average_pool(operation: FloatOperation, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    window = pool_window(operation.arguments, x.shape, y.shape, dilated=False)
    counts_padding, divisor = average_counts(operation.arguments)
    counted = divisor or (0 if counts_padding else -1)
    out.need("average_pool_float")
    name = out.structure(
        "average_pool_float",
        f"{y.name}_layer",
        {
            "shape": geometry_of(x.shape, y.shape, window),
            "divisor": str(counted),
        },
    )
    out.lines += images(x, y, out, f"run_average_pool_float(&{name}, {{a}}, {{y}});")


_WRITERS = {
    **dict.fromkeys(real_operators.CONVOLUTIONS, _convolution),
    **dict.fromkeys(real_operators.PRODUCTS, _matmul),
    **dict.fromkeys(real_operators.REDUCTIONS, _reduction),
    aten.linear.default: _linear,
    aten.softmax.int: _softmax,
    aten.layer_norm.default: _layer_norm,
    aten.group_norm.default: _group_norm,
    aten.prelu.default: _prelu,
    aten.batch_norm.default: _batch_norm,
    aten.avg_pool2d.default: _average_pool,
}

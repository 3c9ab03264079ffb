"""The operators that have a form in integers: what stands between dequantize and quantize as one operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from ..affine import SOFTMAX_OUTPUT, Affine
from ..graph import module_path
from ..program import DEQUANTIZE, DEQUANTIZE_CHANNELS
from ..rules import RULES
from ..rules import Kind as RuleKind
from . import movements
from .arithmetic import code_of, exponentials, factors_of, multiplier_of, table_of
from .operations import (
    Add,
    AveragePool,
    Convolution,
    Linear,
    Lookup,
    MatrixProduct,
    Mean,
    Multiply,
    SignConvolution,
    SignLinear,
    Slopes,
    Softmax,
)
from .values import Kind, Value
from .windows import average_counts, convolution_window, pool_window

if TYPE_CHECKING:
    from .lowering import Lowering

aten = torch.ops.aten

_Limits = tuple[float, float]
# Sums and products of more than this many terms might not fit an int32.
_MOST_PRODUCTS = (2**31 - 1) // (255 * 127)


def quantized(lowering: Lowering, node: Node) -> Value | None:
    """The codes of a quantize node, computed from codes; None where its producer has no form in integers."""
    producer, affine = node.args[0], Affine(*node.args[1:5])
    own = _form(lowering, producer, affine, (-np.inf, np.inf), producer.name)
    if own is not None:
        return own
    limits = _limits_of(producer)
    if limits is None or producer.args[0].target not in _FORMS:
        return None
    return _form(lowering, producer.args[0], affine, limits, producer.name)


def _form(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    if node.op != "call_function":
        return None
    if node.target is DEQUANTIZE:
        codes = lowering.codes(node)
        return None if codes is None else _lookup(lowering, codes, affine, name, node, lambda x: x)
    if node.target in _FORMS:
        return _FORMS[node.target](lowering, node, affine, limits, name)
    function = _function_of(node)
    codes = lowering.codes(node.args[0]) if node.args else None
    if function is not None and codes is not None:
        return _lookup(lowering, codes, affine, name, node, function)
    return _moved(lowering, node, affine, name)


def _limits_of(node: Node) -> _Limits | None:
    """Least and largest result of an activation that is nothing but a clamp."""
    if node.op != "call_function":
        return None
    if node.target is aten.relu.default:
        return 0.0, np.inf
    if node.target is aten.relu6.default:
        return 0.0, 6.0
    if node.target in (aten.hardtanh.default, aten.clamp.default):
        low, high = [*node.args[1:], None, None][:2]
        if node.target is aten.hardtanh.default:
            low, high = (-1.0 if low is None else low), (1.0 if high is None else high)
        numbers = all(bound is None or isinstance(bound, int | float) for bound in (low, high))
        return (-np.inf if low is None else low, np.inf if high is None else high) if numbers else None
    return None


# Functions that a table can hold: those quantized as such, and some that reach codes from a float operator.
_OF_ONE_VALUE = {operator for operator, rule in RULES.items() if rule.kind is RuleKind.POINTWISE} - {
    *(aten.prelu.default, aten.softmax.int),  # of a channel, of an axis
}
_OF_ONE_VALUE |= {
    *(aten.exp.default, aten.log.default, aten.sqrt.default, aten.rsqrt.default, aten.abs.default, aten.neg.default),
    *(aten.pow.Tensor_Scalar, aten.square.default, aten.reciprocal.default, aten.erf.default, aten.sin.default),
    *(aten.cos.default, aten.softplus.default, aten.mish.default, aten.selu.default),
}


def _function_of(node: Node) -> Callable[[Tensor], Tensor] | None:
    if node.target not in _OF_ONE_VALUE or any(isinstance(arg, Node) for arg in node.args[1:]):
        return None
    return lambda x: node.target(x, *node.args[1:], **node.kwargs)


def _lookup(
    lowering: Lowering, codes: Value, affine: Affine, name: str, node: Node, function: Callable[[Tensor], Tensor]
) -> Value:
    table = table_of(function, codes.meaning, affine)
    output = Value(lowering.named(name), codes.shape, Kind.CODES, affine)
    return lowering.add(Lookup((codes,), output, module_path(node), table))


def _moved(lowering: Lowering, node: Node, affine: Affine, name: str) -> Value | None:
    """A movement of codes, and where the scale behind it is another, a conversion after it."""
    sources = movements.sources_of(node)
    values = [lowering.codes(source) for source in sources]
    if not values or any(value is None for value in values):
        return None
    meanings = {value.affine for value in values if value is not None}
    if len(meanings) != 1:
        return None
    (before,) = meanings
    assert before is not None
    same = before == affine
    moved = movements.moved(lowering, node, lambda source: _there(lowering, source), name if same else f"{name}_moved")
    if moved is None or same:
        return moved
    return _lookup(lowering, moved, affine, name, node, lambda x: x)


def _there(lowering: Lowering, node: Node) -> Value:
    value = lowering.codes(node)
    assert value is not None
    return value


def _clamped(affine: Affine, limits: _Limits) -> tuple[int, int]:
    return code_of(limits[0], affine), code_of(limits[1], affine)


def _output(lowering: Lowering, name: str, node: Node, affine: Affine) -> Value:
    return Value(lowering.named(name), tuple(node.meta["val"].shape), Kind.CODES, affine)


def _weighted(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    """A convolution or linear layer whose weights are codes; ±1 all through where input and weights are signs."""
    codes = lowering.codes(node.args[0])
    weight = _weight_codes(lowering, node.args[1])
    if codes is None or weight is None:
        return _product_with_computed(lowering, node, affine, limits, name)
    weight_codes, weight_scales = weight
    products = int(weight_codes[0].size)
    bias = _bias_codes(lowering, node.args[2] if len(node.args) > 2 else None, len(weight_codes))
    if products > _MOST_PRODUCTS or bias is None:
        return None
    multiplier = multiplier_of(codes.meaning.scale, weight_scales, over=affine.scale)
    low, high = _clamped(affine, limits)
    module = module_path(node)
    output = _output(lowering, name, node, affine)
    is_linear = node.target is aten.linear.default
    window, groups = (None, 1) if is_linear else convolution_window(node.args, weight_codes.shape[2:])
    x = codes.meaning
    if (x.qmin, x.qmax, x.zero_point) == (-1, 1, 0) and groups == 1 and bool((np.abs(weight_codes) == 1).all()):
        signs = lowering.signs(codes, len(codes.shape) - 1 if is_linear else 1, module)
        if window is None:
            return lowering.add(SignLinear((signs,), output, module, weight_codes, bias, multiplier, low, high))
        kernel = weight_codes.reshape(*weight_codes.shape[:2], *window.kernel)
        return lowering.add(SignConvolution((signs,), output, module, kernel, bias, multiplier, window, low, high))
    if window is None:
        return lowering.add(Linear((codes,), output, module, weight_codes, bias, multiplier, low, high))
    kernel = weight_codes.reshape(*weight_codes.shape[:2], *window.kernel)
    return lowering.add(Convolution((codes,), output, module, kernel, bias, multiplier, window, groups, low, high))


def _weight_codes(lowering: Lowering, node: Node) -> tuple[np.ndarray, np.ndarray] | None:
    """Codes of constant weights and their scale per output channel."""
    if not isinstance(node, Node) or node.target is not DEQUANTIZE_CHANNELS or node.args[3] != 0:
        return None
    codes, scales, zeros = (lowering.tensor(arg) for arg in node.args[:3])
    if codes is None or scales is None or zeros is None or codes.dtype != torch.int8 or bool(zeros.any()):
        return None
    return codes.numpy(), scales.numpy()


def _bias_codes(lowering: Lowering, node: object, channels: int) -> np.ndarray | None:
    """int32 bias in products of steps; zeros for no bias, None for one that is no such integer."""
    if node is None:
        return np.zeros(channels, np.int32)
    if not isinstance(node, Node) or node.target not in (DEQUANTIZE_CHANNELS, DEQUANTIZE):
        return None
    codes = lowering.tensor(node.args[0])
    return codes.numpy() if codes is not None and codes.dtype == torch.int32 else None


def _product_with_computed(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    """linear(x, w) of two computed values: x times w transposed."""
    if node.target is not aten.linear.default or len(node.args) > 2:
        return None
    return _matrix_product(lowering, node, affine, limits, name, transposed=True)


def _matmul(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    return _matrix_product(lowering, node, affine, limits, name, transposed=False)


def _matrix_product(
    lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str, transposed: bool
) -> Value | None:
    a, b = lowering.codes(node.args[0]), lowering.codes(node.args[1])
    if a is None or b is None or min(len(a.shape), len(b.shape)) < 2:
        return None
    if a.shape[-1] > (2**31 - 1) // (255 * 255):
        return None
    multiplier = float(multiplier_of(a.meaning.scale, b.meaning.scale, over=affine.scale))
    low, high = _clamped(affine, limits)
    output = _output(lowering, name, node, affine)
    return lowering.add(MatrixProduct((a, b), output, module_path(node), transposed, multiplier, low, high))


def _add(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    a, b = lowering.codes(node.args[0]), lowering.codes(node.args[1])
    if a is None or b is None or node.kwargs.get("alpha", 1) != 1:
        return None
    sign = -1 if node.target is aten.sub.Tensor else 1
    first, second, multiplier = factors_of(a.meaning.scale, sign * b.meaning.scale, affine.scale)
    low, high = _clamped(affine, limits)
    output = _output(lowering, name, node, affine)
    return lowering.add(Add((a, b), output, module_path(node), (first, second), multiplier, low, high))


def _multiply(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    a, b = lowering.codes(node.args[0]), lowering.codes(node.args[1])
    if a is None or b is None:
        return None
    multiplier = float(multiplier_of(a.meaning.scale, b.meaning.scale, over=affine.scale))
    low, high = _clamped(affine, limits)
    output = _output(lowering, name, node, affine)
    return lowering.add(Multiply((a, b), output, module_path(node), multiplier, low, high))


def _mean(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    codes = lowering.codes(node.args[0])
    if codes is None:
        return None
    rank = len(codes.shape)
    given = node.args[1] if len(node.args) > 1 and node.args[1] else list(range(rank))
    axes = tuple(sorted(axis % rank for axis in ([given] if isinstance(given, int) else given)))
    ratio = float(multiplier_of(codes.meaning.scale, over=affine.scale))
    low, high = _clamped(affine, limits)
    output = _output(lowering, name, node, affine)
    return lowering.add(Mean((codes,), output, module_path(node), axes, ratio, low, high))


def _average_pool(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    codes = lowering.codes(node.args[0])
    if codes is None or len(codes.shape) != 4:
        return None
    output = _output(lowering, name, node, affine)
    window = pool_window(node.args, codes.shape, output.shape, dilated=False)
    counts_padding, divisor = average_counts(node.args)
    ratio = float(multiplier_of(codes.meaning.scale, over=affine.scale))
    low, high = _clamped(affine, limits)
    operation = AveragePool((codes,), output, module_path(node), window, counts_padding, divisor, ratio, low, high)
    return lowering.add(operation)


def _prelu(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    codes, slopes = lowering.codes(node.args[0]), lowering.tensor(node.args[1])
    if codes is None or slopes is None:
        return None
    axis = 1 if len(codes.shape) > 1 else 0
    below = multiplier_of(codes.meaning.scale, slopes.double().numpy(), over=affine.scale)
    below = np.broadcast_to(below.reshape(-1), (codes.shape[axis],)).copy()
    above = float(multiplier_of(codes.meaning.scale, over=affine.scale))
    output = _output(lowering, name, node, affine)
    return lowering.add(Slopes((codes,), output, module_path(node), above, below, axis))


def _softmax(lowering: Lowering, node: Node, affine: Affine, limits: _Limits, name: str) -> Value | None:
    codes = lowering.codes(node.args[0])
    if codes is None or affine != SOFTMAX_OUTPUT:
        return None
    axis = node.args[1] % len(codes.shape)
    table = exponentials(codes.meaning.scale, codes.shape[axis])
    output = _output(lowering, name, node, affine)
    return lowering.add(Softmax((codes,), output, module_path(node), axis, table))


_FORMS = {
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.linear.default), _weighted),
    **dict.fromkeys((aten.matmul.default, aten.bmm.default), _matmul),
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor), _add),
    aten.mul.Tensor: _multiply,
    aten.mean.dim: _mean,
    aten.avg_pool2d.default: _average_pool,
    aten.prelu.default: _prelu,
    aten.softmax.int: _softmax,
}

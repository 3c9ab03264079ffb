"""Counts on a TFLite file: shapes and types stand in it."""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

import numpy as np

from ...export.tflite_averages import WEIGHTS, ZEROS
from ..tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor, read_tflite
from .count import CountedOperation, MacCount
from .free import FREE_TFLITE


def count_tflite(path: Path, modules: Mapping[str, str] | None = None) -> MacCount:
    """MACs of one run of a TFLite file.

    Args:
        path: the file.
        modules: tensor name -> PyTorch module path, for `by_module`.
    """
    graph = read_tflite(path)
    operations, uncounted, weights = [], [], {}
    for operator in graph.operators:
        name = graph.tensors[operator.outputs[0]].name if operator.outputs else ""
        rule = _RULES.get(operator.name)
        if rule is None:
            if operator.name not in FREE_TFLITE:
                uncounted.append(f"{operator.name} ({name})")
            continue
        places, formula = rule
        inputs = _inputs(graph, operator)
        if any(_is_of_average(tensor) for tensor in inputs):  # free, as averages are in every other form
            continue
        try:
            macs = formula(inputs, graph.tensors[operator.outputs[0]], operator)
        except IndexError:  # a form with fewer inputs or sizes than the rule knows
            uncounted.append(f"{operator.name} ({name})")
            continue
        operands = [inputs[place] for place in places]
        bits = max(_bits(tensor) for tensor in operands)
        operations.append(CountedOperation(name, operator.name, (modules or {}).get(name, ""), macs, bits))
        weights.update({tensor.index: tensor for tensor in operands if tensor.is_constant})
    size = sum(tensor.size_bytes for tensor in weights.values())
    bits = sum(_bits(tensor) * prod(tensor.shape) for tensor in weights.values())
    return MacCount(tuple(operations), tuple(uncounted), _parameters(graph), size, bits)


def _inputs(graph: TfliteGraph, operator: TfliteOperator) -> list[TfliteTensor]:
    return [graph.tensors[index] for index in operator.inputs if index >= 0]


def _bits(tensor: TfliteTensor) -> int:
    return tensor.element_bits


def _parameters(graph: TfliteGraph) -> int:
    """Elements of floating-point constants with an axis, and of constants that carry scales; limits of clamps, the
    zero that an addition changes scales by and the weights of an average are none."""
    limits = {i for op in graph.operators if op.name in ("MAXIMUM", "MINIMUM") for i in op.inputs}
    return sum(
        prod(tensor.shape)
        for tensor in graph.tensors
        if tensor.is_constant
        and ((tensor.is_quantized and not _is_zero(tensor)) or (tensor.dtype.startswith("float") and tensor.shape))
        and tensor.index not in limits
        and not _is_of_average(tensor)
    )


def _is_of_average(tensor: TfliteTensor) -> bool:
    """Whether these are the equal weights, or the zeros, by which an exported average is a product."""
    return tensor.is_constant and tensor.name.endswith((WEIGHTS, ZEROS))


def _is_zero(tensor: TfliteTensor) -> bool:
    return prod(tensor.shape) == 1 and tensor.axis is None and bool(np.all(tensor.data == tensor.zero_point))


def _conv_2d(inputs: list[TfliteTensor], output: TfliteTensor, _: TfliteOperator) -> int:
    """Weight (out, h, w, in / groups); one filter per output element."""
    return prod(inputs[1].shape[1:]) * prod(output.shape)


def _depthwise(inputs: list[TfliteTensor], output: TfliteTensor, _: TfliteOperator) -> int:
    """Weight (1, h, w, out)."""
    return prod(inputs[1].shape[1:3]) * prod(output.shape)


def _conv_3d(inputs: list[TfliteTensor], output: TfliteTensor, _: TfliteOperator) -> int:
    """Weight (d, h, w, in, out)."""
    return prod(inputs[1].shape[:4]) * prod(output.shape)


def _transpose_conv(inputs: list[TfliteTensor], _: TfliteTensor, __: TfliteOperator) -> int:
    """Inputs: output sizes, weight (out, h, w, in), image (N, H, W, in)."""
    return prod(inputs[1].shape[:3]) * prod(inputs[2].shape)


def _fully_connected(inputs: list[TfliteTensor], output: TfliteTensor, _: TfliteOperator) -> int:
    """Weight (out, in)."""
    return prod(output.shape) * inputs[1].shape[1]


def _batch_matmul(inputs: list[TfliteTensor], output: TfliteTensor, operator: TfliteOperator) -> int:
    left = inputs[0].shape
    return prod(output.shape) * (left[-2] if operator.options.get("adjX") else left[-1])


# Operator -> the inputs that are multiplied with each other, and the number of products.
_RULES: dict[str, tuple[tuple[int, ...], Callable[[list[TfliteTensor], TfliteTensor, TfliteOperator], int]]] = {
    "CONV_2D": ((0, 1), _conv_2d),
    "DEPTHWISE_CONV_2D": ((0, 1), _depthwise),
    "CONV_3D": ((0, 1), _conv_3d),
    "TRANSPOSE_CONV": ((2, 1), _transpose_conv),
    "FULLY_CONNECTED": ((0, 1), _fully_connected),
    "BATCH_MATMUL": ((0, 1), _batch_matmul),
}

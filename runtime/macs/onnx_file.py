"""Counts on an ONNX file by shape inference: float, quantize/dequantize pairs, or integer operators."""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from ..onnx_graph import OnnxGraph, read_onnx_graph
from . import formulas
from .count import CountedOperation, MacCount
from .free import FREE_ONNX

_INTEGER_OPERATORS = {"ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"}


def count_onnx(
    path: Path, modules: Mapping[str, str] | None = None, sizes: Mapping[str, int] | None = None
) -> MacCount:
    """MACs of one run of an ONNX file.

    Args:
        path: the file.
        modules: value name -> PyTorch module path, for `by_module`.
        sizes: numbers for the file's named free sizes; one where not given, as for a batch.
    """
    graph = read_onnx_graph(path, sizes)
    operations, uncounted, weights = [], [], {}
    for node in graph.nodes:
        rule = _RULES.get(node.op_type)
        name = node.output[0]
        if rule is None or node.domain not in ("", "ai.onnx"):
            if node.op_type not in FREE_ONNX or node.domain not in ("", "ai.onnx"):
                uncounted.append(f"{node.op_type} ({name})")
            continue
        operands, formula = rule
        try:
            macs = formula(node, graph)
        except (KeyError, ValueError):
            uncounted.append(f"{node.op_type} ({name})")
            continue
        bits = 8 if node.op_type in _INTEGER_OPERATORS else max(graph.bits(node.input[i]) for i in operands)
        module = (modules or {}).get(name, "")
        operations.append(CountedOperation(name, node.op_type, module, macs, bits))
        behind = [graph.origin(node.input[i]) for i in operands]
        weights.update({origin: graph.stored_bits(origin) for origin in behind if origin in graph.constants})
    sizes_bits = [graph.constants[name].size * each for name, each in weights.items()]
    size = sum(-(-count // 8) for count in sizes_bits)
    return MacCount(tuple(operations), tuple(uncounted), graph.parameters(), size, sum(sizes_bits))


def _convolution(weight: int) -> Callable[[Any, OnnxGraph], int]:
    return lambda node, graph: formulas.convolution(graph.shape(node.input[weight]), graph.shape(node.output[0]))


def _transposed(node: Any, graph: OnnxGraph) -> int:
    return formulas.transposed_convolution(graph.shape(node.input[1]), graph.shape(node.input[0]))


def _matmul(right: int) -> Callable[[Any, OnnxGraph], int]:
    return lambda node, graph: formulas.matmul(graph.shape(node.input[0]), graph.shape(node.input[right]))


def _gemm(node: Any, graph: OnnxGraph) -> int:
    left, output = graph.shape(node.input[0]), graph.shape(node.output[0])
    return prod(output) * (left[0] if graph.attributes(node).get("transA", 0) else left[1])


def _recurrent(node: Any, graph: OnnxGraph) -> int:
    """X (T, B, in), W (directions, gates * hidden, in), R (directions, gates * hidden, hidden)."""
    steps, batch, _ = graph.shape(node.input[0])
    return formulas.recurrent(steps, batch, [graph.shape(node.input[1]), graph.shape(node.input[2])])


def _einsum(node: Any, graph: OnnxGraph) -> int:
    equation = graph.attributes(node)["equation"].decode()
    return formulas.einsum(equation, [graph.shape(name) for name in node.input])


# Operator -> the inputs that are multiplied with each other, and the number of products.
_RULES: dict[str, tuple[tuple[int, ...], Callable[[Any, OnnxGraph], int]]] = {
    "Conv": ((0, 1), _convolution(1)),
    "ConvInteger": ((0, 1), _convolution(1)),
    "QLinearConv": ((0, 3), _convolution(3)),
    "ConvTranspose": ((0, 1), _transposed),
    "Gemm": ((0, 1), _gemm),
    "MatMul": ((0, 1), _matmul(1)),
    "MatMulInteger": ((0, 1), _matmul(1)),
    "QLinearMatMul": ((0, 3), _matmul(3)),
    "Einsum": ((0, 1), _einsum),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), ((0, 1, 2), _recurrent)),
}

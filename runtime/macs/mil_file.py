"""Counts on a Core ML package: shapes and types stand in its ML program."""

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

from ..coreml_graph import CoremlGraph, bound
from ..mil import MilOperation
from . import formulas
from .count import CountedOperation, MacCount
from .free import FREE_MIL


def count_coreml(path: Path, modules: Mapping[str, str] | None = None) -> MacCount:
    """MACs of one run of a Core ML package; an open size counts as one.

    Args:
        path: the package.
        modules: value name -> PyTorch module path, for `by_module`.

    Raises:
        BadInput: no package, or a damaged one.
    """
    graph = CoremlGraph(Path(path))
    operations, uncounted, weights = [], [], {}
    for operation in graph.operations:
        name = operation.outputs[0].name if operation.outputs else operation.name
        rule = _RULES.get(operation.type)
        if rule is None:
            if operation.type not in FREE_MIL:
                uncounted.append(f"{operation.type} ({name})")
            continue
        parameters, formula = rule
        operands = [value for parameter in parameters for value in bound(operation, parameter)]
        try:
            macs = formula(operation, graph)
        except (IndexError, ValueError):  # a form with other operands or shapes than the rule knows
            uncounted.append(f"{operation.type} ({name})")
            continue
        bits = max(graph.bits(operand) for operand in operands)
        if operation.type == "scaled_dot_product_attention":  # the weights that it multiplies by are never codes
            bits = graph.bits(name)
        operations.append(CountedOperation(name, operation.type, (modules or {}).get(name, ""), macs, bits))
        for operand in operands:
            weights.update(graph.weights_behind(operand))
    size = sum(-(-bits // 8) for bits in weights.values())
    return MacCount(tuple(operations), tuple(uncounted), graph.parameters(), size, sum(weights.values()))


def _shapes(operation: MilOperation, graph: CoremlGraph, *parameters: str) -> list[tuple[int, ...]]:
    return [graph.shape(name) for parameter in parameters for name in bound(operation, parameter)]


def _conv(operation: MilOperation, graph: CoremlGraph) -> int:
    """Weight (out, in / groups, *kernel)."""
    (weight,) = _shapes(operation, graph, "weight")
    return formulas.convolution(weight, graph.shape(operation.outputs[0].name))


def _conv_transpose(operation: MilOperation, graph: CoremlGraph) -> int:
    """Weight (in, out / groups, *kernel)."""
    weight, image = _shapes(operation, graph, "weight", "x")
    return formulas.transposed_convolution(weight, image)


def _linear(operation: MilOperation, graph: CoremlGraph) -> int:
    """Weight (out, in)."""
    x, weight = _shapes(operation, graph, "x", "weight")
    return formulas.linear(x, weight)


def _matmul(operation: MilOperation, graph: CoremlGraph) -> int:
    left, right = (
        (*shape[:-2], shape[-1], shape[-2]) if _is_set(operation, graph, f"transpose_{side}") else shape
        for side, shape in zip("xy", _shapes(operation, graph, "x", "y"))
    )
    return formulas.matmul(left, right)


def _is_set(operation: MilOperation, graph: CoremlGraph, parameter: str) -> bool:
    value = graph.constant(operation, parameter)
    return value is not None and bool(value)


def _einsum(operation: MilOperation, graph: CoremlGraph) -> int:
    return formulas.einsum(str(graph.constant(operation, "equation")), _shapes(operation, graph, "values"))


def _attention(operation: MilOperation, graph: CoremlGraph) -> int:
    query, key, value = _shapes(operation, graph, "query", "key", "value")
    return formulas.attention(query, key, value)


def _recurrent(operation: MilOperation, graph: CoremlGraph) -> int:
    """x (T, B, in); every weight matrix once a step, and those of the way back."""
    (x,) = _shapes(operation, graph, "x")
    weights = _shapes(operation, graph, "weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back")
    return formulas.recurrent(prod(x[:-2]), x[-2], weights)


_RECURRENT = ("x", "weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back")
# Operator -> the parameters that are multiplied with each other, and the number of products.
_RULES: dict[str, tuple[tuple[str, ...], Callable[[MilOperation, CoremlGraph], int]]] = {
    "conv": (("x", "weight"), _conv),
    "conv_transpose": (("x", "weight"), _conv_transpose),
    "linear": (("x", "weight"), _linear),
    "matmul": (("x", "y"), _matmul),
    "einsum": (("values",), _einsum),
    "scaled_dot_product_attention": (("query", "key", "value"), _attention),
    **dict.fromkeys(("lstm", "gru", "rnn"), (_RECURRENT, _recurrent)),
}

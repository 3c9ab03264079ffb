"""Counts on a `torch.export` program, in its training form or after decompositions, float or quantized.

A quantized program holds integer codes behind `quantized_decomposed` dequantize nodes; an operand that comes from one
has the bits that the codes need, also through operators that only move values.
"""

from collections.abc import Callable

import torch
from torch.export import ExportedProgram
from torch.fx import Node

from . import formulas
from .count import CountedOperation, MacCount
from .free import FREE_ATEN
from .state import State, arguments, packet

Rule = tuple[tuple[int, ...], Callable[[Node, State], int]]


def count_program(program: ExportedProgram) -> MacCount:
    """MACs of one call of `program`; a symbolic batch size counts as one, any other by its example."""
    state = State(program)
    operations, uncounted, weights = [], [], {}
    for node in program.graph.nodes:
        if node.op != "call_function":
            continue
        rule = _RULES.get(packet(node))
        if rule is None:
            if not _is_free(node):
                uncounted.append(f"{node.target} ({node.name})")
            continue
        operands, formula = rule
        try:
            macs = formula(node, state)
        except ValueError:
            uncounted.append(f"{node.target} ({node.name})")
            continue
        fixed = [i for i in operands if state.constants_behind(node, (i,))]
        weight = max((state.bits(node, i) for i in fixed), default=None)
        activation = max((state.bits(node, i) for i in operands if i not in fixed), default=None)
        bits = state.own_bits(node) if packet(node) in _ATTENTION else max(weight or 0, activation or 0)
        own = CountedOperation(node.name, str(node.target), module_of(node), macs, bits, weight, activation)
        operations.append(own)
        weights.update(state.constants_behind(node, operands))
    size, needed = sum(tensor.nbytes for tensor in weights.values()), sum(map(state.needed_bits, weights))
    return MacCount(tuple(operations), tuple(uncounted), state.parameters(), size, needed)


def module_of(node: Node) -> str:
    """Path of the module whose forward calls the node, as `stages.2.0.conv3`; empty for the network itself."""
    stack = node.meta.get("nn_module_stack") or {}
    return list(stack.values())[-1][0] if stack else ""


def _convolution(node: Node, state: State) -> int:
    if len(arguments(node)) > 6 and arguments(node)[6] is True:
        return _transposed(node, state)
    return formulas.convolution(state.shape(node, 1), state.shape_of(node))


def _transposed(node: Node, state: State) -> int:
    return formulas.transposed_convolution(state.shape(node, 1), state.shape(node, 0))


def _plain_convolution(node: Node, state: State) -> int:
    return formulas.convolution(state.shape(node, 1), state.shape_of(node))


def _linear(node: Node, state: State) -> int:
    return formulas.linear(state.shape(node, 0), state.shape(node, 1))


def _matmul(first: int) -> Callable[[Node, State], int]:
    return lambda node, state: formulas.matmul(state.shape(node, first), state.shape(node, first + 1))


def _attention(node: Node, state: State) -> int:
    return formulas.attention(state.shape(node, 0), state.shape(node, 1), state.shape(node, 2))


def _recurrent(node: Node, state: State) -> int:
    """args: input, hidden, weights, has_biases, layers, dropout, train, bidirectional, batch_first."""
    if len(arguments(node)) < 9:
        raise ValueError("packed sequences have no fixed length")
    weights = [weight for weight in arguments(node)[2] if len(state.shape_of(weight)) == 2]
    shape = state.shape(node, 0)  # (T, B, in), (B, T, in) or (T, in): only the product T * B matters
    steps = shape[0] * shape[1] if len(shape) == 3 else shape[0]
    return formulas.recurrent(steps, 1, [state.shape_of(weight) for weight in weights])


def _einsum(node: Node, state: State) -> int:
    equation, operands = arguments(node)[:2]
    return formulas.einsum(str(equation), [state.shape_of(operand) for operand in operands])


_ATTENTION = {
    "aten.scaled_dot_product_attention",
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_attention_math",
    "aten._scaled_dot_product_fused_attention_overrideable",
}
# Operator -> the arguments that are multiplied with each other, and the number of products.
_RULES: dict[str, Rule] = {
    "aten.convolution": ((0, 1), _convolution),
    **{f"aten.conv{n}d": ((0, 1), _plain_convolution) for n in (1, 2, 3)},
    **{f"aten.conv_transpose{n}d": ((0, 1), _transposed) for n in (1, 2, 3)},
    "aten.linear": ((0, 1), _linear),
    "aten.addmm": ((1, 2), _matmul(1)),
    "aten.baddbmm": ((1, 2), _matmul(1)),
    "aten.addmv": ((1, 2), _matmul(1)),
    **{f"aten.{name}": ((0, 1), _matmul(0)) for name in ("mm", "bmm", "matmul", "mv", "dot")},
    **dict.fromkeys(_ATTENTION, ((0, 1, 2), _attention)),
    **{f"aten.{name}": ((0, 2), _recurrent) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")},
    "aten.einsum": ((1,), _einsum),
}


def _is_free(node: Node) -> bool:
    """Whether the operator is known to hold no multiply-add."""
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return not isinstance(target, torch._ops.HigherOrderOperator)  # getitem and arithmetic on sizes
    if target.namespace == "quantized_decomposed":
        return "quantize" in target._opname
    if target.namespace not in ("aten", "prims"):
        return False
    return torch.Tag.pointwise in target.tags or target.is_view or packet(node) in FREE_ATEN

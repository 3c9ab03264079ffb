"""Values and operators as a quantized program has them, in float tensors: rounded to codes and back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .affine import Affine
from .coding import Coding, Edge
from .graph import is_constant
from .placement import Placement
from .rules import Kind
from .weights import quantize_constant


def fake_quantized(value: Any, affine: Affine) -> Any:
    """A value rounded to its codes and back; whole numbers stay as they are."""
    if not value.is_floating_point():
        return value
    limits = affine.qmin, affine.qmax
    return torch.fake_quantize_per_tensor_affine(value.float(), affine.scale, affine.zero_point, *limits)


def through_edge(value: Tensor, edge: Edge) -> Tensor:
    """A value as a layer of few activation bits reads it."""
    if edge.shift is None:
        return fake_quantized(value, edge.affine)
    shifted = value + torch.from_numpy(edge.shift.astype("float32")) * edge.affine.scale
    return torch.where(shifted >= 0, edge.affine.scale, -edge.affine.scale)


def call_quantized(node: Node, plan: Placement, coding: Coding, value_of: Callable[[Node], Any]) -> Any:
    """An operator that is no layer: constants of arithmetic are rounded, and what a concatenation converts."""
    rounds = plan.rules[node].kind is Kind.ARITHMETIC

    def operand(source: Node) -> Any:
        found = value_of(source)
        if rounds and is_constant(source) and source in node.args[:2]:
            return torch.from_numpy(quantize_constant(found.float()).dequantize())
        if (node, source) in plan.requantized:
            return fake_quantized(found, coding.values[node.name])
        return found

    return call_float(node, operand)


def call_float(node: Node, value_of: Callable[[Node], Any]) -> Any:
    """An operator on values as they are."""
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), value_of)
    return node.target(*args, **kwargs)

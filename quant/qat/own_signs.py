"""Gradients through the signs that a network computes itself, which would stop every gradient.

`torch.sign`, and comparisons with a number that become numbers again, by `torch.where` or a change of type. Their
values stay as they are; how gradients pass is the estimator's choice, as for signs that quantization puts in.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from ..graph import constant_of, is_constant
from .quantizers import ValueQuantizer
from .signs import sign

aten = torch.ops.aten
_ABOVE = (aten.ge.Scalar, aten.gt.Scalar)
_BELOW = (aten.le.Scalar, aten.lt.Scalar)
_CHOICES = (aten.where.Scalar, aten.where.ScalarSelf, aten.where.ScalarOther, aten.where.self)


class Jump(NamedTuple):
    """A value that is one of two numbers: the sum of both halves above the threshold, their difference below."""

    value: Node
    threshold: float
    height: float  # half of the way from the number below to the one above


class StraightThrough(nn.Module):
    """(what jumps, the value that decides) to the first, with the gradient of an estimated sign in the second.

    Args:
        width: where the estimator's slope ends, in units of the value.
    """

    def __init__(self, jump: Jump, width: float, estimator: str):
        super().__init__()
        self.threshold, self.height, self.width, self.estimator = jump.threshold, jump.height, width, estimator

    def forward(self, jumping: Tensor, value: Tensor) -> Tensor:
        estimated = self.height * sign((value - self.threshold) / self.width, self.estimator)
        return jumping + (estimated - estimated.detach())  # the same values, to the bit


def pass_gradients(module: GraphModule, estimator: str) -> None:
    """Puts a `StraightThrough` behind every jump of a prepared graph."""
    for node in list(module.graph.nodes):
        jump = _jump(module, node)
        if jump is None:
            continue
        name = f"through_{node.name}"
        module.add_submodule(name, StraightThrough(jump, _width(module, jump.value), estimator))
        with module.graph.inserting_after(node):
            call = module.graph.call_module(name, (node, jump.value))
        node.replace_all_uses_with(call, lambda user, call=call: user is not call)


def _jump(module: GraphModule, node: Node) -> Jump | None:
    if node.target == aten.sign.default:
        return Jump(node.args[0], 0.0, 1.0)
    is_choice = node.target in _CHOICES
    if not is_choice and not (node.target == aten.to.dtype and isinstance(node.args[1], torch.dtype)):
        return None
    compared = node.args[0]
    if not isinstance(compared, Node) or compared.target not in (*_ABOVE, *_BELOW):
        return None
    if is_choice:
        one, other = (_number(module, argument) for argument in node.args[1:3])
    else:
        one, other = 1.0, 0.0
    if one is None or other is None:
        return None
    height = (one - other) / 2 * (1 if compared.target in _ABOVE else -1)
    value, threshold = compared.args
    return Jump(value, float(threshold), height)


def _number(module: GraphModule, argument: object) -> float | None:
    """A scalar, or a constant of one entry; None for what is computed."""
    if isinstance(argument, int | float):
        return float(argument)
    if is_constant(argument):
        constant = constant_of(module, argument)
        return float(constant) if constant.numel() == 1 else None
    return None


def _width(module: GraphModule, value: Node) -> float:
    """Of a value that is quantized; 1 of another."""
    quantizer = module.get_submodule(str(value.target)) if value.op == "call_module" else None
    return quantizer.sign_width() if isinstance(quantizer, ValueQuantizer) else 1.0

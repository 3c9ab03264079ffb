"""Forms of `constant - x`, `constant / x` and `1 / x` that LiteRT's converter leaves as they are.

Where it moves a change of layout (its own around a convolution, or the network's) past an operator of a value and a
constant, it writes the value first and the constant second, whatever the order was: `c - x` becomes `x - c`, and the
next layer may take that into its bias (litert-torch 0.10). A sum may be turned round; and min(max(x, c), c), which is
c, is no constant to the converter.
"""

import torch
from torch.fx import GraphModule, Node

from ..quant.graph import call, calls, insert_constant, is_constant
from ..quant.program import DEQUANTIZE

aten = torch.ops.aten


def keep_operand_order(module: GraphModule) -> None:
    """Rewrites them all, to the same values; differences between codes, which the converter keeps, stay."""
    for node in calls(module):
        if node.target is aten.sub.Tensor and is_constant(node.args[0]):
            _add_negated(module, node)
        elif node.target is aten.div.Tensor and is_constant(node.args[0]) and not _is_of_codes(node.args[1]):
            _divide(module, node, node.args[0], node.args[1])
        elif node.target is aten.reciprocal.default and not _is_of_codes(node.args[0]):
            one = insert_constant(module, node, f"{node.name}_one", torch.ones(()))
            _divide(module, node, one, node.args[0])


def _is_of_codes(x: Node) -> bool:
    return x.target is DEQUANTIZE


def _add_negated(module: GraphModule, node: Node) -> None:
    constant, x = node.args[:2]
    negated = call(module, node, aten.neg.default, (x,), x, f"{node.name}_negated")
    node.target, node.args = aten.add.Tensor, (negated, constant)


def _divide(module: GraphModule, node: Node, constant: Node, x: Node) -> None:
    above = call(module, node, aten.maximum.default, (x, constant), node, f"{node.name}_at_least")
    exactly = call(module, node, aten.minimum.default, (above, constant), node, f"{node.name}_above")
    node.target, node.args = aten.div.Tensor, (exactly, x)

"""What the tools that move scales between layers share: a layer's channels, and new constants for it."""

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .graph import insert_constant, is_constant

aten = torch.ops.aten

_TRANSPOSED = {aten.conv_transpose2d.input}
LAYERS = {aten.linear.default, aten.conv1d.default, aten.conv2d.default, *_TRANSPOSED}


def channel_axis(node: Node) -> int:
    """Which dimension of its input and output holds a layer's channels."""
    return node.meta["val"].ndim - 1 if node.target is aten.linear.default else 1


def input_axis(node: Node) -> int | None:
    """The axis of a layer's weight that its input channels run along; None where groups mix them."""
    shape = node.args[1].meta["val"].shape
    groups = node.args[6] if len(node.args) > 6 else 1
    if node.target in _TRANSPOSED:
        return 0 if groups == 1 else None
    if len(shape) == 2 or groups == 1:
        return 1
    return 0 if shape[1] == 1 and groups == shape[0] else None


def is_layer(node: Node) -> bool:
    """Whether the node is a convolution or linear layer with constant weights."""
    if node.target not in LAYERS or not is_constant(node.args[1]):
        return False
    return len(node.args) < 3 or node.args[2] is None or is_constant(node.args[2])


def set_constant(module: GraphModule, node: Node, place: int, value: Tensor) -> None:
    """Gives one operand a new value; the old one stays for whoever shares it."""
    before = node.args[place]
    name = str(before.target) if isinstance(before, Node) else f"{node.name}_operand"
    constant = insert_constant(module, node, f"{name}_scaled", value)
    node.args = (*node.args[:place], constant, *node.args[place + 1 :])

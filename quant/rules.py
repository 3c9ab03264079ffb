"""What the quantizer knows of each operator: how it takes part in integer arithmetic, or why it does not.

- WEIGHTED: a convolution or linear layer with constant weights; per-channel weight codes, int32 bias.
- ARITHMETIC: integer inputs and an integer output of its own scale (sums, products, matrix products, averages).
- POINTWISE: a function of one value; integer runtimes evaluate it through a table of 256 entries.
- MOVEMENT: moves or selects codes without changing their meaning, so input and output share one scale.
- FLOAT: runs on real numbers; the reason is told to the user.
"""

import operator
from dataclasses import dataclass
from enum import Enum

import torch
from torch.fx import Node

from .affine import SOFTMAX_OUTPUT, TANH_OUTPUT, Affine
from .graph import MASKS, is_constant, is_float_value

aten = torch.ops.aten


class Kind(Enum):
    WEIGHTED = "weighted"
    ARITHMETIC = "arithmetic"
    POINTWISE = "pointwise"
    MOVEMENT = "movement"
    FLOAT = "float"


@dataclass(frozen=True)
class Rule:
    """How one operator is quantized.

    Attributes:
        kind: its part in integer arithmetic.
        channel_axis: for WEIGHTED, the output-channel axis of the weight.
        fixed: for POINTWISE, the only output form that integer kernels know.
        reason: for FLOAT, why.
    """

    kind: Kind
    channel_axis: int = 0
    fixed: Affine | None = None
    reason: str = ""


_WEIGHTED = Rule(Kind.WEIGHTED)
_ARITHMETIC = Rule(Kind.ARITHMETIC)
_POINTWISE = Rule(Kind.POINTWISE)
_MOVEMENT = Rule(Kind.MOVEMENT)

RULES: dict[object, Rule] = {
    **dict.fromkeys((aten.conv1d.default, aten.conv2d.default, aten.linear.default), _WEIGHTED),
    aten.conv_transpose2d.input: Rule(Kind.WEIGHTED, channel_axis=1),
    **dict.fromkeys(
        (
            aten.add.Tensor,
            aten.sub.Tensor,
            aten.mul.Tensor,
            aten.matmul.default,
            aten.bmm.default,
            aten.mean.dim,
            aten.avg_pool2d.default,
        ),
        _ARITHMETIC,
    ),
    **dict.fromkeys(
        (
            aten.relu.default,
            aten.relu6.default,
            aten.hardtanh.default,
            aten.clamp.default,
            aten.gelu.default,
            aten.silu.default,
            aten.elu.default,
            aten.leaky_relu.default,
            aten.hardswish.default,
            aten.hardsigmoid.default,
            aten.prelu.default,  # a slope, and so a table, for each channel; slopes stay real numbers
        ),
        _POINTWISE,
    ),
    aten.sigmoid.default: Rule(Kind.POINTWISE, fixed=SOFTMAX_OUTPUT),
    aten.softmax.int: Rule(Kind.POINTWISE, fixed=SOFTMAX_OUTPUT),
    aten.tanh.default: Rule(Kind.POINTWISE, fixed=TANH_OUTPUT),
    **dict.fromkeys(
        (
            aten.reshape.default,
            aten.view.default,
            aten.flatten.using_ints,
            aten.unflatten.int,
            aten.transpose.int,
            aten.permute.default,
            aten.squeeze.dim,
            aten.squeeze.default,
            aten.unsqueeze.default,
            aten.expand.default,
            aten.slice.Tensor,
            aten.select.int,
            aten.chunk.default,
            aten.split.Tensor,
            aten.split_with_sizes.default,
            operator.getitem,
            aten.cat.default,
            aten.constant_pad_nd.default,
            aten.pad.default,
            aten.max_pool2d.default,
            aten.pixel_shuffle.default,
            aten.upsample_nearest2d.vec,
        ),
        _MOVEMENT,
    ),
    aten.layer_norm.default: Rule(Kind.FLOAT, reason="a norm divides by a measured spread, which 8 bits do not hold"),
    aten.group_norm.default: Rule(Kind.FLOAT, reason="a norm divides by a measured spread, which 8 bits do not hold"),
    aten.div.Tensor: Rule(Kind.FLOAT, reason="no target has an integer division of two activations"),
}

_UNKNOWN = Rule(Kind.FLOAT, reason="no integer form of this operator is known")
_KEPT = Rule(Kind.FLOAT, reason="kept in float on request")
_NOT_CONSTANT = Rule(Kind.FLOAT, reason="its weights are computed, not constant")
_INTEGERS = Rule(Kind.FLOAT, reason="it computes on whole numbers as they are")
_MASKED = Rule(Kind.FLOAT, reason="hidden attention scores leave 8 bits nothing for the others")
_FEEDS_FLOAT = Rule(Kind.FLOAT, reason="only float operators read it")

# Several results: the codes are quantized where they are taken out, not here.
MANY_RESULTS = {aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default}
AVERAGES = {aten.mean.dim, aten.avg_pool2d.default}
MATRIX_PRODUCTS = {aten.matmul.default, aten.bmm.default}


def rule_of(node: Node, keep_float: tuple[str, ...], path: str) -> Rule:
    """The rule of one operator call; modules whose path starts with an entry of `keep_float` stay in float."""
    if any(path == kept or path.startswith(f"{kept}.") for kept in keep_float):
        return _KEPT
    if _is_masked(node):
        return _MASKED
    rule = RULES.get(node.target, _UNKNOWN)
    if rule.kind is Kind.ARITHMETIC and not is_float_value(node):
        return _INTEGERS
    if rule.kind is Kind.WEIGHTED:
        if not is_constant(node.args[1]):
            return _ARITHMETIC if node.target is aten.linear.default and len(node.args) < 3 else _NOT_CONSTANT
        if len(node.args) > 2 and node.args[2] is not None and not is_constant(node.args[2]):
            return _NOT_CONSTANT
        if rule.channel_axis == 1 and len(node.args) > 6 and node.args[6] != 1:
            return Rule(Kind.FLOAT, reason="a grouped transposed convolution has no per-channel integer form")
    return rule


def _is_masked(node: Node) -> bool:
    """An addition that hides attention scores, or the softmax that reads it."""
    read = node.args[0] if node.target is aten.softmax.int else node
    return isinstance(read, Node) and MASKS in read.meta


def has_number_operand(node: Node) -> bool:
    """Whether an arithmetic operator combines a value with a plain number."""
    return len(node.args) > 1 and isinstance(node.args[1], int | float)


def stays_in_float(node: Node, rules: dict[Node, Rule]) -> Rule | None:
    """A function of one value, or a number added, that only float operators read is best computed in float itself.

    An epsilon before a division would round to nothing in 8 bits, and an activation before a norm would be rounded
    twice. Matrix products and convolutions are never given up this way.
    """
    adds_number = node.target in (aten.add.Tensor, aten.sub.Tensor) and has_number_operand(node)
    if not adds_number and rules[node].kind is not Kind.POINTWISE:
        return None
    if node.users and all(user in rules and rules[user].kind is Kind.FLOAT for user in node.users):
        return _FEEDS_FLOAT
    return None


def is_fused_activation(node: Node) -> bool:
    """ReLU or ReLU6, the activations that every integer kernel takes into its own output clamp."""
    if node.target in (aten.relu.default, aten.relu6.default):
        return True
    if node.target is aten.hardtanh.default:
        return tuple(float(v) for v in node.args[1:3]) == (0.0, 6.0)
    if node.target is aten.clamp.default:
        limits = [*node.args[1:], None, None][:2]
        return limits in ([0, None], [0.0, None], [0, 6], [0.0, 6.0])
    return False

"""Folds batch norms into the convolutions and linear layers around them, exactly up to float rounding.

1. conv -> batch norm: scale the convolution's output channels, move the shift into its bias.
2. batch norm -> convolution without padding, or linear: scale the input channels, move the shift through the kernel.
   Never into a padded convolution: its border reads zeros that the norm would have shifted.
3. Any other batch norm becomes one multiplication and one addition per channel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .graph import bias_of, call, calls, constant_of, insert_constant, is_constant

aten = torch.ops.aten

_CONVOLUTIONS = {aten.conv1d.default, aten.conv2d.default}
_TRANSPOSED = {aten.conv_transpose2d.input, aten.conv_transpose1d.default}
_LINEAR = {aten.linear.default}
_FOLDED = "offramp_folded"  # in a layer's meta: some batch norm was folded into it
_UNFOLDED = "offramp_unfolded"  # in a layer's meta: what it was before a batch norm was folded into it


@dataclass(frozen=True)
class Norm:
    """A batch norm in evaluation: (x - mean) / sqrt(variance + epsilon) * gain + offset, each (channels,)."""

    gain: Tensor
    offset: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float


@dataclass(frozen=True)
class Unfolded:
    """A layer's weight and bias before the batch norm behind it was folded into them."""

    weight: Tensor
    bias: Tensor | None
    norm: Norm


def unfolded(node: Node) -> Unfolded | None:
    """The layer as it was before exactly one batch norm behind it was folded in; None where it was not so."""
    return node.meta.get(_UNFOLDED)


def fold_batch_norms(module: GraphModule) -> None:
    """Applies the three rules above in place, in the order of the graph."""
    for node in calls(module):
        if node.target is not aten.batch_norm.default or not is_constant(node.args[3]):
            continue  # one without running statistics normalises by its input
        scale, shift = _affine(module, node)
        source = node.args[0]
        assert isinstance(source, Node)
        if _folds_backward(node, source):
            _into_producer(module, node, source, scale, shift)
        elif all(_folds_forward(user, node) for user in node.users):
            _into_consumers(module, node, source, scale, shift)
        else:
            _as_arithmetic(module, node, source, scale, shift)
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()


def _affine(module: GraphModule, node: Node) -> tuple[Tensor, Tensor]:
    """The norm as `x * scale + shift` per channel, in float64."""
    _, weight, bias, mean, variance, _, _, epsilon = node.args[:8]
    assert isinstance(mean, Node) and isinstance(variance, Node) and isinstance(epsilon, float)
    mean_value, variance_value = constant_of(module, mean).double(), constant_of(module, variance).double()
    scale = (variance_value + epsilon).rsqrt()
    if isinstance(weight, Node):
        scale = scale * constant_of(module, weight).double()
    shift = -mean_value * scale
    if isinstance(bias, Node):
        shift = shift + constant_of(module, bias).double()
    return scale, shift


def _norm(module: GraphModule, node: Node) -> Norm:
    _, weight, bias, mean, variance, _, _, epsilon = node.args[:8]
    kept = constant_of(module, mean).clone().float(), constant_of(module, variance).clone().float()
    gain = constant_of(module, weight).clone().float() if isinstance(weight, Node) else torch.ones_like(kept[0])
    offset = constant_of(module, bias).clone().float() if isinstance(bias, Node) else torch.zeros_like(kept[0])
    return Norm(gain, offset, *kept, float(epsilon))


def _folds_backward(norm: Node, source: Node) -> bool:
    weighted = source.target in _CONVOLUTIONS | _TRANSPOSED | _LINEAR and is_constant(source.args[1])
    channels_last_only = source.target not in _LINEAR or norm.meta["val"].ndim == 2
    return weighted and channels_last_only and list(source.users) == [norm]


def _folds_forward(user: Node, norm: Node) -> bool:
    if user.args[0] is not norm or not (len(user.args) > 1 and is_constant(user.args[1])):
        return False
    if user.target in _LINEAR:
        return norm.meta["val"].ndim == 2
    padding = user.args[4] if len(user.args) > 4 else [0]
    return user.target in _CONVOLUTIONS and not any(padding)


def _into_producer(module: GraphModule, norm: Node, source: Node, scale: Tensor, shift: Tensor) -> None:
    weight_node = source.args[1]
    assert isinstance(weight_node, Node)
    weight = constant_of(module, weight_node).double()
    before = Unfolded(weight.float(), bias_of(module, source), _norm(module, norm))
    is_first = _FOLDED not in source.meta
    if source.target in _TRANSPOSED:  # (in, out / groups, kh, kw)
        groups = source.args[6] if len(source.args) > 6 else 1
        assert isinstance(groups, int)
        per_input = scale.reshape(groups, 1, -1).expand(groups, weight.shape[0] // groups, -1)
        folded = weight * per_input.reshape(weight.shape[0], -1, *[1] * (weight.ndim - 2))
    else:
        folded = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    bias = _bias(module, source, len(scale)) * scale + shift
    _set_weights(module, source, folded, bias)
    if is_first:
        source.meta[_UNFOLDED] = before
    norm.replace_all_uses_with(source)
    module.graph.erase_node(norm)


def _into_consumers(module: GraphModule, norm: Node, source: Node, scale: Tensor, shift: Tensor) -> None:
    for user in list(norm.users):
        weight_node = user.args[1]
        assert isinstance(weight_node, Node)
        weight = constant_of(module, weight_node).double()  # (out, in / groups, ...)
        groups = user.args[6] if user.target in _CONVOLUTIONS and len(user.args) > 6 else 1
        assert isinstance(groups, int)
        shape = (groups, 1, -1, *[1] * (weight.ndim - 2))
        grouped = weight.reshape(groups, -1, *weight.shape[1:])
        moved = (grouped * shift.reshape(shape)).reshape(weight.shape[0], -1).sum(1)
        folded = (grouped * scale.reshape(shape)).reshape(weight.shape)
        _set_weights(module, user, folded, _bias(module, user, weight.shape[0]) + moved)
        user.replace_input_with(norm, source)
    module.graph.erase_node(norm)


def _as_arithmetic(module: GraphModule, norm: Node, source: Node, scale: Tensor, shift: Tensor) -> None:
    shape = (1, -1, *[1] * (norm.meta["val"].ndim - 2))
    scale_node = insert_constant(module, norm, f"{norm.name}_scale", scale.float().reshape(shape))
    shift_node = insert_constant(module, norm, f"{norm.name}_shift", shift.float().reshape(shape))
    scaled = call(module, norm, aten.mul.Tensor, (source, scale_node), norm)
    shifted = call(module, norm, aten.add.Tensor, (scaled, shift_node), norm)
    norm.replace_all_uses_with(shifted)
    module.graph.erase_node(norm)


def _bias(module: GraphModule, node: Node, channels: int) -> Tensor:
    bias = node.args[2] if len(node.args) > 2 else None
    return constant_of(module, bias).double() if isinstance(bias, Node) else torch.zeros(channels, dtype=torch.double)


def _set_weights(module: GraphModule, node: Node, weight: Tensor, bias: Tensor) -> None:
    """Gives a layer new constants; the old ones stay for whoever shares them."""
    name = str(node.args[1].target).removesuffix(".weight") if isinstance(node.args[1], Node) else node.name
    weight_node = insert_constant(module, node, f"{name}_weight_folded", weight.float())
    bias_node = insert_constant(module, node, f"{name}_bias_folded", bias.float())
    node.args = (node.args[0], weight_node, bias_node, *node.args[3:])
    node.meta[_FOLDED] = True
    node.meta.pop(_UNFOLDED, None)

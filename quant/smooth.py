"""Smoothing: a norm's uneven channels move into the weights behind it, where every channel has room of its own.

Xiao et al., SmoothQuant, ICML 2023, eq. 4: channel j of what a layer reads is divided by
`s_j = max|X_j|^a / max|W_j|^(1 - a)`, and the weights that read it are multiplied by the same. Here the division costs
nothing: it goes into the affine map of a layer norm, or into a multiplication by a constant (with a constant added
behind it), as a batch norm leaves where it could not be folded.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .graph import calls, constant_of, is_constant
from .observe import channel_peaks
from .rescale import channel_axis, input_axis, is_layer, set_constant

aten = torch.ops.aten

_LEAST = 1e-5  # a channel or weight below is as good as zero and is left alone


def smooth(module: GraphModule, samples: Sequence[tuple[Tensor, ...]], share: float) -> int:
    """Changes norms, constants and weights of a captured graph in place; its function stays the same.

    Args:
        share: the exponent `a`: 0 looks at the weights alone, 1 gives them all of the unevenness.

    Returns:
        How many values were smoothed.
    """
    found = {node: axis for node in calls(module) if (axis := _smoothable(module, node)) is not None}
    peaks = channel_peaks(module, samples, {node.name: axis for node, axis in found.items()})
    for node, axis in found.items():
        readers = list(node.users)
        weights = [_by_input(constant_of(module, user.args[1]), user).abs().amax(1) for user in readers]
        largest, peak = torch.stack(weights).amax(0), peaks[node.name]
        by = peak.clamp(min=_LEAST) ** share / largest.clamp(min=_LEAST) ** (1 - share)
        by = torch.where((peak > _LEAST) & (largest > _LEAST), by, 1.0)
        for holder, place in _constants(node) or ():
            _divide(module, holder, place, by, axis)
        for user in readers:
            weight = constant_of(module, user.args[1])
            shape = [1] * weight.ndim
            shape[input_axis(user) or 0] = -1
            set_constant(module, user, 1, weight * by.reshape(shape))
    module.recompile()
    return len(found)


def _smoothable(module: GraphModule, node: Node) -> int | None:
    """The channel axis of a value that a constant scales and only layers read; None for any other."""
    readers = list(node.users)
    if _constants(node) is None or not readers:
        return None
    if not all(is_layer(user) and user.args[0] is node and input_axis(user) is not None for user in readers):
        return None
    axes = {channel_axis(user) for user in readers}
    axis = axes.pop()
    shape = node.meta["val"].shape
    per_channel = all(_spans(holder.args[place], shape, axis) for holder, place in _constants(node) or ())
    return axis if not axes and per_channel else None


def _constants(node: Node) -> list[tuple[Node, int]] | None:
    """(operator, place of its operand) of the constants that scale a value, all of which take a new scale's inverse."""
    if node.target is aten.layer_norm.default:
        places = [place for place in (2, 3) if len(node.args) > place and node.args[place] is not None]
        return [(node, place) for place in places] if 2 in places and len(node.args[1]) == 1 else None
    if node.target not in (aten.mul.Tensor, aten.add.Tensor) or node.kwargs:
        return None
    mine = [(node, place) for place, operand in enumerate(node.args[:2]) if is_constant(operand)]
    if len(mine) != 1:
        return None
    if node.target is aten.mul.Tensor:
        return mine
    (other,) = (operand for operand in node.args[:2] if not is_constant(operand))
    behind = _constants(other) if isinstance(other, Node) and list(other.users) == [node] else None
    return None if behind is None else behind + mine


def _spans(operand: Node, shape: torch.Size, axis: int) -> bool:
    """Whether a constant has one number per channel, or one in all."""
    own = operand.meta["val"].shape
    padded = (1,) * (len(shape) - len(own)) + tuple(own)
    return all(size == 1 or (place == axis and size == shape[axis]) for place, size in enumerate(padded))


def _divide(module: GraphModule, holder: Node, place: int, by: Tensor, axis: int) -> None:
    value = constant_of(module, holder.args[place])
    if holder.target is aten.layer_norm.default:
        divided = value / by
    else:
        divided = value / by.reshape(-1, *[1] * (holder.meta["val"].ndim - axis - 1))
    set_constant(module, holder, place, divided)


def _by_input(weight: Tensor, layer: Node) -> Tensor:
    """A weight as (input channels, all else)."""
    return weight.movedim(input_axis(layer) or 0, 0).flatten(1)

"""Second moments of a layer's inputs, from which the squared error of its outputs follows for any weights.

With the columns x that a layer's kernel meets (its taps at every position of every sample) and the outputs y that the
float layer makes there, the mean squared error of weights w and a bias is a quadratic form in them (Nagel et al., Up or
Down? Adaptive Rounding for Post-Training Quantization, ICML 2020, eq. 13). So the samples are read once, and every
choice of codes is judged in the size of the kernel.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

aten = torch.ops.aten

# A layer that has more positions than both is read at every n-th only.
_POSITIONS, _PER_TAP = 1 << 16, 128


@dataclass(frozen=True)
class Moments:
    """Means over all positions and samples, in float64; g groups of o outputs each, k taps.

    Attributes:
        square: (g, k, k), mean of x x^T.
        cross: (g, o, k), mean of y x^T.
        inputs: (g, k), mean of x.
        wanted: (g, o), mean of y.
        count: of positions of all samples that were read.
    """

    square: Tensor
    cross: Tensor
    inputs: Tensor
    wanted: Tensor
    count: int


def moments_of(node: Node, inputs: list[Tensor], wanted: list[Tensor]) -> Moments | None:
    """Moments of a convolution or linear layer; None for a transposed convolution, which has no such columns.

    Args:
        inputs: what the quantized layer reads, one entry a sample.
        wanted: the float layer's outputs on the same samples.
    """
    if node.target is aten.conv_transpose2d.input:
        return None
    groups = _option(node, 6, 1)
    sums: list[Tensor] = []
    count = 0
    for x, y in zip(inputs, wanted):
        columns = _columns(node, x.float(), groups)  # (g, k, p)
        every = max(1, len(inputs) * columns.shape[2] // max(_POSITIONS, _PER_TAP * columns.shape[1]))
        columns, outputs = columns[:, :, ::every], _outputs(node, y.float(), groups)[:, :, ::every]  # (g, o, p)
        parts = columns @ columns.mT, outputs @ columns.mT, columns.sum(2), outputs.sum(2)
        sums = [part.double() for part in parts] if not sums else [s + part for s, part in zip(sums, parts)]
        count += columns.shape[2]
    square, cross, mean, mean_wanted = (total / count for total in sums)
    return Moments(square, cross, mean, mean_wanted, count)


def steadied(moments: Moments, weight: Tensor) -> Moments:
    """Moments that few samples cannot carry far from the float weights.

    Where a kernel has more taps k than positions n were read, as behind a global average, many choices of weights fit
    those positions and no others. To the error of the outputs a ridge is added: k / n times the error that the weights
    would make if no two taps varied together, which is least for the float weights.

    Args:
        weight: (g, o, k) float weights.
    """
    variance = torch.diagonal(moments.square, dim1=1, dim2=2) - moments.inputs.square()
    ridge = moments.square.shape[1] / moments.count * variance.clamp(min=0)  # (g, k)
    return replace(
        moments,
        square=moments.square + torch.diag_embed(ridge),
        cross=moments.cross + weight * ridge.unsqueeze(1),
    )


def grouped(node: Node, weight: Tensor) -> Tensor:
    """A weight (out, in / g, ...) as rows by group, (g, o, k)."""
    groups = _option(node, 6, 1)
    return weight.reshape(groups, weight.shape[0] // groups, -1)


def _columns(node: Node, x: Tensor, groups: int) -> Tensor:
    if node.target is aten.linear.default:
        return x.reshape(-1, x.shape[-1]).T.unsqueeze(0)
    weight = node.args[1].meta["val"]
    kernel = (1,) * (4 - weight.ndim) + tuple(weight.shape[2:])
    if weight.ndim == 3:
        x = x.unsqueeze(2)
    stride, padding, dilation = (_pair(node, place, default) for place, default in ((3, 1), (4, 0), (5, 1)))
    taps = functional.unfold(x, kernel, dilation, padding, stride)  # (B, in * taps, p)
    return taps.movedim(0, 1).reshape(groups, taps.shape[1] // groups, -1)


def _outputs(node: Node, y: Tensor, groups: int) -> Tensor:
    if node.target is aten.linear.default:
        return y.reshape(-1, y.shape[-1]).T.unsqueeze(0)
    return y.flatten(2).movedim(0, 1).reshape(groups, y.shape[1] // groups, -1)


def _option(node: Node, place: int, default: int) -> int:
    is_linear = node.target is aten.linear.default
    return node.args[place] if len(node.args) > place and not is_linear else default


def _pair(node: Node, place: int, default: int) -> tuple[int, ...]:
    """An option as (vertical, horizontal); a 1-d convolution is one of height 1."""
    value = list(node.args[place]) if len(node.args) > place else [default]
    rank = node.args[1].meta["val"].ndim - 2
    value = value * rank if len(value) == 1 else value
    return (default, *value) if rank == 1 else tuple(value)

"""A layer of the quantized program as matrices on arrays: its weights, its inputs as vectors, its sums as outputs."""

import math
from dataclasses import dataclass
from typing import TypeGuard

import torch
from torch import Tensor
from torch.nn import functional

from ..quant.integer.operations import Convolution, Linear, SignLinear
from ..quant.integer.sums import Layer
from ..quant.integer.values import Kind, Value


@dataclass(frozen=True)
class Unrolled:
    """What a layer is as products of vectors with matrices.

    Attributes:
        weights: float64 (groups, inputs, outputs), whole numbers.
        inputs: least and largest input: codes less their zero point, or signs.
        vectors: input vectors of one sample.
    """

    weights: Tensor
    inputs: tuple[float, float]
    vectors: int


def is_layer(operation: object) -> TypeGuard[Layer]:
    """Whether an operation multiplies with weights, which arrays can hold."""
    return isinstance(operation, Layer)


def unrolled(layer: Layer) -> Unrolled:
    """The matrices of a layer: a convolution's kernels, unrolled channel by channel, stand in its columns."""
    weight = torch.from_numpy(layer.weight).double()
    groups = layer.groups if isinstance(layer, Convolution) else 1
    matrices = weight.reshape(groups, len(weight) // groups, -1).transpose(1, 2).contiguous()
    outputs = math.prod(layer.output.shape)
    return Unrolled(matrices, _range(layer.inputs[0]), outputs // len(weight))


def vectors_of(layer: Layer, centred: Tensor) -> Tensor:
    """Input vectors, (samples · vectors, groups, inputs), sample after sample.

    Args:
        centred: (samples, *shape of the layer's input), floating point; padding adds zeros.
    """
    if isinstance(layer, Linear | SignLinear):
        return centred.reshape(-1, 1, centred.shape[-1])
    image = centred.flatten(0, 1)
    image = image if image.ndim == 4 else image.unsqueeze(2)  # a line is an image of height one
    top, left, bottom, right = layer.window.padding
    image = functional.pad(image, (left, right, top, bottom))
    window = layer.window
    columns = functional.unfold(image, window.kernel, window.dilation, 0, window.stride)
    groups = layer.groups if isinstance(layer, Convolution) else 1
    return columns.unflatten(1, (groups, -1)).permute(0, 3, 1, 2).flatten(0, 1)


def sums_of(layer: Layer, outputs: Tensor, samples: int) -> Tensor:
    """Sums in the shape of the layer's output, (samples, *shape), from (samples · vectors, groups, outputs)."""
    shape = layer.output.shape
    if isinstance(layer, Linear | SignLinear):
        return outputs.reshape(samples, *shape)
    channels = outputs.flatten(1).reshape(samples * shape[0], -1, shape[1])
    return channels.transpose(1, 2).reshape(samples, *shape)


def _range(value: Value) -> tuple[float, float]:
    if value.kind is Kind.SIGNS:
        return -1.0, 1.0
    meaning = value.meaning
    return float(meaning.qmin - meaning.zero_point), float(meaning.qmax - meaning.zero_point)

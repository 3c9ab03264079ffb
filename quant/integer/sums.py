"""Operations that compute: exact sums in float64, which holds them all, and one rounding to a code."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..program import DEQUANTIZE, QUANTIZE
from .arithmetic import requantize
from .operations import (
    Add,
    AveragePool,
    Convolution,
    Dequantize,
    FloatOperation,
    Linear,
    Lookup,
    MatrixProduct,
    Mean,
    Multiply,
    Operation,
    Quantize,
    Sign,
    SignConvolution,
    SignLinear,
    Slopes,
    Softmax,
    Window,
)
from .running import run
from .values import Kind, Value

Layer = Convolution | Linear | SignConvolution | SignLinear  # what multiplies with weights
_FINEST = 1 << 16  # real sums are multiples of 1 / this: float32 then rounds one that is all but whole as if it were


def centred(value: Value, codes: Tensor) -> Tensor:
    """What is multiplied and summed: codes less their zero point, or signs as they are."""
    return codes - value.meaning.zero_point if value.kind is Kind.CODES else codes


def _coded(operation: Operation, sums: Tensor, multiplier: Tensor | float, low: int, high: int) -> Tensor:
    return requantize(sums, multiplier, operation.output.meaning.zero_point, low, high)


def _per_channel(values: np.ndarray, rank: int, axis: int) -> Tensor:
    shape = [1] * rank
    shape[axis] = -1
    return torch.from_numpy(values).reshape(shape)


@run.register
def _(operation: Quantize, x: Tensor) -> Tensor:
    y = operation.output.meaning
    return QUANTIZE(x, y.scale, y.zero_point, y.qmin, y.qmax, torch.int8).to(torch.int32)


@run.register
def _(operation: Dequantize, x: Tensor) -> Tensor:
    a = operation.inputs[0].meaning
    return DEQUANTIZE(x.to(torch.int8), a.scale, a.zero_point, a.qmin, a.qmax, torch.int8)


def _convolved(x: Tensor, weight: np.ndarray, window: Window, groups: int) -> Tensor:
    """Exact sums of products; x centred, so that padding adds nothing. A line is an image of height one."""
    image = x if x.ndim == 4 else x.unsqueeze(2)
    top, left, bottom, right = window.padding
    image = functional.pad(image.double(), (left, right, top, bottom))
    sums = functional.conv2d(
        image, torch.from_numpy(weight).double(), None, window.stride, 0, window.dilation, groups
    ).to(torch.int32)
    return sums if x.ndim == 4 else sums.squeeze(2)


@run.register
def _(operation: Convolution, x: Tensor) -> Tensor:
    sums = _convolved(centred(operation.inputs[0], x), operation.weight, operation.window, operation.groups)
    return completed(operation, sums)


@run.register
def _(operation: Linear, x: Tensor) -> Tensor:
    products = centred(operation.inputs[0], x).double() @ torch.from_numpy(operation.weight).double().T
    return completed(operation, products.to(torch.int32))


@run.register
def _(operation: SignConvolution, x: Tensor) -> Tensor:
    return completed(operation, _convolved(x, operation.weight, operation.window, 1))


@run.register
def _(operation: SignLinear, x: Tensor) -> Tensor:
    return completed(operation, (x.double() @ torch.from_numpy(operation.weight).double().T).to(torch.int32))


def completed(operation: Layer, sums: Tensor) -> Tensor:
    """The codes or signs of a layer's sums of products: bias, multiplier, rounding; or the threshold of each channel.

    Args:
        sums: of the output's shape, with any dimensions in front; int32, or float64 where a device that is not exact
            summed: a whole number to within the rounding of float64 counts as that number.
    """
    if sums.is_floating_point():
        sums = (sums * _FINEST).round() / _FINEST
    is_linear = isinstance(operation, Linear | SignLinear)
    rank, axis = len(operation.output.shape), -1 if is_linear else 1 - len(operation.output.shape)
    if isinstance(operation, SignConvolution | SignLinear) and operation.at_least is not None:
        least = _per_channel(operation.at_least, rank, axis) - 0.5  # sums are whole numbers, or near them
        return torch.where(sums >= least, 1, -1).to(torch.int32)
    bias, multiplier = (_per_channel(values, rank, axis) for values in (operation.bias, operation.multiplier))
    return _coded(operation, sums + bias, multiplier, operation.low, operation.high)


@run.register
def _(operation: Sign, x: Tensor) -> Tensor:
    return torch.where(x >= _per_channel(operation.least, x.ndim, operation.axis), 1, -1).to(torch.int32)


@run.register
def _(operation: MatrixProduct, a: Tensor, b: Tensor) -> Tensor:
    left, right = (centred(value, codes).double() for value, codes in zip(operation.inputs, (a, b)))
    sums = (left @ (right.transpose(-1, -2) if operation.transposed else right)).to(torch.int32)
    return _coded(operation, sums, operation.multiplier, operation.low, operation.high)


@run.register
def _(operation: Add, a: Tensor, b: Tensor) -> Tensor:
    left, right = (centred(value, codes) for value, codes in zip(operation.inputs, (a, b)))
    sums = left * operation.factors[0] + right * operation.factors[1]
    return _coded(operation, sums, operation.multiplier, operation.low, operation.high)


@run.register
def _(operation: Multiply, a: Tensor, b: Tensor) -> Tensor:
    left, right = (centred(value, codes) for value, codes in zip(operation.inputs, (a, b)))
    return _coded(operation, left * right, operation.multiplier, operation.low, operation.high)


@run.register
def _(operation: Mean, x: Tensor) -> Tensor:
    axes = operation.axes
    keeps = len(operation.output.shape) == x.ndim
    sums = centred(operation.inputs[0], x).sum(axes, keepdim=keeps, dtype=torch.int32)
    count = int(np.prod([x.shape[axis] for axis in axes]))
    return _coded(operation, sums, _over(operation.ratio, torch.tensor(count)), operation.low, operation.high)


def _over(ratio: float, count: Tensor) -> Tensor:
    return torch.tensor(ratio, dtype=torch.float32) / count.to(torch.float32)


@run.register
def _(operation: AveragePool, x: Tensor) -> Tensor:
    window, ones = operation.window, torch.ones(1, 1, *x.shape[2:], dtype=torch.float64)
    each = torch.ones(x.shape[1], 1, *window.kernel, dtype=torch.float64)
    top, left, bottom, right = window.padding

    def summed(values: Tensor, kernel: Tensor) -> Tensor:
        wide = functional.pad(values, (left, right, top, bottom))
        return functional.conv2d(wide, kernel, None, window.stride, 0, 1, len(kernel)).to(torch.int32)

    sums = summed(centred(operation.inputs[0], x).double(), each)[..., : operation.output.shape[2], :]
    counts = _counts(operation, summed(ones, each[:1]), x.shape[2:])
    sums, counts = (t[..., : operation.output.shape[2], : operation.output.shape[3]] for t in (sums, counts))
    return _coded(operation, sums, _over(operation.ratio, counts), operation.low, operation.high)


def _counts(operation: AveragePool, inside: Tensor, image: Sequence[int]) -> Tensor:
    """What each sum is divided by; padding counts, if at all, as far as was asked for, not to the last window's end."""
    if operation.divisor is not None:
        return torch.full_like(inside, operation.divisor)
    if not operation.counts_padding:
        return inside
    window = operation.window
    spans = []
    for axis in range(2):
        front = window.padding[axis]
        starts = torch.arange(inside.shape[2 + axis]) * window.stride[axis] - front
        spans.append((starts + window.kernel[axis]).clamp(max=image[axis] + front) - starts)
    return (spans[0][:, None] * spans[1][None, :])[None, None]


@run.register
def _(operation: Lookup, x: Tensor) -> Tensor:
    return torch.from_numpy(operation.table.astype(np.int32))[(x + 128).long()]


@run.register
def _(operation: Slopes, x: Tensor) -> Tensor:
    y = operation.output.meaning
    summed = centred(operation.inputs[0], x)
    below = _per_channel(operation.below, x.ndim, operation.axis)
    multiplier = torch.where(summed >= 0, torch.tensor(operation.above, dtype=torch.float32), below)
    return requantize(summed, multiplier, y.zero_point, y.qmin, y.qmax)


@run.register
def _(operation: Softmax, x: Tensor) -> Tensor:
    table = torch.from_numpy(operation.table.astype(np.int64))
    e = table[(x.amax(operation.axis, keepdim=True) - x).long()]
    factor = torch.tensor(256.0) / e.sum(operation.axis, keepdim=True).to(torch.float32)
    return (torch.round(e.to(torch.float32) * factor) - 128).clamp(max=127).to(torch.int32)


@run.register
def _(operation: FloatOperation, *inputs: Tensor) -> Tensor:
    given = zip(operation.arguments, operation.is_input)
    return operation.target(*(inputs[argument] if is_input else argument for argument, is_input in given))

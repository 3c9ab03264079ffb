"""Operations that move or select elements."""

import torch
from torch import Tensor
from torch.nn import functional

from .operations import Concatenate, Expand, MaxPool, Pad, Permute, Reshape, Slice, Upsample
from .running import run


@run.register
def _(operation: Reshape, x: Tensor) -> Tensor:
    return x.reshape(operation.output.shape)


@run.register
def _(operation: Permute, x: Tensor) -> Tensor:
    return x.permute(operation.order)


@run.register
def _(operation: Slice, x: Tensor) -> Tensor:
    ends = [s + (n - 1) * t + 1 for s, n, t in zip(operation.starts, operation.output.shape, operation.steps)]
    return x[tuple(map(slice, operation.starts, ends, operation.steps))]


@run.register
def _(operation: Concatenate, *parts: Tensor) -> Tensor:
    return torch.cat(parts, operation.axis)


@run.register
def _(operation: Pad, x: Tensor) -> Tensor:
    widths: list[int] = []
    for before, size, wide in zip(operation.before, operation.inputs[0].shape, operation.output.shape):
        widths = [before, wide - size - before, *widths]
    return functional.pad(x, widths, value=operation.fill)


@run.register
def _(operation: Expand, x: Tensor) -> Tensor:
    return x.expand(operation.output.shape)


@run.register
def _(operation: Upsample, x: Tensor) -> Tensor:
    for axis, factor in enumerate(operation.factors):
        x = x.repeat_interleave(factor, axis)
    return x


@run.register
def _(operation: MaxPool, x: Tensor) -> Tensor:
    window = operation.window
    top, left, bottom, right = window.padding
    lowest = -float("inf") if x.is_floating_point() else -(2**20)
    wide = functional.pad(x.to(torch.float64), (left, right, top, bottom), value=lowest)
    pooled = functional.max_pool2d(wide, window.kernel, window.stride, 0, window.dilation)
    height, width = operation.output.shape[2:]
    return pooled[..., :height, :width].to(x.dtype)

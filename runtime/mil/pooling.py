"""Average, maximum and L2 pooling. Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/pool.py`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from .convolution import flat, padding_of

_AVERAGE: dict[int, Callable[..., Tensor]] = {
    1: functional.avg_pool1d,
    2: functional.avg_pool2d,
    3: functional.avg_pool3d,
}
_MAXIMUM: dict[int, Callable[..., Tensor]] = {
    1: functional.max_pool1d,
    2: functional.max_pool2d,
    3: functional.max_pool3d,
}


@dataclass(frozen=True)
class _Axis:
    """Where the windows of one axis lie: window i covers `i * stride - before` and `kernel` positions from there."""

    size: int
    kernel: int
    stride: int
    before: int
    after: int
    windows: int

    @property
    def overhang(self) -> int:
        """Padding after the end that the last window needs; negative where the last positions are never read."""
        return (self.windows - 1) * self.stride + self.kernel - self.before - self.size

    def counts(self, exclude_padding: bool) -> list[int]:
        """Positions averaged by each window; what `ceil_mode` adds past the padding never counts (as in PyTorch)."""
        low, high = (0, self.size) if exclude_padding else (-self.before, self.size + self.after)
        starts = (i * self.stride - self.before for i in range(self.windows))
        return [min(start + self.kernel, high) - max(start, low) for start in starts]


def _axes(
    x: Tensor, kernel: Sequence[int], strides: Sequence[int], pad_type: str, pad: Sequence[int] | None, ceil_mode: bool
) -> list[_Axis]:
    pairs = padding_of(pad_type, x.shape[2:], kernel, strides, [1] * len(kernel), pad)
    axes = []
    for size, k, stride, (before, after) in zip(x.shape[2:], kernel, strides, pairs):
        room = size + before + after - k
        windows = (-(-room // stride) if ceil_mode else room // stride) + 1
        if ceil_mode and before + after > 0 and (windows - 1) * stride >= size + before:
            windows -= 1
        axes.append(_Axis(size, k, stride, before, after, windows))
    return axes


def _padded(x: Tensor, axes: Sequence[_Axis], value: float) -> Tensor:
    sides = flat([(axis.before, axis.overhang) for axis in axes])
    return functional.pad(x, sides, value=value) if any(sides) else x


def avg_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """x (N, C, *D) -> (N, C, *D')."""
    rank = len(kernel_sizes)
    strides = strides or [1] * rank
    axes = _axes(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    mean = _AVERAGE[rank](_padded(x, axes, 0.0), kernel_sizes, strides)
    counts = [axis.counts(exclude_padding_from_average) for axis in axes]
    if all(set(count) == {axis.kernel} for count, axis in zip(counts, axes)):
        return mean
    counted = torch.ones(())
    for count in counts:
        counted = counted.unsqueeze(-1) * torch.tensor(count, dtype=mean.dtype)
    return mean * (math.prod(kernel_sizes) / counted)


def max_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """x (N, C, *D) -> (N, C, *D'); padding never wins."""
    rank = len(kernel_sizes)
    strides = strides or [1] * rank
    axes = _axes(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    return _MAXIMUM[rank](_padded(x, axes, -math.inf), kernel_sizes, strides)


def l2_pool(
    x: Tensor,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Square root of the sum of squares in each window."""
    rank = len(kernel_sizes)
    strides = strides or [1] * rank
    axes = _axes(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    mean = _AVERAGE[rank](_padded(x.square(), axes, 0.0), kernel_sizes, strides)
    return (mean * math.prod(kernel_sizes)).sqrt()


OPERATORS: dict[str, Callable[..., Tensor]] = {"avg_pool": avg_pool, "l2_pool": l2_pool, "max_pool": max_pool}

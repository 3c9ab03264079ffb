"""Convolution, transposed convolution and matrix products.

Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/{conv,linear}.py`, `_utils.py` for the padding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

_CONVOLVE = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}


def padding_of(
    pad_type: str,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pad: Sequence[int] | None,
) -> list[tuple[int, int]]:
    """(before, after) for each spatial axis.

    `same` pads max(0, (ceil(size / stride) - 1) * stride + dilated kernel - size) in all, the odd element after;
    `same_lower` puts it before.
    """
    if pad_type == "custom":
        assert pad is not None
        return list(zip(pad[0::2], pad[1::2]))
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    pairs = []
    for size, k, stride, dilation in zip(sizes, kernel, strides, dilations):
        total = max(0, (-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size)
        less, more = total // 2, total - total // 2
        pairs.append((more, less) if pad_type == "same_lower" else (less, more))
    return pairs


def flat(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Padding in the order of `functional.pad`: last axis first."""
    return [side for pair in reversed(pairs) for side in pair]


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """x (N, C, *D), weight (O, C / groups, *K) -> (N, O, *D'), in one, two or three dimensions."""
    rank = x.dim() - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    pairs = padding_of(pad_type, x.shape[2:], weight.shape[2:], strides, dilations, pad)
    if any(before != after for before, after in pairs):
        x, pairs = functional.pad(x, flat(pairs)), [(0, 0)] * rank
    return _CONVOLVE[rank](x, weight, bias, strides, [before for before, _ in pairs], dilations, groups)


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pad_type: str = "valid",
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Tensor:
    """x (N, C, *D), weight (C, O / groups, *K) -> (N, O, *D').

    The full transposed convolution has (D - 1) stride + (K - 1) dilation + 1 positions; padding takes positions away at
    both ends, and `output_shape` may add positions, that only the bias reaches, at the far end.
    """
    rank = x.dim() - 2
    strides, dilations = strides or [1] * rank, dilations or [1] * rank
    full = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, groups, dilations)
    pairs = [(0, 0)] * rank
    if pad_type == "custom" and pad is not None:
        pairs = list(zip(pad[0::2], pad[1::2]))
    elif pad_type in ("same", "same_lower"):
        pairs = [_same_cut(f - d * s, pad_type) for f, d, s in zip(full.shape[2:], x.shape[2:], strides)]
    if output_shape is not None:
        pairs = [(before, f - before - size) for f, (before, _), size in zip(full.shape[2:], pairs, output_shape[2:])]
    cut = functional.pad(full, [-side for side in flat(pairs)])
    return cut if bias is None else cut + bias.reshape(-1, *(1,) * rank)


def _same_cut(surplus: int, pad_type: str) -> tuple[int, int]:
    less, more = surplus // 2, surplus - surplus // 2
    return (more, less) if pad_type == "same_lower" else (less, more)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in), weight (out, in) -> (..., out)."""
    return functional.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, *, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    x = x.transpose(-1, -2) if transpose_x else x
    y = y.transpose(-1, -2) if transpose_y else y
    return torch.matmul(x, y)


def einsum(values: Sequence[Tensor], *, equation: str) -> Tensor:
    return torch.einsum(equation, *values)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "conv": conv,
    "conv_transpose": conv_transpose,
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
}

"""Operators that move, repeat or make values without computing on them.

Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/tensor_{operation,transformation}.py`, and the iOS 16 and 17
files of the same names.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def pad(x: Tensor, *, pad: Sequence[int], mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Pads the last len(pad) / 2 axes by pad[2i] before and pad[2i + 1] after."""
    pairs = list(zip(pad[0::2], pad[1::2]))
    if mode == "constant":
        return functional.pad(x, [side for pair in reversed(pairs) for side in pair], value=constant_val)
    for axis, (before, after) in zip(range(-len(pairs), 0), pairs):
        if before or after:
            x = x.index_select(axis, _border(x.shape[axis], before, after, mode))
    return x


def _border(size: int, before: int, after: int, mode: str) -> Tensor:
    """Indices of `reflect` (1234 -> 32123432) or `replicate` (1234 -> 11123444)."""
    positions = torch.arange(-before, size + after)
    if mode == "replicate":
        return positions.clamp(0, size - 1)
    positions = positions.abs()
    return torch.where(positions < size, positions, 2 * (size - 1) - positions)


def crop(x: Tensor, *, crop_height: Sequence[int], crop_width: Sequence[int]) -> Tensor:
    """Takes rows (top, bottom) and columns (left, right) away; x (N, C, H, W)."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def reshape(x: Tensor, *, shape: Sequence[int]) -> Tensor:
    """-1 is what remains; 0 keeps the size of x at that place, counted from the right (1 where x has none)."""
    shift = x.dim() - len(shape)
    kept = [1 if i + shift < 0 else x.shape[i + shift] for i in range(len(shape))]
    return x.reshape([old if new == 0 else new for old, new in zip(kept, shape)])


def transpose(x: Tensor, *, perm: Sequence[int]) -> Tensor:
    return x.permute(*perm)


def expand_dims(x: Tensor, *, axes: Sequence[int]) -> Tensor:
    """Axes count in the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def squeeze(x: Tensor, *, axes: Sequence[int] | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def concat(values: Sequence[Tensor], *, axis: int, interleave: bool = False) -> Tensor:
    """End to end along `axis`, or, interleaved, one slice of each in turn."""
    if not interleave:
        return torch.cat(tuple(values), axis)
    axis = axis % values[0].dim()
    return torch.stack(tuple(values), axis + 1).flatten(axis, axis + 1)


def stack(values: Sequence[Tensor], *, axis: int) -> Tensor:
    return torch.stack(tuple(values), axis)


def split(
    x: Tensor, *, axis: int, num_splits: int | None = None, split_sizes: Sequence[int] | None = None
) -> tuple[Tensor, ...]:
    if split_sizes is None:
        assert num_splits is not None
        split_sizes = [x.shape[axis] // num_splits] * num_splits
    return torch.split(x, list(split_sizes), axis)


def tile(x: Tensor, *, reps: Sequence[int]) -> Tensor:
    return x.repeat(*reps)


def shape(x: Tensor) -> Tensor:
    return torch.tensor(x.shape, dtype=torch.int32)


def flatten2d(x: Tensor, *, axis: int = 1) -> Tensor:
    """(d0, ..., dn) -> (d0 ... d_axis-1, d_axis ... dn)."""
    return x.reshape(math.prod(x.shape[: axis % (x.dim() + 1) if axis >= 0 else x.dim() + axis]), -1)


def reverse(x: Tensor, *, axes: Sequence[int] | None = None) -> Tensor:
    return x.flip(tuple(axes) if axes is not None else tuple(range(x.dim())))


def cumsum(x: Tensor, *, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Running sum from either end; exclusive leaves out the element itself."""
    turned = x.flip(axis) if reverse else x
    total = turned.cumsum(axis, dtype=x.dtype)
    total = total - turned if exclusive else total
    return total.flip(axis) if reverse else total


def band_part(x: Tensor, *, lower: int = -1, upper: int = -1) -> Tensor:
    """Keeps `lower` diagonals below and `upper` above the main one; -1 keeps all."""
    x = x if lower < 0 else x.triu(-lower)
    return x if upper < 0 else x.tril(upper)


def fill(*, shape: Sequence[int], value: float = 0.0) -> Tensor:
    return torch.full(tuple(shape), value)


def fill_like(ref_tensor: Tensor, *, value: float = 0.0) -> Tensor:
    return torch.full(ref_tensor.shape, value)


def range_1d(*, end: float, start: float, step: float) -> Tensor:
    return torch.arange(start, end, step)


def one_hot(
    indices: Tensor, *, one_hot_vector_size: int, axis: int = -1, on_value: float = 1, off_value: float = 0
) -> Tensor:
    axis = axis % (indices.dim() + 1)
    hot = indices.unsqueeze(-1) == torch.arange(one_hot_vector_size)
    return torch.where(hot, on_value, off_value).movedim(-1, axis)


def pixel_shuffle(x: Tensor, *, upscale_factor: int) -> Tensor:
    """(N, C r r, H, W) -> (N, C, H r, W r)."""
    return functional.pixel_shuffle(x, upscale_factor)


def pixel_unshuffle(x: Tensor, *, downscale_factor: int) -> Tensor:
    """(N, C, H r, W r) -> (N, C r r, H, W)."""
    return functional.pixel_unshuffle(x, downscale_factor)


def depth_to_space(x: Tensor, *, block_size: int) -> Tensor:
    """(N, b b C, H, W) -> (N, C, H b, W b), the block outermost in the channels, as TensorFlow."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(x: Tensor, *, block_size: int) -> Tensor:
    """The inverse of depth_to_space."""
    n, c, h, w = x.shape
    b = block_size
    return x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "band_part": band_part,
    "concat": concat,
    "crop": crop,
    "cumsum": cumsum,
    "depth_to_space": depth_to_space,
    "expand_dims": expand_dims,
    "fill": fill,
    "fill_like": fill_like,
    "flatten2d": flatten2d,
    "one_hot": one_hot,
    "pad": pad,
    "pixel_shuffle": pixel_shuffle,
    "pixel_unshuffle": pixel_unshuffle,
    "range_1d": range_1d,
    "reshape": reshape,
    "reverse": reverse,
    "shape": shape,
    "space_to_depth": space_to_depth,
    "split": split,
    "squeeze": squeeze,
    "stack": stack,
    "tile": tile,
    "transpose": transpose,
}

"""Slices, gathers and orderings.

Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/tensor_transformation.py` and `scatter_gather.py` of iOS 15
to 17.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def slice_by_index(
    x: Tensor,
    *,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> Tensor:
    """x[begin:end:stride] on every axis, as NumPy; a mask opens that end, and a squeezed axis is indexed at `begin`."""
    rank = x.dim()
    stride = stride or [1] * rank
    open_begin, open_end = begin_mask or [False] * rank, end_mask or [False] * rank
    squeezed = squeeze_mask or [False] * rank
    for axis in reversed(range(rank)):
        if squeezed[axis]:
            x = x.select(axis, 0 if open_begin[axis] else begin[axis])
            continue
        cut = slice(None if open_begin[axis] else begin[axis], None if open_end[axis] else end[axis], stride[axis])
        x = _cut(x, axis, cut)
    return x


def _cut(x: Tensor, axis: int, cut: slice) -> Tensor:
    """x[..., cut, ...]; torch slices have no negative steps, so those are selected one by one."""
    chosen = range(*cut.indices(x.shape[axis]))
    if chosen.step < 0:
        return x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x[(slice(None),) * axis + (slice(chosen.start, max(chosen.stop, chosen.start), chosen.step),)]


def slice_by_size(x: Tensor, *, begin: Sequence[int], size: Sequence[int]) -> Tensor:
    """`size` elements from `begin` on; -1 takes all that follow."""
    for axis, (first, count) in enumerate(zip(begin, size)):
        first = first % x.shape[axis] if first < 0 else first
        x = x.narrow(axis, first, x.shape[axis] - first if count == -1 else count)
    return x


def _wrapped(indices: Tensor, size: int) -> Tensor:
    """Indices as int64, with negative ones counted from the end."""
    indices = indices.to(torch.int64)
    return torch.where(indices < 0, indices + size, indices)


def gather(x: Tensor, indices: Tensor, *, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """x.shape[:axis] + indices.shape[batch_dims:] + x.shape[axis + 1:], the indices replacing the axis."""
    axis = axis % x.dim()
    indices = _wrapped(indices, x.shape[axis])
    if batch_dims == 0:
        picked = x.index_select(axis, indices.reshape(-1))
        return picked.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    batch = x.shape[:batch_dims]
    rows = zip(x.reshape(-1, *x.shape[batch_dims:]), indices.reshape(-1, *indices.shape[batch_dims:]))
    picked = torch.stack([gather(row, index, axis=axis - batch_dims) for row, index in rows])
    return picked.reshape(*batch, *picked.shape[1:])


def gather_along_axis(x: Tensor, indices: Tensor, *, axis: int = 0, validate_indices: bool = False) -> Tensor:
    """out[i, j, ...] = x[i, indices[i, j, ...], ...] with the index at `axis`."""
    return torch.take_along_dim(x, _wrapped(indices, x.shape[axis]), axis)


def gather_nd(x: Tensor, indices: Tensor, *, batch_dims: int = 0, validate_indices: bool = False) -> Tensor:
    """The last axis of indices (..., K) holds K coordinates into the axes of x after the batch."""
    if batch_dims > 0:
        batch = x.shape[:batch_dims]
        rows = zip(x.reshape(-1, *x.shape[batch_dims:]), indices.reshape(-1, *indices.shape[batch_dims:]))
        picked = torch.stack([gather_nd(row, index) for row, index in rows])
        return picked.reshape(*batch, *picked.shape[1:])
    return x[tuple(_wrapped(coordinate, size) for coordinate, size in zip(indices.unbind(-1), x.shape))]


def argsort(x: Tensor, *, axis: int = -1, ascending: bool = False) -> Tensor:
    return x.argsort(dim=axis, descending=not ascending, stable=True)


def topk(
    x: Tensor,
    *,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Tensor | tuple[Tensor, ...]:
    """The k largest (or, ascending, smallest) with their indices, best first; of equals the first wins."""
    order = x.argsort(dim=axis, descending=not ascending, stable=True).narrow(axis, 0, k)
    values = x.gather(axis, order)
    return (values, order) if return_indices else values


OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "argsort": argsort,
    "gather": gather,
    "gather_along_axis": gather_along_axis,
    "gather_nd": gather_nd,
    "slice_by_index": slice_by_index,
    "slice_by_size": slice_by_size,
    "topk": topk,
}

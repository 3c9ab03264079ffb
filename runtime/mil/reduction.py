"""Reductions over axes. Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/reduction.py`."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def _over_axes(reduce: Callable[[Tensor, tuple[int, ...], bool], Tensor]) -> Callable[..., Tensor]:
    """An operator from `reduce(x, axes, keep_dims)`; without axes it reduces all of them."""

    def apply(x: Tensor, *, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Tensor:
        over = tuple(axes) if axes else tuple(range(x.dim()))
        return reduce(x, over, keep_dims)

    return apply


def _product(x: Tensor, axes: tuple[int, ...], keep_dims: bool) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x if keep_dims else x.squeeze(axes)


def _mean(x: Tensor, axes: tuple[int, ...], keep_dims: bool) -> Tensor:
    return x.mean(axes, keep_dims) if x.is_floating_point() else x.double().mean(axes, keep_dims)


def _index(find: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The first index of an extreme; torch gives any, NumPy (which defines the operator) the first."""

    def apply(x: Tensor, *, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
        extreme = find(x, axis, keepdim=True)
        index = (x == extreme).to(torch.uint8).argmax(axis, keepdim=keep_dims)
        return index.to(torch.int32)

    return apply


_REDUCTIONS: dict[str, Callable[[Tensor, tuple[int, ...], bool], Tensor]] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x, axes, keep),
    "reduce_max": lambda x, axes, keep: x.amax(axes, keep),
    "reduce_mean": _mean,
    "reduce_min": lambda x, axes, keep: x.amin(axes, keep),
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keep),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
}

OPERATORS: dict[str, Callable[..., Tensor]] = {
    **{name: _over_axes(reduce) for name, reduce in _REDUCTIONS.items()},
    "reduce_argmax": _index(torch.amax),
    "reduce_argmin": _index(torch.amin),
}

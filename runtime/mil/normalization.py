"""Normalizations. Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/normalization.py`."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, each (C,), on x (N, C, ...)."""
    return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, *, epsilon: float = 1e-5
) -> Tensor:
    """As batch_norm with mean and variance of each sample and channel; x (N, C, *D)."""
    spatial = tuple(range(2, x.dim()))
    variance, mean = torch.var_mean(x, spatial, correction=0, keepdim=True)
    channels = (-1, *(1,) * len(spatial))
    y = (x - mean) / torch.sqrt(variance + epsilon)
    y = y if gamma is None else y * gamma.reshape(channels)
    return y if beta is None else y + beta.reshape(channels)


def layer_norm(
    x: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    *,
    axes: Sequence[int] | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over `axes`; gamma and beta have the sizes of those axes."""
    over = sorted(axis % x.dim() for axis in (axes if axes is not None else range(x.dim())))
    if over == list(range(over[0], x.dim())):
        return functional.layer_norm(x, x.shape[over[0] :], gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, over, correction=0, keepdim=True)
    sizes = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    y = (x - mean) / torch.sqrt(variance + epsilon)
    y = y if gamma is None else y * gamma.reshape(sizes)
    return y if beta is None else y + beta.reshape(sizes)


def l2_norm(x: Tensor, *, epsilon: float = 1e-6) -> Tensor:
    """x / sqrt(sum of squares + epsilon) over the last three axes."""
    return x / torch.sqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


def local_response_norm(x: Tensor, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size * sum of squares of `size` neighbouring channels) ** beta."""
    return functional.local_response_norm(x, size, alpha, beta, k)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "batch_norm": batch_norm,
    "instance_norm": instance_norm,
    "l2_norm": l2_norm,
    "layer_norm": layer_norm,
    "local_response_norm": local_response_norm,
}

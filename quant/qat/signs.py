"""The sign function with a gradient: three straight-through estimators. The sign of 0 is +1, in every room.

- `plain`: the gradient passes everywhere (Bengio et al., arXiv 1308.3432).
- `clipped`: it passes where |x| <= 1 (Hubara et al., Binarized Neural Networks, NeurIPS 2016).
- `approximate`: it is that of a piecewise quadratic, 2 - 2 |x| where |x| < 1 (Liu et al., Bi-Real Net, ECCV 2018).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class _Sign(torch.autograd.Function):
    """(x, slope of the estimator at x) -> ±1."""

    @staticmethod
    def forward(context: Any, x: Tensor, slope: Tensor) -> Tensor:
        context.save_for_backward(slope)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> tuple[Tensor, None]:
        (slope,) = context.saved_tensors
        return gradients[0] * slope, None


_SLOPES: dict[str, Callable[[Tensor], Tensor]] = {
    "plain": torch.ones_like,
    "clipped": lambda x: (x.abs() <= 1).to(x.dtype),
    "approximate": lambda x: (2 - 2 * x.abs()).clamp(min=0),
}
ESTIMATORS = tuple(_SLOPES)


def sign(x: Tensor, estimator: str = "approximate") -> Tensor:
    """±1 of the shape of `x`; the gradient is the estimator's, in units of x."""
    return _Sign.apply(x, _SLOPES[estimator](x.detach()))

"""Activations. Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/activation.py`."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .elementwise import unary


def _along_channels(alpha: Tensor, x: Tensor) -> Tensor:
    """(C,) -> (C, 1, ...), to meet (N, C, ...)."""
    return alpha.reshape(-1, *(1,) * (x.dim() - 2))


def gelu(x: Tensor, *, mode: str = "EXACT") -> Tensor:
    """EXACT: 0.5 x (1 + erf(x / sqrt 2)). TANH_APPROXIMATION: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
    SIGMOID_APPROXIMATION: x sigmoid(1.702 x)."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    return functional.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


def clamped_relu(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return torch.where(x >= 0, x.clamp(max=beta), (alpha * x).clamp(max=beta))


def elu(x: Tensor, *, alpha: float) -> Tensor:
    return functional.elu(x, alpha)


def leaky_relu(x: Tensor, *, alpha: float) -> Tensor:
    return functional.leaky_relu(x, alpha)


def linear_activation(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """One slope per channel: alpha (C,), x (N, C, ...)."""
    return torch.where(x >= 0, x, _along_channels(alpha, x) * x)


def scaled_tanh(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


def sigmoid_hard(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


def softmax(x: Tensor, *, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)


def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x), without overflow."""
    return torch.logaddexp(x, torch.zeros((), dtype=x.dtype))


def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha log(1 + e^(beta x)), with alpha and beta (C,)."""
    return _along_channels(alpha, x) * softplus(_along_channels(beta, x) * x)


def softsign(x: Tensor) -> Tensor:
    return x / (1 + x.abs())


def thresholded_relu(x: Tensor, *, alpha: float) -> Tensor:
    """x where x >= alpha, else 0."""
    return torch.where(x >= alpha, x, 0.0)


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(Q K^T / sqrt(E) + mask) V; a boolean mask keeps where it is true."""
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.softmax(scores, -1) @ value


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "clamped_relu": clamped_relu,
    "elu": elu,
    "gelu": gelu,
    "leaky_relu": leaky_relu,
    "linear_activation": linear_activation,
    "prelu": prelu,
    "relu": unary(torch.relu),
    "relu6": unary(functional.relu6),
    "scaled_dot_product_attention": scaled_dot_product_attention,
    "scaled_tanh": scaled_tanh,
    "sigmoid": unary(torch.sigmoid),
    "sigmoid_hard": sigmoid_hard,
    "silu": unary(functional.silu),
    "softmax": softmax,
    "softplus": softplus,
    "softplus_parametric": softplus_parametric,
    "softsign": softsign,
    "thresholded_relu": thresholded_relu,
}

"""How strongly each of two modalities' encoders learns: what a batch says of both, and the scaling of their gradients.

Wei, Luo and Luo, "Improving Multimodal Learning via Imbalanced Learning" (ARL), ICCV 2025, arXiv 2507.10203. A fused
prediction `w0 s0 + w1 s1` with independent errors has the least variance where weights are inverse to the variances.
So the modality whose share of the outputs is below its inverse variance's share gets the larger gradient.

Batches are (..., B, C), one mean each; further dimensions in front are networks that train side by side.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

LEAST_ENTROPY = 0.3  # of a modality's share; bounds the ratio of inverse variances to 7 : 3
_TINY = 1e-12  # where both are zero they are equal

Pair = tuple[Tensor, Tensor]
Factors = Callable[[Pair, Tensor], Tensor]
"""From both modalities' own logits (..., B, C) and labels (..., B) to what multiplies their gradients, (..., 2)."""


class _Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, factor: Tensor) -> Tensor:
        ctx.save_for_backward(factor)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (factor,) = ctx.saved_tensors
        return gradients[0] * factor, None


def scale_gradient(features: Tensor, factor: Tensor) -> Tensor:
    """The features themselves, whose gradient is multiplied by the factor (broadcast to their shape)."""
    return _Scaled.apply(features, factor)


def dependence(alone: Pair) -> Tensor:
    """Each modality's share of the outputs' size, (..., 2): the batch's mean of |logit|, summed over classes."""
    return _shares(torch.stack([logits.abs().mean(-2).sum(-1) for logits in alone], -1))


def inverse_variance(alone: Pair) -> Tensor:
    """Each modality's share of the inverse variances, (..., 2); the batch's mean entropy stands for the variance.

    Shares of the entropy below `LEAST_ENTROPY` count as that much.
    """
    logs = [logits.log_softmax(-1) for logits in alone]
    entropies = torch.stack([-(log.exp() * log).sum(-1).mean(-1) for log in logs], -1)
    return _shares(1 / _shares(entropies).clamp_min(LEAST_ENTROPY))


def asymmetry(dependences: Tensor, inverse_variances: Tensor, temperature: float) -> Tensor:
    """(..., 2), of sum 1: `softmax(T d_other q_own)`, above one half where `d_own / d_other < q_own / q_other`."""
    return torch.softmax(temperature * dependences.flip(-1) * inverse_variances, -1)


@dataclass(frozen=True)
class Constant:
    """The same factor for both modalities, whatever they do.

    The first release of the authors' code comes to 1.5: it computes coefficients and leaves both at one half.
    """

    factor: float = 1.0

    def __call__(self, alone: Pair, labels: Tensor) -> Tensor:
        return torch.full((*alone[0].shape[:-2], 2), self.factor, device=alone[0].device)


@dataclass(frozen=True)
class Asymmetric:
    """`1 + k`: the gradient as it is, and once more by ARL's coefficients."""

    temperature: float = 4.0

    def __call__(self, alone: Pair, labels: Tensor) -> Tensor:
        return 1 + asymmetry(dependence(alone), inverse_variance(alone), self.temperature)


@dataclass(frozen=True)
class Balanced:
    """`1 - tanh(alpha rho)` for the modality that is ahead by the ratio rho > 1, and 1 for the other.

    Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022, arXiv 2203.15332,
    equations 8 to 10, without the noise that is added to gradients there. Ahead is who gives labels more probability.
    The default alpha is a choice of ours.
    """

    alpha: float = 0.5

    def __call__(self, alone: Pair, labels: Tensor) -> Tensor:
        scores = torch.stack(
            [logits.softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).sum(-1) for logits in alone], -1
        )
        ratios = scores / scores.flip(-1).clamp_min(_TINY)
        return torch.where(ratios > 1, 1 - torch.tanh(self.alpha * ratios), torch.ones_like(ratios))


def _shares(values: Tensor) -> Tensor:
    return (values + _TINY) / (values + _TINY).sum(-1, keepdim=True)

"""Attacks on classifiers: inputs near a sample that raise its loss, and noise to hold them against.

FGSM (Goodfellow et al., ICLR 2015, arXiv 1412.6572) goes one step along the sign of the loss's slope; PGD (Madry et
al., ICLR 2018, arXiv 1706.06083) goes many small ones, brought back each time to near the sample. Where slopes vanish
(saturated outputs, ±1 weights) both find nothing though the network is no more robust: `zero_slope_share` tells.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput
from .data import Preprocessing

Scores = Callable[[Tensor], Tensor]
"""(B, ...) to a score for each class, (B, K)."""


@dataclass(frozen=True)
class Box:
    """Where a network's inputs lie, and what one pixel unit (black to white) is there.

    Attributes:
        low, high, unit: (), or of a shape that goes with samples (B, ...).
    """

    low: Tensor
    high: Tensor
    unit: Tensor

    def clip(self, samples: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(samples, self.low), self.high)


PIXELS = Box(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(1.0))
"""Inputs from 0 to 1."""


def box_of(preprocessing: Preprocessing) -> Box:
    """Of images (B, C, H, W) whose raw values times `scale` lie from 0 to 1, after the mean and std."""
    mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return Box(-mean / std, (1 - mean) / std, 1 / std)


def fgsm(scores: Scores, samples: Tensor, targets: Tensor, epsilon: float, box: Box = PIXELS) -> Tensor:
    """`clip(x + epsilon sign(slope))`, of the cross-entropy to the true class.

    Args:
        samples: (B, ...) inside the box.
        targets: (B,) class numbers.
        epsilon: in pixel units.

    Raises:
        BadInput: epsilon is below 0.
    """
    _check(epsilon)
    return box.clip(samples + epsilon * box.unit * slopes(scores, samples, targets).sign())


def pgd(
    scores: Scores,
    samples: Tensor,
    targets: Tensor,
    epsilon: float,
    steps: int = 20,
    step: float | None = None,
    draws: torch.Generator | None = None,
    box: Box = PIXELS,
) -> Tensor:
    """Steps of FGSM, each brought back to within epsilon of the samples.

    Args:
        samples, targets, epsilon: as of `fgsm`.
        step: in pixel units; None for a fifth of epsilon.
        draws: for a start anywhere within epsilon; None starts at the samples.

    Raises:
        BadInput: epsilon or step is below 0, or there is no step.
    """
    step = epsilon / 5 if step is None else step
    _check(epsilon)
    if steps < 1 or step < 0:
        raise BadInput(f"attack: steps must be 1 or more and step 0 or more, got {steps} and {step:g}")
    reach = epsilon * box.unit
    attacked = samples
    if draws is not None:
        attacked = box.clip(samples + reach * (2 * _uniform(samples, draws) - 1))
    for _ in range(steps):
        moved = fgsm(scores, attacked, targets, step, box)
        attacked = box.clip(torch.minimum(torch.maximum(moved, samples - reach), samples + reach))
    return attacked


def uniform_noise(samples: Tensor, strength: float, draws: torch.Generator, box: Box = PIXELS) -> Tensor:
    """`clip(x + strength U(0, 1))`: brighter by half the strength in the mean, as the paper's noise.

    Args:
        strength: in pixel units.
    """
    _check(strength)
    return box.clip(samples + strength * box.unit * _uniform(samples, draws))


def gaussian_noise(samples: Tensor, spread: float, draws: torch.Generator, box: Box = PIXELS) -> Tensor:
    """`clip(x + spread N(0, 1))`.

    Args:
        spread: standard deviation, in pixel units.
    """
    _check(spread)
    drawn = torch.randn(samples.shape, generator=draws).to(samples)
    return box.clip(samples + spread * box.unit * drawn)


def zero_slope_share(scores: Scores, samples: Tensor, targets: Tensor) -> float:
    """Share of inputs whose slope is exactly 0, all samples together: near 1, attacks by slopes say nothing."""
    return (slopes(scores, samples, targets) == 0).float().mean().item()


def slopes(scores: Scores, samples: Tensor, targets: Tensor) -> Tensor:
    """(B, ...): each sample's own slope of its cross-entropy, as the network is, in its present mode."""
    with torch.enable_grad():
        watched = samples.detach().clone().requires_grad_()
        loss = functional.cross_entropy(scores(watched), targets, reduction="sum")
        (found,) = torch.autograd.grad(loss, watched)
    return found


def _uniform(samples: Tensor, draws: torch.Generator) -> Tensor:
    return torch.rand(samples.shape, generator=draws).to(samples)


def _check(size: float) -> None:
    if not size >= 0:
        raise BadInput(f"attack: its size must be 0 or more, got {size:g}")

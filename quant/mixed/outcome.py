"""What a choice of bits does to the outputs of the network."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_LEAST = 1e-12
_SURE = 2.0  # standard errors


@dataclass(frozen=True)
class Outcome:
    """Outputs against those of the float network on the same samples.

    Attributes:
        noise: power of the error over that of the signal, the mean over all outputs; 0 and up.
        divergence: Kullback-Leibler divergence of the classes' probabilities, nats a sample; None without labels.
        loss: cross-entropy against the labels, nats a sample; None without labels.
        accuracy: share of samples whose top class is the label's; None without labels.
        errors: (N,) by sample, what choices are compared by: the divergence, or without labels the noise.
    """

    noise: float
    divergence: float | None
    loss: float | None
    accuracy: float | None
    errors: np.ndarray = field(repr=False, compare=False)

    @property
    def error(self) -> float:
        return float(self.errors.mean())

    @property
    def sqnr_db(self) -> float:
        return float(-10 * np.log10(max(self.noise, _LEAST)))

    def surely_better(self, other: "Outcome") -> bool:
        """Whether the error is lower by more than two standard errors of the difference, sample by sample."""
        gain = other.errors - self.errors
        spread = gain.std(ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else 0.0
        return bool(gain.mean() > _SURE * spread)


def outcome_of(outputs: Sequence[Tensor], floats: Sequence[Tensor], labels: np.ndarray | None) -> Outcome:
    """Compares outputs, (N, ...) each; labels, (N,), are about the first.

    The divergence judges better than the loss, which says the same with more noise: labels are one draw from what the
    float network expects.
    """
    pairs = [(ours, exact) for ours, exact in zip(outputs, floats) if exact.is_floating_point()]
    noises = torch.stack([_noise(ours, exact) for ours, exact in pairs]).mean(0)
    if labels is None or not _is_scores(floats[0]):
        return Outcome(float(noises.mean()), None, None, None, noises.numpy())
    ours, exact = _log_probabilities(outputs[0]), _log_probabilities(floats[0])
    targets = torch.from_numpy(np.asarray(labels, dtype=np.int64))
    divergences = (exact.exp() * (exact - ours)).sum(1).clamp(min=0)
    return Outcome(
        float(noises.mean()),
        float(divergences.mean()),
        float(functional.nll_loss(ours, targets)),
        float((ours.argmax(1) == targets).double().mean()),
        divergences.numpy(),
    )


def _noise(ours: Tensor, exact: Tensor) -> Tensor:
    """(N,) power of each sample's error over the mean power of a sample."""
    error = (ours.double() - exact.double()).square().reshape(len(exact), -1).sum(1)
    return error / exact.double().square().reshape(len(exact), -1).sum(1).mean().clamp(min=_LEAST)


def _is_scores(output: Tensor) -> bool:
    return output.ndim >= 2 and output.flatten(1).shape[1] > 1 and output.is_floating_point()


def _log_probabilities(output: Tensor) -> Tensor:
    """Of logits, or of what is a distribution already."""
    flat = output.flatten(1).double()
    is_distribution = bool((flat >= 0).all()) and bool(((flat.sum(1) - 1).abs() < 0.05).all())
    return flat.clamp(min=1e-6).log().log_softmax(1) if is_distribution else flat.log_softmax(1)

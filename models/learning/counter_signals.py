"""What runs against the current, and how far a value is from it: classes for classifiers, targets for autoencoders."""

from collections.abc import Sequence
from math import prod
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..augment import Mixture
from .chain import Block

_PRODUCT_GAIN = 256.0  # of the loss of vectors, over their width
_VECTORS, _MAPS = 0.5, 4.0  # usual strengths


class Signals(Protocol):
    """What a counter-current learner compares its chain with."""

    def start(self, samples: Tensor) -> Tensor:
        """What enters at the chain's end, from a batch of samples."""

    def distance(self, place: int, values: Tensor, signals: Tensor, targets: Tensor, mixture: Mixture | None) -> Tensor:
        """The loss between a value of the chain (B, ...), its input at place 0, and what arrives there."""


class ClassSignals:
    """One signal for each class, whatever the batch: each sample is to match its class's and no other.

    Of vectors, products are to be 1 and 0; of maps, those of unit vectors, and samples are drawn apart from each other.

    Args:
        blocks: of the chain.
        strength: of the match; 0 takes the usual.
        spread: of what draws samples apart, and classes likewise; for maps only.
    """

    def __init__(self, blocks: Sequence[Block], strength: float, spread: float, device: torch.device):
        self.has_maps = any(len(block.outputs) > 1 for block in blocks[:-1])
        self.strength = strength or (_MAPS if self.has_maps else _VECTORS)
        self.spread = spread
        self.classes = torch.eye(blocks[-1].outputs[-1], device=device)

    def start(self, samples: Tensor) -> Tensor:
        return self.classes

    def distance(self, place: int, values: Tensor, signals: Tensor, targets: Tensor, mixture: Mixture | None) -> Tensor:
        mine, theirs = values.flatten(1), signals.flatten(1)
        wanted = self._shares(targets, mixture)
        if not self.has_maps:
            gain = self.strength * _PRODUCT_GAIN / prod(values.shape[1:])
            return gain * functional.mse_loss(mine @ theirs.T, wanted)
        mine, theirs = functional.normalize(mine), functional.normalize(theirs)
        matched = self.strength * functional.mse_loss(mine @ theirs.T, wanted)
        return matched + self.spread * (_likeness(mine) + _likeness(theirs))

    def _shares(self, targets: Tensor, mixture: Mixture | None) -> Tensor:
        """(B, K): 1 for a sample's class, or a mixed sample's share of each."""
        shares = self.classes[targets]
        return shares if mixture is None else mixture.share * shares + (1 - mixture.share) * shares[mixture.partners]


class TargetSignals:
    """A signal for each sample, from what the network is to give: the sample itself.

    Values are drawn to the signals, and each channel's pattern to the signal's, whatever its mean and size. Up to the
    middle the chain leads, as it has seen the sample, and its opposite follows; behind it the opposite leads.

    Args:
        blocks: how many the chain has.
        strength: of the distances; 0 takes 1.
        lead: how strongly the side that leads is drawn to the one that follows: 1 as much, 0 not at all.
    """

    def __init__(self, blocks: int, strength: float, lead: float):
        self.blocks, self.strength, self.lead = blocks, strength or 1.0, lead

    def start(self, samples: Tensor) -> Tensor:
        return samples

    def distance(self, place: int, values: Tensor, signals: Tensor, targets: Tensor, mixture: Mixture | None) -> Tensor:
        if place <= self.blocks // 2:
            values = self.lead * values + (1 - self.lead) * values.detach()
        if place >= self.blocks // 2:
            signals = self.lead * signals + (1 - self.lead) * signals.detach()
        size = values.shape[-1] if values.ndim > 2 else 1
        loss = functional.mse_loss(values, signals)
        if 0 < place < self.blocks:  # what comes in and out is to be met as it is
            loss = loss + functional.mse_loss(_pattern(values), _pattern(signals))
        return self.strength * size * loss


def _likeness(rows: Tensor) -> Tensor:
    """How far unit rows are from being at right angles."""
    return functional.mse_loss(rows @ rows.T, torch.eye(len(rows), device=rows.device))


def _pattern(values: Tensor) -> Tensor:
    """Each channel of a map, or each vector, without its mean and of unit length."""
    flat = values.flatten(2) if values.ndim > 2 else values
    return functional.normalize(flat - flat.mean(-1, keepdim=True), dim=-1)

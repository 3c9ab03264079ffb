"""Margin losses of face recognition: cross-entropy of the cosines to class vectors, the true one made harder to reach.

Class vectors train beside the network and stay behind when it ships. The margins are plain functions of cosines
(..., B, C), so that several networks can be trained at once.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

_EDGE = 1e-6  # the slope of an angle is infinite at cosines of -1 and 1


def additive_cosine(cosines: Tensor, labels: Tensor, margin: float) -> Tensor:
    """`cos t - m` for the true class (Wang et al., CosFace, CVPR 2018, arXiv 1801.09414).

    Args:
        cosines: (..., B, C) of each embedding to each class vector.
        labels: (..., B) of the true classes.
    """
    return torch.where(_true(cosines, labels), cosines - margin, cosines)


def additive_angle(cosines: Tensor, labels: Tensor, margin: float) -> Tensor:
    """`cos(t + m)` for the true class (Deng et al., ArcFace, CVPR 2019, arXiv 1801.07698).

    Where `t + m` is beyond pi the cosine would rise again; there it is `cos t - m sin m`, which keeps falling.
    """
    sines = (1 - cosines.square()).clamp(min=_EDGE).sqrt()
    moved = cosines * math.cos(margin) - sines * math.sin(margin)
    moved = torch.where(cosines > -math.cos(margin), moved, cosines - margin * math.sin(margin))
    return torch.where(_true(cosines, labels), moved, cosines)


def adaptive_margin(cosines: Tensor, labels: Tensor, quality: Tensor, margin: float) -> Tensor:
    """`cos(t - m z) - (m z + m)` for the true class (Kim et al., AdaFace, CVPR 2022, arXiv 2204.00964).

    Args:
        quality: z in -1..1, (..., B), of each picture: -1 gives ArcFace's margin, 0 CosFace's, 1 one that asks the
            most of samples that are far from their class.
    """
    angles = cosines.clamp(-1 + _EDGE, 1 - _EDGE).acos() - margin * quality.unsqueeze(-1)
    moved = angles.clamp(_EDGE, math.pi - _EDGE).cos() - margin * (quality.unsqueeze(-1) + 1)
    return torch.where(_true(cosines, labels), moved, cosines)


def _true(cosines: Tensor, labels: Tensor) -> Tensor:
    """(..., B, C), whether it is the true class."""
    return labels.unsqueeze(-1) == torch.arange(cosines.shape[-1], device=cosines.device)


class MarginLoss(nn.Module, ABC):
    """Class vectors and the loss that draws embeddings to them; what a margin is, a subclass says.

    Args:
        identities: classes C.
        width: of an embedding, D.
        margin: of the true class.
        scale: that cosines are multiplied by before the softmax.
    """

    reads_norms = False
    """Whether it needs the length of features before they are normalised."""

    def __init__(self, identities: int, width: int, margin: float, scale: float):
        super().__init__()
        self.vectors = nn.Parameter(torch.randn(identities, width) / math.sqrt(width))
        self.margin, self.scale = margin, scale

    def forward(self, features: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
        """The mean loss of features (B, D) of any length with their identities (B,)."""
        return functional.cross_entropy(self.logits(features, labels), labels, label_smoothing=smoothing)

    def logits(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, C), with the margin in place."""
        cosines = functional.normalize(features, dim=-1) @ functional.normalize(self.vectors, dim=-1).T
        return self.scale * self.with_margin(cosines, labels, features.norm(dim=-1))

    @abstractmethod
    def with_margin(self, cosines: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
        """Cosines (B, C) after the margin; `norms` (B,) are the lengths of the features."""

    def observe(self, norms: Tensor) -> None:
        """Told of the norms (B,) of every batch of whole faces, before its loss."""


class AdditiveCosine(MarginLoss):
    """CosFace; the defaults are for embeddings of few identities."""

    def __init__(self, identities: int, width: int, margin: float = 0.2, scale: float = 16.0):
        super().__init__(identities, width, margin, scale)

    def with_margin(self, cosines: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
        return additive_cosine(cosines, labels, self.margin)


class ArcFace(MarginLoss):
    """ArcFace with the values of its paper."""

    def __init__(self, identities: int, width: int, margin: float = 0.5, scale: float = 64.0):
        super().__init__(identities, width, margin, scale)

    def with_margin(self, cosines: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
        return additive_angle(cosines, labels, self.margin)


class AdaFace(MarginLoss):
    """AdaFace with the values of its paper: the length of a feature tells how good its picture is.

    Lengths are held against their running mean and standard deviation, which begin with those of the first batch.
    """

    reads_norms = True
    mean: Tensor
    deviation: Tensor
    batches: Tensor

    def __init__(
        self,
        identities: int,
        width: int,
        margin: float = 0.4,
        scale: float = 64.0,
        concentration: float = 0.333,
        momentum: float = 0.99,
    ):
        super().__init__(identities, width, margin, scale)
        self.concentration, self.momentum = concentration, momentum
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def with_margin(self, cosines: Tensor, labels: Tensor, norms: Tensor) -> Tensor:
        return adaptive_margin(cosines, labels, self.quality(norms), self.margin)

    @torch.no_grad()
    def quality(self, norms: Tensor) -> Tensor:
        """z of norms (B,): standardised, 1 / `concentration` standard deviations to either side being -1 and 1."""
        return ((norms - self.mean) / (self.deviation + 1e-3) * self.concentration).clamp(-1, 1)

    @torch.no_grad()
    def observe(self, norms: Tensor) -> None:
        kept = self.momentum if self.batches > 0 else 0.0
        self.mean.lerp_(norms.mean(), 1 - kept)
        self.deviation.lerp_(norms.std(correction=0), 1 - kept)
        self.batches += 1

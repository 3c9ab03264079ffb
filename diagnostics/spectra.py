"""How evenly a weight matrix uses its directions: figures of its singular values.

With singular values s and `q_i = s_i^2 / sum s^2`, as in Wang et al., "Muon Outperforms Adam in Tail-End Associative
Memory Learning", arXiv 2509.26030. A constant part that every weight shares is one strong direction that may say
nothing of what is stored: `centred` takes it away.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import BadInput

TOP = 10


@dataclass(frozen=True)
class Spectrum:
    """Figures of a matrix (A, B) with n = min(A, B) singular values.

    Attributes:
        entropy: `-sum q log q / log n`, 0 for rank one and 1 for equal singular values.
        effective_rank: `exp(-sum q log q)`, 1 to n (Roy and Vetterli, EUSIPCO 2007).
        top_energy: share of `sum s^2` in the `TOP` largest, or all where there are fewer.
        quantile_ratio: the 75 % quantile of s over the 25 % one; infinite where that is 0.
    """

    entropy: float
    effective_rank: float
    top_energy: float
    quantile_ratio: float


def spectrum_of(matrix: Tensor) -> Spectrum:
    """Figures of a matrix; computed in float64.

    Raises:
        BadInput: it has fewer than two rows or columns, is zero, or is not finite.
    """
    if matrix.ndim != 2 or min(matrix.shape) < 2:
        raise BadInput(f"a spectrum needs a matrix of two rows and columns or more, got {tuple(matrix.shape)}")
    if not matrix.isfinite().all():
        raise BadInput("a spectrum needs finite weights, got NaN or infinity; lower the learning rate")
    values = torch.linalg.svdvals(matrix.detach().double())
    if values[0] == 0:
        raise BadInput("a spectrum needs a matrix that is not zero; train it first")
    shares = (values / values[0]).square()
    shares = shares / shares.sum()
    entropy = float(torch.special.entr(shares).sum())
    low, high = (float(torch.quantile(values, q)) for q in (0.25, 0.75))
    return Spectrum(
        entropy=entropy / math.log(len(values)),
        effective_rank=math.exp(entropy),
        top_energy=float(shares[:TOP].sum()),
        quantile_ratio=high / low if low > 0 else math.inf,
    )


def centred(matrix: Tensor) -> Tensor:
    """(A, B) less the means of its rows and columns: `W - row means - column means + mean`."""
    return matrix - matrix.mean(1, keepdim=True) - matrix.mean(0, keepdim=True) + matrix.mean()


def peak_to_rms(weights: Tensor) -> float:
    """`max |w| / rms(w)`: how much of a scale common to all weights is spent on the largest; at least 1.

    Raises:
        BadInput: every weight is zero.
    """
    if not weights.any():
        raise BadInput("a peak needs weights that are not all zero, got none; train the network first")
    return float(weights.abs().max() / weights.square().mean().sqrt())

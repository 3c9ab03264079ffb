"""The one-layer memory of the theory: `p(.|k) = softmax(values^T W key_k)`, learnt from W = 0 by five optimizers.

Loss `-sum_k p_k log p(k|k)` of K facts with orthonormal keys and values (d, K). How evenly facts are learnt is the
smallest probability of a fact when the first one reaches 0.95 (Wang et al., arXiv 2509.26030, section on theory).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..models.associative_memory_data import frequencies
from ._muon_steps import MOMENTUM, newton_schulz, polar_factor

REACHED = 0.95
MOST_STEPS = 4000
Direction = Callable[[Tensor], Tensor]  # of a gradient, which a step goes against


def orthonormal(facts: int, generator: torch.Generator) -> Tensor:
    """(facts, facts), columns orthonormal, evenly distributed."""
    q, r = torch.linalg.qr(torch.randn(facts, facts, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


def gradient(weights: Tensor, keys: Tensor, values: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
    """Of the loss at (S, d, d) weights, keys and values (S, d, K); and each fact's own probability (S, K).

    `G = values (P - I) diag(p) keys^T`, where P[:, k] are the model's probabilities for key k.
    """
    probabilities = (values.transpose(1, 2) @ weights @ keys).softmax(1)
    errors = probabilities - torch.eye(keys.shape[2], dtype=keys.dtype)
    return values @ (errors * shares) @ keys.transpose(1, 2), probabilities.diagonal(dim1=1, dim2=2)


def gradient_descent() -> Direction:
    """The gradient itself."""
    return lambda slope: slope


def sign_descent() -> Direction:
    """Adam without memory."""
    return torch.sign


def adam() -> Direction:
    """With decays 0.9 and 0.99, unbiased."""
    mean, square, count = torch.zeros(()), torch.zeros(()), 0

    def direction(slope: Tensor) -> Tensor:
        nonlocal mean, square, count
        mean, square, count = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope.square(), count + 1
        return mean / (1 - 0.9**count) / ((square / (1 - 0.99**count)).sqrt() + 1e-12)

    return direction


def exact_muon() -> Direction:
    """`U V^T` of the gradient, without momentum."""
    return polar_factor


def iterated_muon() -> Direction:
    """Nesterov momentum and five steps of the iteration, as Muon is run."""
    momentum = torch.zeros(())

    def direction(slope: Tensor) -> Tensor:
        nonlocal momentum
        momentum = MOMENTUM * momentum + slope
        return newton_schulz(slope + MOMENTUM * momentum)

    return direction


EXACT, ITERATED, SIGN, ADAM, DESCENT = "exact Muon", "Muon, five steps", "sign", "Adam", "gradient descent"
# Each with a rate at which the first fact needs some tens of steps or more.
OPTIMIZERS: dict[str, tuple[Callable[[], Direction], float]] = {
    EXACT: (exact_muon, 0.1),
    ITERATED: (iterated_muon, 0.05),
    SIGN: (sign_descent, 0.005),
    ADAM: (adam, 0.005),
    DESCENT: (gradient_descent, 2.0),
}


def evenness(name: str, keys: Tensor, values: Tensor, alpha: float) -> list[float]:
    """Of each of S memories, the smallest probability of a fact when the first one reaches 0.95.

    Args:
        name: of `OPTIMIZERS`.
        keys, values: (S, d, K), float64.
        alpha: of the power law of frequencies.
    """
    make, rate = OPTIMIZERS[name]
    direction, shares = make(), frequencies(keys.shape[2], alpha).double()
    weights = torch.zeros(len(keys), keys.shape[1], keys.shape[1], dtype=keys.dtype)
    smallest = torch.full((len(keys),), torch.nan, dtype=keys.dtype)
    for _ in range(MOST_STEPS):
        slope, own = gradient(weights, keys, values, shares)
        reached = (own.amax(1) >= REACHED) & smallest.isnan()
        smallest = torch.where(reached, own.amin(1), smallest)
        if not smallest.isnan().any():
            break
        weights = weights - rate * direction(slope)
    return smallest.tolist()

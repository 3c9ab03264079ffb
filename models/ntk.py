"""What wide two-layer ReLU networks learn from the standard basis, in closed form: means, variances, ensemble sizes.

Giapitzakis, Back de Luca and Fountoulakis, "Exact Learning of Permutations for Nonzero Binary Inputs with Logarithmic
Training Size and Quadratic Ensemble Complexity", arXiv 2502.16763: of infinite width, a network that was trained by
gradient descent on the k basis vectors gives a new input Gaussian outputs over its first weights. The kernels are those
of Jacot et al. (arXiv 1806.07572) for f(x) = W2 relu(W1 x / sqrt(k)) / sqrt(n) with standard normal first weights; the
formulas for m ones are our own derivation. Inputs are bits, so an output grows with their norm, sqrt(m).
"""

from dataclasses import dataclass
from math import acos, ceil, log, pi, sin, sqrt

import numpy as np

from ..errors import BadInput

APART = 1 / (2 * pi)  # the kernel of two different basis vectors, where that of one with itself is 1
RULES = ("sign", "midpoint")


def nngp(cosine: float) -> float:
    """The covariance of outputs at two unit inputs before training, k times over: 1/2 where they are the same."""
    angle = acos(min(1.0, max(-1.0, cosine)))
    return (sin(angle) + (pi - angle) * cosine) / (2 * pi)


def tangent(cosine: float) -> float:
    """The neural tangent kernel of two unit inputs, k times over: 1 where they are the same."""
    angle = acos(min(1.0, max(-1.0, cosine)))
    return nngp(cosine) + cosine * (pi - angle) / (2 * pi)


@dataclass(frozen=True)
class Predicted:
    """Of one trained network's outputs at an input of `ones` ones among k bits.

    Attributes:
        one, zero: their mean where the permuted input has a one, and a zero.
        deviation: their standard deviation over first weights.
    """

    one: float
    zero: float
    deviation: float

    @property
    def midpoint(self) -> float:
        """The threshold that is as far from both means."""
        return (self.one + self.zero) / 2

    def margin(self, rule: str) -> float:
        """How far the means are from the threshold at least: 0, or the midpoint."""
        return (self.one - self.zero) / 2 if rule == "midpoint" else min(self.one, -self.zero)


def predict(k: int, ones: int) -> Predicted:
    """The outputs at an input of `ones` ones, from 1 to k; at `ones` = k no zero is left, and `zero` is formal."""
    near, norm = tangent(1 / sqrt(ones)), sqrt(ones)
    scale = (1 - APART) * (1 - APART + k * APART)
    one = (near * (1 - APART) + (k - ones) * APART * (near - APART)) / scale
    zero = APART * ((1 - APART) - ones * (near - APART)) / scale
    # Coefficients of the training outputs, which are the means; the first kernel's form of a diagonal plus a constant.
    total = ones * one + (k - ones) * zero
    squares = ones * one**2 + (k - ones) * zero**2
    before = (0.5 - APART) * squares + APART * total**2
    across = nngp(1 / sqrt(ones)) * ones * one + APART * (k - ones) * zero
    variance = max(0.0, 0.5 + before - 2 * across) / k
    return Predicted(norm * one, norm * zero, norm * sqrt(variance))


def thresholds(k: int, rule: str = "midpoint") -> np.ndarray:
    """(k + 1,) by the number of ones: what an output must be above to count as a one.

    By the sign rule it is 0; but with a single one, the zeros' mean is 0 itself, and half of the ones' is taken.
    """
    _check_rule(rule)
    table = np.zeros(k + 1)
    for ones in range(1, k + 1):
        table[ones] = predict(k, ones).midpoint if rule == "midpoint" or ones == 1 else 0.0
    return table


def networks_needed(k: int, rule: str = "midpoint", failure: float = 0.05) -> int:
    """Networks whose mean decodes all inputs of two ones and more, but for the given probability.

    The union bound over k 2^k outputs with the Gaussian tail exp(-N margin^2 / (2 variance)) (arXiv 2502.16763 shows
    the order k^2).

    Raises:
        BadInput: the rule is unknown, k is below 2, or the probability is not between 0 and 1.
    """
    _check_rule(rule)
    if k < 2 or not 0 < failure < 1:
        raise BadInput(f"ensemble of k {k}, failure {failure:g}: give 2 bits or more and a probability between 0 and 1")
    worst = max((p.deviation / p.margin(rule)) ** 2 for p in (predict(k, ones) for ones in range(2, k + 1)))
    return ceil(2 * worst * (k * log(2) + log(k / failure)))


def share_decoded(k: int, networks: int, rule: str = "midpoint") -> float:
    """The share of all nonzero inputs that the mean of so many networks decodes, as if outputs were independent."""
    from scipy.special import comb
    from scipy.stats import norm

    table, total = thresholds(k, rule), 0.0
    for ones in range(1, k + 1):
        found = predict(k, ones)
        spread = max(found.deviation / sqrt(networks), 1e-12)
        right = norm.cdf((found.one - table[ones]) / spread) ** ones
        right *= norm.cdf((table[ones] - found.zero) / spread) ** (k - ones)
        total += comb(k, ones) * right
    return float(total / (2**k - 1))


def _check_rule(rule: str) -> None:
    if rule not in RULES:
        raise BadInput(f"decoding rule {rule}: unknown; give {' or '.join(RULES)}")

"""Two networks on the same samples: how far the accuracy moved, how sure that is, and what could be seen at all.

Only samples on which one is right and the other wrong tell them apart. If neither is better, each such sample goes
either way like a coin: McNemar's test, exact and one-sided (Q. McNemar, Psychometrika 12, 1947, pp. 153-157; for
classifiers: T. Dietterich, Neural Computation 10, 1998, pp. 1895-1923). The interval is the percentile bootstrap over
samples, pairs kept together (B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).
"""

import math
from dataclasses import dataclass

import numpy as np

from .baseline import RIGHT

CONFIDENCE = 0.95
_RESAMPLES = 4999
_DRAWN_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Paired:
    """What the pairs say.

    Attributes:
        change: accuracy now less accuracy before.
        low, high: 95% interval of the change.
        p: chance of as many lost samples or more, were nothing worse.
        lost, gained: samples that were right and are wrong, and the other way.
        smallest: smallest drop, as a share, that these samples could show to be one; None where they are too few.
    """

    change: float
    low: float
    high: float
    p: float
    lost: int
    gained: int
    smallest: float | None


def compare_hits(before: str, now: str, alpha: float, tolerance: float) -> Paired:
    """Compares two rows of hits over the same samples in the same order.

    Args:
        before, now: `.` for right and `x` for wrong, of equal length, at least one.
        alpha: a drop is called significant at p of this or less, above 0 and below 1.
        tolerance: drop that is let pass, as a share.
    """
    lost = sum(b == RIGHT != n for b, n in zip(before, now))
    gained = sum(n == RIGHT != b for b, n in zip(before, now))
    low, high = _interval(np.repeat([-1.0, 1.0, 0.0], [lost, gained, len(before) - lost - gained]))
    return Paired(
        (gained - lost) / len(before),
        low,
        high,
        _chance_of(lost, gained),
        lost,
        gained,
        smallest_drop(len(before), alpha, tolerance),
    )


def smallest_drop(count: int, alpha: float, tolerance: float) -> float | None:
    """The smallest drop that can fail: significant with every changed sample lost, and above the tolerance.

    Returns:
        A share of the samples; None where even the loss of all of them would not be significant.
    """
    lost = max(math.ceil(-math.log2(alpha) - 1e-9), math.floor(tolerance * count + 1e-9) + 1)
    return lost / count if lost <= count else None


def _chance_of(lost: int, gained: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + gained, 0.5, alternative="greater").pvalue) if lost + gained else 1.0


def _interval(changes: np.ndarray) -> tuple[float, float]:
    from scipy.stats import bootstrap

    if len(changes) == 1 or not changes.any():  # every draw is the same
        return float(changes[0]), float(changes[0])
    found = bootstrap(
        (changes,),
        np.mean,
        n_resamples=_RESAMPLES,
        batch=max(1, _DRAWN_AT_ONCE // len(changes)),
        vectorized=True,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)

"""`Estimate`: the mean of several runs, and where the mean over all runs lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval (Student's); both ends are the mean where there was one run."""

    mean: float
    low: float
    high: float


def estimate_of(values: Sequence[float]) -> Estimate:
    """Of at least one value."""
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(mean, mean, mean)
    from scipy.stats import t

    half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half)


def exactly(value: float) -> Estimate:
    """Of a figure that is counted, or that seeds do not change."""
    return Estimate(float(value), float(value), float(value))


def share_of(values: Sequence[float]) -> Estimate:
    """Of shares: the interval is cut at 0 and 1."""
    found = estimate_of(values)
    return Estimate(found.mean, max(0.0, found.low), min(1.0, found.high))


def percent_cell(values: Sequence[float]) -> str:
    """Of shares: mean and, of several, the half width of its interval, in percent."""
    return number_cell([100 * value for value in values], 1)


def number_cell(values: Sequence[float], digits: int) -> str:
    """Mean and, of several values, the half width of its interval; a dash of none."""
    if not values:
        return "–"
    found = estimate_of(values)
    return f"{found.mean:.{digits}f}" + (f" ± {found.high - found.mean:.{digits}f}" if len(values) > 1 else "")


def short_cell(value: float) -> str:
    """A positive figure for a table: three digits, or all digits before the point where these are more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

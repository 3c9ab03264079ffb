"""Chooses an activation's range from its histogram: four methods, one function each, histogram to (low, high)."""

from collections.abc import Callable

import numpy as np

from .affine import affine_of_range, fake_quantize
from .observe import BINS, Observed
from .scheme import Scheme

# Shares of the full range that the searches try; a range below a twentieth is not considered, below a fifth only for
# few bits.
_SHARES = np.linspace(0.2, 1.0, 41)
_SMALL_SHARES = np.linspace(0.05, 0.175, 6)


def choose_range(observed: Observed, scheme: Scheme, bits: int = 8) -> tuple[float, float]:
    """The (low, high) that the scheme's calibration keeps for codes of `bits` bits; values outside are clipped."""
    if observed.high <= observed.low:
        return observed.low, observed.high
    return _METHODS[scheme.calibration](observed, scheme, bits)


def _minmax(observed: Observed, _: Scheme, bits: int) -> tuple[float, float]:
    return observed.low, observed.high


def _percentile(observed: Observed, scheme: Scheme, bits: int) -> tuple[float, float]:
    """Cuts half of the excluded share off each tail."""
    cumulative = np.cumsum(observed.histogram) / observed.histogram.sum()
    tail = (1 - scheme.percentile / 100) / 2
    edges = np.linspace(observed.low, observed.high, BINS + 1)
    first = int(np.searchsorted(cumulative, tail, side="right"))
    last = int(np.searchsorted(cumulative, 1 - tail, side="left"))
    return float(edges[first]), float(edges[min(last + 1, BINS)])


def _mse(observed: Observed, _: Scheme, bits: int) -> tuple[float, float]:
    """The clipping with the least expected squared error over the histogram's bin centres."""

    def error(low: float, high: float) -> float:
        rounded = fake_quantize(observed.centres, affine_of_range(low, high, bits))
        return float(np.dot(observed.histogram, (rounded - observed.centres) ** 2))

    return _search(observed, error, bits)


def _entropy(observed: Observed, _: Scheme, bits: int) -> tuple[float, float]:
    """The clipping whose quantized distribution is nearest in Kullback-Leibler divergence.

    Bins outside the range count at its edge (they are what saturates); each code spreads its mass evenly over the
    non-empty bins that round to it.
    """
    mass = observed.histogram / observed.histogram.sum()

    def divergence(low: float, high: float) -> float:
        affine = affine_of_range(low, high, bits)
        codes = np.round(fake_quantize(observed.centres, affine) / affine.scale).astype(np.int64)
        below, above = affine.low - affine.scale / 2, affine.high + affine.scale / 2
        inside = (observed.centres >= below) & (observed.centres <= above)
        reference = np.where(inside, mass, 0.0)
        kept = np.flatnonzero(inside)
        if len(kept) == 0:
            return float("inf")
        reference[kept[0]] += mass[: kept[0]].sum()
        reference[kept[-1]] += mass[kept[-1] + 1 :].sum()
        codes -= codes.min()
        filled = (mass > 0) & inside
        per_code = np.bincount(codes[inside], mass[inside], minlength=codes.max() + 1)
        bins_per_code = np.bincount(codes[filled], minlength=codes.max() + 1)
        spread = np.where(filled, per_code[codes] / np.maximum(bins_per_code[codes], 1), 0.0)
        spread /= max(spread.sum(), 1e-30)
        some = reference > 0
        return float(np.sum(reference[some] * np.log(reference[some] / np.maximum(spread[some], 1e-12))))

    return _search(observed, divergence, bits)


def _search(observed: Observed, cost: Callable[[float, float], float], bits: int) -> tuple[float, float]:
    """Least cost over shared shrinkings of both ends, then over each end anew while the other stays."""
    low, high = float(min(observed.low, 0.0)), float(max(observed.high, 0.0))
    shares = (_SHARES if bits == 8 else np.concatenate([_SMALL_SHARES, _SHARES]))[::-1].tolist()

    def least(ends: list[tuple[float, float]]) -> tuple[float, float]:
        return min(ends, key=lambda pair: cost(*pair))

    best = least([(low * share, high * share) for share in shares])
    if low < 0 < high:
        best = least([best, *((low * share, best[1]) for share in shares)])
        best = least([best, *((best[0], high * share) for share in shares)])
    return best


_METHODS: dict[str, Callable[[Observed, Scheme, int], tuple[float, float]]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}

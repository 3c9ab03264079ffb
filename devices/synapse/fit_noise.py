"""Cycle noise, which each pulse leaves in a conductance, and noise of reading, which does not stay, told apart.

The squared error of steps over 1, 2, 4 and 8 readings grows with the stride by what cycle noise adds, and has a part
that does not grow, which reading adds. Both variances come from one weighted regression, their errors from a jackknife
over blocks of readings. Read noise that is not clearly there is taken as none.
"""

import math

import numpy as np
from scipy.stats import t as student

from .fit_walk import FLOOR, Sweeps, moved_by

Estimates = dict[str, tuple[float, float, float]]  # a figure: its value and its 95 % interval

LAGS = (1, 2, 4, 8)
_BLOCK = 16  # readings that the jackknife leaves out at once
_CLEAR = 2.5  # standard deviations from the ends, where these do not cut noise off
_FEWEST_CLEAR = 12
_MEDIAN = 0.455  # of a squared normal number
_ROUNDS = 4


def noise_of(curve: np.ndarray, sweeps: Sweeps, noise: tuple[float, float]) -> tuple[tuple[float, float], Estimates]:
    """Cycle noise (share of the range) and read noise (share of the conductance), and their estimates by name.

    Args:
        curve: (4,), as `moved_by` takes it.
        noise: where the search starts; (0, 0) for nowhere.
    """
    lags = [lag for lag in LAGS if lag == 1 or 3 * lag < sweeps.states.shape[1]]
    parts = [_steps(curve, sweeps, lag) for lag in lags]
    if not any(noise):
        noise = math.sqrt(float(np.median(parts[0][0] / parts[0][1])) / _MEDIAN), 0.0
    squares, errors = _regressed(parts[0], curve, noise, [True, False])
    lows, highs = squares - errors, squares + errors
    if len(lags) > 1:
        both, errors = _regressed(np.concatenate(parts, -1), curve, noise, [True, True])
        has_read = both[1] > errors[1]
        if has_read and both[0] <= 0:
            squares, errors = _regressed(parts[0], curve, noise, [False, True])
            lows, highs = squares - errors, np.maximum(squares, both) + errors
        elif has_read:
            squares, lows, highs = both, both - errors, both + errors
        else:  # as far as the readings tell, there may be as much as both allow
            lows, highs = np.minimum(lows, both - errors), np.maximum(highs, both + errors)
    lows[squares == 0] = 0.0
    values, lows, highs = (np.sqrt(each.clip(min=0.0)) for each in (squares, lows, highs))
    rows = zip(("cycle_noise", "read_noise"), values.tolist(), lows.tolist(), highs.tolist())
    estimates = {name: (value, max(0.0, low - FLOOR), high + FLOOR) for name, value, low, high in rows}
    return (float(values[0]), float(values[1])), estimates


def _steps(curve: np.ndarray, sweeps: Sweeps, lag: int) -> np.ndarray:
    """Of each step over `lag` readings: squared error, what either noise of 1 adds to it, where it leads, its block."""
    before, after = sweeps.states[:, :-lag], sweeps.states[:, lag:]
    led, stretch, grown = moved_by(curve, sweeps, before, sweeps.pulses[:, lag:] - sweeps.pulses[:, :-lag])
    row, column = np.indices(led.shape)
    block = row * sweeps.states.shape[1] + column // _BLOCK  # the same for every lag
    parts = (after - led) ** 2, grown, after**2 + (stretch * before) ** 2, led, block
    return np.stack(parts)[:, np.isfinite(led) & np.isfinite(after)]


def _regressed(
    steps: np.ndarray, curve: np.ndarray, noise: tuple[float, float], kinds: list[bool]
) -> tuple[np.ndarray, np.ndarray]:
    """Variances of cycle and read noise, where `kinds` asks for them, and half widths of their 95 % intervals."""
    error, *sources, led, block = steps
    _, block = np.unique(block, return_inverse=True)
    found = np.where(kinds, np.array(noise) ** 2, 0.0)
    for _ in range(_ROUNDS):
        expected = sum(max(each, 0.0) * source for each, source in zip(found, sources))
        variance = expected + (FLOOR * curve[1]) ** 2
        room = np.minimum(led - curve[0], curve[0] + curve[1] - led)
        is_clear = room > _CLEAR * np.sqrt(variance)  # chosen by where a step starts, not by where it ends
        weights = (is_clear if is_clear.sum() >= _FEWEST_CLEAR else 1.0) / variance**2
        terms = [source for source, is_asked in zip(sources, kinds) if is_asked]
        matrix = np.array([[np.bincount(block, weights * one * other) for one in terms] for other in terms])
        vector = np.array([np.bincount(block, weights * one * error) for one in terms])
        found = np.zeros(2)
        found[kinds] = _solved(matrix.sum(-1), vector.sum(-1))
    blocks = np.flatnonzero(matrix[0, 0] > 0)
    count = len(blocks)
    left_out = _solved(
        (matrix.sum(-1)[..., None] - matrix[..., blocks]).T, (vector.sum(-1)[..., None] - vector[..., blocks]).T
    )
    spread = np.zeros(2)
    spread[kinds] = (count - 1) * left_out.var(0)
    return found, float(student.ppf(0.975, max(1, count - 1))) * np.sqrt(spread)


def _solved(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Of one or of many symmetric systems."""
    return (np.linalg.pinv(matrix, hermitian=True) @ vector[..., None])[..., 0]

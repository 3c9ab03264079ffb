"""Sweeps as what they are, noisy walks along the exponential response, and the curve that explains them best.

What is assumed is what the cells here do: a pulse moves the conductance along its curve, adds cycle noise that stays in
it, and ends where the range does; a reading adds noise that does not stay. So a sweep is no curve plus errors: what is
held to the response is each reading given those before it, one step ahead by a Kalman filter (Kalman, 1960) whose
expectation is that of a normal number cut off at both ends. Squares of what is left, each over its variance, are least.

A curve is an array (..., 4): lower end and range, in units of the largest reading, and 1 / A of the rising and of the
falling response. Noise is a pair: cycle noise as a share of the range, read noise as a share of the conductance.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import OptimizeResult, least_squares
from scipy.special import ndtr
from scipy.stats import t as student

from .pulse_file import PulseTrain

STEEPEST = 100.0  # |1 / A| of a fitted curve: a label of 9.6
MOST_READINGS = 400  # of a sweep, and sweeps of a device, that are looked at; more are thinned out evenly
FEWEST_SWEEPS = 5  # in either direction, from which on their own scatter widens intervals
FLOOR = 1e-6  # of the range: noise below is rounding
MOST_TRIES = 40  # of a search; what has no curve in it would go on for long


@dataclass(frozen=True)
class Sweeps:
    """Sweeps side by side, filled up with NaN.

    Attributes:
        pulses, states: (sweeps, readings); states in units of `unit` siemens, the largest of them.
        sign: (sweeps, 1), of the direction.
        length: (sweeps, 1), pulses of a whole sweep of that direction.
        counts: bool (sweeps, readings): a reading is there, and is not the last one of the sweep before.
    """

    pulses: np.ndarray
    states: np.ndarray
    sign: np.ndarray
    length: np.ndarray
    counts: np.ndarray
    unit: float


def side_by_side(trains: Sequence[PulseTrain], pulses: dict[int, int]) -> Sweeps:
    """One device's sweeps; `pulses` are those of a whole sweep, by direction."""
    ways = [[train for train in trains if train.direction == way] for way in (1, -1)]
    kept = [way[place] for way in ways for place in _thinned(len(way), MOST_READINGS // 2)]
    picks = [_thinned(len(train.pulses), MOST_READINGS) for train in kept]
    shape = len(kept), max(map(len, picks))
    counted, states = np.full(shape, np.nan), np.full(shape, np.nan)
    unit = max(float(train.conductance.max()) for train in kept)
    for row, (train, pick) in enumerate(zip(kept, picks)):
        counted[row, : len(pick)], states[row, : len(pick)] = train.pulses[pick], train.conductance[pick] / unit
    sign = np.array([[float(train.direction)] for train in kept])
    counts = np.isfinite(states)
    counts[:, 0] &= ~np.array([train.continues for train in kept])
    return Sweeps(counted, states, sign, np.where(sign > 0, pulses[1], pulses[-1]).astype(float), counts, unit)


def _thinned(count: int, most: int) -> np.ndarray:
    """Places from 0 to count - 1, evenly apart, at most so many."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def moved_by(
    curve: np.ndarray, sweeps: Sweeps, state: np.ndarray, pulses: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where pulses take a state but for noise and ends, how they stretch a deviation, what noise of 1 a pulse grows to.

    Shapes (..., sweeps, readings), the leading ones those of the curves; the last is a variance.
    """
    low, span, up, down = (curve[..., place, None, None] for place in range(4))
    bend = np.where(sweeps.sign > 0, up, down)
    bend = np.where(np.abs(bend) < 1e-9, 1e-9, bend)  # a straight line, without a formula of its own
    rate = -sweeps.sign * bend / sweeps.length
    exponent = np.minimum(rate * pulses, 50.0)  # where a sweep is far longer than others; it fits nothing by then
    change = np.expm1(exponent)
    moved = state + (state - low) * change + span * change / np.expm1(-bend)
    return moved, 1.0 + change, span**2 * np.expm1(2 * exponent) / np.expm1(2 * rate)


def expected(curve: np.ndarray, noise: tuple[float, float], sweeps: Sweeps) -> tuple[np.ndarray, np.ndarray]:
    """Each reading as those before it let expect it, and its variance; both (..., sweeps, readings)."""
    low, span = curve[..., 0, None, None], curve[..., 1, None, None]
    cycle, read, floor = noise[0] ** 2, noise[1] ** 2, (FLOOR * span) ** 2
    strides, states = np.diff(sweeps.pulses), sweeps.states
    start = np.where(sweeps.sign > 0, low, low + span)  # but for the noise of the sweep that led there
    mean, stretch, grown = moved_by(curve, sweeps, start, sweeps.pulses[:, :1])
    spread = cycle * (grown + stretch**2 * span**2 * sweeps.length) + floor
    if not read:  # then a reading is the state, and each step stands alone
        rest, _, grown = moved_by(curve, sweeps, states[:, :-1], strides)
        spreads = cycle * grown + floor
        return np.concatenate([mean, _kept(rest, spreads, low, span)], -1), np.concatenate([spread, spreads], -1)
    means, variances = [], []
    for place in range(states.shape[1]):
        if place:
            mean, stretch, grown = moved_by(curve, sweeps, mean, strides[:, place - 1 : place])
            spread = stretch**2 * spread + cycle * grown + floor
            mean = _kept(mean, spread, low, span)
        reading = read * mean**2 + floor
        means.append(mean)
        variances.append(spread + reading)
        gain = np.where(sweeps.counts[:, place : place + 1], spread / (spread + reading), 1.0)
        mean, spread = mean + gain * (states[:, place : place + 1] - mean), gain * reading
    return np.concatenate(means, -1), np.concatenate(variances, -1)


def _kept(mean: np.ndarray, variance: np.ndarray, low: np.ndarray, span: np.ndarray) -> np.ndarray:
    """The mean of normal numbers that are cut off at both ends of the range."""
    sd = np.sqrt(variance)
    below, above = (np.clip((end - mean) / sd, -1e6, 1e6) for end in (low, low + span))
    density = (np.exp(-(below**2) / 2) - np.exp(-(above**2) / 2)) / math.sqrt(2 * math.pi)
    return mean + sd * (below * ndtr(below) + above * ndtr(-above) + density)


def first_curve(sweeps: Sweeps) -> np.ndarray:
    """Least squares of the readings around curves that start at the ends, as if all noise were of reading."""
    low, high = float(np.nanmin(sweeps.states)), float(np.nanmax(sweeps.states))

    def errors(tried: np.ndarray) -> np.ndarray:
        ends = tried[..., 0, None, None], tried[..., 0, None, None] + tried[..., 1, None, None]
        return sweeps.states - moved_by(tried, sweeps, np.where(sweeps.sign > 0, *ends), sweeps.pulses)[0]

    steps = np.geomspace(0.1, 30.0, 10)
    bends = np.concatenate([-steps, steps])
    tried = np.stack([np.full(20, low), np.full(20, high - low), bends, bends], -1)
    squares = np.nansum(errors(tried) ** 2, -1)
    up, down = (bends[squares[:, sweeps.sign[:, 0] == sign].sum(1).argmin()] for sign in (1, -1))
    return closest(np.array([low, high - low, up, down]), errors, sweeps).x


def closest(start: np.ndarray, errors: Callable[[np.ndarray], np.ndarray], sweeps: Sweeps) -> OptimizeResult:
    """The curve of least squared errors; these take curves (..., 4) and give (..., sweeps, readings)."""
    lows, highs = np.array([0, 1e-3, -STEEPEST, -STEEPEST]), np.array([2, 4, STEEPEST, STEEPEST])
    steps = np.diag([1e-6, 1e-6, 1e-5, 1e-5])

    def slopes(curve: np.ndarray) -> np.ndarray:
        behind, before = np.split(errors(curve + np.concatenate([steps, -steps]))[..., sweeps.counts], 2)
        return ((behind - before) / (2 * steps.diagonal()[:, None])).T

    return least_squares(
        lambda curve: errors(curve)[sweeps.counts], np.clip(start, lows + 1e-9, highs - 1e-9), slopes,
        bounds=(lows, highs), x_scale=[0.1, 0.1, 1.0, 1.0], xtol=1e-8, ftol=1e-9, gtol=1e-9, max_nfev=MOST_TRIES,
    )  # fmt: skip


def half_widths(found: OptimizeResult, sweeps: Sweeps) -> np.ndarray:
    """Of the 95 % intervals of a curve's four figures and, fifth, of its upper end; from the Jacobian of `closest`.

    Sweeps may differ by more than the model knows. With enough of them, the scatter of their pulls on the figures (the
    clustered covariance of Liang and Zeger, 1986) widens the intervals, never narrows them.
    """
    slopes, errors = found.jac, found.fun
    free = max(1, len(errors) - 4)
    inverse = np.linalg.pinv(slopes.T @ slopes)
    widths = [_widths(inverse * max(1.0, 2 * found.cost / free), free)]
    fewest = int(min((sweeps.sign == sign).sum() for sign in (1, -1)))
    if fewest >= FEWEST_SWEEPS:
        row = np.nonzero(sweeps.counts)[0]
        pulls = np.stack([slopes[row == each].T @ errors[row == each] for each in range(len(sweeps.sign))])
        widths.append(_widths(inverse @ (pulls.T @ pulls) @ inverse * fewest / (fewest - 1), fewest - 1))
    return np.max(widths, axis=0)


def _widths(covariance: np.ndarray, free: int) -> np.ndarray:
    variances = np.append(covariance.diagonal(), covariance[:2, :2].sum())
    return float(student.ppf(0.975, free)) * np.sqrt(variances.clip(min=0.0))

"""Monte Carlo of spins coupled by patterns: asynchronous dynamics of many networks at a time, and what theory says."""

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class Spins:
    """B networks of N spins, each coupled by R rows: J = rows^T rows / scale without its diagonal.

    Attributes:
        rows: (B, R, N) of whole numbers.
        scale: (B,), so that a pattern that is recalled alone gives its spins a field of 1.
    """

    rows: np.ndarray
    scale: np.ndarray

    @property
    def diagonal(self) -> np.ndarray:
        """(B, N): what the rows would couple each spin to itself with, before scaling."""
        return (self.rows**2).sum(1)

    def fields(self, state: np.ndarray) -> np.ndarray:
        """(B, N), before scaling, of states (B, N)."""
        overlaps = np.einsum("brn,bn->br", self.rows, state)
        return np.einsum("brn,br->bn", self.rows, overlaps) - self.diagonal * state


def archetypes(count: int, patterns: int, spins: int, dilution: float, rng: Rng) -> np.ndarray:
    """(count, patterns, spins): 0 with the probability of the dilution, else -1 or +1."""
    signs = random_states((count, patterns, spins), rng)
    return np.where(rng.random(signs.shape) < dilution, 0.0, signs)


def random_states(shape: tuple[int, ...], rng: Rng) -> np.ndarray:
    return rng.integers(0, 2, shape) * 2.0 - 1


def examples_of(patterns: np.ndarray, count: int, quality: float, rng: Rng) -> np.ndarray:
    """(K, count, N): noisy copies of patterns (K, N); a sign is right with probability (1 + quality) / 2."""
    right = rng.random((len(patterns), count, patterns.shape[1])) < (1 + quality) / 2
    return np.where(right, 1.0, -1.0) * patterns[:, None]


def relax(spins: Spins, state: np.ndarray, sweeps: int, rng: Rng) -> np.ndarray:
    """Asynchronous dynamics without noise, in random order, until nothing moves or for so many sweeps."""
    for _ in range(sweeps):
        before = state
        state = sweep(spins, state, None, rng)
        if np.array_equal(before, state):
            break
    return state


def thermal_overlaps(
    spins: Spins, state: np.ndarray, temperature: np.ndarray, sweeps: int, settle: int, rng: Rng
) -> np.ndarray:
    """(B, R): overlaps over N of Glauber dynamics at temperatures (B,), averaged over the sweeps after `settle`."""
    total = np.zeros(spins.rows.shape[:2])
    for number in range(sweeps):
        state = sweep(spins, state, temperature, rng)
        if number >= settle:
            total += np.abs(overlaps_of(spins.rows, state))
    return total / (sweeps - settle)


def sweep(spins: Spins, state: np.ndarray, temperature: np.ndarray | None, rng: Rng) -> np.ndarray:
    """Every spin of every network once, in random orders.

    Args:
        temperature: (B,) above 0: P(+1) = (1 + tanh(h / T)) / 2; None follows the field's sign and keeps at 0.
    """
    state = state.copy()
    count, size = state.shape
    which, diagonal = np.arange(count), spins.diagonal
    order = rng.permuted(np.tile(np.arange(size), (count, 1)), axis=1)
    chance = rng.random((count, size)) if temperature is not None else None
    by_spin = np.ascontiguousarray(spins.rows.transpose(0, 2, 1))
    overlaps = np.einsum("brn,bn->br", spins.rows, state)
    for place in range(size):
        moving = order[:, place]
        row, old = by_spin[which, moving], state[which, moving]
        field = (row * overlaps).sum(1) - diagonal[which, moving] * old
        if chance is None:
            new = np.where(field == 0, old, np.sign(field))
        else:
            up = (1 + np.tanh(field / spins.scale / temperature)) / 2
            new = np.where(chance[:, place] < up, 1.0, -1.0)
        overlaps += row * (new - old)[:, None]
        state[which, moving] = new
    return state


def overlaps_of(patterns: np.ndarray, state: np.ndarray) -> np.ndarray:
    """(B, K): (1 / N) xi . s."""
    return np.einsum("bkn,bn->bk", patterns, state) / state.shape[1]


def ranked(overlaps: np.ndarray) -> np.ndarray:
    """Magnitudes along the last axis, the largest first: a pattern and its negative are one."""
    return np.sort(np.abs(overlaps), -1)[..., ::-1]


def hierarchy(dilution: float, patterns: int) -> np.ndarray:
    """(K,): overlaps (1 - d) d^(k - 1) where each pattern takes the spins that those before it leave free."""
    return (1 - dilution) * dilution ** np.arange(patterns)


def noise_of(quality: float, examples: int) -> float:
    """rho = (1 - r^2) / (M r^2) of the mean of M examples of quality r, above 0."""
    return (1 - quality**2) / (examples * quality**2)


def learnt_overlap(noise: float) -> float:
    """erf(1 / sqrt(2 rho)): the share of an archetype that its mean example tells."""
    from math import erf, sqrt

    return erf(1 / sqrt(2 * noise))


def noisy_overlap(temperature: float) -> float:
    """The largest root of n = tanh(n / T), of a single pattern: 0 from T = 1 on."""
    overlap = 1.0
    for _ in range(10_000):
        overlap = float(np.tanh(overlap / temperature))
    return overlap if temperature < 1 else 0.0

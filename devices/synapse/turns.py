"""Where a conductance turns: sweeps up and down that follow each other without a word on where one ends.

Noise moves the extremes of flat ends, so each turn is put where two curves that never turn back, one to it and one from
it, leave the least squared error (Barlow et al., "Statistical Inference under Order Restrictions", 1972).
"""

import numpy as np


def turns(conductance: np.ndarray) -> list[tuple[int, int]]:
    """Where each sweep begins, and its direction: 1 for rising. A turn is a way back of half the range or more.

    Args:
        conductance: (N,), at least one.
    """
    low_end, high_end = np.quantile(conductance, (0.05, 0.95))
    enough = (high_end - low_end) / 2
    ends, way, first_way, high, low = [0], 0, 1, 0, 0
    for place, value in enumerate(conductance.tolist()):
        high = place if value > conductance[high] else high
        low = place if value < conductance[low] else low
        goes = -1 if way >= 0 and conductance[high] - value > enough else 0
        goes = 1 if way <= 0 and value - conductance[low] > enough else goes
        if not goes:
            continue
        if way:
            ends.append(high if goes < 0 else low)
        else:
            first_way = goes
        way, high, low = goes, place, place
    ways = [first_way * (-1) ** number for number in range(len(ends))]
    noise = float(np.median(np.abs(np.diff(conductance, 2)))) ** 2 if len(ends) > 1 else 0.0
    for number in range(1, len(ends)):
        start, last = ends[number - 1], (*ends, len(conductance) - 1)[number + 1]
        sweeps = ways[number - 1] * conductance[start : last + 1]
        errors = _prefix_errors(sweeps) + _prefix_errors(sweeps[::-1])[::-1]
        # Of places as good but for noise the last: where a response saturates, the flat end is the sweep's before.
        inner = errors[1:-1]
        ends[number] = start + 1 + int(np.flatnonzero(inner <= inner.min() + noise)[-1])
    return [(end, way) for end, way in zip(ends, ways)]


def _prefix_errors(values: np.ndarray) -> np.ndarray:
    """Squared error of the best rising curve through the first 1, 2, ... values (pooled adjacent violators)."""
    blocks: list[tuple[float, int]] = []  # mean and length of each level of the curve
    errors, error = np.empty(len(values)), 0.0
    for place, mean in enumerate(values.tolist()):
        length = 1
        while blocks and blocks[-1][0] >= mean:
            other, more = blocks.pop()
            error += length * more / (length + more) * (other - mean) ** 2
            mean, length = (mean * length + other * more) / (length + more), length + more
        blocks.append((mean, length))
        errors[place] = error
    return errors

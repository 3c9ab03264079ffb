"""The integer program: one choice for every layer, least total cost, every budget kept. Solved exactly by HiGHS."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

Numbers = Sequence[Sequence[float]]  # layer by layer, choice by choice

_RELATIVE_SLACK = 1e-6  # by which the solver may step over a limit


def choose(costs: Numbers, spends: Sequence[Numbers], limits: Sequence[float]) -> list[int] | None:
    """Which choice every layer takes; None where no selection keeps to all limits.

    Args:
        costs: to be minimised in their sum.
        spends: for each budget, what each choice takes of it, 0 and up.
        limits: for each budget, the largest sum allowed.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp

    sizes = [len(row) for row in costs]
    starts = np.cumsum([0, *sizes])
    flat = np.concatenate([np.asarray(row, dtype=np.float64) for row in costs])
    one_each = np.zeros((len(sizes), len(flat)))
    for row, (start, size) in enumerate(zip(starts, sizes)):
        one_each[row, start : start + size] = 1
    taken = [np.concatenate([np.asarray(row, dtype=np.float64) for row in spend]) for spend in spends]
    scale = max(float(np.abs(flat).max()), 1e-30)
    tighter = 0.0
    while tighter < 100 * _RELATIVE_SLACK:
        constraints = [LinearConstraint(one_each, 1, 1)]
        for spend, limit in zip(taken, limits):
            unit = max(abs(limit), 1.0)
            constraints.append(LinearConstraint(spend[None] / unit, -np.inf, limit / unit - tighter))
        # The solver stops at an absolute gap of 1e-6, so costs are put far above it.
        with _silent():
            found = milp(
                flat / scale * 1e5,
                integrality=np.ones(len(flat)),
                bounds=Bounds(0, 1),
                constraints=constraints,
                options={"mip_rel_gap": 0.0},
            )
        if found.x is None:
            return None
        chosen = [int(np.argmax(found.x[start : start + size])) for start, size in zip(starts, sizes)]
        at = starts[:-1] + np.asarray(chosen)
        if all(float(spend[at].sum()) <= limit for spend, limit in zip(taken, limits)):
            return chosen
        tighter += _RELATIVE_SLACK
    return None


@contextmanager
def _silent() -> Iterator[None]:
    """Keeps what the solver prints, whatever it is told, off standard output."""
    try:
        kept = os.dup(1)
    except OSError:  # a process without standard output
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)

"""Claims that one training ends above or below another, seed by seed: what several studies decide in the same way."""

from collections.abc import Callable, Sequence

from ..estimate import Estimate, estimate_of, share_of
from . import Claim, Table

Values = Sequence[float]


def above(
    claim: str,
    metric: str,
    baseline: Values,
    ours: Values,
    margin: float = 0.0,
    note: str = "",
    table: Table | None = None,
) -> Claim:
    """Holds where the paired differences lie above the margin with the whole of their 95 % interval.

    Args:
        baseline, ours: shares by seed, in the same order.
        margin: that ours must be above the baseline by; below 0 where so much may be lost.
    """
    gain, words = _compared(baseline, ours, margin, metric, note)
    return Claim(claim, metric, share_of(baseline), share_of(ours), gain.low > margin, words, table)


def below(
    claim: str,
    metric: str,
    baseline: Values,
    ours: Values,
    margin: float = 0.0,
    note: str = "",
    table: Table | None = None,
    estimate: Callable[[Values], Estimate] = estimate_of,
) -> Claim:
    """Holds where the paired differences lie below the margin with the whole of their 95 % interval.

    Args:
        baseline, ours: errors by seed, in the same order, in the metric's own unit.
        margin: that ours may be above the baseline by.
        estimate: of each side; `share_of` where they are shares.
    """
    gain, words = _compared(baseline, ours, margin, metric, note)
    return Claim(claim, metric, estimate(baseline), estimate(ours), gain.high < margin, words, table)


def _compared(baseline: Values, ours: Values, margin: float, metric: str, note: str) -> tuple[Estimate, str]:
    """The difference; and in words, with whether it tells which side of the margin it is on, and the note."""
    gain = estimate_of([our - other for our, other in zip(ours, baseline, strict=True)])
    scale, digits, unit = (100, 2, " points") if metric == "accuracy" else (1, 4, "")
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (gain.mean, gain.low, gain.high))
    silent = ": these seeds do not tell" if len(ours) > 1 and gain.low <= margin <= gain.high else ""
    return gain, "; ".join(filter(None, (f"difference {mean}{unit} ({low} to {high}){silent}", note)))

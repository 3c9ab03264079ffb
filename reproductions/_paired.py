"""Claims that one training ends above another, seed by seed: what several studies decide in the same way."""

from collections.abc import Sequence

from ..estimate import estimate_of, share_of
from . import Claim, Table


def above(
    claim: str,
    metric: str,
    baseline: Sequence[float],
    ours: Sequence[float],
    margin: float = 0.0,
    note: str = "",
    table: Table | None = None,
) -> Claim:
    """Holds where the paired differences lie above the margin with the whole of their 95 % interval.

    Args:
        baseline, ours: shares by seed, in the same order.
        margin: that ours must be above the baseline by; below 0 where so much may be lost.
    """
    scale, digits, unit = (100, 2, " points") if metric == "accuracy" else (1, 4, "")
    gain = estimate_of([our - other for our, other in zip(ours, baseline, strict=True)])
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (gain.mean, gain.low, gain.high))
    words = f"difference {mean}{unit} ({low} to {high})"
    if len(ours) > 1 and gain.low <= margin <= gain.high:
        words += ": these seeds do not tell"
    words = f"{words}; {note}" if note else words
    return Claim(claim, metric, share_of(baseline), share_of(ours), gain.low > margin, words, table)

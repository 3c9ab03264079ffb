"""Holds the figures of a dist to those of a baseline, each by its own rule."""

from dataclasses import dataclass
from typing import Any

from ..errors import BadInput
from .baseline import Baseline, Figures, FloatFigures, Tolerances
from .paired import Paired, compare_hits

FLOAT = "float"  # the float network, where an artifact is named
_LEAST = 1e-12  # of floating-point subtraction


@dataclass(frozen=True)
class Comparison:
    """One figure of one artifact.

    Attributes:
        artifact: `onnx int8` and so on, or `float` for the float network.
        figure: its name in the baseline, or `artifact` where the whole artifact is missing.
        baseline, now: the two values; `now` is None where the figure became unknown.
        allowed: how far it may move to its bad side, in its own unit.
        holds: whether it did not.
        paired: of accuracy, what the samples say.
    """

    artifact: str
    figure: str
    baseline: Any
    now: Any
    allowed: float
    holds: bool
    paired: Paired | None = None


def compare(kept: Baseline, now: Baseline) -> list[Comparison]:
    """Every figure that the baseline knows, the float network's first, under the baseline's tolerances.

    Raises:
        BadInput: the two are of different networks or of different samples.
    """
    _check_same(kept, now)
    tolerances = kept.tolerances
    found = _accuracy(FLOAT, kept.floating, now.floating, tolerances)
    for name, figures in kept.artifacts.items():
        if name in now.artifacts:
            found += _figures(name, figures, now.artifacts[name], tolerances)
        else:
            found.append(Comparison(name, "artifact", "present", "missing", 0, False))
    return found


def check_name(kept: Baseline, name: str) -> None:
    """Raises BadInput unless the baseline is of the network of that name."""
    if kept.name != name:
        raise BadInput(f"a baseline of {kept.name}, not of {name}; name another file with --baseline")


def _check_same(kept: Baseline, now: Baseline) -> None:
    check_name(kept, now.name)
    if kept.samples.sha256 != now.samples.sha256:
        raise BadInput(
            f"another sample set: its {kept.samples.count} samples ({kept.samples.name}) are not the "
            f"{now.samples.count} of now ({now.samples.name}); give the same --data, --samples and --seed, "
            "or write it again with --update"
        )


def _figures(name: str, kept: Figures, now: Figures, tolerances: Tolerances) -> list[Comparison]:
    found = _accuracy(name, kept, now, tolerances)
    moves = (
        ("float_agreement", kept.float_agreement, now.float_agreement, tolerances.float_agreement, -1),
        ("bytes", kept.bytes, now.bytes, tolerances.bytes * kept.bytes, +1),
        ("max_step_difference", kept.max_step_difference, now.max_step_difference, tolerances.max_step_difference, +1),
    )
    for figure, before, after, allowed, bad in moves:
        if before is not None:
            holds = after is not None and bad * (after - before) <= allowed + _LEAST
            found.append(Comparison(name, figure, before, after, allowed, holds))
    bits = {*kept.macs, *now.macs}
    far = [b for b in bits if _moved_by(kept.macs.get(b, 0), now.macs.get(b, 0)) > tolerances.macs + _LEAST]
    found.append(Comparison(name, "macs", kept.macs, now.macs, tolerances.macs, not far))
    return found


def _moved_by(before: int, after: int) -> float:
    """Relative change to either side; all of it where there was nothing before."""
    return abs(after - before) / max(before, 1)


def _accuracy(
    name: str, kept: Figures | FloatFigures, now: Figures | FloatFigures, tolerances: Tolerances
) -> list[Comparison]:
    """A drop fails if significant and above the tolerance; without hits on both sides, the tolerance decides."""
    if kept.accuracy is None:
        return []
    allowed = tolerances.accuracy
    if now.accuracy is None:
        return [Comparison(name, "accuracy", kept.accuracy, None, allowed, False)]
    paired = None
    failed = kept.accuracy - now.accuracy > allowed + _LEAST
    if kept.hits is not None and now.hits is not None:
        paired = compare_hits(kept.hits, now.hits, tolerances.alpha, allowed)
        failed = failed and paired.p <= tolerances.alpha
    return [Comparison(name, "accuracy", kept.accuracy, now.accuracy, allowed, not failed, paired)]

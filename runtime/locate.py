"""Finds the first value at which an artifact leaves its program, and names the PyTorch module that computes it.

Every operator of the program is run on the values that the artifact itself computed before it. So the rounding of
earlier layers is on both sides, what is left is one operator's own difference, and a wrong layer stands out at once.
"""

from dataclasses import dataclass

import numpy as np

from ..export.artifact import Artifact
from .reference import ProgramValue, Reference, output_values, program_values
from .samples import Samples
from .session import Session

_LEAST_STEPS = 2.5  # kernels round a requantization to a neighbouring code, a softmax or a mean to the one after it
# For values in float: largest difference over the value's own largest, in hundredths.
_LEAST_HUNDREDTHS = {"float32": 0.1, "float16": 5.0, "int8": 0.1}


@dataclass(frozen=True)
class FirstDifference:
    """Where a disagreement starts.

    Attributes:
        value: name of the first differing value in the program.
        module: path of the PyTorch module that computes it; empty for the network itself.
        difference_steps: largest difference there, in steps of the value (for a float value: in hundredths of its
            own largest).
    """

    value: str
    module: str
    difference_steps: float


def locate(reference: Reference, artifact: Artifact, session: Session, samples: Samples) -> FirstDifference | None:
    """The first value that differs on any of a few samples; None when each follows from the ones before it."""
    outputs = output_values(reference.program, reference.output_names)
    order: list[str] = []
    found: dict[str, FirstDifference] = {}
    for sample in samples:
        comparison = _Comparison(session.intermediates(sample), outputs, _LEAST_HUNDREDTHS[artifact.precision])
        order = [value.name for value in program_values(reference, sample, comparison)]
        for difference in comparison.differences:
            known = found.setdefault(difference.value, difference)
            if difference.difference_steps > known.difference_steps:
                found[difference.value] = difference
    return next((found[name] for name in order if name in found), None)


class _Comparison:
    """Compares a program's values with an artifact's as they come, and puts the artifact's in their place."""

    def __init__(self, theirs: dict[str, np.ndarray], outputs: dict[str, str], least_hundredths: float):
        self.theirs = {name: data for name, data in theirs.items() if np.issubdtype(data.dtype, np.floating)}
        self.outputs, self.least_hundredths = outputs, least_hundredths
        self.differences: list[FirstDifference] = []

    def __call__(self, value: ProgramValue) -> np.ndarray | None:
        # What stands behind a quantizer is called `_real`, except where the artifact keeps the codes themselves, and
        # what the network returns has the output's name; TFLite's codes behind a float border are `_codes`.
        names = (f"{value.name}_real", self.outputs.get(value.name), f"{value.name}_codes") if value.step else ()
        data = next((self.theirs[name] for name in (*names, value.name) if name in self.theirs), None)
        layouts = [] if data is None else _layouts(data, value.data.shape)
        if not layouts:
            return None
        nearest = min(layouts, key=lambda seen: _error(value, seen))
        error = _error(value, nearest)
        if error > (_LEAST_STEPS if value.step else self.least_hundredths):
            self.differences.append(FirstDifference(value.name, value.module, error))
        return nearest


def _error(value: ProgramValue, data: np.ndarray) -> float:
    """Largest difference in steps, or in hundredths of the largest magnitude."""
    scale = value.step or 0.01 * max(float(np.abs(value.data).max(initial=0.0)), 1e-6)
    difference = np.abs(value.data.astype(np.float64) - data).max(initial=0.0)
    return float(difference) / scale if np.isfinite(difference) else float(np.finfo(np.float32).max)


def _layouts(data: np.ndarray, shape: tuple[int, ...]) -> list[np.ndarray]:
    """The artifact's value in the program's shape: as it stands, from channels last, or with unit sizes dropped."""
    found = []
    if data.shape == shape:
        found.append(data)
    for last, first in ((4, (0, 3, 1, 2)), (3, (0, 2, 1))):
        if data.ndim == last and data.transpose(first).shape == shape:
            found.append(data.transpose(first))
    if not found and data.size == np.prod(shape):
        found.append(data.reshape(shape))
    return found

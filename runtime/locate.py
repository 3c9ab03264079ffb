"""Finds the first value at which an artifact leaves its program, and names the PyTorch module that computes it."""

from dataclasses import dataclass

import numpy as np

from ..export.artifact import Artifact
from .reference import ProgramValue, Reference, program_values
from .samples import Samples
from .session import Session

_RATIO = 4.0  # an error this many times its inputs' did not come from them
_LEAST_STEPS = 1.0  # root mean square, in steps of the value; rounding alone stays below
_LEAST_SHARE = 1e-2  # root mean square over the value's own, for values that are not quantized


@dataclass(frozen=True)
class FirstDifference:
    """Where a disagreement starts.

    Attributes:
        value: name of the first differing value in the program.
        module: path of the PyTorch module that computes it.
        difference_steps: root mean square difference there, in steps of the value (for a float value: in hundredths
            of its own root mean square).
    """

    value: str
    module: str
    difference_steps: float


def locate(reference: Reference, artifact: Artifact, session: Session, samples: Samples) -> FirstDifference | None:
    """Compares intermediate values on a few samples; None when no value stands out."""
    errors: dict[str, float] = {}
    sizes: dict[str, int] = {}
    order: list[ProgramValue] = []
    for sample in samples:
        theirs = session.intermediates(sample)
        order = program_values(reference, sample)
        for value, data in _pairs(order, theirs, artifact):
            errors[value.name] = max(errors.get(value.name, 0.0), _error(value, data))
            sizes[value.name] = value.data.size
    reached: dict[str, float] = {}  # error of a value, or of the nearest compared values before it
    for value in order:
        before = max((reached.get(name, 0.0) for name in value.inputs), default=0.0)
        error = errors.get(value.name, before)
        reached[value.name] = error
        if value.name in errors and error > _LEAST_STEPS and error > _RATIO * max(before, _LEAST_STEPS / _RATIO):
            return FirstDifference(value.name, value.module, error)
    return None


def _error(value: ProgramValue, data: np.ndarray) -> float:
    """Root mean square difference in steps (or in hundredths of the value's size), in the better of two layouts."""
    scale = value.step or _LEAST_SHARE * max(float(np.sqrt(np.mean(np.square(value.data)))), 1e-12)
    return min(
        float(np.sqrt(np.mean(np.square(value.data - seen)))) / scale for seen in _layouts(data, value.data.shape)
    )


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


def _pairs(
    order: list[ProgramValue], theirs: dict[str, np.ndarray], artifact: Artifact
) -> list[tuple[ProgramValue, np.ndarray]]:
    """Values of the program with the artifact's own: by name where the artifact keeps the names, else by module.

    A float ONNX file goes by module: its exporter numbers values anew.

    Of a module's values the last of equal size counts on both sides: the module's result.
    """
    quantized = any(value.step is not None for value in order)
    if quantized or artifact.target != "onnx":
        found = []
        for value in order:
            # What stands behind a quantizer is called `_real`, except where the artifact keeps the codes themselves.
            named = [theirs[n] for n in (f"{value.name}_real", value.name) if n in theirs]
            if named and _layouts(named[0], value.data.shape) and (value.step is not None or not quantized):
                found.append((value, named[0]))
        return found
    results: dict[str, list[np.ndarray]] = {}
    for name, data in theirs.items():
        if (module := artifact.modules.get(name)) and np.issubdtype(data.dtype, np.floating):
            results.setdefault(module, []).append(data)
    last = {value.module: value for value in order if value.module}
    return [
        (value, fitting[-1])
        for module, value in last.items()
        if (fitting := [data for data in results.get(module, []) if _layouts(data, value.data.shape)])
    ]

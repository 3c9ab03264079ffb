"""What every session checks before its engine sees a value."""

from pathlib import Path

import numpy as np

from ..errors import BadInput
from ..export.artifact import TensorSpec


def checked_inputs(path: Path, specs: tuple[TensorSpec, ...], inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`inputs` as contiguous arrays of the specified dtypes, in the specified order.

    Raises:
        BadInput: a name is missing or unknown, or a shape differs; all faults in one line.
    """
    known = [spec.name for spec in specs]
    faults = [f"unknown input {name}, expected {', '.join(known)}" for name in inputs if name not in known]
    values = {}
    for spec in specs:
        if spec.name not in inputs:
            faults.append(f"input {spec.name} is missing")
            continue
        value = np.asarray(inputs[spec.name])
        if not _fits(value.shape, spec.shape):
            faults.append(f"input {spec.name} must have shape {_text(spec.shape)}, got {_text(value.shape)}")
            continue
        values[spec.name] = np.ascontiguousarray(value, dtype=spec.dtype)
    if faults:
        raise BadInput(f"{path}: {'; '.join(faults)}")
    return values


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(w is None or w == s for s, w in zip(shape, wanted))


def _text(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if size is None else str(size) for size in shape) or "()"

"""`Samples`: held-out inputs, and labels where there are any, as every session takes them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from ..errors import BadInput
from ..export.artifact import TensorSpec

Measure = Callable[[dict[str, np.ndarray]], dict[str, float]]
"""Figures of a network's outputs by name, each (N, ...), on all samples of a set."""


@dataclass(frozen=True)
class Samples:
    """N samples.

    Attributes:
        inputs: by input name, shape (N, ...) without the network's batch dimension of 1.
        labels: (N,) class numbers, or None.
        name: where they come from, for example `digits, held out`.
        drawn: whether they are random numbers, which belong to no class.
        classes: whether an output (N, k) holds class scores, and not k numbers of another kind.
        measure: what the task's own figures are; None where accuracy says it all.
        targets: what `measure` holds outputs against, (N,) or (N, k).
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    name: str
    drawn: bool = False
    classes: bool = True
    measure: Measure | None = None
    targets: np.ndarray | None = None

    @property
    def by_value(self) -> bool:
        """Whether outputs agree by their values: they are no class scores, or those of inputs that mean nothing."""
        return self.drawn or not self.classes

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """One sample after the other, with a batch dimension of 1."""
        for index in range(len(self)):
            yield {name: values[index : index + 1] for name, values in self.inputs.items()}

    def first(self, count: int) -> "Samples":
        """The first `count` samples; what is measured on all of them is left out."""
        labels = None if self.labels is None else self.labels[:count]
        targets = None if self.targets is None else self.targets[:count]
        inputs = {name: values[:count] for name, values in self.inputs.items()}
        return replace(self, inputs=inputs, labels=labels, measure=None, targets=targets)


def random_samples(inputs: tuple[TensorSpec, ...], count: int, seed: int = 0) -> Samples:
    """Standard normal floats, and integers that are 0 or 1, for networks that come without data."""
    generator = np.random.default_rng(seed)
    arrays = {}
    for spec in inputs:
        shape = (count, *[size or 1 for size in spec.shape[1:]])
        if np.issubdtype(np.dtype(spec.dtype), np.floating):
            arrays[spec.name] = generator.standard_normal(shape).astype(spec.dtype)
        else:
            arrays[spec.name] = generator.integers(0, 2, shape).astype(spec.dtype)
    return Samples(arrays, None, f"{count} random inputs (no data was given)", drawn=True)


def fit_samples(samples: Samples, inputs: tuple[TensorSpec, ...]) -> Samples:
    """The samples in the network's own types, for example float32 from float64 or from bytes.

    Raises:
        BadInput: names, shapes, types or values do not fit the network's inputs.
    """
    wanted = [spec.name for spec in inputs]
    if sorted(samples.inputs) != sorted(wanted):
        raise BadInput(f"data: inputs are {', '.join(wanted)}, got {', '.join(samples.inputs) or 'none'}")
    return replace(samples, inputs={spec.name: _fitted(samples.inputs[spec.name], spec) for spec in inputs})


def _fitted(values: np.ndarray, spec: TensorSpec) -> np.ndarray:
    shape, given = spec.shape[1:], values.shape[1:]
    if len(shape) != len(given) or any(w is not None and w != g for w, g in zip(shape, given)):
        raise BadInput(f"data: {spec.name} must have samples of shape {shape}, got {given}")
    if not np.can_cast(values.dtype, spec.dtype, "same_kind"):
        raise BadInput(f"data: {spec.name} must hold {spec.dtype}, got {values.dtype}")
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise BadInput(f"data: {spec.name} holds NaN or infinite values")
    return values.astype(spec.dtype, copy=False)

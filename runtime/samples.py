"""`Samples`: held-out inputs, and labels where there are any, as every session takes them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from ..export.artifact import TensorSpec


@dataclass(frozen=True)
class Samples:
    """N samples.

    Attributes:
        inputs: by input name, shape (N, ...) without the network's batch dimension of 1.
        labels: (N,) class numbers, or None.
        name: where they come from, for example `digits, held out`.
        drawn: whether they are random numbers, which belong to no class.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    name: str
    drawn: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        """One sample after the other, with a batch dimension of 1."""
        for index in range(len(self)):
            yield {name: values[index : index + 1] for name, values in self.inputs.items()}

    def first(self, count: int) -> "Samples":
        """The first `count` samples."""
        labels = None if self.labels is None else self.labels[:count]
        return Samples({name: values[:count] for name, values in self.inputs.items()}, labels, self.name, self.drawn)


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


def check_samples(samples: Samples, inputs: tuple[TensorSpec, ...]) -> None:
    """Raises BadInput when names, shapes or values do not fit the network's inputs."""
    wanted = [spec.name for spec in inputs]
    if sorted(samples.inputs) != sorted(wanted):
        raise BadInput(f"data: inputs are {', '.join(wanted)}, got {', '.join(samples.inputs) or 'none'}")
    for spec in inputs:
        values = samples.inputs[spec.name]
        if any(w is not None and w != g for w, g in zip(spec.shape[1:], values.shape[1:])) or (
            len(spec.shape) != values.ndim
        ):
            raise BadInput(f"data: {spec.name} must have samples of shape {spec.shape[1:]}, got {values.shape[1:]}")
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise BadInput(f"data: {spec.name} holds NaN or infinite values")

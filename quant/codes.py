"""`IntegerTensor`: a weight or bias as the integers that every target stores, with what they mean in real numbers."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class IntegerTensor:
    """Integer codes with their affine meaning: `real = (codes - zero_point) * scale`.

    Attributes:
        codes: int8 (weights) or int32 (biases), in PyTorch's layout: (out, in / groups, kh, kw), (out, in) or (out,).
        scale: float32, shape () for one scale per tensor or (channels,) along `axis`.
        zero_point: int32, the shape of `scale`.
        axis: the channel axis in PyTorch's layout, or None for one scale per tensor.
    """

    codes: np.ndarray
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None

    def dequantize(self) -> np.ndarray:
        """The real values, float32, in the shape of `codes`."""
        shape = [1] * self.codes.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        centred = self.codes.astype(np.float32) - self.zero_point.reshape(shape).astype(np.float32)
        return np.asarray(centred * self.scale.reshape(shape).astype(np.float32))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntegerTensor):
            return NotImplemented
        return (
            self.axis == other.axis
            and self.codes.dtype == other.codes.dtype
            and np.array_equal(self.codes, other.codes)
            and np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )

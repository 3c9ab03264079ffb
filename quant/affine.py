"""Affine int8 quantization of activations: `code = clamp(round_half_even(x / scale) + zero_point, -128, 127)`.

The range always contains zero, so that zero padding and ReLU are exact.
"""

from dataclasses import dataclass

import numpy as np

QMIN, QMAX = -128, 127


@dataclass(frozen=True)
class Affine:
    """Meaning of an activation's codes: `real = (code - zero_point) * scale`."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        return (QMIN - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        return (QMAX - self.zero_point) * self.scale


# A fused ReLU6 clamps at 6 / scale, which integer kernels hold in int32.
_LEAST_SCALE = 1e-8
SOFTMAX_OUTPUT = Affine(1 / 256, -128)  # [0, 1), the only output form of integer softmax and sigmoid kernels
TANH_OUTPUT = Affine(1 / 128, 0)  # [-1, 1)


def affine_of_range(low: float, high: float) -> Affine:
    """The affine map whose codes span [low, high] widened to hold zero; scale is a float32 value.

    An empty range (a value that is always zero) gets scale 1/128, so that nothing divides by zero.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-30:
        return Affine(1 / 128, 0)
    scale = float(np.float32(max((high - low) / (QMAX - QMIN), _LEAST_SCALE)))
    zero_point = int(np.clip(round(QMIN - low / scale), QMIN, QMAX))
    return Affine(scale, zero_point)


def fake_quantize(values: np.ndarray, affine: Affine) -> np.ndarray:
    """Values rounded to their codes and back, float64."""
    codes = np.clip(np.round(values / affine.scale) + affine.zero_point, QMIN, QMAX)
    return (codes - affine.zero_point) * affine.scale

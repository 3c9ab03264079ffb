"""Affine quantization of activations: `code = clamp(round_half_even(x / scale) + zero_point, qmin, qmax)`.

Codes of 8 bits span -128 to 127, those of b bits -2^(b-1) to 2^(b-1) - 1, those of 1 bit are -1 and +1. The range
always contains zero, so that zero padding and ReLU are exact.
"""

from dataclasses import dataclass

import numpy as np

QMIN, QMAX = -128, 127


@dataclass(frozen=True)
class Affine:
    """Meaning of an activation's codes: `real = (code - zero_point) * scale`, codes within [qmin, qmax]."""

    scale: float
    zero_point: int
    qmin: int = QMIN
    qmax: int = QMAX

    @property
    def low(self) -> float:
        return (self.qmin - self.zero_point) * self.scale

    @property
    def high(self) -> float:
        return (self.qmax - self.zero_point) * self.scale

    def codes(self, real: np.ndarray) -> np.ndarray:
        """int8 codes of real numbers, as a quantize node computes them: times the scale's float32 inverse."""
        steps = np.rint(real.astype(np.float32) * np.float32(1.0 / self.scale)) + self.zero_point
        return np.clip(steps, self.qmin, self.qmax).astype(np.int8)

    def real(self, codes: np.ndarray) -> np.ndarray:
        """float32 numbers that int8 codes mean, as a dequantize node computes them."""
        return (codes.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)


# A fused ReLU6 clamps at 6 / scale, which integer kernels hold in int32.
_LEAST_SCALE = 1e-8
SOFTMAX_OUTPUT = Affine(1 / 256, -128)  # [0, 1), the only output form of integer softmax and sigmoid kernels
TANH_OUTPUT = Affine(1 / 128, 0)  # [-1, 1)


def code_limits(bits: int) -> tuple[int, int]:
    """The least and the largest code of `bits` bits, 2 to 8."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def affine_of_range(low: float, high: float, bits: int = 8) -> Affine:
    """The affine map whose codes span [low, high] widened to hold zero; scale is a float32 value.

    An empty range (a value that is always zero) gets scale 1/128, so that nothing divides by zero.
    """
    qmin, qmax = code_limits(bits)
    low, high = min(low, 0.0), max(high, 0.0)
    if high - low < 1e-30:
        return Affine(1 / 128, 0, qmin, qmax)
    scale = float(np.float32(max((high - low) / (qmax - qmin), _LEAST_SCALE)))
    zero_point = int(np.clip(round(qmin - low / scale), qmin, qmax))
    return Affine(scale, zero_point, qmin, qmax)


def fake_quantize(values: np.ndarray, affine: Affine) -> np.ndarray:
    """Values rounded to their codes and back, float64."""
    codes = np.clip(np.round(values / affine.scale) + affine.zero_point, affine.qmin, affine.qmax)
    return (codes - affine.zero_point) * affine.scale

"""How integer sums and functions of codes become codes, in operations that IEEE 754 makes the same everywhere."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..affine import Affine

_FACTOR_BITS = 21  # 255 * 2^21, twice, fits an int32


def requantize(sums: Tensor, multiplier: Tensor | float, zero: int, low: int, high: int) -> Tensor:
    """The codes of int32 sums: float32(sum) * multiplier in float32, rounded half to even, clamped to [low, high]."""
    factor = torch.as_tensor(multiplier, dtype=torch.float32)
    scaled = torch.round(sums.to(torch.float32) * factor)
    return scaled.clamp(low - zero, high - zero).to(torch.int32) + zero


def multiplier_of(*ratio: float | np.ndarray, over: float) -> np.ndarray:
    """The float32 nearest to the product of the scales that go in, over the scale that comes out."""
    product: np.ndarray = np.asarray(1.0)
    for factor in ratio:
        product = product * np.asarray(factor, np.float64)
    return np.asarray(product / over, np.float32)


def factors_of(a: float, b: float, over: float) -> tuple[int, int, float]:
    """Whole-number factors in the ratio of two scales, and the power of two that brings their sum to output steps."""
    ratios = abs(a) / over, abs(b) / over
    shift = _FACTOR_BITS - 1 - int(np.floor(np.log2(max(ratios))))
    first, second = (round(float(np.ldexp(ratio, shift))) for ratio in (a / over, b / over))
    return first, second, float(np.ldexp(1.0, -shift))


def table_of(function: Callable[[Tensor], Tensor], x: Affine, y: Affine) -> np.ndarray:
    """int8 (256,): the output's code for each input code -128 to 127, the function computed in float64."""
    reals = (torch.arange(-128, 128, dtype=torch.float64) - x.zero_point) * x.scale
    codes = torch.round(function(reals) / y.scale) + y.zero_point
    return codes.nan_to_num(nan=y.zero_point).clamp(y.qmin, y.qmax).to(torch.int8).numpy()


def code_of(real: float, y: Affine) -> int:
    """The code of a real number, infinite ones included."""
    if np.isinf(real):
        return y.qmax if real > 0 else y.qmin
    return int(np.clip(np.rint(real / y.scale) + y.zero_point, y.qmin, y.qmax))


def exponentials(scale: float, length: int) -> np.ndarray:
    """uint32 (256,): exp(-difference * scale) in fixed point for code differences 0 to 255."""
    bits = min(24, 31 - (max(length, 1) - 1).bit_length())
    return np.rint(np.ldexp(np.exp(-np.arange(256) * float(scale)), bits)).astype(np.uint32)

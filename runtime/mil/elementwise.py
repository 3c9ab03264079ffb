"""Element-wise operators: arithmetic, comparison, logic, rounding, casts.

Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/elementwise_{unary,binary}.py`.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .types import HELD


def unary(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(x: Tensor) -> Tensor:
        return function(x)

    return apply


def binary(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def apply(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)

    return apply


def cast(x: Tensor, *, dtype: str) -> Tensor:
    """To another element type; a fraction is cut towards zero, and anything but zero is true."""
    if dtype == "fp16":
        return x.to(torch.float32)  # rounded to float16 when the value is stored
    return x.to(HELD[dtype])


def clip(x: Tensor, *, alpha: float, beta: float) -> Tensor:
    return x.clamp(alpha, beta)


def floor_div(x: Tensor, y: Tensor) -> Tensor:
    return torch.div(x, y, rounding_mode="floor")


def real_div(x: Tensor, y: Tensor) -> Tensor:
    """The quotient; of integers, cut towards zero."""
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def inverse(x: Tensor, *, epsilon: float = 1e-4) -> Tensor:
    return 1 / (x + epsilon)


def log(x: Tensor, *, epsilon: float = 1e-45) -> Tensor:
    return torch.log(x + epsilon)


def rsqrt(x: Tensor, *, epsilon: float = 1e-12) -> Tensor:
    return torch.rsqrt(x + epsilon)


def threshold(x: Tensor, *, alpha: float) -> Tensor:
    return x.clamp(min=alpha)


def identity(x: Tensor) -> Tensor:
    return x


def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(cond.bool(), a, b)


_UNARY: dict[str, Callable[..., Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}

# `mod` takes the sign of the divisor and `round` goes half to even, as NumPy, which defines both in coremltools.
_BINARY: dict[str, Any] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": floor_div,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mod": torch.remainder,
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "real_div": real_div,
    "sub": torch.sub,
}

OPERATORS: dict[str, Callable[..., Tensor]] = {
    **{name: unary(function) for name, function in _UNARY.items()},
    **{name: binary(function) for name, function in _BINARY.items()},
    "cast": cast,
    "clip": clip,
    "identity": identity,
    "inverse": inverse,
    "log": log,
    "rsqrt": rsqrt,
    "select": select,
    "threshold": threshold,
}

"""What C knows of operators on real numbers: an expression of one or two values, or a kernel."""

from collections.abc import Callable
from typing import Any

import torch

from ...quant.integer.operations import FloatOperation
from .text import real

aten = torch.ops.aten

Expression = Callable[..., str]


def _clamp(low: float | None, high: float | None) -> str:
    inner = "x" if low is None else f"fmaxf(x, {real(low)})"
    return inner if high is None else f"fminf({inner}, {real(high)})"


def _converted(dtype: torch.dtype) -> str:
    if dtype.is_floating_point:
        return "(float)x"
    return "(int32_t)(x != 0)" if dtype is torch.bool else "(int32_t)x"


def _gelu(approximate: str = "none") -> str:
    if approximate == "tanh":
        return f"0.5f * x * (1.0f + tanhf({real(0.7978845608028654)} * (x + 0.044715f * x * x * x)))"
    return f"0.5f * x * (1.0f + erff(x * {real(0.7071067811865476)}))"


def _elu(alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> str:
    return f"x > 0.0f ? x * {real(scale)} : (expf(x * {real(input_scale)}) - 1.0f) * {real(alpha * scale)}"


def _power(exponent: float) -> str:
    return "x * x" if exponent == 2 else f"powf(x, {real(exponent)})"


# Operator -> the arguments behind the first input -> an expression of `x`.
OF_ONE: dict[Any, Expression] = {
    aten.relu.default: lambda: "fmaxf(x, 0.0f)",
    aten.relu6.default: lambda: "fminf(fmaxf(x, 0.0f), 6.0f)",
    aten.hardtanh.default: lambda low=-1.0, high=1.0: _clamp(low, high),
    aten.clamp.default: lambda low=None, high=None: _clamp(low, high),
    aten.gelu.default: _gelu,
    aten.silu.default: lambda: "x / (1.0f + expf(-x))",
    aten.sigmoid.default: lambda: "1.0f / (1.0f + expf(-x))",
    aten.tanh.default: lambda: "tanhf(x)",
    aten.elu.default: _elu,
    aten.leaky_relu.default: lambda slope=0.01: f"x > 0.0f ? x : x * {real(slope)}",
    aten.hardswish.default: lambda: f"x * fminf(fmaxf(x + 3.0f, 0.0f), 6.0f) * {real(1 / 6)}",
    aten.hardsigmoid.default: lambda: f"fminf(fmaxf(x + 3.0f, 0.0f), 6.0f) * {real(1 / 6)}",
    aten.softplus.default: lambda beta=1.0, most=20.0: (
        f"x * {real(beta)} > {real(most)} ? x : log1pf(expf(x * {real(beta)})) / {real(beta)}"
    ),
    aten.exp.default: lambda: "expf(x)",
    aten.log.default: lambda: "logf(x)",
    aten.sqrt.default: lambda: "sqrtf(x)",
    aten.rsqrt.default: lambda: "1.0f / sqrtf(x)",
    aten.reciprocal.default: lambda: "1.0f / x",
    aten.abs.default: lambda: "fabsf(x)",
    aten.neg.default: lambda: "-x",
    aten.square.default: lambda: "x * x",
    aten.sin.default: lambda: "sinf(x)",
    aten.cos.default: lambda: "cosf(x)",
    aten.erf.default: lambda: "erff(x)",
    aten.pow.Tensor_Scalar: _power,
    aten.sign.default: lambda: "(float)((x > 0.0f) - (x < 0.0f))",
    aten.ge.Scalar: lambda limit: f"x >= {real(limit)}",
    aten.gt.Scalar: lambda limit: f"x > {real(limit)}",
    aten.le.Scalar: lambda limit: f"x <= {real(limit)}",
    aten.lt.Scalar: lambda limit: f"x < {real(limit)}",
    aten.where.Scalar: lambda yes, no: f"x ? {real(yes)} : {real(no)}",
    aten.to.dtype: lambda dtype, *_: _converted(dtype),
}
# Operator -> an expression of `a` and `b`.
OF_TWO: dict[Any, str] = {
    aten.add.Tensor: "a + b",
    aten.sub.Tensor: "a - b",
    aten.mul.Tensor: "a * b",
    aten.div.Tensor: "a / b",
    aten.maximum.default: "fmaxf(a, b)",
    aten.minimum.default: "fminf(a, b)",
}
CONVOLUTIONS = {aten.conv1d.default, aten.conv2d.default}
POOLS = {aten.avg_pool2d.default}
PRODUCTS = {aten.matmul.default, aten.bmm.default}
REDUCTIONS = {aten.mean.dim, aten.sum.dim_IntList}


def takes_any_order(operation: FloatOperation) -> bool:
    """Whether an operator walks through its values in loops, wherever their axes lie."""
    target = operation.target
    return (
        target in OF_ONE
        or target in OF_TWO
        or target in REDUCTIONS
        or target
        in (
            aten.softmax.int,
            aten.prelu.default,
            aten.batch_norm.default,
        )
    )


def lies_channels_last(operation: FloatOperation) -> bool:
    """Whether an operator moves a window over images, which lie channels last."""
    return operation.target in CONVOLUTIONS or operation.target in POOLS

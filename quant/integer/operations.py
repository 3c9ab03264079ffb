"""The operations of an `IntegerProgram`, one data class each.

A sum becomes a code by `arithmetic.requantize`: once to float32, times a float32 multiplier, rounded half to even.
Axes count in PyTorch's order whatever the layout in memory.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .values import Value


@dataclass(frozen=True, eq=False)
class Operation:
    """Computes `output` from `inputs`; `module` is the path of the PyTorch module that does."""

    inputs: tuple[Value, ...]
    output: Value
    module: str


@dataclass(frozen=True, eq=False)
class Quantize(Operation):
    """Real numbers to codes: x / scale in float32 as the product with its reciprocal, half to even, plus zero point."""


@dataclass(frozen=True, eq=False)
class Dequantize(Operation):
    """Codes to real numbers: (code - zero point) * scale in float32."""


@dataclass(frozen=True)
class Window:
    """A kernel that moves over an image; (height, width) each, padding as (top, left, bottom, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)


@dataclass(frozen=True, eq=False)
class Convolution(Operation):
    """Codes (N, I, [H,] W) to codes (N, O, [H,] W): requantize(sum of (x - zero) * w + bias).

    Attributes:
        weight: int8 (O, I / groups, kh, kw).
        bias: int32 (O,), in products of input and weight steps.
        multiplier: float32 (O,).
        low, high: least and largest code, narrowed by a ReLU behind.
    """

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    window: Window
    groups: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Linear(Operation):
    """Codes (..., I) to codes (..., O); the attributes are a convolution's, `weight` being (O, I)."""

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class SignConvolution(Operation):
    """Signs (N, I, [H,] W) to codes, or to signs: sums of ±1 products, to which padding adds nothing.

    Attributes:
        weight: int8 ±1 (O, I, kh, kw).
        bias, multiplier, low, high: as of a convolution, for codes.
        at_least: for signs, int32 (O,): +1 where the sum is at least this; None for codes.
    """

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    window: Window
    low: int
    high: int
    at_least: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class SignLinear(Operation):
    """Signs (..., I) to codes or signs (..., O); the attributes are a sign convolution's, `weight` being (O, I)."""

    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    low: int
    high: int
    at_least: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Sign(Operation):
    """Codes to signs: +1 where the code is at least `least` of its channel.

    Attributes:
        least: int16 (channels,), -128 (always) to 128 (never).
        axis: of the channels.
    """

    least: np.ndarray
    axis: int


@dataclass(frozen=True, eq=False)
class MatrixProduct(Operation):
    """Codes a (..., M, K) and b (..., K, N), or (..., N, K) where `transposed`, to codes (..., M, N)."""

    transposed: bool
    multiplier: float
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """requantize((a - zero) * factors[0] + (b - zero) * factors[1]); a subtraction has a negative factor."""

    factors: tuple[int, int]
    multiplier: float
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Multiply(Operation):
    """requantize((a - zero) * (b - zero)), elementwise."""

    multiplier: float
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Mean(Operation):
    """requantize(sum of (x - zero) over the axes) with multiplier (scale ratio / count), both in float32."""

    axes: tuple[int, ...]
    ratio: float
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class AveragePool(Operation):
    """As `Mean` over a window; the count is of the window's positions, of those inside the image, or `divisor`."""

    window: Window
    counts_padding: bool
    divisor: int | None
    ratio: float
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class Lookup(Operation):
    """Any function of one code: `table[code + 128]`, int8 (256,)."""

    table: np.ndarray


@dataclass(frozen=True, eq=False)
class Slopes(Operation):
    """PReLU: requantize((x - zero)) with one multiplier from zero up and one for each channel below zero."""

    above: float
    below: np.ndarray
    axis: int


@dataclass(frozen=True, eq=False)
class Softmax(Operation):
    """Over one axis: e = table[largest code - code]; code = round(float(e) * (256 / float(sum of e))) - 128.

    At most 127, as everywhere.

    Attributes:
        table: uint32 (256,) exponentials in fixed point, small enough that no sum exceeds 2^32.
    """

    axis: int
    table: np.ndarray


@dataclass(frozen=True, eq=False)
class Reshape(Operation):
    """The same elements, in the order of PyTorch's axes, in another shape."""


@dataclass(frozen=True, eq=False)
class Permute(Operation):
    """Axis i of the output is axis `order[i]` of the input."""

    order: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Slice(Operation):
    """Every `steps[i]`-th element from `starts[i]` on, along each axis."""

    starts: tuple[int, ...]
    steps: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Concatenate(Operation):
    axis: int


@dataclass(frozen=True, eq=False)
class Pad(Operation):
    """`before[i]` elements in front along each axis, and as many behind as the output's shape asks for.

    `fill` is a code, or a real number.
    """

    before: tuple[int, ...]
    fill: float


@dataclass(frozen=True, eq=False)
class Expand(Operation):
    """Axes of one element repeated to the output's shape, new axes in front."""


@dataclass(frozen=True, eq=False)
class Upsample(Operation):
    """Every element `factors[i]` times along each axis."""

    factors: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    window: Window


@dataclass(frozen=True, eq=False)
class FloatOperation(Operation):
    """An ATen operator on real numbers, run as PyTorch runs it.

    Attributes:
        target: the operator.
        arguments: its arguments; an int stands for `inputs[int]` where `is_input` says so.
        is_input: for each argument, whether it is an input's place.
    """

    target: Any
    arguments: tuple[Any, ...]
    is_input: tuple[bool, ...]


@dataclass(frozen=True)
class IntegerProgram:
    """A network as operations in order.

    Attributes:
        inputs, outputs: in order, with the names that the program's border has.
        operations: each after those that it reads.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    operations: tuple[Operation, ...]

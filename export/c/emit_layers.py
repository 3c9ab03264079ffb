"""Convolutions and linear layers on int8 codes, as calls of kernels on packed weights."""

from collections.abc import Sequence

import numpy as np

from ...quant.integer.operations import Convolution, Linear, Window
from .emission import Emission, emit, images, scratch_of
from .packing_int8 import (
    fold_zero_point,
    pack_depthwise_weights,
    pack_per_channel,
    pack_weights,
    scratch_bytes,
)
from .text import words_of


def geometry_of(before: Sequence[int], after: Sequence[int], window: Window) -> str:
    """C's `geometry` of a window over images (N, C, [H,] W)."""
    (channels, *image), (out_channels, *out_image) = before[1:], after[1:]
    height, width = [1, *image][-2:]
    out_height, out_width = [1, *out_image][-2:]
    numbers = (
        (height, width, channels),
        (out_height, out_width, out_channels),
        window.kernel,
        window.stride,
        window.padding[:2],
        window.dilation,
    )
    return "{" + ", ".join(str(int(number)) for group in numbers for number in group) + "}"


def is_depthwise(operation: Convolution) -> bool:
    """Whether each output channel reads one input channel, its own."""
    channels = operation.inputs[0].shape[1]
    return operation.groups == channels == operation.output.shape[1] and channels > 1


@scratch_of.register
def _(operation: Convolution) -> int:
    if is_depthwise(operation):
        return 0
    weight = operation.weight
    return scratch_bytes(weight.shape[1], weight.shape[2:], operation.groups, operation.window.dilation[1])


@emit.register
def _(operation: Convolution, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    depthwise = is_depthwise(operation)
    groups = 1 if depthwise else operation.groups
    if depthwise:
        packed = pack_depthwise_weights(operation.weight)
    else:
        packed = pack_weights(operation.weight, groups, operation.window.dilation[1])
    zero_in = x.meaning.zero_point
    bias = fold_zero_point(operation.bias, operation.weight, zero_in)
    out.need("depthwise_int8_*" if depthwise else "conv_int8_run")
    name = out.structure(
        "conv_int8",
        f"{y.name}_layer",
        {
            "shape": geometry_of(x.shape, y.shape, operation.window),
            "groups": str(operation.groups),
            **_per_channel(out, y.name, packed, bias, operation.multiplier, groups),
            "zero_in": str(zero_in),
            "zero_out": str(y.meaning.zero_point),
            "low": str(operation.low),
            "high": str(operation.high),
        },
    )
    run = out.runner("depthwise_int8" if depthwise else "conv_int8", y.size * operation.weight[0].size)
    scratch = "" if depthwise else f", {out.scratch}"
    out.lines += images(x, y, out, f"{run}(&{name}, {{a}}, {{y}}{scratch});")


@emit.register
def _(operation: Linear, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    outputs, inputs = operation.weight.shape
    packed = pack_weights(operation.weight.reshape(outputs, inputs, 1, 1))
    bias = fold_zero_point(operation.bias, operation.weight, x.meaning.zero_point)
    out.need("linear_int8_run")
    name = out.structure(
        "linear_int8",
        f"{y.name}_layer",
        {
            "inputs": str(inputs),
            "outputs": str(outputs),
            **_per_channel(out, y.name, packed, bias, operation.multiplier, 1),
            "zero_out": str(y.meaning.zero_point),
            "low": str(operation.low),
            "high": str(operation.high),
        },
    )
    out.lines.append(f"    run_linear_int8(&{name}, {x.size // inputs}, {out.pointer(x)}, {out.pointer(y)});")


def _per_channel(
    out: Emission, name: str, packed: np.ndarray, bias: np.ndarray, multiplier: np.ndarray, groups: int
) -> dict[str, str]:
    """The arrays of a layer, written out, as fields of its structure."""
    weights = out.array("uint64_t", f"{name}_weights", words_of(packed), "eight int8 a word, the first in the low byte")
    return {
        "weights": f"(const int8_t *){weights}",
        "bias": out.array("int32_t", f"{name}_bias", pack_per_channel(bias, groups)),
        "multiplier": out.array("float", f"{name}_multiplier", pack_per_channel(multiplier, groups)),
    }

"""Weights and biases as integers: Brevitas chooses the scales, this file lowers them to `IntegerTensor`."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .codes import IntegerTensor

_INT32_ROOM = 2.0**30  # half of int32: the accumulator must hold the bias and the products


def largest_weight_code(bits: int) -> int:
    """Weight codes of `bits` bits span ± this: 127 for 8 bits, 7 for 4, 1 for 2 (with zero) and for 1 (without)."""
    return max((1 << (bits - 1)) - 1, 1)


def quantize_weight(weight: Tensor, axis: int, least_scale: Tensor | None = None, bits: int = 8) -> IntegerTensor:
    """Symmetric codes with one scale per output channel.

    8 bits take the scale of the largest weight, 2 to 7 bits the one of least squared error, both from Brevitas; 1 bit
    takes the mean magnitude, which has the least squared error for signs (Rastegari et al., XNOR-Net, eq. 6).

    Args:
        weight: float, any rank; channels along `axis`.
        least_scale: (channels,) floor of the scales, which keeps int32 biases from overflowing.
    """
    rows = weight.movedim(axis, 0).reshape(weight.shape[axis], -1)
    with torch.no_grad():
        scale = rows.abs().mean(1).float() if bits == 1 else _brevitas_scale(rows, bits)
        if least_scale is not None:
            scale = torch.maximum(scale, least_scale.float())
        # A channel of zeros has no scale of its own; that of the others gives its bias the same resolution as theirs.
        some = scale[scale > 1e-12]
        scale = torch.where(scale > 1e-12, scale, some.median() if len(some) else 1.0)
    return weight_codes(weight, scale, axis, bits)


def weight_codes(weight: Tensor, scale: Tensor, axis: int, bits: int) -> IntegerTensor:
    """The codes of a weight at given scales, one per channel."""
    shape = [1] * weight.ndim
    shape[axis] = -1
    with torch.no_grad():
        if bits == 1:
            codes = torch.where(weight >= 0, 1, -1).to(torch.int8)
        else:
            most = largest_weight_code(bits)
            codes = torch.round(weight / scale.reshape(shape)).clamp(-most, most).to(torch.int8)
    return IntegerTensor(codes.numpy(), scale.detach().numpy(), np.zeros(len(scale), dtype=np.int32), axis)


def _brevitas_scale(rows: Tensor, bits: int) -> Tensor:
    from brevitas.nn import QuantLinear

    layer = QuantLinear(rows.shape[1], rows.shape[0], bias=False, weight_quant=_weight_quantizer(bits))
    layer.eval()
    layer.weight.copy_(rows)
    return layer.quant_weight().scale.flatten().float()


@cache
def _weight_quantizer(bits: int) -> Any:
    from brevitas.quant import Int8WeightPerChannelFloat, Int8WeightPerChannelFloatMSE

    if bits == 8:
        return Int8WeightPerChannelFloat
    return Int8WeightPerChannelFloatMSE.let(bit_width=bits)


def least_weight_scale(bias: Tensor, input_scale: float) -> Tensor:
    """The smallest weight scale per channel whose bias code `b / (s_x s_w)` stays inside half of int32."""
    return bias.abs() / (input_scale * _INT32_ROOM)


def quantize_bias(bias: Tensor, input_scale: float, weight: IntegerTensor) -> IntegerTensor:
    """int32 codes at scale s_x * s_w, per channel, the form that every integer kernel adds to its accumulator."""
    scale = (np.float32(input_scale) * weight.scale).astype(np.float32)
    codes = np.round(bias.detach().double().numpy() / scale.astype(np.float64))
    codes = np.clip(codes, -(2**31) + 1, 2**31 - 1).astype(np.int32)
    return IntegerTensor(codes, scale, np.zeros(len(scale), dtype=np.int32), 0)


def quantize_constant(value: Tensor) -> IntegerTensor:
    """A constant operand of integer arithmetic, symmetric int8, one scale; a number c is the code ±1 of scale |c|."""
    largest = float(value.abs().max())
    steps = 1 if value.numel() == 1 else 127
    scale = np.float32(largest / steps) if largest > 0 else np.float32(1.0)
    codes = np.clip(np.round(value.double().numpy() / np.float64(scale)), -127, 127).astype(np.int8)
    return IntegerTensor(codes, np.asarray(scale, dtype=np.float32), np.asarray(0, dtype=np.int32), None)

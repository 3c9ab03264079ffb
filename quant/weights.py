"""Weights and biases as integers: Brevitas chooses the scales, this file lowers them to `IntegerTensor`."""

import numpy as np
import torch
from torch import Tensor

from .codes import IntegerTensor

_INT32_ROOM = 2.0**30  # half of int32: the accumulator must hold the bias and the products


def quantize_weight(weight: Tensor, axis: int, least_scale: Tensor | None = None) -> IntegerTensor:
    """Symmetric int8 codes in [-127, 127] with one scale per output channel, chosen by Brevitas.

    Args:
        weight: float, any rank; channels along `axis`.
        least_scale: (channels,) floor of the scales, which keeps int32 biases from overflowing.
    """
    from brevitas.nn import QuantLinear
    from brevitas.quant import Int8WeightPerChannelFloat

    rows = weight.movedim(axis, 0).reshape(weight.shape[axis], -1)
    layer = QuantLinear(rows.shape[1], rows.shape[0], bias=False, weight_quant=Int8WeightPerChannelFloat)
    layer.eval()
    with torch.no_grad():
        layer.weight.copy_(rows)
        scale = layer.quant_weight().scale.flatten().float()
        if least_scale is not None:
            scale = torch.maximum(scale, least_scale.float())
        # A channel of zeros has no scale of its own; any will do.
        scale = torch.where(scale > 1e-12, scale, torch.ones_like(scale))
        shape = [1] * weight.ndim
        shape[axis] = -1
        codes = torch.round(weight / scale.reshape(shape)).clamp(-127, 127).to(torch.int8)
    zero_point = np.zeros(len(scale), dtype=np.int32)
    return IntegerTensor(codes.numpy(), scale.numpy(), zero_point, axis)


def least_weight_scale(bias: Tensor, input_scale: float) -> Tensor:
    """The smallest weight scale per channel whose bias code `b / (s_x s_w)` stays inside half of int32."""
    return bias.abs() / (input_scale * _INT32_ROOM)


def quantize_bias(bias: Tensor, input_scale: float, weight: IntegerTensor) -> IntegerTensor:
    """int32 codes at scale s_x * s_w, per channel, the form that every integer kernel adds to its accumulator."""
    scale = (np.float32(input_scale) * weight.scale).astype(np.float32)
    codes = np.round(bias.double().numpy() / scale.astype(np.float64))
    codes = np.clip(codes, -(2**31) + 1, 2**31 - 1).astype(np.int32)
    return IntegerTensor(codes, scale, np.zeros(len(scale), dtype=np.int32), 0)


def quantize_constant(value: Tensor) -> IntegerTensor:
    """A constant operand of integer arithmetic, symmetric int8, one scale; a number c is the code ±1 of scale |c|."""
    largest = float(value.abs().max())
    steps = 1 if value.numel() == 1 else 127
    scale = np.float32(largest / steps) if largest > 0 else np.float32(1.0)
    codes = np.clip(np.round(value.double().numpy() / np.float64(scale)), -127, 127).astype(np.int8)
    return IntegerTensor(codes, np.asarray(scale, dtype=np.float32), np.asarray(0, dtype=np.int32), None)

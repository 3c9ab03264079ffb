"""Fake quantizers with learned scales, put together from Brevitas' parts, each readable as the numbers it trained to.

Training runs Brevitas' arithmetic. Evaluation runs the operators of the program that the numbers are lowered to: both
give the same codes but where a value lies, within float rounding, half-way between two.
"""

import numpy as np
import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.core.function_wrapper import Identity, RoundSte
from brevitas.core.quant import IntQuant, RescalingIntQuant
from brevitas.core.restrict_val import LogFloatRestrictValue
from brevitas.core.scaling import ConstScaling, IntScaling, ParameterScaling
from brevitas.core.zero_point import ZeroZeroPoint
from brevitas.function.ops_ste import round_ste
from torch import Tensor, nn

from ..affine import Affine
from ..coding import Edge
from ..program import DEQUANTIZE, QUANTIZE
from ..quantize import sign_edge
from ..weights import largest_weight_code, quantize_constant
from .signs import sign

_SHIFT_ROOM = 63  # whole steps of the 8-bit value that a sign's shift may span


def fake_quantize(x: Tensor, affine: Affine) -> Tensor:
    """A value rounded to its codes and back, as the program does it."""
    form = (affine.scale, affine.zero_point, affine.qmin, affine.qmax, torch.int8)
    return DEQUANTIZE(QUANTIZE(x, *form), *form)


class _CodeLimits(nn.Module):
    """Clamps codes counted from the zero point, (code - zero point), to the limits of the codes.

    So a value is rounded before the zero point is added, as in the program: `round(x / scale) + zero_point`. The zero
    point is the one that calibration found, so that a ReLU keeps its zero at the lowest code.
    """

    zero_point: Tensor

    def __init__(self, affine: Affine):
        super().__init__()
        self.limits = affine.qmin, affine.qmax
        self.register_buffer("zero_point", torch.tensor(float(affine.zero_point)))

    def forward(self, x: Tensor, min_val: Tensor, max_val: Tensor) -> Tensor:
        low, high = (limit - self.zero_point for limit in self.limits)
        return x.clamp(low, high)


class ValueQuantizer(nn.Module):
    """Affine fake quantization of an activation, (any shape) to the same shape.

    The scale is learned in the log domain (Esser et al., Learned Step Size Quantization, ICLR 2020; Jain et al., TQT),
    so that an optimizer's step changes it by a share of itself. A form that kernels prescribe is not learned.
    """

    def __init__(self, affine: Affine, learned: bool = True):
        super().__init__()
        bits = (affine.qmax - affine.qmin).bit_length()
        threshold = torch.tensor(affine.scale * 2.0 ** (bits - 1))  # Brevitas divides by the same power of two
        scaling = (
            ParameterScaling(threshold, restrict_scaling_impl=LogFloatRestrictValue())
            if learned
            else ConstScaling(threshold)
        )
        self.codes = _CodeLimits(affine)
        self.quant = RescalingIntQuant(
            IntQuant(
                narrow_range=False,
                signed=True,
                input_view_impl=Identity(),
                float_to_int_impl=RoundSte(),
                tensor_clamp_impl=self.codes,
            ),
            scaling,
            IntScaling(signed=True, narrow_range=False),
            ZeroZeroPoint(),
            BitWidthConst(bits),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.quant(x)[0] if self.training else fake_quantize(x, self.affine())

    def scale(self) -> Tensor:
        """The step, a scalar with its gradient."""
        return self.quant(torch.zeros(1))[1].reshape(())

    def affine(self) -> Affine:
        """What it trained to."""
        return Affine(float(self.scale().detach()), int(self.codes.zero_point), *self.codes.limits)

    def edge(self) -> Edge:
        return Edge(self.affine())

    def sign_width(self) -> float:
        """A quarter of the range: about two standard deviations of a bell curve that fills it."""
        affine = self.affine()
        return (affine.high - affine.low) / 4


class SignQuantizer(nn.Module):
    """±1 of an 8-bit value with a learned shift per channel (ReActNet's RSign), by default (B, C, H, W) to the same.

    Args:
        edge: the shift to begin with.
        value: quantizer of the 8-bit value, whose step the shift is a whole number of, plus half a step.
        width: where the estimator's slope ends, in units of the value.
        axis: which dimension holds the channels.
    """

    def __init__(self, edge: Edge, value: ValueQuantizer, width: float, rank: int, axis: int, estimator: str):
        super().__init__()
        assert edge.shift is not None
        steps = torch.from_numpy((edge.shift.astype(np.float32) - 1) / 2)
        self.shift = nn.Parameter(steps.flatten() * float(value.scale().detach()))
        self.value = [value]  # in a list: not a part of this module, and copied along with it
        self.register_buffer("width", torch.tensor(width))
        self.rank, self.axis, self.estimator = rank, axis, estimator
        self.shape = steps.shape

    def forward(self, x: Tensor) -> Tensor:
        scale = self.value[0].scale()
        steps = round_ste(self.shift / scale).clamp(-_SHIFT_ROOM, _SHIFT_ROOM) + 0.5
        return sign((x + (steps * scale).reshape(self.shape)) / self.width, self.estimator)

    def edge(self) -> Edge:
        """What it trained to."""
        return sign_edge(self.shift, self.value[0].affine(), self.rank, self.axis)


class WeightQuantizer(nn.Module):
    """Symmetric fake quantization of a weight to 2 to 8 bits, one learned scale a channel along `axis`."""

    def __init__(self, scale: Tensor, rank: int, axis: int, bits: int):
        super().__init__()
        shape = [1] * rank
        shape[axis] = -1
        threshold = (scale * largest_weight_code(bits)).reshape(shape)
        self.quant = RescalingIntQuant(
            IntQuant(narrow_range=True, signed=True, input_view_impl=Identity(), float_to_int_impl=RoundSte()),
            ParameterScaling(threshold, tuple(threshold.shape), restrict_scaling_impl=LogFloatRestrictValue()),
            IntScaling(signed=True, narrow_range=True),
            ZeroZeroPoint(),
            BitWidthConst(bits),
        )

    def forward(self, weight: Tensor) -> Tensor:
        return self.quant(weight)[0]

    def scale(self, weight: Tensor) -> Tensor:
        """(channels,) steps."""
        return self.quant(weight)[1].flatten()


class SignWeightQuantizer(nn.Module):
    """±1 times each channel's mean magnitude (Rastegari et al., XNOR-Net, ECCV 2016, eq. 6).

    The gradient passes to weights within ±1; the latent weights are kept there (`clip_latent`).
    """

    def __init__(self, axis: int, estimator: str):
        super().__init__()
        self.axis, self.estimator = axis, estimator

    def forward(self, weight: Tensor) -> Tensor:
        shape = [1] * weight.ndim
        shape[self.axis] = -1
        return sign(weight, self.estimator) * self.scale(weight).detach().reshape(shape)

    def scale(self, weight: Tensor) -> Tensor:
        """(channels,) mean magnitudes."""
        magnitudes = weight.abs().movedim(self.axis, 0).flatten(1).mean(1)
        return torch.where(magnitudes > 1e-12, magnitudes, torch.ones_like(magnitudes))


class ConstantQuantizer(nn.Module):
    """A trained operand of arithmetic in symmetric int8 with one scale, that of its largest magnitude.

    `origin` is its name in the captured graph.
    """

    def __init__(self, value: Tensor, origin: str):
        super().__init__()
        self.origin = origin
        self.value = nn.Parameter(value.clone())

    def forward(self) -> Tensor:
        if not self.training:
            return torch.from_numpy(quantize_constant(self.value.detach()).dequantize())
        steps = 1 if self.value.numel() == 1 else 127
        scale = self.value.detach().abs().max() / steps
        if float(scale) == 0:
            return self.value
        return round_ste(self.value / scale) * scale

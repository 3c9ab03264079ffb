"""A convolution or linear layer in training for its integers, with the batch norm that will be folded into it.

The weight is quantized before the norm. Per-channel scales take the norm's factor exactly, whatever it is, so folding
changes no code: scale_folded = scale * |factor|, a negative factor flips the signs of the channel's codes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..codes import IntegerTensor
from ..folding import Norm
from ..weights import least_weight_scale, quantize_bias, weight_codes
from .quantizers import SignQuantizer, SignWeightQuantizer, ValueQuantizer, WeightQuantizer

_NORM_MOMENTUM = 0.1


class QuantizedLayer(nn.Module):
    """What a convolution or linear operator becomes: quantized input to a float output, shapes as the operator's.

    Args:
        operator: ATen operator, called as operator(x, weight, bias, *options).
        weight, bias: before the norm, if there is one.
        norm: the batch norm behind the operator, or None.
        axis: output channels of the weight.
        bits: of the weight.
        source: quantizer of the input.

    While `norm_frozen` is False and the module trains, the norm takes each batch's own statistics. In evaluation the
    layer computes with the very integers that it is lowered to.
    """

    mean: Tensor
    variance: Tensor
    epsilon: float

    def __init__(
        self,
        operator: Callable[..., Tensor],
        options: tuple[Any, ...],
        weight: Tensor,
        bias: Tensor | None,
        norm: Norm | None,
        axis: int,
        bits: int,
        quantizer: WeightQuantizer | SignWeightQuantizer,
        source: ValueQuantizer | SignQuantizer,
    ):
        super().__init__()
        self.operator, self.options, self.axis, self.bits = operator, options, axis, bits
        self.weight = nn.Parameter(weight.clone())
        self.bias = None if bias is None else nn.Parameter(bias.clone())
        self.has_norm = norm is not None
        if norm is not None:
            self.gain, self.offset = nn.Parameter(norm.gain.clone()), nn.Parameter(norm.offset.clone())
            self.register_buffer("mean", norm.mean.clone())
            self.register_buffer("variance", norm.variance.clone())
            self.epsilon = norm.epsilon
        self.quantizer = quantizer
        self.source = [source]  # in a list: not a part of this module, and copied along with it
        self.norm_frozen = False
        self.weight_quantized = True

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            codes, bias_codes = self.integers()
            real = torch.from_numpy(codes.dequantize()) * self._unit()
            return self._operate(x, real, None if bias_codes is None else torch.from_numpy(bias_codes.dequantize()))
        weight = self.quantizer(self.weight) if self.weight_quantized else self.weight
        if not self.has_norm:
            return self._operate(x, weight, self.bias)
        if not self.norm_frozen:
            return self._normalised(self._operate(x, weight, self.bias))
        factor, bias = self._folding()
        return self._operate(x, weight * self._along(factor), bias)

    def integers(self) -> tuple[IntegerTensor, IntegerTensor | None]:
        """Weight and bias as the program holds them, the norm folded in."""
        with torch.no_grad():
            scale = self.quantizer.scale(self.weight).float()
            codes = torch.from_numpy(weight_codes(self.weight, scale, self.axis, self.bits).codes).float()
            bias: Tensor | None = self.bias
            if self.has_norm:
                factor, bias = self._folding()
                codes, scale = codes * self._along(torch.where(factor < 0, -1.0, 1.0)), scale * factor.abs()
            scale = scale / self._unit()
            input_scale = self._input_scale()
            if bias is not None:
                codes, scale = self._with_room(codes, scale, least_weight_scale(bias, input_scale))
            empty = scale <= 1e-12  # a channel whose norm has no gain
            codes = torch.where(self._along(empty), 0.0, codes) if self.bits > 1 else codes
            scale = torch.where(empty, torch.full_like(scale, 1e-12), scale)
        zeros = np.zeros(len(scale), dtype=np.int32)
        weight = IntegerTensor(codes.to(torch.int8).numpy(), scale.numpy(), zeros, self.axis)
        return weight, None if bias is None else quantize_bias(bias, input_scale, weight)

    def clip_latent(self) -> None:
        """Keeps the real weights behind ±1 ones within ±1, where their estimator has a gradient."""
        if self.bits == 1:
            with torch.no_grad():
                self.weight.clamp_(-1, 1)

    def _with_room(self, codes: Tensor, scale: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        """Coarser steps where the bias would overflow: there the weights are next to nothing beside it."""
        widened = torch.maximum(scale, least)
        if self.bits > 1:
            codes = torch.round(codes * self._along(scale / widened))
        return codes, widened

    def _folding(self) -> tuple[Tensor, Tensor]:
        """(channels,) factor and bias that the norm comes to with its kept statistics."""
        factor = self.gain * (self.variance + self.epsilon).rsqrt()
        bias = torch.zeros_like(self.mean) if self.bias is None else self.bias
        return factor, (bias - self.mean) * factor + self.offset

    def _normalised(self, y: Tensor) -> Tensor:
        return functional.batch_norm(
            y, self.mean, self.variance, self.gain, self.offset, True, _NORM_MOMENTUM, self.epsilon
        )

    def _along(self, channels: Tensor) -> Tensor:
        shape = [1] * self.weight.ndim
        shape[self.axis] = -1
        return channels.reshape(shape)

    def _operate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self.operator(x, weight, bias, *self.options)

    def _unit(self) -> float:
        """What the program's ±1 inputs are multiplied by: half a step of the value whose sign they are."""
        return self._input_scale() if isinstance(self.source[0], SignQuantizer) else 1.0

    def _input_scale(self) -> float:
        source = self.source[0]
        return source.edge().affine.scale if isinstance(source, SignQuantizer) else source.affine().scale

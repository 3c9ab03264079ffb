"""`feedback-alignment`: back-propagation through fixed random weights in place of the transposed ones.

Lillicrap et al., "Random synaptic feedback weights support error backpropagation for deep learning", Nature
Communications 7, 2016 (arXiv 1411.0247). What a layer passes back does not depend on its weights.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import BadInput
from ..objectives import Batch
from . import LearningRule, Setup
from .descent import Descent, DescentLearner

_LAYERS = (nn.Linear, nn.Conv2d)


@dataclass(frozen=True)
class FeedbackAlignment(LearningRule):
    """Linear layers and convolutions that pass errors back by weights of their own; the rest as ever."""

    name = "feedback-alignment"
    source = "Lillicrap et al., Random synaptic feedback weights, Nature Communications 7 (2016), arXiv 1411.0247"
    trains = "networks whose matrices and kernels are Linear and Conv2d layers"

    def learner(self, setup: Setup) -> "FeedbackAlignmentLearner":
        """Takes a network on.

        Raises:
            BadInput: a matrix is held by another kind of layer, which would pass errors back by its own weights.
        """
        for name, layer in setup.module.named_modules():
            matrices = [p for p in layer.parameters(recurse=False) if sum(side > 1 for side in p.shape) > 1]
            if matrices and not (isinstance(layer, _LAYERS) and _is_plain(layer)):
                raise BadInput(
                    f"--rule {self.name}: {name or 'the network'} is a {type(layer).__name__}, which has no other way "
                    "back than its own weights; train it by back-propagation"
                )
        setup.refuse_companion(self.name)
        return FeedbackAlignmentLearner(setup)


class FeedbackAlignmentLearner(DescentLearner):
    """Descent along what arrives through fixed weights; those of the first layer are never needed."""

    def __init__(self, setup: Setup):
        self._module, self._objective = setup.module, setup.objective
        self.layers = [layer for layer in setup.module.modules() if isinstance(layer, _LAYERS)]
        self.feedback = nn.ParameterList([_drawn_like(layer.weight) for layer in self.layers]).requires_grad_(False)
        super().__init__(Descent({"forward": setup.module}, setup.recipe, setup.module), {"feedback": self.feedback})

    def learn(self, batch: Batch, rate: float) -> float:
        with _passing_back(self.layers, self.feedback):
            return self.descent.down(rate, lambda: self._objective.loss(self._module, None, batch).loss)


def _is_plain(layer: nn.Module) -> bool:
    return not isinstance(layer, nn.Conv2d) or layer.padding_mode == "zeros"


def _drawn_like(weight: Tensor) -> Tensor:
    """Weights of the size that a layer's first ones have."""
    drawn = torch.empty_like(weight, requires_grad=False)
    nn.init.kaiming_uniform_(drawn, a=5**0.5)
    return drawn


@contextmanager
def _passing_back(layers: Sequence[Any], feedback: Iterable[Tensor]) -> Iterator[None]:
    """Inside, the layers compute what they always do, and pass errors back by the other weights."""
    try:
        for layer, weights in zip(layers, feedback):
            layer.forward = _forward_of(layer, weights)
        yield
    finally:
        for layer in layers:
            layer.__dict__.pop("forward", None)


def _forward_of(layer: Any, feedback: Tensor) -> Any:
    if isinstance(layer, nn.Linear):
        return lambda x: _AlignedLinear.apply(x, layer.weight, layer.bias, feedback)
    settings = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return lambda x: _AlignedConvolution.apply(x, layer.weight, layer.bias, feedback, settings)


class _AlignedLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(x, feedback)
        ctx.has_bias = bias is not None
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        x, feedback = ctx.saved_tensors
        flat = error.reshape(-1, error.shape[-1])
        back = error @ feedback if ctx.needs_input_grad[0] else None
        weight = flat.T @ x.reshape(-1, x.shape[-1])
        return back, weight, flat.sum(0) if ctx.has_bias else None, None


class _AlignedConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor, settings: Any) -> Tensor:
        ctx.save_for_backward(x, feedback)
        ctx.settings, ctx.has_bias = settings, bias is not None
        return functional.conv2d(x, weight, bias, *settings)

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        x, feedback = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.settings
        if isinstance(padding, str):
            raise BadInput(f"--rule feedback-alignment: padding {padding} is not given in pixels; give it as numbers")
        wanted = (ctx.needs_input_grad[0], True, ctx.has_bias)
        biases = [len(feedback)] if ctx.has_bias else None
        back, weight, bias = torch.ops.aten.convolution_backward(
            error, x, feedback, biases, stride, padding, dilation, False, [0, 0], groups, wanted
        )
        return back, weight, bias, None, None


RULES = (FeedbackAlignment,)

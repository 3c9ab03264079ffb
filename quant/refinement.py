"""Mends the integers of a quantization layer by layer: learned rounding of weights, then the correction of biases.

Both are done in the order of the graph and on the quantized graph: a layer reads what the layers before it, already
mended, really give, and is held to what the float network computes there (`sweep`).

Bias correction puts the mean difference between the float layer's and the quantized layer's outputs, channel by
channel, into the bias (Nagel et al., Data-Free Quantization, ICCV 2019, section 4.2, empirical form). A layer without a
bias gets none, so that programs keep their form.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .bits import LayerBits
from .codes import IntegerTensor
from .coding import Coding
from .moments import Moments, grouped, moments_of
from .placement import Placement, activation_inputs
from .rounding import learned_codes
from .scheme import Scheme
from .sweep import LayerRun, sweep
from .weights import largest_weight_code, quantize_bias


def refine(
    module: GraphModule,
    plan: Placement,
    bits: dict[Node, LayerBits],
    coding: Coding,
    samples: Sequence[tuple[Tensor, ...]],
    scheme: Scheme,
) -> None:
    """Changes the weights and biases in `coding` as the scheme's `rounding` and `correct_bias` ask."""

    def mend(run: LayerRun) -> None:
        node, chosen = run.node, bits[run.node]
        moments = moments_of(node, run.inputs, run.wanted)
        if moments is None:
            return
        if scheme.rounding == "learned" and chosen.weight > 1:
            coding.weights[node.name] = _rounded(node, coding.weights[node.name], chosen.weight, moments)
        bias = coding.biases[node.name]
        if scheme.correct_bias and bias is not None:
            source = activation_inputs(node, plan.rules[node])[0].name
            wanted = _corrected(node, coding.weights[node.name], moments)
            scale = coding.input_scale(source, chosen.activation)
            coding.biases[node.name] = quantize_bias(wanted, scale, coding.weights[node.name])

    sweep(module, plan, bits, coding, samples, mend)


def _rounded(node: Node, weight: IntegerTensor, bits: int, moments: Moments) -> IntegerTensor:
    nearest = grouped(node, torch.from_numpy(weight.codes))
    scale = torch.from_numpy(weight.scale).reshape(nearest.shape[:2])
    codes = learned_codes(nearest, scale, largest_weight_code(bits), moments)
    return IntegerTensor(
        codes.reshape(weight.codes.shape).numpy().astype(np.int8), weight.scale, weight.zero_point, weight.axis
    )


def _corrected(node: Node, weight: IntegerTensor, moments: Moments) -> Tensor:
    """The bias, (out,), with which the quantized layer has the float layer's mean in every channel."""
    rows = grouped(node, torch.from_numpy(weight.dequantize())).double()
    means = (rows @ moments.inputs.unsqueeze(2)).squeeze(2)
    return (moments.wanted - means).flatten().float()

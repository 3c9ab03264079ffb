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
from .graph import is_constant
from .moments import Moments, grouped, moments_of, steadied
from .placement import Placement, activation_inputs
from .rescale import channel_axis
from .rounding import best_steps, learned_codes
from .scheme import Scheme
from .sweep import LayerRun, sweep
from .weights import largest_weight_code, least_weight_scale, quantize_bias

_FLOAT_BITS = 32  # of a float weight


def refine(
    module: GraphModule,
    plan: Placement,
    bits: dict[Node, LayerBits],
    coding: Coding,
    samples: Sequence[tuple[Tensor, ...]],
    scheme: Scheme,
) -> None:
    """Changes the weights and biases in `coding` as the scheme's `rounding` and `correct_bias` ask."""

    sweep(module, plan, bits, coding, samples, lambda run: mend_layer(run, bits[run.node], coding, plan, scheme))


def mend_layer(run: LayerRun, chosen: LayerBits, coding: Coding, plan: Placement, scheme: Scheme) -> None:
    """The same for the layer of a run, of so many bits."""
    node, bias = run.node, run.bias
    input_scale = coding.input_scale(activation_inputs(node, plan.rules[node])[0].name, chosen.activation)
    if scheme.rounding == "learned" and chosen.weight > 1 and not _is_held_once(node, chosen.weight):
        moments = moments_of(node, run.inputs, run.wanted)
        if moments is not None:
            floor = None if bias is None else least_weight_scale(bias, input_scale)
            coding.weights[node.name] = _learned(run, coding.weights[node.name], chosen.weight, floor, moments)
    if bias is not None:
        if scheme.correct_bias:
            bias = bias.double() + _mean_error(run, coding.weights[node.name], bias)
        coding.biases[node.name] = quantize_bias(bias, input_scale, coding.weights[node.name])


def _is_held_once(node: Node, bits: int) -> bool:
    """Whether so many layers read this weight that codes for each would take more room than the float weight does.

    Its codes stay the nearest then, and lowering holds them once.
    """
    name = node.args[1].target
    layers = [n for n in node.graph.nodes if n.op == "call_function" and len(n.args) > 1 and is_constant(n.args[1])]
    return sum(layer.args[1].target == name for layer in layers) * bits > _FLOAT_BITS


def _learned(run: LayerRun, coded: IntegerTensor, bits: int, floor: Tensor | None, moments: Moments) -> IntegerTensor:
    """Steps (below 8 bits) and codes of a weight; `floor` are the least steps, (out,)."""
    most, rows = largest_weight_code(bits), grouped(run.node, run.weight.float())
    steps, moments = torch.from_numpy(coded.scale).reshape(rows.shape[:2]), steadied(moments, rows)
    if bits < 8:
        steps = best_steps(rows, steps, most, moments)
        steps = steps if floor is None else torch.maximum(steps, floor.float().reshape(steps.shape))
    nearest = torch.round(rows / steps.unsqueeze(2)).clamp(-most, most)
    codes = learned_codes(nearest, steps, most, moments).reshape(run.weight.shape)
    return IntegerTensor(codes.numpy().astype(np.int8), steps.flatten().numpy(), coded.zero_point, coded.axis)


def _mean_error(run: LayerRun, weight: IntegerTensor, bias: Tensor) -> Tensor:
    """By how much the float layer's outputs lie above the quantized layer's, (out,), float64."""
    node, axis = run.node, channel_axis(run.node)
    operands = torch.from_numpy(weight.dequantize()), bias.float()
    errors = []
    for x, wanted in zip(run.inputs, run.wanted):
        error = wanted - node.target(x, *operands, *node.args[3:])
        errors.append(error.double().movedim(axis, 0).flatten(1).mean(1))
    return torch.stack(errors).mean(0)

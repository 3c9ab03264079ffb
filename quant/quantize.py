"""Post-training quantization: from a captured float network and real samples to its `QuantizedProgram`."""

import copy
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ..errors import OfframpWarning
from .affine import Affine, affine_of_range
from .bits import LayerBits, layer_bits
from .calibration import choose_range
from .capture import Captured
from .coding import Coding, Edge
from .equalize import equalize
from .graph import bias_of, constant_of, module_path
from .lowering import lower
from .observe import Observed, channel_means, observe
from .placement import Placement, activation_inputs, place
from .program import QuantizedProgram
from .refinement import refine
from .scheme import Scheme
from .smooth import smooth
from .threads import one_thread
from .weights import least_weight_scale, quantize_bias, quantize_weight

_SHIFT_ROOM = 63  # steps of the 8-bit value by which a sign may be shifted: its odd code is within ±127


def quantize(captured: Captured, samples: Sequence[tuple[Tensor, ...]], scheme: Scheme) -> QuantizedProgram:
    """Post-training quantization.

    Args:
        captured: the float network; it is not changed.
        samples: real inputs, one sample each; at most `scheme.samples` of them are read.
        scheme: bits, calibration and what stays in float.

    Raises:
        BadInput: the samples do not fit the network, or a value is not finite on them.
    """
    module, samples = copy.deepcopy(captured.module), samples[: scheme.samples]
    with one_thread():
        if scheme.smooth is not None:
            smooth(module, samples, scheme.smooth)
        if scheme.equalize:
            equalize(module)
    plan = place(module, scheme.keep_float)
    bits = layer_bits(module, plan, scheme)
    coding = calibrate(module, plan, bits, samples, scheme)
    if scheme.rounding == "learned" or scheme.correct_bias:
        with one_thread():
            refine(module, plan, bits, coding, samples, scheme)
    return lower(captured, module, plan, bits, coding, scheme)


def calibrate(
    module: GraphModule,
    plan: Placement,
    bits: dict[Node, LayerBits],
    samples: Sequence[tuple[Tensor, ...]],
    scheme: Scheme,
) -> Coding:
    """The coding that samples suggest: ranges of values, edges and weights."""
    names = {node.name for node in plan.groups}
    few = {(activation_inputs(node, plan.rules[node])[0], chosen.activation) for node, chosen in bits.items()}
    few = {(source, count) for source, count in few if count < 8}
    with one_thread():
        seen = observe(module, samples, names, histograms=scheme.calibration != "minmax")
        means = channel_means(module, samples, {source.name: _channel_axis(source) for source, n in few if n == 1})
    _warn_of_silence(module, plan, seen)
    coding = Coding(_affines(plan, seen, scheme))
    for source, count in few:
        value = coding.values[source.name]
        edge = (
            _sign_edge(means[source.name], value, source)
            if count == 1
            else Edge(affine_of_range(*choose_range(seen[source.name], scheme, count), count))
        )
        coding.edges[source.name, count] = edge
    for node, chosen in bits.items():
        source = activation_inputs(node, plan.rules[node])[0]
        scale = coding.input_scale(source.name, chosen.activation)
        _quantize_weights(module, node, scale, plan.rules[node].channel_axis, chosen.weight, coding)
    return coding


def _warn_of_silence(module: GraphModule, plan: Placement, seen: dict[str, Observed]) -> None:
    """Tells of values that calibration never saw other than zero: they get codes for ±1, which is a guess."""
    silent = [node for node in plan.groups if seen[node.name].low == seen[node.name].high == 0]
    if silent:
        named = ", ".join(f"{node.name} ({module_path(node) or 'the network itself'})" for node in silent)
        warnings.warn(
            f"always zero on the calibration samples: {named}; give samples that reach it, or look for a dead layer",
            OfframpWarning,
            stacklevel=4,
        )


def _affines(plan: Placement, seen: dict[str, Observed], scheme: Scheme) -> dict[str, Affine]:
    """The affine map of every quantized value; a group spans the ranges of all its members."""
    affines = {}
    for first, members in plan.members().items():
        ranges = [choose_range(seen[member.name], scheme) for member in members]
        affine = plan.fixed.get(first) or affine_of_range(min(r[0] for r in ranges), max(r[1] for r in ranges))
        affines.update(dict.fromkeys((member.name for member in members), affine))
    return affines


def _channel_axis(value: Node) -> int:
    """Where the channels of a layer's input stand: before two or one spatial dimensions, or last."""
    readers = {user.target for user in value.users}
    return -1 if torch.ops.aten.linear.default in readers else 1


def _sign_edge(means: Tensor, value: Affine, source: Node) -> Edge:
    """Takes the sign around each channel's mean, so that the sign of a value that is never negative says something."""
    return sign_edge(-means, value, source.meta["val"].ndim, _channel_axis(source))


def sign_edge(shift: Tensor, value: Affine, rank: int, axis: int) -> Edge:
    """The edge `sign(x + shift)` of an 8-bit value.

    Args:
        shift: real, one a channel; rounded to whole steps of the value plus half a step.
        rank, axis: number of dimensions of the value, and which of them holds its channels.
    """
    steps = np.round(shift.detach().double().numpy() / value.scale)
    codes = (2 * np.clip(steps, -_SHIFT_ROOM, _SHIFT_ROOM) + 1).astype(np.int8)
    trailing = 0 if axis == -1 else rank - axis - 1
    scale = float(np.float32(value.scale) / np.float32(2))
    return Edge(Affine(scale, 0, -1, 1), codes.reshape(-1, *[1] * trailing))


def _quantize_weights(
    module: GraphModule, node: Node, input_scale: float, axis: int, bits: int, coding: Coding
) -> None:
    weight_node, bias = node.args[1], bias_of(module, node)
    assert isinstance(weight_node, Node)
    floor = None if bias is None else least_weight_scale(bias, input_scale)
    weight = quantize_weight(constant_of(module, weight_node).float(), axis, floor, bits)
    coding.weights[node.name] = weight
    coding.biases[node.name] = None if bias is None else quantize_bias(bias, input_scale, weight)

"""Folds what stands between a ±1 convolution and the next sign into one integer threshold per channel.

A ±1 layer adds up an integer a, from -K to K for K products. Batch norm, requantization and every function of one value
behind it keep order, so the sign that comes out is +1 exactly where a >= T, for one T a channel. An engine that packs
signs into bits compares its popcount p of K bits, a = K - 2 p, and writes the next bits; the 8-bit value between is
never made. T is found by running the program's own operators on every a, so it agrees with them to the last rounding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from .program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, QuantizedProgram

aten = torch.ops.aten

_WEIGHTED = {aten.conv1d.default, aten.conv2d.default, aten.linear.default}
_ONE_VALUE = {
    QUANTIZE,
    DEQUANTIZE,
    aten.clamp.default,
    aten.hardtanh.default,
    aten.relu.default,
    aten.relu6.default,
    aten.prelu.default,
    aten.leaky_relu.default,
    aten.add.Tensor,
    aten.sub.Tensor,
}


@dataclass(frozen=True)
class Threshold:
    """One ±1 layer that ends in a sign.

    Attributes:
        layer: value of the layer that adds up.
        sign: value of the sign's codes.
        products: K, how many ±1 products a sum has at most (fewer where zeros pad it).
        at_least: (channels,) int32: the sign is +1 where the sum is at least this; K + 1 for never, -K for always.
    """

    layer: str
    sign: str
    products: int
    at_least: np.ndarray


def thresholds_of(program: QuantizedProgram) -> tuple[Threshold, ...]:
    """Every ±1 layer whose only way on is a sign, with its thresholds; in the order of the graph."""
    state = _Constants(program)
    found = []
    for node in program.program.graph.nodes:
        if node.target is QUANTIZE and tuple(node.args[3:5]) == (-1, 1):
            chain = _chain_before(node, state)
            if chain is not None and _is_signs(chain[0], state):
                found.append(_threshold(chain, state))
    return tuple(found)


class _Constants:
    """The tensors behind a program's inputs that are none of the user's."""

    def __init__(self, program: QuantizedProgram):
        signature = program.program.graph_signature
        names = signature.inputs_to_buffers | signature.inputs_to_parameters
        names |= signature.inputs_to_lifted_tensor_constants
        held = dict(program.program.state_dict) | dict(program.program.constants)
        self.by_input = {name: held[target] for name, target in names.items()}

    def value(self, node: object) -> Tensor | None:
        """A constant, or what is dequantized from one."""
        if not isinstance(node, Node):
            return None
        if node.name in self.by_input:
            return self.by_input[node.name]
        if node.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS) and self.value(node.args[0]) is not None:
            args = [self.value(arg) if isinstance(arg, Node) else arg for arg in node.args]
            return node.target(*args)
        return None


def _chain_before(sign: Node, state: _Constants) -> list[Node] | None:
    """The layer and every operator from it to the sign; None where another value joins or leaves on the way."""
    chain = [sign]
    while chain[0].target not in _WEIGHTED:
        node = chain[0]
        if node.target not in _ONE_VALUE or (node is not sign and len(node.users) != 1):
            return None
        sources = [arg for arg in node.args[:2] if isinstance(arg, Node) and state.value(arg) is None]
        if len(sources) != 1 or sources[0].op != "call_function":
            return None
        chain.insert(0, sources[0])
    return chain if len(chain[0].users) == 1 else None


def _is_signs(layer: Node, state: _Constants) -> bool:
    """Whether a layer's weights are ±1 and what it reads is."""
    source, weight = layer.args[0], layer.args[1]
    reads_signs = source.target is DEQUANTIZE and tuple(source.args[3:5]) == (-1, 1)
    codes = state.value(weight.args[0]) if weight.target is DEQUANTIZE_CHANNELS else None
    return reads_signs and codes is not None and bool((codes.abs() == 1).all())


def _threshold(chain: list[Node], state: _Constants) -> Threshold:
    layer, *others = chain
    weight, bias = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    codes, scales = state.value(weight.args[0]), state.value(weight.args[1])
    assert codes is not None and scales is not None
    products = int(codes[0].numel())
    sums = torch.arange(-products, products + 1, dtype=torch.float32)
    real = sums[:, None] * (scales.float() * layer.args[0].args[1])
    offset = state.value(bias)
    real = real if offset is None else real + offset
    rank = layer.meta["val"].ndim
    values = real.reshape(len(sums), -1, *[1] * (rank - 2)) if layer.target is not aten.linear.default else real
    computed: dict[Node, Tensor] = {layer: values}
    for node in others:
        args = [computed.get(arg, state.value(arg)) if isinstance(arg, Node) else arg for arg in node.args]
        computed[node] = node.target(*args)
    positive = computed[others[-1]].reshape(len(sums), -1) > 0
    if not bool((positive[1:] | ~positive[:-1]).all()):
        raise RuntimeError(f"{layer.name}: its sign does not grow with its sum, a fault of offramp; please report it")
    at_least = products + 1 - positive.sum(0)
    return Threshold(layer.name, others[-1].name, products, at_least.to(torch.int32).numpy())

"""Reads the numbers that a network trained to, and lowers them to the program that ships."""

import copy
from collections.abc import Iterator

from torch import Tensor
from torch.fx import GraphModule

from ..bits import layer_bits
from ..capture import Captured
from ..coding import Coding
from ..graph import constant_of
from ..lowering import lower
from ..placement import activation_inputs, place
from ..program import QuantizedProgram
from ..scheme import Scheme
from .network import QuantizedNetwork
from .quantizers import ConstantQuantizer, SignQuantizer, ValueQuantizer


def lower_trained(network: QuantizedNetwork, captured: Captured, scheme: Scheme) -> QuantizedProgram:
    """The quantized program of a trained network; its outputs are those of the network in evaluation.

    Args:
        network: trained from `captured` with `scheme`.
        captured: the float network for one sample, as it was before training.
    """
    module = copy.deepcopy(captured.module)
    plan = place(module, scheme.keep_float)
    bits = layer_bits(module, plan, scheme)
    coding = coding_of(network)
    sources = {(activation_inputs(node, plan.rules[node])[0].name, chosen.activation) for node, chosen in bits.items()}
    for node, first in plan.groups.items():
        coding.values[node.name] = coding.values.get(first.name) or plan.fixed[first]
    assert {key for key in sources if key[1] < 8} == coding.edges.keys()
    return lower(captured, module, plan, bits, coding, scheme)


def coding_of(network: QuantizedNetwork) -> Coding:
    """The trained numbers; of values that share a scale, only the first is named."""
    coding = Coding({})
    for name, part in network.graph.named_children():
        kind, _, rest = name.partition("_")
        if kind == "value" and isinstance(part, ValueQuantizer):
            coding.values[rest] = part.affine()
        elif kind == "edge" and isinstance(part, ValueQuantizer | SignQuantizer):
            source, _, bits = rest.rpartition("_")
            coding.edges[source, int(bits)] = part.edge()
    for name, layer in network.layers.items():
        coding.weights[name], coding.biases[name] = layer.integers()
    coding.constants = dict(_constants(network.graph))
    return coding


def _constants(graph: GraphModule) -> Iterator[tuple[str, Tensor]]:
    """Trained operands of arithmetic, and the parameters of what stays in float, by their names in the capture."""
    for child in graph.children():
        if isinstance(child, ConstantQuantizer):
            yield child.origin, child.value.detach()
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            yield str(node.target), constant_of(graph, node)

"""Cross-layer equalization: evens out the channels of neighbouring layers, and leaves the network's function as it is.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019, section 4.1: where only
positively homogeneous functions stand between two layers, f(s x) = s f(x), a channel's scale moves from one layer into
the next. Brevitas finds such regions (through residual additions too) and their scales; it reads networks of modules.
So it is given a shadow of the graph: the layers, and between them only what is known to be homogeneous and to treat
each channel alone. Everything else ends a region. ReLU6 and Hardtanh do: a scaled channel would be cut elsewhere.
"""

import operator
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node

from .graph import bias_of, constant_of, is_constant
from .rescale import channel_axis, input_axis, is_layer, set_constant

aten = torch.ops.aten

_MODULES = {
    aten.conv1d.default: nn.Conv1d,
    aten.conv2d.default: nn.Conv2d,
    aten.conv_transpose2d.input: nn.ConvTranspose2d,
}
_POINTWISE = {aten.relu.default, aten.leaky_relu.default}
_POOLS = {aten.max_pool2d.default, aten.avg_pool2d.default}
_ROUNDS = 20


def equalize(module: GraphModule) -> int:
    """Changes weights and biases of a captured, folded graph in place.

    Returns:
        How many layers were changed.
    """
    from brevitas.graph.equalize import EqualizeGraph

    shadow, layers = _shadow(module)
    before = {node: layer.weight.detach().clone() for node, layer in layers.items()}
    EqualizeGraph(iterations=_ROUNDS).apply(shadow)
    changed = [node for node, layer in layers.items() if not torch.equal(layer.weight, before[node])]
    for node in changed:
        set_constant(module, node, 1, layers[node].weight.detach())
        if layers[node].bias is not None:
            set_constant(module, node, 2, layers[node].bias.detach())
    module.recompile()
    return len(changed)


def _shadow(module: GraphModule) -> tuple[GraphModule, dict[Node, Any]]:
    """A graph of modules that Brevitas can walk, and the module of each layer in it; it is never run."""
    graph, root = Graph(), nn.Module()
    copied: dict[Node, Node] = {}
    layers: dict[Node, Any] = {}
    axes: dict[Node, int | None] = {}  # where the channels of a value stand, if they are a layer's

    def end(sources: list[Node]) -> Node:
        return graph.call_function(_ends_a_region, tuple(sources))

    for node in module.graph.nodes:
        if node.op == "get_attr":
            continue
        values = [source for source in node.all_input_nodes if not is_constant(source)]
        sources, axis = [copied[value] for value in values], axes.get(values[0]) if values else None
        axes[node] = None
        name = f"of_{node.name}"
        if node.op == "placeholder":
            copied[node] = graph.placeholder(name)
        elif node.op == "output":
            graph.output(tuple(sources))
        elif is_layer(node) and input_axis(node) is not None:
            layers[node] = _layer(module, node)
            root.add_module(name, layers[node])
            reads_channels = axis == channel_axis(node)
            copied[node] = graph.call_module(name, (sources[0] if reads_channels else end(sources),))
            axes[node] = channel_axis(node)
        elif axis is not None and _is_homogeneous(node, axis):
            root.add_module(name, nn.ReLU())
            copied[node] = graph.call_module(name, (sources[0],))
            axes[node] = axis
        elif _is_sum(node) and {axes[value] for value in values} == {axis}:
            copied[node] = graph.call_function(operator.add, tuple(sources))
            axes[node] = axis
        else:
            copied[node] = end(sources)
    return GraphModule(root, graph), layers


def _ends_a_region(*_: object) -> None:
    """An operator that no scale passes."""


def _is_sum(node: Node) -> bool:
    """An addition of two values of the same shape."""
    if node.target is not aten.add.Tensor or node.kwargs or len(node.all_input_nodes) != 2:
        return False
    shapes = [source.meta["val"].shape for source in node.all_input_nodes]
    return shapes[0] == shapes[1] and not any(map(is_constant, node.all_input_nodes))


def _is_homogeneous(node: Node, axis: int) -> bool:
    """Whether the operator keeps the channels along `axis` apart and f(s x) = s f(x) for every s > 0."""
    if node.target in _POINTWISE:
        return True
    if node.target is aten.prelu.default:
        return is_constant(node.args[1])
    if node.target not in _POOLS | {aten.constant_pad_nd.default, aten.mean.dim}:
        return False
    spatial = axis == 1 and node.args[0].meta["val"].ndim == 4
    if node.target is aten.constant_pad_nd.default:
        return spatial and len(node.args[1]) <= 4 and (len(node.args) < 3 or node.args[2] == 0)
    if node.target is aten.mean.dim:
        return spatial and sorted(a % 4 for a in node.args[1]) == [2, 3]
    return spatial


def _layer(module: GraphModule, node: Node) -> Any:
    """The module form of a layer."""
    weight, bias = constant_of(module, node.args[1]), bias_of(module, node)
    layer: Any
    if weight.ndim == 2:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        groups = node.args[6] if len(node.args) > 6 else 1
        transposed = node.target is aten.conv_transpose2d.input
        ends = tuple(weight.shape[:2]) if transposed else (weight.shape[1] * groups, weight.shape[0])
        layer = _MODULES[node.target](*ends, tuple(weight.shape[2:]), groups=groups, bias=bias is not None)
    layer.weight = nn.Parameter(weight.clone(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.clone(), requires_grad=False)
    return layer

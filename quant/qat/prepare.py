"""Prepares any captured network for training with its integers in view.

The graph is the one that is later lowered, with the same plan: each quantized value passes through a fake quantizer,
one for all values that share a scale; each weighted layer becomes a `QuantizedLayer`; operands of arithmetic are fake
quantized. So what is trained is what is shipped.
"""

import copy

import torch
from torch import nn
from torch.fx import GraphModule, Node

from ...errors import BadInput
from ..bits import layer_bits
from ..capture import Captured
from ..coding import Coding
from ..folding import unfolded
from ..graph import bias_of, constant_of, is_constant
from ..placement import Placement, activation_inputs, place
from ..rescale import channel_axis
from ..rules import Kind
from ..scheme import Scheme
from ..weights import quantize_weight
from .layer import QuantizedLayer
from .own_signs import pass_gradients
from .quantizers import ConstantQuantizer, SignQuantizer, SignWeightQuantizer, ValueQuantizer, WeightQuantizer
from .signs import ESTIMATORS


def prepare(captured: Captured, coding: Coding, scheme: Scheme, estimator: str = "approximate") -> GraphModule:
    """A trainable copy of a captured network.

    Args:
        captured: the network, with the batch size that it will be trained at.
        coding: where training starts, from calibration; names are those of this graph.
        scheme: the same that the coding was made for.
        estimator: how gradients pass a sign: `plain`, `clipped` or `approximate`.

    Raises:
        BadInput: the estimator is unknown.
    """
    if estimator not in ESTIMATORS:
        raise BadInput(f"estimator {estimator}: unknown; choose from {', '.join(ESTIMATORS)}")
    module = copy.deepcopy(captured.module)
    plan = place(module, scheme.keep_float)
    bits = layer_bits(module, plan, scheme)
    inputs = {node: activation_inputs(node, plan.rules[node])[0] for node in bits}
    quantizers = _insert_value_quantizers(module, plan, coding)
    edges: dict[tuple[str, int], Node] = {}
    tied: dict[tuple, QuantizedLayer] = {}
    for node, chosen in bits.items():
        source, key = inputs[node], (inputs[node].name, chosen.activation)
        quantizer: ValueQuantizer | SignQuantizer = quantizers[source]
        if chosen.activation < 8:
            if key not in edges:
                edges[key] = _insert_edge(module, node, key, source, coding, quantizers[source], estimator)
            node.args = (edges[key], *node.args[1:])
            quantizer = module.get_submodule(str(edges[key].target))
        layer = _layer(module, node, plan, chosen.weight, coding, quantizer, estimator)
        _tie(layer, node, tied)
        _replace(module, node, f"layer_{node.name}", layer, (node.args[0],))
    for node, rule in plan.rules.items():
        if rule.kind is Kind.ARITHMETIC:
            _quantize_constants(module, node)
    pass_gradients(module, estimator)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    _keep_used_parameters(module)
    return module


def _insert_value_quantizers(module: GraphModule, plan: Placement, coding: Coding) -> dict[Node, ValueQuantizer]:
    """One quantizer for each group of values, called behind each of them."""
    made: dict[Node, ValueQuantizer] = {}
    for first, members in plan.members().items():
        quantizer = ValueQuantizer(coding.values[first.name], learned=first not in plan.fixed)
        for node in members:
            made[node] = quantizer
    calls: dict[Node, Node] = {}
    for node in plan.groups:
        readers = list(node.users)
        if readers:
            calls[node] = _call_after(module, node, f"value_{plan.groups[node].name}", made[node])
            for reader in readers:
                reader.replace_input_with(node, calls[node])
    for concatenation, source in plan.requantized:
        mine = calls.get(source, source)
        name = f"value_{plan.groups[concatenation].name}"
        concatenation.replace_input_with(mine, _call_after(module, mine, name, made[concatenation]))
    return made


def _insert_edge(
    module: GraphModule,
    node: Node,
    key: tuple[str, int],
    source: Node,
    coding: Coding,
    value: ValueQuantizer,
    estimator: str,
) -> Node:
    edge = coding.edges[key]
    quantizer: nn.Module
    if edge.shift is None:
        quantizer = ValueQuantizer(edge.affine)
    else:
        axis, rank = channel_axis(node), source.meta["val"].ndim
        quantizer = SignQuantizer(edge, value, value.sign_width(), rank, axis, estimator)
    assert isinstance(node.args[0], Node)
    return _call_after(module, node.args[0], f"edge_{key[0]}_{key[1]}", quantizer)


def _layer(
    module: GraphModule,
    node: Node,
    plan: Placement,
    bits: int,
    coding: Coding,
    source: ValueQuantizer | SignQuantizer,
    estimator: str,
) -> QuantizedLayer:
    before = unfolded(node)
    axis = plan.rules[node].channel_axis
    if before is not None:
        weight, bias, norm = before.weight, before.bias, before.norm
    else:
        assert isinstance(node.args[1], Node)
        weight, bias, norm = constant_of(module, node.args[1]).float(), bias_of(module, node), None
    quantizer: WeightQuantizer | SignWeightQuantizer
    if bits == 1:
        quantizer = SignWeightQuantizer(axis, "clipped" if estimator == "approximate" else estimator)
    else:
        scale = quantize_weight(weight, axis, None, bits).scale
        quantizer = WeightQuantizer(torch.from_numpy(scale), weight.ndim, axis, bits)
    return QuantizedLayer(node.target, node.args[3:], weight, bias, norm, axis, bits, quantizer, source)


def _tie(layer: QuantizedLayer, node: Node, tied: dict[tuple, QuantizedLayer]) -> None:
    """Layers that read one weight, as in unrolled and recurrent networks, go on training one; so with biases.

    They share its steps too where they have the same bits and channels. A weight with a batch norm behind it was
    folded for each use alone.
    """
    if layer.has_norm:
        return
    weight, bias = node.args[1:3] if len(node.args) > 2 else (node.args[1], None)
    if isinstance(weight, Node) and is_constant(weight):
        layer.weight = tied.setdefault((weight.target,), layer).weight
        layer.quantizer = tied.setdefault((weight.target, layer.bits, layer.axis), layer).quantizer
    if layer.bias is not None and isinstance(bias, Node) and is_constant(bias):
        layer.bias = tied.setdefault((bias.target,), layer).bias


def _quantize_constants(module: GraphModule, node: Node) -> None:
    for index, operand in enumerate(node.args[:2]):
        if is_constant(operand):
            assert isinstance(operand, Node)
            origin = str(operand.target)
            name = f"constant_{origin.replace('.', '__')}"
            if not hasattr(module, name):
                module.add_submodule(name, ConstantQuantizer(constant_of(module, operand).float(), origin))
            with module.graph.inserting_before(node):
                quantized = module.graph.call_module(name, ())
            node.args = (*node.args[:index], quantized, *node.args[index + 1 :])


def _call_after(module: GraphModule, node: Node, name: str, quantizer: nn.Module) -> Node:
    if not hasattr(module, name):
        module.add_submodule(name, quantizer)
    following = node.next
    while following.op == "placeholder":
        following = following.next
    with module.graph.inserting_before(following):
        return module.graph.call_module(name, (node,))


def _replace(module: GraphModule, node: Node, name: str, by: nn.Module, args: tuple) -> None:
    module.add_submodule(name, by)
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, args)
    node.replace_all_uses_with(call)
    module.graph.erase_node(node)


def _keep_used_parameters(module: GraphModule) -> None:
    """What float operators still read is trained too; what was folded or replaced goes."""
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    inside = {name for name, child in module.named_modules() if isinstance(child, _OWN)}
    for name, _ in [*module.named_parameters(), *module.named_buffers()]:
        owner, _, leaf = name.rpartition(".")
        if name in used:
            value = getattr(module.get_submodule(owner), leaf)
            if isinstance(value, nn.Parameter):
                value.requires_grad_(True)
        elif not any(name.startswith(f"{own}.") for own in inside):
            delattr(module.get_submodule(owner), leaf)
    for parameter in module.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)


_OWN = (ConstantQuantizer, QuantizedLayer, SignQuantizer, ValueQuantizer)

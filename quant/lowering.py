"""From a planned graph and its coding to the `QuantizedProgram`: puts integers and quantize nodes where they belong.

A value of 8 bits passes through one quantize and dequantize. A layer that reads fewer bits gets an edge of its own:
the value is quantized once more at the edge's scale, clamped there to the fewer codes (exactly, since the limits lie
on that scale) and quantized again within them, so that engines that know 8 bits only compute the same codes. An edge
of 1 bit first adds its shift, then clamps to one step: what is left is the sign.
"""

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .affine import Affine
from .bits import LayerBits
from .capture import Captured, to_program
from .codes import IntegerTensor
from .coding import Coding, Edge
from .graph import call, calls, constant_of, insert_constant, is_constant, module_path
from .placement import Placement, activation_inputs
from .program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, FloatOperator, QuantizedProgram
from .rules import Kind
from .scheme import Scheme
from .weights import largest_weight_code, quantize_constant

aten = torch.ops.aten


def lower(
    captured: Captured,
    module: GraphModule,
    plan: Placement,
    bits: dict[Node, LayerBits],
    coding: Coding,
    scheme: Scheme,
) -> QuantizedProgram:
    """The quantized program; `module`, a copy of the captured graph that `plan` is about, is rewritten on the way."""
    floats = _float_operators(plan)
    sources = {node: activation_inputs(node, plan.rules[node])[0] for node in bits}
    for name, value in coding.constants.items():
        owner, _, leaf = name.rpartition(".")
        getattr(module.get_submodule(owner), leaf).data = value
    for node, rule in plan.rules.items():
        if rule.kind is Kind.WEIGHTED:
            _quantize_layer(module, node, coding, bits[node].weight)
        elif rule.kind is Kind.ARITHMETIC:
            _quantize_constant_operands(module, node)
    for node in plan.groups:
        _insert_pair(module, node, coding.values[node.name])
    for concatenation, source in plan.requantized:
        _requantize_edge(module, concatenation, source, coding.values[concatenation.name])
    made: dict[tuple[str, int], Node] = {}
    for node, chosen in bits.items():
        key = sources[node].name, chosen.activation
        if chosen.activation < 8:
            if key not in made:
                made[key] = _insert_edge(module, node.args[0], key[0], coding.edges[key])
            node.args = (made[key], *node.args[1:])
    _share_weights(module)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    _drop_unused(module)
    program = to_program(module, captured.example_inputs)
    layers = tuple(bits.values())
    return QuantizedProgram(program, scheme, captured.input_names, captured.output_names, floats, layers)


def _float_operators(plan: Placement) -> tuple[FloatOperator, ...]:
    return tuple(
        FloatOperator(node.name, str(node.target), module_path(node), rule.reason)
        for node, rule in plan.rules.items()
        if rule.kind is Kind.FLOAT
    )


def _quantize_layer(module: GraphModule, node: Node, coding: Coding, bits: int) -> None:
    """Puts integer weight and bias buffers, each with its dequantize, before a convolution or linear layer."""
    name = module_path(node) or node.name
    weight, bias = coding.weights[node.name], coding.biases[node.name]
    operands: list[Node | None] = [_dequantized(module, node, f"{name}_weight", weight, largest_weight_code(bits))]
    operands.append(None if bias is None else _dequantized(module, node, f"{name}_bias", bias, 2**31 - 1))
    node.args = (node.args[0], *operands, *node.args[3:])


def _quantize_constant_operands(module: GraphModule, node: Node) -> None:
    """Turns constant tensors and plain numbers among the operands into int8 constants."""
    for index, operand in enumerate(node.args[:2]):
        if isinstance(operand, int | float):
            value, name = torch.tensor(float(operand)), f"{node.name}_number"
        elif is_constant(operand):
            assert isinstance(operand, Node)
            value, name = constant_of(module, operand).float(), str(operand.target)
        else:
            continue
        constant = _dequantized(module, node, name, quantize_constant(value), 127)
        node.args = (*node.args[:index], constant, *node.args[index + 1 :])


def _dequantized(module: GraphModule, before: Node, name: str, tensor: IntegerTensor, most: int) -> Node:
    """A buffer of codes within ±`most`, and its dequantize."""
    codes = torch.from_numpy(np.ascontiguousarray(tensor.codes))
    source = insert_constant(module, before, name, codes)
    real = torch.from_numpy(tensor.dequantize())
    name_real = f"{name}_real".replace(".", "_")
    if tensor.axis is None:
        args: tuple = (source, float(tensor.scale), int(tensor.zero_point), -most, most, codes.dtype)
        return call(module, before, DEQUANTIZE, args, before, name_real, real)
    scales = insert_constant(module, before, f"{name}_scale", torch.from_numpy(tensor.scale))
    zeros = insert_constant(module, before, f"{name}_zero_point", torch.from_numpy(tensor.zero_point.astype(np.int64)))
    args = (source, scales, zeros, tensor.axis, -most, most, codes.dtype)
    return call(module, before, DEQUANTIZE_CHANNELS, args, before, name_real, real)


def _insert_pair(module: GraphModule, node: Node, affine: Affine) -> None:
    """value -> quantize -> dequantize -> every reader of the value."""
    readers = list(node.users)
    if not readers:
        return
    dequantized = _pair_after(module, node, node, affine)
    for reader in readers:
        reader.replace_input_with(node, dequantized)


def _requantize_edge(module: GraphModule, concatenation: Node, source: Node, affine: Affine) -> None:
    """Gives one input of a concatenation the scale of the whole."""
    mine = next(n for n in concatenation.all_input_nodes if n is source or (n.args and n.args[0].args[0] is source))
    converted = _pair_after(module, mine, mine, affine)
    concatenation.replace_input_with(mine, converted)


def _insert_edge(module: GraphModule, real: Node, source: str, edge: Edge) -> Node:
    """8-bit value -> (shift) -> quantize and dequantize at the edge's scale -> clamp -> the same within fewer codes."""
    affine = edge.affine
    wide = Affine(affine.scale, affine.zero_point)
    value = real
    if edge.shift is not None:
        shift = IntegerTensor(
            edge.shift, np.asarray(affine.scale, dtype=np.float32), np.asarray(0, dtype=np.int32), None
        )
        constant = _dequantized(module, real.next, f"{source}_shift", shift, 127)
        value = call(module, constant.next, aten.add.Tensor, (real, constant), real, f"{source}_shifted")
    value = _pair_after(module, value, value, wide)
    limits = (value, float(np.float32(affine.low)), float(np.float32(affine.high)))
    name = f"{source}_sign" if edge.shift is not None else f"{source}_{affine.qmax - affine.qmin + 1}_levels"
    clamped = call(module, value.next, aten.clamp.default, limits, value, name)
    return _pair_after(module, clamped, clamped, affine)


def _pair_after(module: GraphModule, node: Node, like: Node, affine: Affine) -> Node:
    following = node.next
    while following.op == "placeholder":
        following = following.next
    form = (affine.scale, affine.zero_point, affine.qmin, affine.qmax, torch.int8)
    name = node.name
    codes = call(module, following, QUANTIZE, (node, *form), like, f"{name}_codes")
    return call(module, following, DEQUANTIZE, (codes, *form), like, f"{name}_real")


def _share_weights(module: GraphModule) -> None:
    """Layers with the same weight codes read the same buffers: a weight that is used many times is held once."""
    first: dict[tuple, tuple[Node, ...]] = {}
    for node in calls(module):
        if node.target is DEQUANTIZE_CHANNELS and node.args[-1] is torch.int8:
            buffers = node.args[:3]
            key = (*(_content(constant_of(module, buffer)) for buffer in buffers), *node.args[3:])
            for mine, shared in zip(buffers, first.setdefault(key, buffers)):
                mine.target = shared.target


def _content(value: Tensor) -> tuple:
    return value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes()


def _drop_unused(module: GraphModule) -> None:
    """Removes parameters and buffers that the graph no longer reads."""
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [n for n, _ in [*module.named_parameters(), *module.named_buffers()] if n not in used]:
        owner, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(owner), leaf)
    module.delete_all_unused_submodules()

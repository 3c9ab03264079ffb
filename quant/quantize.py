"""From a captured float network and real samples to its `QuantizedProgram`."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .affine import QMAX, QMIN, Affine, affine_of_range
from .calibration import choose_range
from .capture import Captured, to_program
from .codes import IntegerTensor
from .graph import call, constant_of, insert_constant, is_constant, module_path
from .observe import observe
from .placement import Placement, activation_inputs, place
from .program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE, FloatOperator, QuantizedProgram
from .rules import Kind
from .scheme import Scheme
from .threads import one_thread
from .weights import least_weight_scale, quantize_bias, quantize_constant, quantize_weight

aten = torch.ops.aten


def quantize(captured: Captured, samples: Sequence[tuple[Tensor, ...]], scheme: Scheme) -> QuantizedProgram:
    """Post-training quantization.

    Args:
        captured: the float network; it is not changed.
        samples: real inputs, one sample each; at most `scheme.samples` of them are read.
        scheme: bits, calibration and what stays in float.

    Raises:
        BadInput: the samples do not fit the network, or a value is not finite on them.
    """
    module = copy.deepcopy(captured.module)
    plan = place(module, scheme.keep_float)
    affines = _calibrate(module, plan, samples[: scheme.samples], scheme)
    floats = _float_operators(plan)
    for node, rule in plan.rules.items():
        if rule.kind is Kind.WEIGHTED:
            _quantize_layer(module, node, affines[_source(plan, node)].scale, rule.channel_axis)
        elif rule.kind is Kind.ARITHMETIC:
            _quantize_constant_operands(module, node)
    for node in plan.groups:
        _insert_pair(module, node, affines[node])
    for concatenation, source in plan.requantized:
        _requantize_edge(module, concatenation, source, affines[concatenation])
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    _drop_unused(module)
    program = to_program(module, captured.example_inputs)
    return QuantizedProgram(program, scheme, captured.input_names, captured.output_names, floats)


def _calibrate(
    module: GraphModule, plan: Placement, samples: Sequence[tuple[Tensor, ...]], scheme: Scheme
) -> dict[Node, Affine]:
    """The affine map of every quantized value; a group spans the ranges of all its members."""
    names = {node.name for node in plan.groups}
    with one_thread():
        seen = observe(module, samples, names, histograms=scheme.calibration != "minmax")
    affines = {}
    for first, members in plan.members().items():
        ranges = [choose_range(seen[member.name], scheme) for member in members]
        affine = plan.fixed.get(first) or affine_of_range(min(r[0] for r in ranges), max(r[1] for r in ranges))
        affines.update(dict.fromkeys(members, affine))
    return affines


def _float_operators(plan: Placement) -> tuple[FloatOperator, ...]:
    return tuple(
        FloatOperator(node.name, str(node.target), module_path(node), rule.reason)
        for node, rule in plan.rules.items()
        if rule.kind is Kind.FLOAT
    )


def _source(plan: Placement, node: Node) -> Node:
    """The quantized value that a weighted layer reads."""
    return activation_inputs(node, plan.rules[node])[0]


def _quantize_layer(module: GraphModule, node: Node, input_scale: float, axis: int) -> None:
    """Puts integer weight and bias buffers, each with its dequantize, before a convolution or linear layer."""
    weight_node, bias_node = node.args[1], node.args[2] if len(node.args) > 2 else None
    assert isinstance(weight_node, Node)
    name = module_path(node) or node.name
    bias = constant_of(module, bias_node).float() if isinstance(bias_node, Node) else None
    floor = None if bias is None else least_weight_scale(bias, input_scale)
    weight = quantize_weight(constant_of(module, weight_node).float(), axis, floor)
    operands: list[Node | None] = [_dequantized(module, node, f"{name}_weight", weight)]
    if bias is not None:
        operands.append(_dequantized(module, node, f"{name}_bias", quantize_bias(bias, input_scale, weight)))
    else:
        operands.append(None)
    node.args = (node.args[0], *operands, *node.args[3:])


def _quantize_constant_operands(module: GraphModule, node: Node) -> None:
    """Turns constant tensors and plain numbers among the operands into int8 constants."""
    if node.target is aten.mean.dim:
        return
    for index, operand in enumerate(node.args[:2]):
        if isinstance(operand, int | float):
            value, name = torch.tensor(float(operand)), f"{node.name}_number"
        elif is_constant(operand):
            assert isinstance(operand, Node)
            value, name = constant_of(module, operand).float(), str(operand.target)
        else:
            continue
        constant = _dequantized(module, node, name, quantize_constant(value))
        node.args = (*node.args[:index], constant, *node.args[index + 1 :])


def _dequantized(module: GraphModule, before: Node, name: str, tensor: IntegerTensor) -> Node:
    codes = torch.from_numpy(np.ascontiguousarray(tensor.codes))
    source = insert_constant(module, before, name, codes)
    real = torch.from_numpy(tensor.dequantize())
    low, high = (-127, 127) if codes.dtype == torch.int8 else (-(2**31) + 1, 2**31 - 1)
    if tensor.axis is None:
        args: tuple = (source, float(tensor.scale), int(tensor.zero_point), low, high, codes.dtype)
        return call(module, before, DEQUANTIZE, args, before, f"{name}_real".replace(".", "_"), real)
    scales = insert_constant(module, before, f"{name}_scale", torch.from_numpy(tensor.scale))
    zeros = insert_constant(module, before, f"{name}_zero_point", torch.from_numpy(tensor.zero_point.astype(np.int64)))
    args = (source, scales, zeros, tensor.axis, low, high, codes.dtype)
    return call(module, before, DEQUANTIZE_CHANNELS, args, before, f"{name}_real".replace(".", "_"), real)


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


def _pair_after(module: GraphModule, node: Node, like: Node, affine: Affine) -> Node:
    following = node.next
    while following.op == "placeholder":
        following = following.next
    form = (affine.scale, affine.zero_point, QMIN, QMAX, torch.int8)
    name = node.name
    codes = call(module, following, QUANTIZE, (node, *form), like, f"{name}_codes")
    return call(module, following, DEQUANTIZE, (codes, *form), like, f"{name}_real")


def _drop_unused(module: GraphModule) -> None:
    """Removes parameters and buffers that the graph no longer reads."""
    used = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in [n for n, _ in [*module.named_parameters(), *module.named_buffers()] if n not in used]:
        owner, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(owner), leaf)
    module.delete_all_unused_submodules()

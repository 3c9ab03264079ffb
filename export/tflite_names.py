"""Names in a TFLite flatbuffer: the user's at the border, the program's for weights, biases and computed values."""

import re
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ..quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from ..quant.rules import is_fused_activation
from .tflite_rewrites import builtin_of, is_int8, text_of

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def name_border(model: Any, input_names: tuple[str, ...], output_names: tuple[str, ...]) -> None:
    """Gives inputs and outputs, in the signature and as tensors, the user's names.

    The converter calls outputs `output_0`, `output_1`, ...; inputs already carry their names in the signature.
    """
    graph = model.subgraphs[0]
    for signature in model.signatureDefs:
        for entry in signature.outputs:
            entry.name = output_names[int(text_of(entry.name).rpartition("_")[2])]
            graph.tensors[entry.tensorIndex].name = entry.name
        for entry in signature.inputs:
            assert text_of(entry.name) in input_names
            graph.tensors[entry.tensorIndex].name = text_of(entry.name)


def name_tensors(model: Any, program: torch.export.ExportedProgram) -> dict[str, str]:
    """Gives weights, biases and computed values the program's names; returns value name -> program value name.

    The converter names a tensor after the first value of the program that it came from (see `tflite.py`). A value
    of the program is the last tensor of that name with the value's own scale and zero point; what stands between (a
    change of layout) keeps the name with a number.
    """
    graph = model.subgraphs[0]
    own = _border(model)
    for index, tensor in enumerate(graph.tensors):
        if index not in own:
            tensor.name = _first(tensor.name)
    results = dict(zip(graph.outputs, _result_names(program)))
    layers = _layers(program)
    for operator in graph.operators:
        if builtin_of(model, operator) in _WEIGHTED:
            _name_weights(graph, operator, layers, results)
    _name_constants(model, program, results)
    values = _name_values(graph, program, own)
    _number_repeats(graph, own)
    return values | {text_of(graph.tensors[index].name): name for index, name in results.items()}


def tensor_names(model: Any) -> list[str]:
    return [text_of(tensor.name) for tensor in model.subgraphs[0].tensors]


def _layers(program: torch.export.ExportedProgram) -> dict[str, tuple[str, str | None]]:
    """Name of a layer's value -> names of its weight and bias buffers (integer constants only)."""
    buffers = program.graph_signature.inputs_to_buffers

    def buffer_of(node: object) -> str | None:
        if isinstance(node, Node) and node.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS):
            source = node.args[0]
            return buffers.get(source.name) if isinstance(source, Node) else None
        return None

    found = {}
    for node in program.graph.nodes:
        if node.op == "call_function" and len(node.args) > 1 and (weight := buffer_of(node.args[1])):
            bias = buffer_of(node.args[2]) if len(node.args) > 2 else None
            found[node.name] = (weight, bias)
            for user in node.users:  # a fused activation gives the kernel its name
                found.setdefault(user.name, (weight, bias))
    return found


def _result_names(program: torch.export.ExportedProgram) -> list[str]:
    """Names of the values that the program returns, behind their quantizers."""
    output = next(node for node in program.graph.nodes if node.op == "output")
    names = []
    for node in output.args[0]:
        while node.target in (QUANTIZE, DEQUANTIZE):
            node = node.args[0]
        names.append(node.name)
    return names


def _name_weights(
    graph: Any, operator: Any, layers: dict[str, tuple[str, str | None]], results: dict[int, str]
) -> None:
    names = [text_of(graph.tensors[i].name) for i in (operator.outputs[0], operator.inputs[1])]
    names.append(results.get(operator.outputs[0], ""))
    candidates = [name for text in names for name in (_base(text), _base(text).removesuffix("_codes"))]
    layer = next((layers[name] for name in candidates if name in layers), None)
    if layer is None:
        return
    weight, bias = layer
    operator.inputs[1] = own_tensor(graph, operator.inputs[1], weight)
    if bias and len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        operator.inputs[2] = own_tensor(graph, operator.inputs[2], bias)


def own_tensor(graph: Any, index: int, name: str) -> int:
    """The tensor under that name; one that another layer has already named is copied (the bytes stay shared)."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[index]
    if not getattr(tensor, "taken", False) or text_of(tensor.name) == name:
        tensor.name, tensor.taken = name, True
        return index
    copy = schema.TensorT()
    copy.__dict__.update(tensor.__dict__)
    copy.name = name
    graph.tensors.append(copy)
    return len(graph.tensors) - 1


def _name_constants(model: Any, program: torch.export.ExportedProgram, results: dict[int, str]) -> None:
    """Constant operands of arithmetic take the name of the buffer that the program's operator reads."""
    graph = model.subgraphs[0]
    operands = _constant_operands(program)
    for operator in graph.operators:
        result = operator.outputs[0]
        name = operands.get(results.get(result) or _base(text_of(graph.tensors[result].name)))
        if name and builtin_of(model, operator) in ("ADD", "SUB", "MUL"):
            for place, index in enumerate(operator.inputs):
                if model.buffers[graph.tensors[index].buffer].data is not None:
                    operator.inputs[place] = own_tensor(graph, index, name)


def _constant_operands(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Name of an arithmetic operator's value -> name of the integer buffer among its operands."""
    buffers = program.graph_signature.inputs_to_buffers
    found = {}
    for node in program.graph.nodes:
        for operand in node.all_input_nodes if node.op == "call_function" else ():
            if operand.target is DEQUANTIZE and operand.args[0].name in buffers:
                found[node.name] = buffers[operand.args[0].name]
                for user in node.users:  # a fused activation gives the kernel its name
                    found.setdefault(user.name, found[node.name])
    return found


def _name_values(graph: Any, program: torch.export.ExportedProgram, own: set[int]) -> dict[str, str]:
    affine = {n.args[0].name: (n.args[1], n.args[2]) for n in program.graph.nodes if n.target is QUANTIZE}
    computed = [n for n in program.graph.nodes if n.op == "call_function" and isinstance(n.meta["val"], torch.Tensor)]
    elements = {node.name: node.meta["val"].numel() for node in computed}
    # The kernel of a linear layer keeps the layer's name where it takes the activation behind it into itself.
    fused = {n.args[0].name: n.name for n in computed if is_fused_activation(n) and n.name in affine}
    border = {text_of(graph.tensors[index].name) for index in own}
    found: dict[str, int] = {}
    for operator in graph.operators:
        for index in operator.outputs:
            tensor = graph.tensors[index]
            name = re.sub(r"_(codes|real)$", "", _base(text_of(tensor.name)))
            if name in border and index not in own:
                continue
            if name not in affine and is_int8(tensor):
                name = fused.get(name, name)
            if name in affine and is_int8(tensor):
                scale, zero_point = affine[name]
                if np.float32(scale) == tensor.quantization.scale[0] and zero_point == tensor.quantization.zeroPoint[0]:
                    found[name] = index
            elif name not in affine and elements.get(name) == np.prod(tensor.shape, dtype=np.int64):
                found[name] = index
    values = {}
    for name, index in found.items():
        tensor = graph.tensors[index]
        if index not in own:
            tensor.name, tensor.taken = name, True
        values[text_of(tensor.name)] = name
    return values


def _number_repeats(graph: Any, own: set[int]) -> None:
    taken = {text_of(t.name) for i, t in enumerate(graph.tensors) if getattr(t, "taken", False) or i in own}
    for index, tensor in enumerate(graph.tensors):
        if getattr(tensor, "taken", False) or index in own:
            continue
        base, count = _base(text_of(tensor.name)) or "constant", 1
        while f"{base}/{count}" in taken:
            count += 1
        tensor.name = f"{base}/{count}"
        taken.add(tensor.name)


def _border(model: Any) -> set[int]:
    return {int(i) for i in [*model.subgraphs[0].inputs, *model.subgraphs[0].outputs]}


def _first(name: Any) -> str:
    """`mul_4;;mul_2;;matmul_3;1` -> `mul_4`, the value that the tensor holds."""
    return text_of(name).split(";")[0]


def _base(name: str) -> str:
    return name.split("/")[0]

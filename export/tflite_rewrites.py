"""Rewrites of a TFLite flatbuffer: the program's own names, a float border, float16 weights.

The flatbuffer is read into the schema's object form (compiled in ai-edge-litert), edited and packed again.
"""

import re
from typing import Any

import numpy as np
import torch
from torch.fx import Node

from ..quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
_LEAST_HALVED = 64  # elements; smaller constants are not worth an operator of their own


def read_model(content: bytes) -> Any:
    """The schema's `ModelT` of a flatbuffer, its index lists free to change."""
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for graph in model.subgraphs:
        graph.inputs, graph.outputs = [list(map(int, indices)) for indices in (graph.inputs, graph.outputs)]
        for operator in graph.operators:
            operator.inputs = [int(i) for i in operator.inputs] if operator.inputs is not None else []
            operator.outputs = [int(i) for i in operator.outputs] if operator.outputs is not None else []
    return model


def pack_model(model: Any) -> bytes:
    """The flatbuffer of a `ModelT`."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def name_border(model: Any, input_names: tuple[str, ...], output_names: tuple[str, ...]) -> None:
    """Gives inputs and outputs, in the signature and as tensors, the user's names.

    The converter calls outputs `output_0`, `output_1`, ...; inputs already carry their names in the signature.
    """
    graph = model.subgraphs[0]
    for signature in model.signatureDefs:
        for entry in signature.outputs:
            entry.name = output_names[int(_text(entry.name).rpartition("_")[2])]
            graph.tensors[entry.tensorIndex].name = entry.name
        for entry in signature.inputs:
            assert _text(entry.name) in input_names
            graph.tensors[entry.tensorIndex].name = _text(entry.name)


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
        if _builtin(model, operator) in _WEIGHTED:
            _name_weights(graph, operator, layers, results)
    _name_constants(model, program, results)
    values = _name_values(graph, program, own)
    _number_repeats(graph, own)
    return values


def float_border(model: Any) -> None:
    """Makes the border float: a QUANTIZE behind every int8 input, a DEQUANTIZE before every int8 output."""
    graph = model.subgraphs[0]
    for place, index in enumerate(graph.inputs):
        if _is_int8(graph.tensors[index]):
            real = _float_twin(graph, index)
            _insert(model, "QUANTIZE", real, index, first=True)
            graph.inputs[place] = real
            _replace_in_signature(model, index, real)
    for place, index in enumerate(graph.outputs):
        if _is_int8(graph.tensors[index]):
            real = _float_twin(graph, index)
            _insert(model, "DEQUANTIZE", index, real, first=False)
            graph.outputs[place] = real
            _replace_in_signature(model, index, real)


def halve_weights(model: Any) -> None:
    """Stores large float32 constants as float16 behind a DEQUANTIZE, the form that delegates run in half precision."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    for index in range(len(graph.tensors)):
        tensor = graph.tensors[index]
        data = model.buffers[tensor.buffer].data
        if tensor.type != schema.TensorType.FLOAT32 or data is None or len(data) < 4 * _LEAST_HALVED:
            continue
        half = schema.TensorT()
        half.name, half.type, half.shape = f"{_text(tensor.name)}_half", schema.TensorType.FLOAT16, tensor.shape
        half.buffer = len(model.buffers)
        stored = schema.BufferT()
        values = np.frombuffer(np.asarray(data, dtype=np.uint8).tobytes(), dtype=np.float32)
        stored.data = np.frombuffer(values.astype(np.float16).tobytes(), dtype=np.uint8)
        model.buffers.append(stored)
        graph.tensors.append(half)
        tensor.buffer = 0
        _insert(model, "DEQUANTIZE", len(graph.tensors) - 1, index, first=True)
    _drop_empty_buffers(model)


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
    names = [_text(graph.tensors[i].name) for i in (operator.outputs[0], operator.inputs[1])]
    names.append(results.get(operator.outputs[0], ""))
    candidates = [name for text in names for name in (_base(text), _base(text).removesuffix("_codes"))]
    layer = next((layers[name] for name in candidates if name in layers), None)
    if layer is None:
        return
    weight, bias = layer
    operator.inputs[1] = _own_tensor(graph, operator.inputs[1], weight)
    if bias and len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        operator.inputs[2] = _own_tensor(graph, operator.inputs[2], bias)


def _own_tensor(graph: Any, index: int, name: str) -> int:
    """The tensor under that name; one that another layer has already named is copied (the bytes stay shared)."""
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[index]
    if not getattr(tensor, "taken", False):
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
        name = operands.get(results.get(result) or _base(_text(graph.tensors[result].name)))
        if name and _builtin(model, operator) in ("ADD", "SUB", "MUL"):
            for place, index in enumerate(operator.inputs):
                if model.buffers[graph.tensors[index].buffer].data is not None:
                    operator.inputs[place] = _own_tensor(graph, index, name)


def _constant_operands(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Name of an arithmetic operator's value -> name of the integer buffer among its operands."""
    buffers = program.graph_signature.inputs_to_buffers
    return {
        node.name: buffers[operand.args[0].name]
        for node in program.graph.nodes
        if node.op == "call_function"
        for operand in node.all_input_nodes
        if operand.target is DEQUANTIZE and operand.args[0].name in buffers
    }


def _name_values(graph: Any, program: torch.export.ExportedProgram, own: set[int]) -> dict[str, str]:
    affine = {n.args[0].name: (n.args[1], n.args[2]) for n in program.graph.nodes if n.target is QUANTIZE}
    names = {node.name for node in program.graph.nodes if node.op == "call_function"}
    found: dict[str, int] = {}
    for operator in graph.operators:
        for index in operator.outputs:
            tensor = graph.tensors[index]
            name = re.sub(r"_(codes|real)$", "", _base(_text(tensor.name)))
            if name in affine and _is_int8(tensor):
                scale, zero_point = affine[name]
                if np.float32(scale) == tensor.quantization.scale[0] and zero_point == tensor.quantization.zeroPoint[0]:
                    found[name] = index
            elif name in names and name not in affine:
                found[name] = index
    values = {}
    for name, index in found.items():
        tensor = graph.tensors[index]
        if index not in own:
            tensor.name, tensor.taken = name, True
        values[_text(tensor.name)] = name
    return values


def _number_repeats(graph: Any, own: set[int]) -> None:
    taken = {_text(t.name) for i, t in enumerate(graph.tensors) if getattr(t, "taken", False) or i in own}
    for index, tensor in enumerate(graph.tensors):
        if getattr(tensor, "taken", False) or index in own:
            continue
        base, count = _base(_text(tensor.name)) or "constant", 1
        while f"{base}/{count}" in taken:
            count += 1
        tensor.name = f"{base}/{count}"
        taken.add(tensor.name)


def _insert(model: Any, name: str, source: int, result: int, first: bool) -> None:
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, getattr(schema.BuiltinOperator, name))
    operator.inputs, operator.outputs = [source], [result]
    operators = model.subgraphs[0].operators
    operators.insert(0, operator) if first else operators.append(operator)


def _opcode(model: Any, builtin: int) -> int:
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), 2
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _float_twin(graph: Any, index: int) -> int:
    """A float32 tensor of the same shape under the tensor's name; the integer one is named `_codes`."""
    from ai_edge_litert import schema_py_generated as schema

    codes, real = graph.tensors[index], schema.TensorT()
    real.name, real.type, real.shape = codes.name, schema.TensorType.FLOAT32, codes.shape
    real.shapeSignature, real.hasRank = codes.shapeSignature, codes.hasRank
    codes.name = f"{_text(codes.name)}_codes"
    graph.tensors.append(real)
    return len(graph.tensors) - 1


def _replace_in_signature(model: Any, before: int, after: int) -> None:
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            if entry.tensorIndex == before:
                entry.tensorIndex = after


def _drop_empty_buffers(model: Any) -> None:
    """Empties buffers that no tensor reads any more; their numbers stay."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _border(model: Any) -> set[int]:
    return {int(i) for i in [*model.subgraphs[0].inputs, *model.subgraphs[0].outputs]}


def _builtin(model: Any, operator: Any) -> str:
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next(name for name, value in vars(schema.BuiltinOperator).items() if value == number)


def _is_int8(tensor: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    quantized = tensor.quantization is not None and tensor.quantization.scale is not None
    return tensor.type == schema.TensorType.INT8 and quantized


def _first(name: Any) -> str:
    """`mul_4;;mul_2;;matmul_3;1` -> `mul_4`, the value that the tensor holds."""
    return _text(name).split(";")[0]


def _base(name: str) -> str:
    return name.split("/")[0]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)

"""Rewrites of a TFLite flatbuffer: a float border, float16 weights.

The flatbuffer is read into the schema's object form (compiled in ai-edge-litert), edited and packed again.
"""

from typing import Any

import numpy as np
import torch

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
    from .sharing_builder import SharingBuilder

    builder = SharingBuilder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def state_biases(model: Any, program: torch.export.ExportedProgram) -> None:
    """Writes the program's own codes into every named int32 bias.

    The converter makes them from the real values, in float32, and so is off by one or two above 2^24.
    """
    from ai_edge_litert import schema_py_generated as schema

    codes = {name: value for name, value in program.state_dict.items() if value.dtype == torch.int32}
    for tensor in model.subgraphs[0].tensors:
        name = text_of(tensor.name)
        if name in codes and tensor.type == schema.TensorType.INT32:
            stored = codes[name].numpy().tobytes()
            if np.asarray(model.buffers[tensor.buffer].data, dtype=np.uint8).tobytes() != stored:
                tensor.buffer = len(model.buffers)
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(stored, dtype=np.uint8)
                model.buffers.append(buffer)
    drop_unread_buffers(model)


def float_border(model: Any) -> None:
    """Makes the border float: a QUANTIZE behind every int8 input, a DEQUANTIZE before every int8 output."""
    graph = model.subgraphs[0]
    for place, index in enumerate(graph.inputs):
        if is_int8(graph.tensors[index]):
            real = _float_twin(graph, index)
            _insert(model, "QUANTIZE", real, index, first=True)
            graph.inputs[place] = real
            _replace_in_signature(model, index, real)
    for place, index in enumerate(graph.outputs):
        if is_int8(graph.tensors[index]):
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
        half.name, half.type, half.shape = f"{text_of(tensor.name)}_half", schema.TensorType.FLOAT16, tensor.shape
        half.buffer = len(model.buffers)
        stored = schema.BufferT()
        values = np.frombuffer(np.asarray(data, dtype=np.uint8).tobytes(), dtype=np.float32)
        stored.data = np.frombuffer(values.astype(np.float16).tobytes(), dtype=np.uint8)
        model.buffers.append(stored)
        graph.tensors.append(half)
        tensor.buffer = 0
        _insert(model, "DEQUANTIZE", len(graph.tensors) - 1, index, first=True)
    drop_unread_buffers(model)


def _insert(model: Any, name: str, source: int, result: int, first: bool) -> None:
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = opcode_of(model, getattr(schema.BuiltinOperator, name))
    operator.inputs, operator.outputs = [source], [result]
    operators = model.subgraphs[0].operators
    operators.insert(0, operator) if first else operators.append(operator)


def opcode_of(model: Any, builtin: int, version: int = 2) -> int:
    """The place of a built-in operator in the model's table, where it is put if it is not there."""
    from ai_edge_litert import schema_py_generated as schema

    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def builtin_of(model: Any, operator: Any) -> str:
    """The schema's name of a built-in operator."""
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex]
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return next(name for name, value in vars(schema.BuiltinOperator).items() if value == number)


def _float_twin(graph: Any, index: int) -> int:
    """A float32 tensor of the same shape under the tensor's name; the integer one is named `_codes`."""
    from ai_edge_litert import schema_py_generated as schema

    codes, real = graph.tensors[index], schema.TensorT()
    real.name, real.type, real.shape = codes.name, schema.TensorType.FLOAT32, codes.shape
    real.shapeSignature, real.hasRank = codes.shapeSignature, codes.hasRank
    codes.name = f"{text_of(codes.name)}_codes"
    graph.tensors.append(real)
    return len(graph.tensors) - 1


def _replace_in_signature(model: Any, before: int, after: int) -> None:
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            if entry.tensorIndex == before:
                entry.tensorIndex = after


def remove_unread(model: Any) -> None:
    """Takes out operators whose results nothing reads, and tensors that no operator is left to read or write."""
    graph = model.subgraphs[0]
    while True:
        read = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
        kept = [step for step in graph.operators if not step.outputs or read.intersection(step.outputs)]
        if len(kept) == len(graph.operators):
            break
        graph.operators = kept
    used = {*graph.inputs, *graph.outputs}.union(*({*step.inputs, *step.outputs} for step in graph.operators))
    places = {index: place for place, index in enumerate(sorted(used - {-1}))} | {-1: -1}
    graph.tensors = [graph.tensors[index] for index in places if index >= 0]
    graph.inputs, graph.outputs = ([places[index] for index in indices] for indices in (graph.inputs, graph.outputs))
    for step in graph.operators:
        step.inputs, step.outputs = ([places[index] for index in indices] for indices in (step.inputs, step.outputs))
    for signature in model.signatureDefs or []:
        for entry in [*signature.inputs, *signature.outputs]:
            entry.tensorIndex = places[entry.tensorIndex]
    drop_unread_buffers(model)


def drop_unread_buffers(model: Any) -> None:
    """Empties buffers that no tensor reads any more; their numbers stay."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def rescale(tensor: Any, scale: np.ndarray, zero_point: int = 0) -> None:
    """Gives a tensor a scale of its own: tensors made alike share the object."""
    from ai_edge_litert import schema_py_generated as schema

    quantization = schema.QuantizationParametersT()
    quantization.__dict__.update(tensor.quantization.__dict__)
    quantization.scale = scale.astype(np.float32)
    quantization.zeroPoint = np.full(scale.size, zero_point, np.int64)
    tensor.quantization = quantization


def is_int8(tensor: Any) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    quantized = tensor.quantization is not None and tensor.quantization.scale is not None
    return tensor.type == schema.TensorType.INT8 and quantized


def text_of(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)

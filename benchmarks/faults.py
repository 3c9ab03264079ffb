"""Faults put into artifacts on purpose: a scale, a bias, a weight of one layer changed in the file itself."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
from onnx import load, numpy_helper, save

from ..manifest import read_manifest, write_manifest
from ..storage import sha256_of, size_bytes_of


def change_constant(path: Path, name: str, factor: float, what: str = "scale") -> None:
    """Multiplies the first channel of a constant by `factor`.

    Args:
        name: of the constant; for `weight`, which TFLite keeps under no name, of the value that its layer computes.
        what: `scale`, `values`, or `weight`.
    """
    {".onnx": _in_onnx, ".tflite": _in_tflite, ".mlpackage": _in_coreml}[path.suffix](path, name, factor, what)


def change_activation(path: Path, name: str, factor: float) -> None:
    """Multiplies the scale of one quantized value by `factor`, where it is quantized and where it is dequantized."""
    {".onnx": _onnx_activation, ".tflite": _tflite_activation, ".mlpackage": _coreml_activation}[path.suffix](
        path, name, factor
    )


def rehash(folder: Path) -> None:
    """Makes the manifest of a dist say what lies in the folder now, as if the exporter had written it so."""
    document = read_manifest(folder, check_hashes=False)
    for row in document["artifacts"]:
        row |= {"bytes": size_bytes_of(folder / row["path"]), "sha256": sha256_of(folder / row["path"])}
    write_manifest(folder, document)


def _in_onnx(path: Path, name: str, factor: float, what: str) -> None:
    model = load(path)
    if what == "scale":
        name = next(n.input[1] for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == name)
    _scale_initializer(model, name, factor)
    save(model, path)


def _onnx_activation(path: Path, name: str, factor: float) -> None:
    model = load(path)
    pair = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == name]
    pair += [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] == pair[0].output[0]]
    assert len(pair) >= 2
    for node in pair:
        old = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
        fresh = numpy_helper.from_array(numpy_helper.to_array(old) * np.float32(factor), f"{node.name}_wrong_scale")
        model.graph.initializer.append(fresh)
        node.input[1] = fresh.name
    save(model, path)


def _scale_initializer(model: Any, name: str, factor: float) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.reshape(len(values), -1)[0] = values.reshape(len(values), -1)[0] * factor
    tensor.CopyFrom(numpy_helper.from_array(values, name))


def _in_tflite(path: Path, name: str, factor: float, what: str) -> None:
    model, tensor = _tflite_tensor(path, name)
    if what == "weight":
        graph = model.subgraphs[0]
        layer = next(operator for operator in graph.operators if graph.tensors[operator.outputs[0]] is tensor)
        tensor = graph.tensors[layer.inputs[1]]
    if what == "scale":
        _scale_of(tensor, factor)
    else:
        buffer = model.buffers[tensor.buffer]
        values = np.frombuffer(bytes(buffer.data), np.int32 if tensor.type == 2 else np.float32).copy()
        first = values.reshape(tensor.shape[0], -1)
        first[0] = first[0] * factor
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    _write_tflite(path, model)


def _tflite_activation(path: Path, name: str, factor: float) -> None:
    model, tensor = _tflite_tensor(path, name)
    _scale_of(tensor, factor)
    _write_tflite(path, model)


def _scale_of(tensor: Any, factor: float) -> None:
    scale = np.array(tensor.quantization.scale)
    scale[0] *= factor
    tensor.quantization.scale = scale


def _tflite_tensor(path: Path, name: str) -> tuple[Any, Any]:
    from ..export.tflite_rewrites import read_model

    model = read_model(path.read_bytes())
    return model, next(tensor for tensor in model.subgraphs[0].tensors if tensor.name in (name, name.encode()))


def _write_tflite(path: Path, model: Any) -> None:
    from ..export.tflite_rewrites import pack_model

    path.write_bytes(pack_model(model))


def _in_coreml(path: Path, name: str, factor: float, what: str) -> None:
    spec = _coreml_spec(path)
    operation = next(op for op in _operations(spec) if op.outputs[0].name == name)
    if what == "scale":
        value = operation.attributes["scale"]
    else:
        value = operation.attributes["val"]
    _scale_value(path, value, factor)
    _write_coreml(path, spec)


def _coreml_activation(path: Path, name: str, factor: float) -> None:
    spec = _coreml_spec(path)
    quantize = next(
        op for op in _operations(spec) if op.type == "quantize" and op.inputs["input"].arguments[0].name == name
    )
    codes = quantize.outputs[0].name
    dequantizers = [
        op for op in _operations(spec) if op.type == "dequantize" and op.inputs["input"].arguments[0].name == codes
    ]
    scales = {op.inputs["scale"].arguments[0].name for op in (quantize, *dequantizers)}
    constants = [op for op in _operations(spec) if op.type == "const" and op.outputs[0].name in scales]
    assert len(constants) >= 2
    for constant in constants:
        _scale_value(path, constant.attributes["val"], factor)
    _write_coreml(path, spec)


def _scale_value(path: Path, value: Any, factor: float) -> None:
    """Changes the first float of a MIL value, which lies in the specification or in the weight file."""
    if value.WhichOneof("value") == "immediateValue":
        floats = value.immediateValue.tensor.floats.values
        floats[0] = floats[0] * factor
        return
    weights = path / "Data/com.apple.CoreML/weights/weight.bin"
    content = bytearray(weights.read_bytes())
    # MILBlob's header of an entry: sentinel, type, size in bytes, offset of the data.
    sentinel, _, _, offset = struct.unpack_from("<IIQQ", content, value.blobFileValue.offset)
    assert sentinel == 0xDEADBEEF
    rows = [dimension.constant.size for dimension in value.type.tensorType.dimensions]
    count = int(np.prod(rows[1:]))
    first = np.frombuffer(content, np.float32, count, offset) * np.float32(factor)
    content[offset : offset + 4 * count] = first.tobytes()
    weights.write_bytes(content)


def _coreml_spec(path: Path) -> Any:
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString((path / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
    return spec


def _operations(spec: Any) -> Any:
    body = spec.mlProgram.functions["main"]
    return body.block_specializations[body.opset].operations


def _write_coreml(path: Path, spec: Any) -> None:
    (path / "Data/com.apple.CoreML/model.mlmodel").write_bytes(spec.SerializeToString(deterministic=True))

"""Artifacts damaged on purpose: one channel of a layer's weight scale doubled in the file itself."""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from ..manifest import read_manifest, write_manifest
from ..storage import sha256_of, size_bytes_of


def double_scale(path: Path, name: str) -> None:
    """Doubles the scale of the first channel of the int8 constant `name` in an ONNX, TFLite or Core ML artifact."""
    {".onnx": _in_onnx, ".tflite": _in_tflite, ".mlpackage": _in_coreml}[path.suffix](path, name)


def rehash(folder: Path) -> None:
    """Makes the manifest of a dist say what lies in the folder now, as if the exporter had written it so."""
    document = read_manifest(folder, check_hashes=False)
    for row in document["artifacts"]:
        row |= {"bytes": size_bytes_of(folder / row["path"]), "sha256": sha256_of(folder / row["path"])}
    write_manifest(folder, document)


def _in_onnx(path: Path, name: str) -> None:
    import onnx

    model = onnx.load(path)
    reader = next(node for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] == name)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == reader.input[1])
    scale = onnx.numpy_helper.to_array(tensor).copy()
    scale[0] *= 2
    tensor.CopyFrom(onnx.numpy_helper.from_array(scale, tensor.name))
    onnx.save(model, path)


def _in_tflite(path: Path, name: str) -> None:
    from ..export.tflite_rewrites import pack_model, read_model

    model = read_model(path.read_bytes())
    tensor = next(tensor for tensor in model.subgraphs[0].tensors if tensor.name in (name, name.encode()))
    scale = np.array(tensor.quantization.scale)
    scale[0] *= 2
    tensor.quantization.scale = scale
    path.write_bytes(pack_model(model))


def _in_coreml(path: Path, name: str) -> None:
    from coremltools.proto import Model_pb2

    inner = path / "Data/com.apple.CoreML"
    spec: Any = Model_pb2.Model()
    spec.ParseFromString((inner / "model.mlmodel").read_bytes())
    body = spec.mlProgram.functions["main"]
    operations = body.block_specializations[body.opset].operations
    scale = next(op for op in operations if op.outputs[0].name == name).attributes["scale"]
    if scale.WhichOneof("value") == "immediateValue":
        floats = scale.immediateValue.tensor.floats.values
        floats[0] *= 2
        (inner / "model.mlmodel").write_bytes(spec.SerializeToString(deterministic=True))
        return
    content = bytearray((inner / "weights/weight.bin").read_bytes())
    # MILBlob's header of an entry: sentinel, type, size in bytes, offset of the data.
    _, _, _, offset = struct.unpack_from("<IIQQ", content, scale.blobFileValue.offset)
    (first,) = struct.unpack_from("<f", content, offset)
    struct.pack_into("<f", content, offset, 2 * first)
    (inner / "weights/weight.bin").write_bytes(content)

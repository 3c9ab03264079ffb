"""Reads a `.tflite` flatbuffer into plain dataclasses: tensors, operators, signature.

The schema comes compiled with ai-edge-litert. Reading the whole file in Python is also its check: a truncated or
damaged file fails here with one line, before any engine sees it.
"""

import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput

# Types without a NumPy type: their bytes are kept as they are, those packed below one byte as int8 or uint8.
_UNPACKED = {
    "FLOAT32": "float32",
    "FLOAT16": "float16",
    "FLOAT64": "float64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "BOOL": "bool",
}
_BITS = {"int2": 2, "int4": 4, "uint4": 4}  # packed from the least significant bit on


@dataclass(frozen=True)
class TfliteTensor:
    """A tensor of the graph.

    Attributes:
        index: its place in the file's tensor table.
        name: its name; a repeated name is followed by `#index`.
        shape: sizes as stored; `shape_signature` holds None where a size may vary.
        dtype: NumPy name, or the schema's name in lower case where NumPy has none (`int4`).
        scale: float32 (), (channels,) or empty where the tensor is not quantized.
        zero_point: int32, the shape of `scale`.
        axis: the channel axis of `scale`, in the layout of the file; None for one scale per tensor.
        data: the values of a constant, packed ones as int8 or uint8; None for what is computed at run time.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    shape_signature: tuple[int | None, ...]
    dtype: str
    scale: np.ndarray
    zero_point: np.ndarray
    axis: int | None
    data: np.ndarray | None

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def is_quantized(self) -> bool:
        return self.scale.size > 0

    @property
    def element_bits(self) -> int:
        """Bits of one value as stored."""
        return _BITS.get(self.dtype) or np.dtype(self.dtype).itemsize * 8

    @property
    def size_bytes(self) -> int:
        """Bytes of its values, packed where the type is below one byte."""
        return -(-int(np.prod(self.shape, dtype=np.int64)) * self.element_bits // 8)


@dataclass(frozen=True)
class TfliteOperator:
    """An operator: the schema's name (`CONV_2D`), tensor indices (-1 for an input left out) and its options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class TfliteGraph:
    """The main subgraph of a file.

    Attributes:
        tensors: by index.
        operators: in execution order.
        inputs, outputs: public name -> tensor index, in order; signature names where the file has a signature.
        subgraphs: how many the file holds; only the main one is read.
    """

    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: dict[str, int]
    outputs: dict[str, int]
    subgraphs: int


def read_tflite(path: Path) -> TfliteGraph:
    """Reads the main subgraph of a `.tflite` file.

    Raises:
        BadInput: the file is missing, cut short or not a TFLite flatbuffer.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot read ({error.strerror})") from error
    if content[4:8] != b"TFL3":
        raise BadInput(f"{path}: not a TFLite file (no TFL3 mark); export it again")
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        return _graph(model, content)
    except (struct.error, LookupError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(f"{path}: damaged TFLite file ({type(error).__name__}); export it again") from error


def _graph(model: Any, content: bytes) -> TfliteGraph:
    main = model.subgraphs[0]
    seen: set[str] = set()
    tensors = tuple(_tensor(index, stored, model, content, seen) for index, stored in enumerate(main.tensors))
    operators = tuple(_operator(stored, model) for stored in _listed(main.operators))
    read = {index for op in operators for index in op.inputs} - {-1}  # what an operator does without
    if any(not 0 <= index < len(tensors) for index in read.union(*(op.outputs for op in operators))):
        raise IndexError("an operator reads or gives a tensor that is not there")
    signature = next((s for s in _listed(model.signatureDefs) if s.subgraphIndex == 0), None)
    if signature is not None:
        inputs = {entry.name.decode(): int(entry.tensorIndex) for entry in _listed(signature.inputs)}
        outputs = {entry.name.decode(): int(entry.tensorIndex) for entry in _listed(signature.outputs)}
    else:
        inputs = {tensors[index].name: int(index) for index in _listed(main.inputs)}
        outputs = {tensors[index].name: int(index) for index in _listed(main.outputs)}
    if any(not 0 <= index < len(tensors) for index in (*inputs.values(), *outputs.values())):
        raise IndexError("the signature names a tensor that is not there")
    return TfliteGraph(tensors, operators, inputs, outputs, len(model.subgraphs))


def _tensor(index: int, stored: Any, model: Any, content: bytes, seen: set[str]) -> TfliteTensor:
    name = (stored.name or b"").decode()
    name = f"{name}#{index}" if name in seen or not name else name
    seen.add(name)
    shape = tuple(int(size) for size in _listed(stored.shape))
    signature = _listed(stored.shapeSignature)
    dtype_name = _names("TensorType")[stored.type]
    dtype = _UNPACKED.get(dtype_name, dtype_name.lower())
    scale, zero_point, axis = _quantization(stored.quantization)
    return TfliteTensor(
        index=index,
        name=name,
        shape=shape,
        shape_signature=tuple(None if s < 0 else int(s) for s in signature) if len(signature) else shape,
        dtype=dtype,
        scale=scale,
        zero_point=zero_point,
        axis=axis,
        data=_data(model.buffers[stored.buffer], content, shape, dtype),
    )


def _quantization(stored: Any) -> tuple[np.ndarray, np.ndarray, int | None]:
    """Scale, zero point and axis; blockwise and other custom quantization reads as not quantized."""
    scale = np.asarray(_listed(stored.scale if stored is not None else None), dtype=np.float32)
    if scale.size == 0:
        return scale, np.empty(0, np.int32), None
    zero_point = np.asarray(_listed(stored.zeroPoint), dtype=np.int32)
    zero_point = zero_point if zero_point.size else np.zeros(scale.size, np.int32)
    if scale.size == 1:
        return scale.reshape(()), zero_point.reshape(()), None
    return scale, np.broadcast_to(zero_point, scale.shape), int(stored.quantizedDimension)


def _data(buffer: Any, content: bytes, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """A constant's values; files above 2 GB keep them behind the flatbuffer, at `offset` of the file."""
    if buffer.offset > 1:
        raw = np.frombuffer(content, np.uint8, count=buffer.size, offset=buffer.offset)
    elif buffer.data is not None and len(buffer.data):
        raw = np.asarray(buffer.data, dtype=np.uint8)
    else:
        return None
    if dtype in _BITS:
        return unpack_bits(raw, _BITS[dtype], int(np.prod(shape, dtype=np.int64)), dtype.startswith("u")).reshape(shape)
    return raw.view(dtype).reshape(shape) if dtype in _UNPACKED.values() else raw


def unpack_bits(packed: np.ndarray, bits: int, count: int, unsigned: bool = False) -> np.ndarray:
    """`count` elements of 2 or 4 bits, in two's complement unless unsigned."""
    fields = (packed[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)) & ((1 << bits) - 1)
    values = fields.reshape(-1)[:count].astype(np.uint8)
    if unsigned:
        return values
    sign = 1 << (bits - 1)
    return ((values.astype(np.int8) ^ sign) - sign).astype(np.int8)


def _operator(stored: Any, model: Any) -> TfliteOperator:
    code = model.operatorCodes[stored.opcodeIndex]
    # Files of old converters hold the operator in the one-byte field only (schema.fbs, OperatorCode).
    name = _names("BuiltinOperator")[max(code.builtinCode, code.deprecatedBuiltinCode)]
    if name == "CUSTOM":
        name = f"CUSTOM:{(code.customCode or b'').decode()}"
    options = stored.builtinOptions or stored.builtinOptions2
    return TfliteOperator(
        name=name,
        inputs=tuple(int(i) for i in _listed(stored.inputs)),
        outputs=tuple(int(i) for i in _listed(stored.outputs)),
        options=dict(vars(options)) if options is not None else {},
    )


@cache
def _names(enumeration: str) -> dict[int, str]:
    """Value -> name of a schema enumeration."""
    from ai_edge_litert import schema_py_generated as schema

    members = vars(getattr(schema, enumeration))
    return {value: name for name, value in members.items() if isinstance(value, int)}


def _listed(vector: Any) -> Any:
    """A flatbuffer vector, empty where the field is absent."""
    return [] if vector is None else vector

"""A saved ML program as a small graph: what an `.mlpackage` holds, without Core ML.

The messages are those of coremltools' `mlmodel/format/MIL.proto`: a program holds functions, a function holds one block
per operator set, a block a list of operations in order of execution. Weights stand in `weights/weight.bin` beside it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput, UnsupportedOperator
from ...export.quiet import quiet
from ...storage import read_json
from .blobs import NUMPY_TYPES, BlobFile, unpack

# Numbers of `DataType` in MIL.proto.
_DTYPES = {
    1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64", 21: "int8", 22: "int16", 23: "int32", 24: "int64",
    25: "int4", 31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64", 35: "uint4", 36: "uint2", 37: "uint1",
    38: "uint6", 39: "uint3",
}  # fmt: skip


@dataclass(frozen=True)
class MilValue:
    """A named value: its element type (`fp16`, ...) and shape; None for an open size, or for what is no tensor."""

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class MilOperation:
    """One operation.

    Attributes:
        type: the operator, for example `conv`.
        name: the operation's own name.
        inputs: parameter -> names of the values bound to it, or an array for a value written in place. `const` has one
            parameter, `val`; the `constexpr_*` operators of iOS 16 keep theirs as attributes and appear here alike.
        outputs: the values it makes.
        stored_types: parameter -> element type of a tensor written in place; its array may be wider (`int4` in int8).
    """

    type: str
    name: str
    inputs: dict[str, Any]
    outputs: tuple[MilValue, ...]
    stored_types: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class MilProgram:
    """One function of a saved ML program.

    Attributes:
        path: the package.
        inputs: the function's inputs.
        outputs: names of the values it returns.
        operations: in order of execution.
        description: the `ModelDescription` message: the features as an application sees them.
        opset: the operator set, for example `CoreML7`.
    """

    path: Path
    inputs: tuple[MilValue, ...]
    outputs: tuple[str, ...]
    operations: tuple[MilOperation, ...]
    description: Any = field(compare=False, repr=False)
    opset: str = ""


def load_program(path: Path, function: str = "main") -> MilProgram:
    """Reads a package.

    Raises:
        BadInput: it is not a package, a file is missing or damaged, or it holds no ML program.
    """
    path = Path(path)
    model = _model_file(path)
    with quiet():
        from coremltools.proto import Model_pb2  # 4 s to import
    from google.protobuf.message import DecodeError

    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model.read_bytes())
    except (DecodeError, OSError) as error:
        raise BadInput(f"{model}: not a Core ML model ({error}); export the package again") from error
    if spec.WhichOneof("Type") != "mlProgram":
        raise BadInput(f"{path}: holds a {spec.WhichOneof('Type')}, expected an mlProgram; convert with `mlprogram`")
    if function not in spec.mlProgram.functions:
        known = ", ".join(sorted(spec.mlProgram.functions))
        raise BadInput(f"{path}: no function {function!r}; the package has {known}")
    body = spec.mlProgram.functions[function]
    block = body.block_specializations[body.opset]
    reader = _Reader(model.parent)
    return MilProgram(
        path=path,
        inputs=tuple(_named(v) for v in body.inputs),
        outputs=tuple(block.outputs),
        operations=tuple(reader.operation(op) for op in block.operations),
        description=spec.description,
        opset=body.opset,
    )


def _model_file(path: Path) -> Path:
    """The specification inside a package, by its manifest."""
    if not path.is_dir():
        what = "not a folder" if path.exists() else "no such package"
        raise BadInput(f"{path}: {what}; expected an .mlpackage written by `offramp export`")
    manifest = path / "Manifest.json"
    if not manifest.is_file():
        raise BadInput(f"{manifest}: missing, so this is not a Core ML package; export it again")
    content = read_json(manifest)
    try:
        model = path / "Data" / content["itemInfoEntries"][content["rootModelIdentifier"]]["path"]
    except (KeyError, TypeError) as error:
        raise BadInput(f"{manifest}: names no root model; the file is damaged, export the package again") from error
    if not model.is_file():
        raise BadInput(f"{model}: missing; export the package again")
    return model


def _named(value: Any) -> MilValue:
    dtype, shape = _tensor_type(value.type)
    return MilValue(value.name, dtype, shape)


def _tensor_type(value_type: Any) -> tuple[str, tuple[int | None, ...] | None]:
    kind = value_type.WhichOneof("type")
    if kind != "tensorType":
        return str(kind).removesuffix("Type"), None
    tensor = value_type.tensorType
    shape = tuple(d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in tensor.dimensions)
    return _DTYPES.get(tensor.dataType, f"type {tensor.dataType}"), shape


def _stored_types(op: Any) -> dict[str, str]:
    values = dict(op.attributes)
    for name, argument in op.inputs.items():
        if len(argument.arguments) == 1 and argument.arguments[0].WhichOneof("binding") == "value":
            values[name] = argument.arguments[0].value
    return {name: _tensor_type(value.type)[0] for name, value in values.items()}


class _Reader:
    """Turns messages into values; opens each weight file once."""

    def __init__(self, model_folder: Path):
        self._folder = model_folder
        self._files: dict[str, BlobFile] = {}

    def operation(self, op: Any) -> MilOperation:
        outputs = tuple(_named(v) for v in op.outputs)
        if op.blocks:
            where = outputs[0].name if outputs else op.type
            raise UnsupportedOperator(op.type, where, "the ML program evaluator", "control flow needs macOS")
        inputs = {name: self._argument(argument) for name, argument in op.inputs.items()}
        inputs |= {key: self.value(value) for key, value in op.attributes.items() if key != "name"}
        name = self.value(op.attributes["name"]) if "name" in op.attributes else op.type
        return MilOperation(op.type, str(name), inputs, outputs, _stored_types(op))

    def _argument(self, argument: Any) -> Any:
        """Names as a tuple of strings, or the array of a single value written in place."""
        bindings = argument.arguments
        if len(bindings) == 1 and bindings[0].WhichOneof("binding") == "value":
            return self.value(bindings[0].value)
        return tuple(b.name for b in bindings)

    def value(self, value: Any) -> Any:
        """An array (element types narrower than a byte as one byte each), or a list for a list of values."""
        if value.type.WhichOneof("type") == "listType":
            return [self.value(v).item() for v in value.immediateValue.list.values]
        dtype, open_shape = _tensor_type(value.type)
        shape = tuple(d or 0 for d in open_shape or ())
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue.fileName).read(value.blobFileValue.offset, dtype, shape)
        tensor = value.immediateValue.tensor
        stored = getattr(tensor, tensor.WhichOneof("value")).values
        if isinstance(stored, bytes):
            return unpack(stored, dtype, shape)
        if dtype == "string":
            return np.array(list(stored), dtype=object).reshape(shape)
        return np.array(stored, dtype=NUMPY_TYPES[dtype]).reshape(shape)

    def _blob(self, name: str) -> BlobFile:
        """A weight file by the name written in the program, `@model_path/weights/weight.bin`."""
        if name not in self._files:
            self._files[name] = BlobFile(self._folder / name.removeprefix("@model_path/"))
        return self._files[name]

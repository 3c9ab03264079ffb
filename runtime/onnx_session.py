"""Runs an `.onnx` file in ONNX Runtime on the CPU, and reads its weights and scales back."""

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, first_line
from ..export.artifact import TensorSpec
from ..quant.codes import IntegerTensor
from .border import checked_inputs

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
# Element types below a byte, by their numbers in onnx.proto: UINT4, INT4, UINT2, INT2.
PACKED_BITS = {21: 4, 22: 4, 25: 2, 26: 2}
# uint8 codes are read as int8: both code and zero point move by 128, which changes no value.
_UNSIGNED_SHIFT = 128


class OnnxSession:
    """An `.onnx` file ready to run; see `Session`."""

    target = "onnx"

    def __init__(self, path: Path, threads: int = 1):
        import onnxruntime

        self.path = Path(path)
        self.threads = threads
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        self._session = _open(self.path, str(self.path), threads, optimize=True)
        self.inputs = _specs(self.path, self._session.get_inputs())
        self.outputs = _specs(self.path, self._session.get_outputs())

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name."""
        return _run(self._session, checked_inputs(self.path, self.inputs, inputs))

    def intermediates(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every value computed on the way, by its name in the file, with graph optimisation off.

        Without optimisation a quantized graph runs as it is written: float operators between quantize/dequantize.
        Codes that a Clip reads are shown by the real values that they stand for too, `x_codes` as `x_real`.
        """
        model = load_onnx(self.path)
        _show_clipped(model.graph)
        declared = {output.name for output in model.graph.output}
        for node in model.graph.node:
            for name in node.output:
                if name and name not in declared:
                    model.graph.output.add().name = name
        session = _open(self.path, model.SerializeToString(), self.threads, optimize=False)
        return _run(session, checked_inputs(self.path, self.inputs, inputs))


def load_onnx(path: Path) -> Any:
    """The file as an `onnx.ModelProto`.

    Raises:
        BadInput: the file is missing, damaged or not ONNX.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
    except OSError as error:
        raise BadInput(f"{path}: cannot read ({error.strerror or first_line(error)})") from error
    except (DecodeError, ValueError) as error:
        raise BadInput(f"{path}: damaged ONNX file ({first_line(error)}); export it again") from error
    if not model.graph.node:
        raise BadInput(f"{path}: not an ONNX network (no operators in it); export it again")
    return model


def _show_clipped(graph: Any) -> None:
    from onnx import helper

    quantizers = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    names = {name for node in graph.node for name in node.output}
    for codes in [node.input[0] for node in graph.node if node.op_type == "Clip" and node.input[0] in quantizers]:
        real = f"{codes.removesuffix('_codes')}_real"
        if real not in names:
            inputs = [codes, *quantizers[codes].input[1:]]
            graph.node.append(helper.make_node("DequantizeLinear", inputs, [real], name=real))
            names.add(real)


def read_weights(path: Path) -> dict[str, IntegerTensor]:
    """The integer initializers that a DequantizeLinear gives meaning to, in PyTorch's layout, by initializer name.

    A MatMul, or a Gemm without transB, keeps its weight (in, out) and is read back as (out, in).
    """
    graph = load_onnx(path).graph
    constants = constants_of(graph, path)
    unpacked = unpacked_codes(graph, constants)
    turned = {
        node.input[1]
        for node in graph.node
        if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes_of(node).get("transB", 0))
    }
    weights = {}
    for node in graph.node:
        codes = unpacked.get(node.input[0], node.input[0]) if node.input else ""
        if node.op_type == "DequantizeLinear" and all(name in constants for name in (codes, *node.input[1:]) if name):
            weight = _integer_tensor(node, constants[codes], constants)
            weights[codes] = _transposed(weight) if node.output[0] in turned else weight
    return weights


def read_activation_scales(path: Path) -> dict[str, tuple[float, int]]:
    """(scale, zero point on the int8 side) of every value that a QuantizeLinear turns to integers.

    The key is the real value's name; a value quantized a second time is kept under its integer's name. Codes that a
    Clip cuts stand for a value of their own, named by the Clip's output without its `_codes`.
    """
    graph = load_onnx(path).graph
    constants = constants_of(graph, path)
    scales: dict[str, tuple[float, int]] = {}
    quantized: dict[str, tuple[float, int]] = {}
    for node in graph.node:
        if node.op_type == "Clip" and node.input[0] in quantized:
            scales[node.output[0].removesuffix("_codes")] = quantized[node.input[0]]
        if node.op_type != "QuantizeLinear" or not _has_one_scale(node, constants):
            continue
        zero = constants[node.input[2]] if len(node.input) > 2 else np.zeros((), np.uint8)
        shift = _UNSIGNED_SHIFT if zero.dtype == np.uint8 else 0
        name = node.output[0] if node.input[0] in scales else node.input[0]
        scales[name] = quantized[node.output[0]] = (float(constants[node.input[1]].item()), int(zero.item()) - shift)
    return scales


def unpacked_codes(graph: Any, constants: dict[str, np.ndarray]) -> dict[str, str]:
    """Output of each Cast that widens constant codes to int8 or uint8 -> the constant's name."""
    import onnx

    wide = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return {
        node.output[0]: node.input[0]
        for node in graph.node
        if node.op_type == "Cast" and node.input[0] in constants and attributes_of(node)["to"] in wide
    }


def _has_one_scale(node: Any, constants: dict[str, np.ndarray]) -> bool:
    """Whether the scale is a constant for the whole tensor; one computed at run time is none to read."""
    return all(name in constants for name in node.input[1:] if name) and constants[node.input[1]].size == 1


def constants_of(graph: Any, path: Path) -> dict[str, np.ndarray]:
    """Initializers and Constant nodes by name; packed integers, of less than a byte each, come as int8 or uint8.

    Raises:
        BadInput: one does not hold as many values as its shape says; `path` is named.
    """
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and "value" in attributes_of(node):
            tensors[node.output[0]] = attributes_of(node)["value"]
    return {name: _array(tensor, name, path) for name, tensor in tensors.items()}


def _array(tensor: Any, name: str, path: Path) -> np.ndarray:
    from onnx import numpy_helper

    try:
        array = numpy_helper.to_array(tensor)
        packed = tensor.data_type in PACKED_BITS
        return array.astype(np.uint8 if array.dtype.name.startswith("u") else np.int8) if packed else array
    except (ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path}: constant {name} is damaged ({first_line(error)}); export it again") from error


def attributes_of(node: Any) -> dict[str, Any]:
    """A node's attributes as plain values."""
    import onnx

    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _integer_tensor(node: Any, codes: np.ndarray, constants: dict[str, np.ndarray]) -> IntegerTensor:
    scale = constants[node.input[1]].astype(np.float32)
    stored_zero = constants[node.input[2]] if len(node.input) > 2 else np.zeros(scale.shape, codes.dtype)
    zero_point = stored_zero.astype(np.int32)
    if codes.dtype == np.uint8:
        codes = (codes.astype(np.int32) - _UNSIGNED_SHIFT).astype(np.int8)
        zero_point = zero_point - _UNSIGNED_SHIFT
    if scale.size == 1:
        return IntegerTensor(codes, scale.reshape(()), zero_point.reshape(()), None)
    axis = attributes_of(node).get("axis", 1) % codes.ndim
    return IntegerTensor(codes, scale, zero_point, axis)


def _transposed(weight: IntegerTensor) -> IntegerTensor:
    """(..., in, out) -> (..., out, in)."""
    rank = weight.codes.ndim
    if rank < 2:
        return weight
    swapped = {rank - 1: rank - 2, rank - 2: rank - 1}
    axis = None if weight.axis is None else swapped.get(weight.axis, weight.axis)
    return IntegerTensor(np.ascontiguousarray(weight.codes.swapaxes(-1, -2)), weight.scale, weight.zero_point, axis)


# On x86 processors without VNNI, sums of two products of uint8 and int8 saturate at 16 bits. With this entry ONNX
# Runtime turns weights to uint8 there, whose products are exact and slower; elsewhere it changes nothing.
EXACT_PRODUCTS = ("session.x64quantprecision", "1")


def _open(path: Path, content: str | bytes, threads: int, optimize: bool) -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    try:
        try:
            return _session(content, threads, optimize, exact=True)
        except faults.Fail:  # also where a foreign file's weights share zero points
            return _session(content, threads, optimize, exact=False)
    except faults.NoSuchFile as error:
        raise BadInput(f"{path}: no such file; export it first with `offramp export`") from error
    except (
        faults.InvalidProtobuf,
        faults.InvalidGraph,
        faults.Fail,
        faults.NotImplemented,
        faults.InvalidArgument,
        faults.RuntimeException,
        UnicodeDecodeError,
    ) as error:
        raise BadInput(f"{path}: ONNX Runtime cannot load it ({first_line(error)}); export it again") from error


def _session(content: str | bytes, threads: int, optimize: bool, exact: bool) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # faults are raised, not printed too
    if exact:
        options.add_session_config_entry(*EXACT_PRODUCTS)
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"], enable_fallback=0)


def _run(session: Any, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def _specs(path: Path, arguments: Any) -> tuple[TensorSpec, ...]:
    try:
        return tuple(_spec(argument) for argument in arguments)
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: damaged ONNX file (a name is not text); export it again") from error


def _spec(argument: Any) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in argument.shape)
    return TensorSpec(argument.name, shape, _DTYPES.get(argument.type, argument.type))

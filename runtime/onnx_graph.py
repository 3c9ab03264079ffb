"""An ONNX graph with the shapes, types and constants of its values: what counting, islands and memory read."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, first_line
from .onnx_session import PACKED_BITS, attributes_of, constants_of, load_onnx, unpacked_codes

# Operators whose output holds input values unchanged, in another order or shape.
MOVES = frozenset(
    [
        "Identity",
        "Reshape",
        "Transpose",
        "Slice",
        "Split",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
        "Expand",
        "Gather",
        "Concat",
        "Tile",
        "DepthToSpace",
        "SpaceToDepth",
    ]
)

# Operator -> the input that holds integer codes with a real meaning, of a weight or a bias.
_CODES_AT = {"DequantizeLinear": 0, "ConvInteger": 1, "MatMulInteger": 1, "QLinearConv": 3, "QLinearMatMul": 3}


class OnnxGraph:
    """The main graph of a file, local functions inlined.

    Attributes:
        nodes: in execution order.
        constants: initializers and Constant nodes by name.
        inputs, outputs: names.
        producers: value name -> the node that computes it.
        consumers: value name -> the nodes that read it.
        unpacked: codes that a Cast widens to int8 or uint8 -> the constant that it widens.
    """

    def __init__(self, graph: Any, path: Path):
        self.nodes: list[Any] = list(graph.node)
        self.constants: dict[str, np.ndarray] = constants_of(graph, path)
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        self.unpacked = unpacked_codes(graph, self.constants)
        self._packed = {t.name: PACKED_BITS[t.data_type] for t in graph.initializer if t.data_type in PACKED_BITS}
        self._types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}

    attributes = staticmethod(attributes_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a value.

        Raises:
            KeyError: the shape is not known, or not all of it.
        """
        if name in self.constants:
            return self.constants[name].shape
        kind = self._types[name]
        if not kind.HasField("shape") or not all(size.HasField("dim_value") for size in kind.shape.dim):
            raise KeyError(name)
        return tuple(size.dim_value for size in kind.shape.dim)

    def dtype(self, name: str) -> np.dtype:
        """Raises KeyError where type inference did not reach."""
        import onnx

        if name in self.constants:
            return self.constants[name].dtype
        return onnx.helper.tensor_dtype_to_np_dtype(self._types[name].elem_type)

    def size_bytes(self, name: str) -> int:
        return prod(self.shape(name)) * self.dtype(name).itemsize

    def bits(self, name: str) -> int:
        """Bits of an operand: of its codes where it was dequantized, else of its type; moves are looked through."""
        node = self.producers.get(name)
        if node is not None and node.op_type == "DequantizeLinear":
            return self.stored_bits(node.input[0])
        if node is not None and node.op_type in MOVES:
            moved = node.input if node.op_type == "Concat" else node.input[:1]
            return max(self.bits(source) for source in moved)
        return self.dtype(name).itemsize * 8

    def stored_bits(self, name: str) -> int:
        """Bits that one element takes where it is stored: 4 for `INT4`, and for what is cast from it."""
        stored = self.unpacked.get(name, name)
        return self._packed.get(stored) or self.dtype(stored).itemsize * 8

    def origin(self, name: str) -> str:
        """The constant or computed value that `name` is, behind moves, dequantizing and the unpacking of codes."""
        node = self.producers.get(name)
        if name in self.unpacked:
            return self.unpacked[name]
        through = node is not None and node.op_type in MOVES | {"DequantizeLinear"} and name not in self.constants
        return self.origin(node.input[0]) if node is not None and through else name

    def parameters(self) -> int:
        """Elements of floating-point constants with at least one axis, and of integer codes with a scale."""
        return sum(array.size for name, array in self.constants.items() if self._is_parameter(name, array))

    def _is_parameter(self, name: str, array: np.ndarray) -> bool:
        readers = self.consumers.get(name, [])
        spelled = {name, *(wide for wide, stored in self.unpacked.items() if stored == name)}
        codes = [node for wide in spelled for node in self.consumers.get(wide, []) if node.op_type in _CODES_AT]
        if any(node.input[_CODES_AT[node.op_type]] in spelled for node in codes):
            return True
        only_scales = all(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in readers)
        return array.ndim > 0 and array.dtype.kind == "f" and not only_scales


def read_onnx_graph(path: Path, sizes: Mapping[str, int] | None = None) -> OnnxGraph:
    """Reads a file and infers every shape, with named free sizes set to `sizes`, or to one.

    Raises:
        BadInput: the file is damaged, or its shapes contradict each other.
    """
    import onnx
    from onnx import inliner, shape_inference

    model = load_onnx(path)
    if model.functions:
        model = inliner.inline_local_functions(model)
    for value in model.graph.input:
        for size in value.type.tensor_type.shape.dim:
            if not size.HasField("dim_value"):
                size.dim_value = (sizes or {}).get(size.dim_param, 1)
    del model.graph.value_info[:]
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (shape_inference.InferenceError, onnx.checker.ValidationError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: shapes cannot be worked out ({first_line(error)})") from error
    return OnnxGraph(inferred.graph, path)

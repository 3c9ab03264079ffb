"""Which operators of an artifact run on integers, and which fell back to float, with the reason for each.

An operator without quantize/dequantize on both sides becomes a float island, silently and at the cost of two
conversions. For TFLite the tensor types decide; for Core ML `coreml_islands.py`. For ONNX a runtime decides when it
loads the file: the rules here are those of ONNX Runtime's CPU provider (`qdq_selector_action_transformer.cc`), one row
per group of operators, on x86.

x86 kernels take uint8 activations. ONNX Runtime shifts int8 ones to uint8 by itself, but only where one operator reads
them: int8 codes with two readers, as at every residual connection, leave both readers and the writer in float.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput
from .c_source import CSource, read_c_source
from .coreml_graph import CoremlGraph
from .coreml_islands import computed, obstacle
from .macs import MacCount, count_c, count_coreml, count_onnx, count_tflite
from .onnx_graph import OnnxGraph, read_onnx_graph
from .tflite_graph import TfliteGraph, TfliteOperator, TfliteTensor, read_tflite


@dataclass(frozen=True)
class Island:
    """An operator that computes in float.

    Attributes:
        operator: `Conv`, `SOFTMAX`, `layer_norm`.
        name: of its first output value.
        module: path of the PyTorch module that calls it; empty where it is not known.
        reason: what keeps it from running on integers.
    """

    operator: str
    name: str
    module: str
    reason: str


@dataclass(frozen=True)
class IslandReport:
    """How much of an artifact runs on integers.

    Attributes:
        islands: the operators in float, in order.
        integer_operators: how many run on integers; quantize and dequantize themselves are not operators here.
        integer_mac_share: multiply-accumulates on integers over all counted ones, 1.0 where there are none.
    """

    islands: tuple[Island, ...]
    integer_operators: int
    integer_mac_share: float


def find_islands(path: Path, modules: Mapping[str, str] | None = None) -> IslandReport:
    """Reads an `.onnx`, `.tflite` or `.c` file, or an `.mlpackage`.

    Args:
        path: the artifact.
        modules: value name -> PyTorch module path.

    Raises:
        BadInput: the file is damaged, or of another kind.
    """
    path, known = Path(path), modules or {}
    if path.suffix == ".onnx":
        return _report(*_in_onnx(read_onnx_graph(path), known), count_onnx(path))
    if path.suffix == ".tflite":
        return _report(*_in_tflite(read_tflite(path), known), count_tflite(path))
    if path.suffix == ".mlpackage":
        return _report(*_in_coreml(CoremlGraph(path), known), count_coreml(path))
    if path.suffix == ".c":
        return _report(*_in_c(read_c_source(path), known), count_c(path))
    kind = path.suffix or "this"
    raise BadInput(f"{path}: islands are found in .c, .onnx and .tflite files and .mlpackage folders, not in {kind}")


def integer_nodes(graph: OnnxGraph) -> set[str]:
    """First outputs of the nodes that ONNX Runtime runs on integers."""
    computed = [node for node in graph.nodes if _computes(graph, node)]
    return {node.output[0] for node in computed if not _obstacle(graph, node)}


def _report(islands: list[Island], integers: int, count: MacCount) -> IslandReport:
    in_float = {island.name for island in islands}
    on_integers = sum(operation.macs for operation in count.operations if operation.name not in in_float)
    return IslandReport(tuple(islands), integers, on_integers / count.total if count.total else 1.0)


def _in_onnx(graph: OnnxGraph, modules: Mapping[str, str]) -> tuple[list[Island], int]:
    islands, integers = [], 0
    for node in graph.nodes:
        if not _computes(graph, node):
            continue
        reason = _obstacle(graph, node)
        if reason:
            islands.append(Island(node.op_type, node.output[0], modules.get(node.output[0], ""), reason))
        integers += not reason
    return islands, integers


def _computes(graph: OnnxGraph, node: Any) -> bool:
    """Whether a node works on values at run time: not a border, not a constant, not arithmetic on shapes."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Constant"):
        return False
    if all(graph.origin(name) in graph.constants for name in node.input if name):
        return False
    on_codes = node.op_type in _INTEGER_OPERATORS or _clips_codes(graph, node)
    return on_codes or any(_is_real(graph, name) for name in (*node.input, *node.output))


def _clips_codes(graph: OnnxGraph, node: Any) -> bool:
    return node.op_type == "Clip" and graph.dtype(node.output[0]) in (np.int8, np.uint8)


def _is_real(graph: OnnxGraph, name: str) -> bool:
    try:
        return bool(name) and name not in graph.constants and graph.dtype(name).kind == "f"
    except KeyError:
        return False


def _obstacle(graph: OnnxGraph, node: Any) -> str:
    """What keeps a node from running on integers; empty if nothing does."""
    if node.op_type in _INTEGER_OPERATORS or _clips_codes(graph, node):
        return ""
    if node.op_type in ("Relu", "Clip"):
        return _activation_obstacle(graph, node)
    rule = _RULES.get(node.op_type)
    if rule is None:
        return "no integer form in ONNX Runtime"
    reads, writes = rule
    for name in node.input[:reads]:
        if name and not _dequantized(graph, name):
            return f"input {name} is not dequantized codes"
        if name and graph.stored_bits(graph.producers[name].input[0]) < 8 and not _is_unpacked(graph, name):
            return f"input {name} is dequantized from packed codes, which have no integer kernel; cast them to int8"
        if name and _is_shared_int8(graph, graph.producers[name].input[0]):
            return f"input {name} is int8 with several readers, which x86 runs in float; make it uint8"
    return writes(graph, node) or _shared_outputs(graph, node)


def _shared_outputs(graph: OnnxGraph, node: Any) -> str:
    for name in node.output:
        after = _quantizer(graph, name)
        if after is not None and _is_shared_int8(graph, after.output[0]):
            return f"output {name} is int8 with several readers, which x86 runs in float; make it uint8"
    return ""


def _is_shared_int8(graph: OnnxGraph, codes: str) -> bool:
    """Whether computed int8 codes reach more than one operator."""
    if graph.origin(codes) in graph.constants or graph.dtype(codes) != np.int8:
        return False
    dequantizers = graph.consumers.get(codes, [])
    reached = [reader for node in dequantizers for reader in graph.consumers.get(node.output[0], [])]
    shown = sum(node.output[0] in graph.outputs for node in dequantizers)
    return len(dequantizers) > 1 or len(reached) + shown > 1


def _dequantized(graph: OnnxGraph, name: str) -> bool:
    producer = graph.producers.get(name)
    return producer is not None and producer.op_type == "DequantizeLinear"


def _is_unpacked(graph: OnnxGraph, name: str) -> bool:
    """Whether the codes behind a dequantize were cast to a whole byte, which ONNX Runtime does once, at loading."""
    return graph.producers[name].input[0] in graph.unpacked


def _must_quantize(graph: OnnxGraph, node: Any) -> str:
    """Every output goes to one QuantizeLinear and nowhere else, perhaps through a Relu or Clip that it implies."""
    for name in node.output:
        if _quantizer(graph, name) is None:
            return f"output {name} is not quantized"
    return ""


def _may_quantize(graph: OnnxGraph, node: Any) -> str:
    return ""


def _zero_points_stated(graph: OnnxGraph, node: Any) -> str:
    """An integer Gemm reads every zero point from the file, also those that are zero."""
    for name in node.input:
        if len(graph.producers[name].input) < 3:
            return f"{name} is dequantized without a zero point; state it"
    return ""


def _same_codes(graph: OnnxGraph, node: Any) -> str:
    """A move needs the same scale and zero point on both sides."""
    missing = _must_quantize(graph, node)
    if missing:
        return missing
    before = graph.producers[node.input[0]]
    for name in node.output:
        after = _quantizer(graph, name)
        if not all(
            np.array_equal(graph.constants[a], graph.constants[b]) for a, b in zip(before.input[1:], after.input[1:])
        ):
            return f"output {name} has another scale than the input"
    return ""


def _quantizer(graph: OnnxGraph, name: str) -> Any:
    """The QuantizeLinear that alone reads a value, looking through a Relu or Clip that it makes redundant."""
    readers = graph.consumers.get(name, [])
    if name in graph.outputs or len(readers) != 1:
        return None
    (reader,) = readers
    if reader.op_type == "QuantizeLinear":
        return reader if all(scale in graph.constants for scale in reader.input[1:]) else None
    if reader.op_type in ("Relu", "Clip") and not _activation_obstacle(graph, reader):
        return _quantizer(graph, reader.output[0])
    return None


def _activation_obstacle(graph: OnnxGraph, node: Any) -> str:
    """A Relu or Clip costs nothing where the codes' own range already cuts what it would cut."""
    after = _quantizer(graph, node.output[0])
    if after is None:
        return f"output {node.output[0]} is not quantized"
    zero = graph.constants[after.input[2]] if len(after.input) > 2 else np.uint8(0)
    scale, limits = float(graph.constants[after.input[1]].max()), np.iinfo(zero.dtype)
    low, high = scale * (limits.min - int(zero.max())), scale * (limits.max - int(zero.max()))
    lower, upper = _bounds(graph, node)
    if lower > low or upper < high:
        return f"its range {lower:g} to {upper:g} is not that of the codes, {low:g} to {high:g}"
    return ""


def _bounds(graph: OnnxGraph, node: Any) -> tuple[float, float]:
    if node.op_type == "Relu":
        return 0.0, float("inf")
    given = [graph.constants.get(name) for name in (*node.input[1:], "", "")][:2]
    lower, upper = given
    return (-float("inf") if lower is None else float(lower)), (float("inf") if upper is None else float(upper))


_INTEGER_OPERATORS = {"ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"}
_ALL = 1 << 10
# Operator -> how many inputs must be dequantized codes, and what must hold of the outputs.
_RULES: dict[str, tuple[int, Callable[[OnnxGraph, Any], str]]] = {
    "Conv": (3, _must_quantize),
    "Gemm": (_ALL, _zero_points_stated),
    "MatMul": (_ALL, _may_quantize),
    "ArgMax": (1, _may_quantize),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "LeakyRelu", "Sigmoid", "Softmax"), (1, _must_quantize)),
    **dict.fromkeys(("Add", "Mul", "Concat"), (_ALL, _must_quantize)),
    **dict.fromkeys(
        (
            *("Expand", "Flatten", "Gather", "GatherElements", "MaxPool", "ReduceMax", "ReduceMin", "Reshape"),
            *("Resize", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
        ),
        (1, _same_codes),
    ),
}


def _in_tflite(graph: TfliteGraph, modules: Mapping[str, str]) -> tuple[list[Island], int]:
    islands, integers = [], 0
    for operator in graph.operators:
        if operator.name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        values = _values(graph, operator)
        in_float = next((tensor for tensor in values if tensor.dtype.startswith("float")), None)
        if in_float is not None:
            name = graph.tensors[operator.outputs[0]].name
            reason = f"{in_float.name} is {in_float.dtype}"
            islands.append(Island(operator.name, name, modules.get(name, ""), reason))
        integers += in_float is None and any(tensor.is_quantized for tensor in values)
    return islands, integers


def _in_c(source: CSource, modules: Mapping[str, str]) -> tuple[list[Island], int]:
    """Operators of PyTorch's own names compute real numbers; all others but the border's conversions are integers."""
    islands = [
        Island(call.operation, call.value, modules.get(call.value, call.module), "it computes real numbers")
        for call in source.calls
        if call.operation.startswith("aten.")
    ]
    conversions = sum(call.operation in ("Quantize", "Dequantize") for call in source.calls)
    return islands, len(source.calls) - len(islands) - conversions


def _in_coreml(graph: CoremlGraph, modules: Mapping[str, str]) -> tuple[list[Island], int]:
    islands, integers = [], 0
    for operation in computed(graph):
        name, reason = operation.outputs[0].name, obstacle(graph, operation)
        if reason:
            islands.append(Island(operation.type, name, modules.get(name, ""), reason))
        integers += not reason
    return islands, integers


def _values(graph: TfliteGraph, operator: TfliteOperator) -> list[TfliteTensor]:
    """What an operator reads and writes at run time; constants are stored as the converter chose."""
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    return [tensor for tensor in tensors if not tensor.is_constant]

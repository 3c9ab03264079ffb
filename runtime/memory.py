"""Peak bytes of live activations: what an arena must hold at the worst moment of one run.

A value lives from the operator that writes it to the last one that reads it; inputs live from the start, outputs to
the end. Weights, scratch buffers of kernels and the arena's own bookkeeping are not counted. Reshapes and views that
share their input's bytes cost nothing where the engine shares them (ONNX Runtime, PyTorch, Core ML), and a copy in
TFLite.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from ..errors import BadInput
from .c_source import read_c_source
from .coreml_graph import CoremlGraph, bound
from .coreml_islands import CLAMPS, computed, obstacle
from .islands import integer_nodes
from .macs.state import State, arguments, packet
from .mil import MilOperation
from .onnx_graph import OnnxGraph, read_onnx_graph
from .tflite_graph import read_tflite

_SHARED = ("Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
_SHARED_MIL = ("identity", "reshape", "squeeze", "expand_dims", "flatten2d")


@dataclass(frozen=True)
class PeakMemory:
    """The worst moment of a run.

    Attributes:
        size_bytes: of all values alive at that moment.
        operator: name of the first output of the operator that runs then.
        live: names of the values alive, largest first.
    """

    size_bytes: int
    operator: str
    live: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """One operator: the buffers it reads and writes."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]


def peak_of(
    steps: list[Step], size_bytes: Mapping[str, int], inputs: Iterable[str], outputs: Iterable[str]
) -> PeakMemory:
    """The peak over steps in order; buffers without a size (weights, sizes) count nothing."""
    last_use = {name: place for place, step in enumerate(steps) for name in (*step.reads, *step.writes)}
    last_use.update(dict.fromkeys(outputs, len(steps)))
    live = {name for name in inputs if name in size_bytes}
    worst = PeakMemory(sum(size_bytes[name] for name in live), "", tuple(sorted(live)))
    for place, step in enumerate(steps):
        live.update(name for name in step.writes if name in size_bytes)
        total = sum(size_bytes[name] for name in live)
        if total > worst.size_bytes:
            order = sorted(live, key=lambda name: (-size_bytes[name], name))
            worst = PeakMemory(total, step.writes[0] if step.writes else "", tuple(order))
        live = {name for name in live if last_use.get(name, -1) > place}
    return worst


def peak_of_file(path: Path) -> PeakMemory:
    """Peak of an artifact of any kind.

    Raises:
        BadInput: it is damaged, or of another kind.
    """
    path = Path(path)
    measures = {".c": peak_of_c, ".mlpackage": peak_of_coreml, ".onnx": peak_of_onnx, ".tflite": peak_of_tflite}
    measure = measures.get(path.suffix)
    if measure is None:
        kind = path.suffix or "one without a suffix"
        raise BadInput(f"{path}: memory is planned for .c, .mlpackage, .onnx and .tflite artifacts, not {kind}")
    return measure(path)


def peak_of_c(path: Path) -> PeakMemory:
    """Peak of a `.c` file: the block of memory that it plans itself, scratch of kernels included, and its border."""
    source = read_c_source(path)
    border = [*source.inputs, *source.outputs]
    total = source.arena_bytes + sum(value.size_bytes for value in border)
    return PeakMemory(total, "", ("arena", *(value.name for value in border)))


def peak_of_tflite(path: Path) -> PeakMemory:
    """Peak of a `.tflite` file, every tensor in a buffer of its own."""
    graph = read_tflite(path)
    names = [tensor.name for tensor in graph.tensors]
    steps = [
        Step(tuple(names[i] for i in op.inputs if i >= 0), tuple(names[i] for i in op.outputs))
        for op in graph.operators
    ]
    sizes = {tensor.name: tensor.size_bytes for tensor in graph.tensors if not tensor.is_constant}
    ends = [[names[index] for index in side.values()] for side in (graph.inputs, graph.outputs)]
    return peak_of(steps, sizes, *ends)


def peak_of_onnx(path: Path, sizes: Mapping[str, int] | None = None) -> PeakMemory:
    """Peak of an `.onnx` file; where ONNX Runtime fuses quantize/dequantize, only the codes take room.

    Args:
        path: the file.
        sizes: numbers for the file's named free sizes; one where not given.
    """
    graph = read_onnx_graph(path, sizes)
    buffers = _onnx_buffers(graph)
    steps = [
        Step(tuple(buffers[n] for n in node.input if n in buffers), tuple(buffers[n] for n in node.output if n))
        for node in graph.nodes
        if any(name in buffers for name in node.output)
    ]
    bytes_of = {name: graph.size_bytes(name) for name in set(buffers.values())}
    return peak_of(steps, bytes_of, [buffers[n] for n in graph.inputs], [buffers[n] for n in graph.outputs])


def _onnx_buffers(graph: OnnxGraph) -> dict[str, str]:
    """Value -> the value whose buffer it lives in; constants and what is made of them have none."""
    buffers = {name: name for name in graph.inputs}
    on_integers = integer_nodes(graph)
    for node in graph.nodes:
        if all(name not in buffers for name in node.input):
            continue
        fused = node.op_type == "DequantizeLinear" and _only_integers_read(graph, node.output[0], on_integers)
        shared = fused or node.op_type in _SHARED
        buffers.update({name: buffers[node.input[0]] if shared else name for name in node.output if name})
    for node in reversed(graph.nodes):
        if node.op_type == "QuantizeLinear" and node.input[0] in graph.producers:
            _write_codes_directly(graph, node, on_integers, buffers)
    return buffers


def _only_integers_read(graph: OnnxGraph, name: str, on_integers: set[str]) -> bool:
    readers = graph.consumers.get(name, [])
    return name not in graph.outputs and all(reader.output[0] in on_integers for reader in readers)


def _write_codes_directly(graph: OnnxGraph, quantize: Any, on_integers: set[str], buffers: dict[str, str]) -> None:
    """An integer operator, and a Relu between, write the codes of the QuantizeLinear that follows at once."""
    name = quantize.input[0]
    while name in graph.producers and name in on_integers and len(graph.consumers[name]) == 1:
        buffers[name] = buffers[quantize.output[0]]
        producer = graph.producers[name]
        if producer.op_type not in ("Relu", "Clip"):
            return
        name = producer.input[0]


def peak_of_coreml(path: Path) -> PeakMemory:
    """Peak of an `.mlpackage`; an operator that can run on integers reads and writes codes, and real values none."""
    graph = CoremlGraph(Path(path))
    on_integers = {op.outputs[0].name for op in computed(graph) if not obstacle(graph, op)}
    buffers = _coreml_buffers(graph, on_integers)
    steps = [
        Step(
            tuple(buffers[name] for name in dict.fromkeys(graph.operands(op)) if name in buffers),
            tuple(buffers[value.name] for value in op.outputs),
        )
        for op in graph.operations
    ]
    sizes = {buffer: graph.size_bytes(name) for name, buffer in buffers.items() if name == buffer}
    sizes |= {f"{bound(op, 'input')[0]}_codes": graph.size_bytes(op.outputs[0].name) for op in _quantizers(graph)}
    return peak_of(steps, sizes, [buffers[n] for n in graph.inputs], [buffers[n] for n in graph.outputs])


def _coreml_buffers(graph: CoremlGraph, on_integers: set[str]) -> dict[str, str]:
    """Value -> the value whose buffer it lives in; codes, which Core ML numbers, are named after what they encode."""
    buffers = {name: name for name in graph.inputs}
    for op in graph.operations:
        results = [value.name for value in op.outputs]
        readers = [reader for name in results for reader in graph.readers.get(name, [])]
        codes = op.type == "dequantize" and all(reader.outputs[0].name in on_integers for reader in readers)
        shared = (codes and results[0] not in graph.outputs) or op.type in _SHARED_MIL
        source = bound(op, "input" if op.type == "dequantize" else "x")[0] if shared else ""
        buffers.update({name: buffers[source] if shared else name for name in results})
        if op.type == "quantize":
            buffers[results[0]] = f"{bound(op, 'input')[0]}_codes"
    for op in reversed(_quantizers(graph)):
        name, codes_buffer = bound(op, "input")[0], buffers[op.outputs[0].name]
        while name in on_integers and len(graph.readers[name]) == 1:
            buffers[name] = codes_buffer
            producer = graph.producers[name]
            if producer.type not in CLAMPS:
                break
            name = bound(producer, "x")[0]
    return buffers


def _quantizers(graph: CoremlGraph) -> list[MilOperation]:
    return [op for op in graph.operations if op.type == "quantize"]


def peak_of_program(program: ExportedProgram) -> PeakMemory:
    """Peak of a `torch.export` program as an integer engine runs it: real values next to codes take no room.

    Views share their input's buffer. A symbolic batch size counts as one.
    """
    state = State(program)
    nodes = list(program.graph.nodes)
    users = set(program.graph_signature.user_inputs)
    buffers: dict[str, str] = {}
    for node in nodes:
        if node.op == "placeholder" and node.name in users:
            buffers[node.name] = node.name
        elif node.op == "call_function" and any(source.name in buffers for source in node.all_input_nodes):
            buffers[node.name] = _program_buffer(node, buffers)
    for node in reversed(nodes):
        if _is_called(node, "quantize_per"):
            _compute_codes_directly(node, buffers)
    steps = [_program_step(node, buffers) for node in nodes if node.op == "call_function" and node.name in buffers]
    sizes = {node.name: _program_bytes(node, state) for node in nodes if node.name in set(buffers.values())}
    outputs = [buffers[node.name] for node in nodes[-1].all_input_nodes if node.name in buffers]
    return peak_of(steps, sizes, [buffers[name] for name in users if name in buffers], outputs)


def _compute_codes_directly(quantize: torch.fx.Node, buffers: dict[str, str]) -> None:
    """What a quantize alone reads is computed as its codes at once, through an activation between."""
    source = arguments(quantize)[0]
    while source.op == "call_function" and source.name in buffers and len(source.users) == 1:
        buffers[source.name] = buffers[quantize.name]
        if packet(source) not in ("aten.relu", "aten.relu6", "aten.hardtanh", "aten.clamp"):
            return
        source = arguments(source)[0]


def _program_buffer(node: torch.fx.Node, buffers: dict[str, str]) -> str:
    source = node.all_input_nodes[0]
    view = isinstance(node.target, torch._ops.OpOverload) and node.target.is_view
    shared = view or _is_called(node, "dequantize_per") or "getitem" in str(node.target)
    return buffers[source.name] if shared and source.name in buffers else node.name


def _program_step(node: torch.fx.Node, buffers: dict[str, str]) -> Step:
    return Step(tuple(buffers[n.name] for n in node.all_input_nodes if n.name in buffers), (buffers[node.name],))


def _program_bytes(node: torch.fx.Node, state: State) -> int:
    """Bytes of a node's values, of all where it computes several."""
    value = node.meta["val"]
    parts = value if isinstance(value, list | tuple) else [value]
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    return sum(prod(state.sizes_of(tensor)) * tensor.dtype.itemsize for tensor in tensors)


def _is_called(node: torch.fx.Node, name: str) -> bool:
    return node.op == "call_function" and str(node.target).startswith(f"quantized_decomposed.{name}")

"""Few bits in TFLite: activations behind ADD, MAXIMUM and MINIMUM on int8 codes, and INT4 weights of linear layers.

LiteRT's converter takes a second quantize behind the first for a repetition and drops it, with its scale. So it is
given the program without these edges (a sign's addition stays), and what they compute is put into the flatbuffer that
comes out, with the scales of the biases behind them. A limit that the value cannot pass, as zero behind a ReLU, needs
no operator.

The change of scale is an ADD of zero: LiteRT's QUANTIZE from int8 to int8 rounds twice, to a neighbour of the
right code for some values, where ADD works with 20 more bits.

XNNPACK multiplies INT4 weights in FULLY_CONNECTED only. A convolution of INT4 weights leaves it for LiteRT's plain
kernels, which unpack them at every run, so convolutions keep int8.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node

from ..quant.graph import constant_of, insert_constant, is_constant
from ..quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from .code_bits import Form
from .tflite_rewrites import builtin_of, opcode_of, rescale, text_of

aten = torch.ops.aten
FORMS = dict.fromkeys((1, 2, 3, 4), Form(4, "INT4"))


@dataclass(frozen=True)
class Edge:
    """What a layer of few activation bits reads.

    Attributes:
        name: of the clamped value in the program.
        bias_scale: of the layer's bias, by channel; None without a bias.
        scale, zero_point: of its codes.
        limits: the least and the largest code; None where the value cannot pass it.
    """

    name: str
    bias_scale: np.ndarray | None
    scale: float
    zero_point: int
    limits: tuple[int | None, int | None]


def edges(program: torch.export.ExportedProgram) -> dict[str, Edge]:
    """Name of a layer's weight -> the edge that the layer reads."""
    buffers = program.graph_signature.inputs_to_buffers
    found = {}
    for node in program.graph.nodes:
        read = node.args[0] if node.op == "call_function" and len(node.args) > 1 else None
        clamp = _clamp_behind(read)
        if read is None or clamp is None or node.args[1].target is not DEQUANTIZE_CHANNELS:
            continue
        weight = node.args[1].args[0]
        _, scale, zero_point, low, high, _ = read.args
        least, most = (_code(value, read) for value in _range_of(clamp.args[0].args[0]))
        limits = (low if least < low else None, high if most > high else None)
        bias = node.args[2] if len(node.args) > 2 else None
        scales = program.state_dict[buffers[bias.args[1].name]].numpy() if isinstance(bias, Node) else None
        found[buffers[weight.name]] = Edge(clamp.name, scales, scale, zero_point, limits)
    return found


def _clamp_behind(node: Any) -> Node | None:
    """The clamp of an edge, by the dequantize at its end."""
    if not isinstance(node, Node) or node.target is not DEQUANTIZE or not isinstance(node.args[0], Node):
        return None
    quantize = node.args[0]
    clamp = quantize.args[0] if quantize.target is QUANTIZE else None
    if clamp is None or clamp.target is not aten.clamp.default or clamp.args[0].target is not DEQUANTIZE:
        return None
    wide = clamp.args[0]
    return clamp if wide.args[0].target is QUANTIZE and wide.args[1:3] == node.args[1:3] else None


def _range_of(quantize: Node) -> tuple[float, float]:
    """The least and the largest real value that reaches a quantize."""
    source = quantize.args[0]
    if source.target is DEQUANTIZE:
        _, scale, zero_point, low, high, _ = source.args
        return (low - zero_point) * scale, (high - zero_point) * scale
    return -np.inf, np.inf


def _code(value: float, like: Node) -> float:
    """The code that a real value rounds to, by the scale of a dequantize, without limits."""
    return float(np.round(value / like.args[1]) + like.args[2])


def open_edges(module: GraphModule) -> None:
    """Takes the edges out of a graph: layers read the 8-bit value, or where a sign is taken the shifted one."""
    for node in list(module.graph.nodes):
        clamp = _clamp_behind(node)
        if clamp is not None:
            wide = clamp.args[0]
            source = wide.args[0].args[0]
            node.args = wide.args if source.target is aten.add.Tensor else source.args
            if source.target is aten.add.Tensor:
                _align(module, source)
    module.graph.eliminate_dead_code()


def _align(module: GraphModule, add: Node) -> None:
    """Gives the shift as many dimensions as the value, or the converter turns the value to its layout and back."""
    rank = add.meta["val"].dim()
    dequantize = add.args[1]
    for node in (dequantize, *dequantize.all_input_nodes, *dequantize.all_input_nodes[0].all_input_nodes):
        if is_constant(node):
            value = constant_of(module, node)
            wide = value.reshape(*[1] * (rank - value.dim()), *value.shape)
            node.replace_all_uses_with(insert_constant(module, node, f"{node.target}_wide", wide))
        else:
            node.meta["val"] = node.meta["val"].reshape(*[1] * (rank - node.meta["val"].dim()), *node.meta["val"].shape)


def insert_edges(model: Any, program: torch.export.ExportedProgram) -> None:
    """Puts the edges before the layers that read them; what they give has the edge's name in the program."""
    graph = model.subgraphs[0]
    wanted = edges(program)
    made: dict[tuple[str, int], int] = {}
    for operator in list(graph.operators):
        edge = wanted.get(text_of(graph.tensors[operator.inputs[1]].name)) if len(operator.inputs) > 1 else None
        if edge is None:
            continue
        place, bias = (2, 3) if builtin_of(model, operator) == "TRANSPOSE_CONV" else (0, 2)
        source = operator.inputs[place]
        if (edge.name, source) not in made:
            made[edge.name, source] = _insert_edge(model, operator, source, edge)
        operator.inputs[place] = made[edge.name, source]
        # The converter leaves out a bias of zeros.
        if edge.bias_scale is not None and len(operator.inputs) > bias and operator.inputs[bias] >= 0:
            rescale(graph.tensors[operator.inputs[bias]], edge.bias_scale)


def _insert_edge(model: Any, before: Any, source: int, edge: Edge) -> int:
    """Inserts an edge's operators before another; the index of the tensor that they give."""
    graph = model.subgraphs[0]
    known = graph.tensors[source].quantization
    steps = [(name, code) for name, code in zip(("MAXIMUM", "MINIMUM"), edge.limits) if code is not None]
    if known.scale[0] != np.float32(edge.scale) or known.zeroPoint[0] != edge.zero_point:
        steps.insert(0, ("ADD", 0))
    for count, (name, code) in enumerate(steps, 1):
        result = _like(graph, source, edge.name if count == len(steps) else f"{edge.name}/{count}")
        constant = _code_tensor(model, source, code, f"{edge.name}_constant/{count}")
        if name == "ADD":
            rescale(graph.tensors[result], np.asarray([edge.scale]), edge.zero_point)
            rescale(graph.tensors[constant], known.scale)
        operator = _operator(model, name, [source, constant], result)
        graph.operators.insert(next(i for i, other in enumerate(graph.operators) if other is before), operator)
        source = result
    return source


def _operator(model: Any, name: str, inputs: list[int], result: int) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex = opcode_of(model, getattr(schema.BuiltinOperator, name))
    options = "AddOptions" if name == "ADD" else "MaximumMinimumOptions"
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
    operator.builtinOptions = getattr(schema, f"{options}T")()
    operator.inputs, operator.outputs = inputs, [result]
    return operator


def _code_tensor(model: Any, like: int, code: int, name: str) -> int:
    """A constant of one code at the scale of another tensor."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    index = _like(graph, like, name)
    graph.tensors[index].shape, graph.tensors[index].shapeSignature = [1], None
    graph.tensors[index].buffer = len(model.buffers)
    buffer = schema.BufferT()
    buffer.data = np.asarray([code], np.int8).view(np.uint8)
    model.buffers.append(buffer)
    return index


def _like(graph: Any, index: int, name: str) -> int:
    """A new tensor of the same shape, type and scale."""
    from ai_edge_litert import schema_py_generated as schema

    copy = schema.TensorT()
    copy.__dict__.update(graph.tensors[index].__dict__)
    copy.name, copy.buffer = name, 0
    graph.tensors.append(copy)
    return len(graph.tensors) - 1


def pack_linear(model: Any, bits: Mapping[str, int]) -> set[str]:
    """Packs the weights of linear layers that need at most 4 bits; returns their names.

    An odd number of inputs keeps int8: rows would begin within a byte, which XNNPACK does not take.
    """
    from ai_edge_litert import schema_py_generated as schema

    graph, packed = model.subgraphs[0], set()
    for operator in graph.operators:
        tensor = graph.tensors[operator.inputs[1]] if builtin_of(model, operator) == "FULLY_CONNECTED" else None
        name = "" if tensor is None else text_of(tensor.name)
        if tensor is None or bits.get(name) not in FORMS or name in packed or tensor.shape[-1] % 2:
            continue
        buffer = schema.BufferT()
        buffer.data = pack_int4(np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.int8))
        tensor.type, tensor.buffer = schema.TensorType.INT4, len(model.buffers)
        model.buffers.append(buffer)
        packed.add(name)
    return packed


def pack_int4(codes: np.ndarray) -> np.ndarray:
    """Codes from -8 to 7, two to a byte, the first in the lower half."""
    nibbles = (codes.reshape(-1).astype(np.int8) & 15).astype(np.uint8)
    nibbles = np.append(nibbles, np.zeros(nibbles.size % 2, np.uint8))
    return nibbles[0::2] | (nibbles[1::2] << 4)

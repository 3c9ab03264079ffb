"""Which operators of a Core ML package can run on integers, by what stands around them in its ML program.

Core ML decides on the device, and says nowhere what it will fuse. What can be read is the form that it asks for: an
operator with an integer form, its inputs dequantized codes (constants too; the bias is a float number in every form)
and its result quantized at once, perhaps after an activation that the kernel applies itself.
"""

from .coreml_graph import MOVES, CoremlGraph, bound
from .mil import MilOperation

CLAMPS = ("relu", "relu6", "clip", "clamped_relu")
# Operators with an integer form in the program: a product, a sum, a table of 256 entries, or a move of codes.
_INTEGER = MOVES.union(CLAMPS, (
    "conv", "conv_transpose", "linear", "matmul", "add", "sub", "mul", "maximum", "minimum", "reduce_mean",
    "reduce_max", "reduce_min", "avg_pool", "max_pool", "elu", "gelu", "leaky_relu", "prelu", "scaled_tanh", "sigmoid",
    "sigmoid_hard", "silu", "softmax", "softplus", "softsign", "tanh", "thresholded_relu",
))  # fmt: skip
_CONVERSIONS = ("quantize", "dequantize", "cast", "classify")


def computed(graph: CoremlGraph) -> list[MilOperation]:
    """The operations that work on real values at run time; conversions and arithmetic on shapes left out."""
    return [
        operation
        for operation in graph.operations
        if operation.type not in _CONVERSIONS and any(graph.is_real(value.name) for value in operation.outputs)
    ]


def obstacle(graph: CoremlGraph, operation: MilOperation) -> str:
    """What keeps an operation from running on integers; empty if nothing does."""
    if operation.type not in _INTEGER:
        return "no integer form"
    return _input_obstacle(graph, operation) or _output_obstacle(graph, operation)


def _input_obstacle(graph: CoremlGraph, operation: MilOperation) -> str:
    biases = bound(operation, "bias")
    for name in graph.operands(operation):
        if name in biases or not graph.is_real(name):
            continue
        source = graph.stored.get(name) or graph.producers.get(name)
        if source is not None and graph.gives_codes(source):
            continue
        if operation.type in CLAMPS and _is_fused(graph, name):
            return _input_obstacle(graph, graph.producers[name])
        kind = "a float constant" if name in graph.stored else "not dequantized codes"
        return f"input {name} is {kind}"
    return ""


def _is_fused(graph: CoremlGraph, name: str) -> bool:
    """Whether a value is an integer operator's result on its way to one activation."""
    source = graph.producers.get(name)
    alone = len(graph.readers.get(name, [])) == 1 and name not in graph.outputs
    return source is not None and source.type in _INTEGER.difference(CLAMPS) and alone


def _output_obstacle(graph: CoremlGraph, operation: MilOperation) -> str:
    for value in operation.outputs:
        readers = graph.readers.get(value.name, [])
        if value.name in graph.outputs or not readers:
            return f"output {value.name} is not quantized"
        if len(readers) == 1 and readers[0].type in CLAMPS and operation.type not in CLAMPS:
            missing = _output_obstacle(graph, readers[0])
            if missing:
                return missing
        elif any(reader.type != "quantize" for reader in readers):
            return f"output {value.name} is not quantized"
    return ""

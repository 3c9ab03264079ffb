"""The second spelling of a weight: `quantize(float) + dequantize` in place of `int8 buffer + dequantize`.

LiteRT's converter folds the first spelling into integer kernels and refuses the second. The float value is
`codes * scale`, so quantizing it again gives back the same codes (a test holds this for every code and scale). Biases
become plain float constants of exactly `codes * scale`; the converter rounds them to the same int32 codes.
"""

import torch
from torch.fx import GraphModule, Node

from ..quant.graph import call, constant_of, insert_constant, is_constant
from ..quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE

QUANTIZE_CHANNELS = torch.ops.quantized_decomposed.quantize_per_channel.default


def unfold(program: torch.export.ExportedProgram) -> GraphModule:
    """A copy of the program as a graph module whose weights are float constants behind a quantize."""
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    for node in list(module.graph.nodes):
        if node.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS) and is_constant(node.args[0]):
            _unfold_constant(module, node)
        elif node.target is DEQUANTIZE:
            _one_reader_each(node)
    module.graph.eliminate_dead_code()
    return GraphModule(module, module.graph)  # a plain one: exported modules check their inputs in hooks


def _one_reader_each(node: Node) -> None:
    """Gives every reader of a value its own dequantize: LiteRT's layout pass loses the shape of a shared one."""
    for reader in list(node.users)[1:]:
        with node.graph.inserting_before(reader):
            own = node.graph.node_copy(node)
        reader.replace_input_with(node, own)


def _unfold_constant(module: GraphModule, node: Node) -> None:
    source = node.args[0]
    assert isinstance(source, Node) and callable(node.target)
    operands = [constant_of(module, arg) if isinstance(arg, Node) else arg for arg in node.args]
    real = insert_constant(module, node, f"{source.target}_value", node.target(*operands))
    if operands[0].dtype == torch.int32:
        node.replace_all_uses_with(real)
        module.graph.erase_node(node)
        return
    target = QUANTIZE if node.target is DEQUANTIZE else QUANTIZE_CHANNELS
    codes = call(module, node, target, (real, *node.args[1:]), node, f"{source.target}_codes", operands[0])
    node.replace_input_with(source, codes)

"""Makes a `torch.export` program fit Core ML, before conversion."""

from collections.abc import Sequence
from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, OutputSpec, TensorArgument
from torch.fx import Node

from ..errors import BadInput, UnsupportedOperator
from ..quant.graph import module_path, stored_names


def lower(program: ExportedProgram) -> ExportedProgram:
    """The program in the operators that coremltools reads, its values under the names that they have in `program`.

    Decomposing renames: `reshape` becomes `view`, `batch_norm` a tuple and its `getitem`. By `from_node`, the last
    operator made from a node takes its name, and the parts of a tuple the names of the parts.
    """
    lowered = program.run_decompositions({})
    before = {node.name: node for node in program.graph.nodes if node.op == "call_function"}
    after = [node for node in lowered.graph.nodes if node.op == "call_function"]
    names: dict[Node, str] = {}
    for node in after:
        origin = node.meta.get("from_node") or []
        source = before.get(origin[-1].name) if origin else None
        if source is None:
            continue
        parts = {user.args[1]: user.name for user in source.users if user.target is getitem}
        if node.target is not getitem and not parts:
            names = {other: name for other, name in names.items() if name != source.name} | {node: source.name}
        elif node.target is getitem and node.args[1] in parts:
            names[node] = parts[node.args[1]]
    wanted = set(names.values())
    for node in lowered.graph.nodes:
        if node in names:
            node.name = names[node]
        elif node.name in wanted:
            node.name = f"{node.name}_inner"
    results = lowered.graph.output_node().args[0]
    for spec, node in zip(lowered.graph_signature.output_specs, results):
        spec.arg.name = node.name
    return lowered


def prepare(program: ExportedProgram) -> int:
    """Rewrites the program in place; returns how many int32 biases became float.

    1. An int32 buffer under a dequantize becomes a float buffer, computed by that very operator.
    2. The dequantize of an int8 buffer, one for all that read it, takes the buffer's name, dots as underscores, under
       which it is read back.
    3. A quantize over less than the whole int8 range is refused, as Core ML's has no limits to set, unless a clamp to
       just those limits stands before it.
    """
    program._state_dict = dict(program.state_dict)  # the caller's program keeps its own
    program._constants = dict(program.constants)
    targets = stored_names(program)
    taken = {node.name for node in program.graph.nodes}
    weights: dict[Node, Node] = {}
    biases = 0
    for node in list(program.graph.nodes):
        if node.op != "call_function":
            continue
        operator = str(node.target)
        if operator.startswith("quantized_decomposed.dequantize") and node.args[-1] == torch.int32:
            _fold_bias(program, node, targets)
            biases += 1
        elif operator.startswith("quantized_decomposed.dequantize") and node.args[0] in weights:
            node.replace_all_uses_with(weights[node.args[0]])
            program.graph.erase_node(node)
        elif operator.startswith("quantized_decomposed.dequantize") and node.args[0].name in targets:
            weights[node.args[0]] = node
            name = targets[node.args[0].name].replace(".", "_")
            node.name = node.name if name in taken else name
            taken.add(node.name)
        elif operator.startswith("quantized_decomposed.quantize_per_tensor") and not _has_whole_range(node):
            what = f"{operator} to {node.args[3]}..{node.args[4]}"
            raise UnsupportedOperator(
                what, module_path(node), "coreml", "quantize activations to -128..127, or clamp to the limits"
            )
    program.graph.lint()
    program.graph_module.recompile()
    return biases


def _has_whole_range(node: Node) -> bool:
    """Whether a quantize computes the same over all int8 codes: its limits are those, or a clamp has cut the rest."""
    source, scale, zero_point, low, high = node.args[:5]
    if (low, high) in ((-128, 127), (0, 255)):
        return True
    if not isinstance(source, Node) or source.target is not torch.ops.aten.clamp.default or len(source.args) < 3:
        return False
    limits = [limit / scale + zero_point for limit in source.args[1:3]]
    return all(abs(limit - code) < 1e-3 for limit, code in zip(limits, (low, high)))


def _fold_bias(program: ExportedProgram, node: Node, targets: dict[str, str]) -> None:
    def tensor(argument: Any) -> Any:
        if not isinstance(argument, Node):
            return argument
        target = targets[argument.name]
        return program.state_dict[target] if target in program.state_dict else program.constants[target]

    placeholder = node.args[0]
    assert isinstance(placeholder, Node)
    assert callable(node.target)
    value = node.target(*(tensor(argument) for argument in node.args))
    home = program.state_dict if targets[placeholder.name] in program.state_dict else program.constants
    home[targets[placeholder.name]] = value
    placeholder.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(placeholder)
    program.graph.erase_node(node)


def add_probabilities(program: ExportedProgram, outputs: Sequence[Tensor], labels: Sequence[str]) -> None:
    """Adds the softmax of the only output as a second one, which the classifier reads."""
    if len(outputs) != 1 or outputs[0].dim() != 2 or outputs[0].shape[-1] != len(labels):
        shapes = ", ".join(str(tuple(value.shape)) for value in outputs)
        raise BadInput(f"{len(labels)} labels need one output of (1, {len(labels)}), got {shapes}; mend the labels")
    graph = program.graph
    end = graph.output_node()
    (logits,) = end.args[0]
    with graph.inserting_before(end):
        softmax = graph.call_function(torch.ops.aten._softmax.default, (logits, -1, False))
    softmax.meta["val"] = outputs[0]
    end.args = ((logits, softmax),)
    argument = TensorArgument(name=softmax.name)
    program.graph_signature.output_specs.append(OutputSpec(OutputKind.USER_OUTPUT, argument, None))
    program.graph_module.recompile()

"""Small questions about an FX graph of ATen operators, asked all over the quantizer and the exporters."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

MASKS = "offramp_masks"  # marks, in a node's meta, the addition that hides attention scores


def module_path(node: Node) -> str:
    """Path of the innermost PyTorch module that made this node, for example `stages.2.0.conv3`; empty for the root."""
    stack = node.meta.get("nn_module_stack") or {}
    entries = list(stack.values())
    return str(entries[-1][0]) if entries else ""


def is_float_value(node: Node) -> bool:
    """Whether the node computes one floating-point tensor."""
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def is_constant(node: object) -> bool:
    """Whether the node is a parameter or buffer of the graph module."""
    return isinstance(node, Node) and node.op == "get_attr"


def constant_of(module: GraphModule, node: Node) -> Tensor:
    """The tensor behind a `get_attr` node."""
    owner, _, name = str(node.target).rpartition(".")
    return getattr(module.get_submodule(owner), name).detach()


def bias_of(module: GraphModule, node: Node) -> Tensor | None:
    """A layer's constant bias in float32, or None."""
    bias = node.args[2] if len(node.args) > 2 else None
    return constant_of(module, bias).float() if isinstance(bias, Node) else None


def stored_names(program: ExportedProgram) -> dict[str, str]:
    """Name of a placeholder -> name of the parameter, buffer or constant behind it; users' inputs have none."""
    signature = program.graph_signature
    return {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }


def stored_tensors(program: ExportedProgram) -> dict[str, Tensor]:
    """Name of a placeholder -> the parameter, buffer or constant behind it."""
    held = {**program.state_dict, **program.constants}
    return {placeholder: held[name].detach() for placeholder, name in stored_names(program).items()}


def add_constant(module: GraphModule, name: str, value: Tensor) -> str:
    """Registers `value` as a buffer under a free name close to `name` and returns that name."""
    base = name.replace(".", "_")
    free, count = base, 1
    while hasattr(module, free):
        free, count = f"{base}_{count}", count + 1
    module.register_buffer(free, value)
    return free


def insert_constant(module: GraphModule, before: Node, name: str, value: Tensor) -> Node:
    """Inserts a `get_attr` node for a new buffer just before a node."""
    with module.graph.inserting_before(before):
        node = module.graph.get_attr(add_constant(module, name, value))
    node.meta["val"] = value
    node.meta["nn_module_stack"] = before.meta.get("nn_module_stack", {})
    return node


def call(
    module: GraphModule, before: Node, target: Any, args: tuple, like: Node, name: str | None = None, val: Any = None
) -> Node:
    """Inserts a call of an ATen operator before a node, with the module path of `like`."""
    with module.graph.inserting_before(before):
        node = module.graph.create_node("call_function", target, args, {}, name=name)
    node.meta["nn_module_stack"] = like.meta.get("nn_module_stack", {})
    node.meta["val"] = like.meta.get("val") if val is None else val
    return node


def calls(module: GraphModule) -> Iterator[Node]:
    """The operator calls of the graph, in order; safe against edits while iterating."""
    yield from [node for node in module.graph.nodes if node.op == "call_function"]

"""What goes into a program and comes out of it, as a session will be told."""

from torch.export import ExportedProgram
from torch.fx import Node

from .artifact import TensorSpec


def border_specs(
    program: ExportedProgram, input_names: tuple[str, ...], output_names: tuple[str, ...]
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs in order, in real numbers; whole numbers have 32 bits."""
    users = set(program.graph_signature.user_inputs)
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in users]
    outputs = next(node for node in program.graph.nodes if node.op == "output").args[0]
    return (
        tuple(_spec(name, node) for name, node in zip(input_names, inputs)),
        tuple(_spec(name, node) for name, node in zip(output_names, outputs)),
    )


def _spec(name: str, node: Node) -> TensorSpec:
    value = node.meta["val"]
    dtype = str(value.dtype).removeprefix("torch.").replace("int64", "int32")
    return TensorSpec(name, tuple(value.shape), dtype)

"""Captures any `nn.Module` as one flat graph of ATen operators, ready to be folded, quantized and exported.

The graph keeps PyTorch's operators whole (convolution, linear, gelu, layer norm): quantization and the converters both
read them better than their decompositions. Inputs and outputs become flat tuples under the user's own names.
"""

import inspect
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from keyword import iskeyword

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.graph import CodeGen
from torch.utils import _pytree as pytree

from ..errors import BadInput
from .folding import fold_batch_norms
from .graph import module_path
from .normalise import changes_shared_memory, normalise


@dataclass(frozen=True)
class Captured:
    """A network as a flat graph.

    Attributes:
        module: takes the inputs as positional tensors and returns a tuple of tensors; batch norms are folded.
        example_inputs: one sample of each input, batch dimension included.
        input_names, output_names: the user's names, in order.
    """

    module: GraphModule
    example_inputs: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]


def capture(
    network: nn.Module,
    example_inputs: Sequence[Tensor],
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
) -> Captured:
    """Captures a network in evaluation mode.

    Args:
        network: any module that `torch.export` can trace; it is left in evaluation mode.
        example_inputs: tensors of one sample each, batch dimension included.
        input_names: defaults to the argument names of `forward`.
        output_names: defaults to the keys of a returned dict, else `output` or `output_0`, `output_1`, ...

    Raises:
        BadInput: a weight is NaN or infinite (named), the names do not fit, or the network cannot be traced.
    """
    example_inputs = tuple(example_inputs)
    check_finite(network)
    if not isinstance(network, GraphModule):  # what was exported stays in the mode it was exported in
        network.eval()
    program = _export(network, example_inputs)
    if any(map(changes_shared_memory, program.graph.nodes)):
        with torch.no_grad():
            program = program.run_decompositions({})  # PyTorch's own rewriting without changes in place
    outputs = output_names or _names_of_outputs(program)
    module = program.module(check_guards=False)
    module.graph.set_codegen(CodeGen())
    module.recompile()
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    inputs = tuple(input_names or (node.name for node in placeholders))
    _check_names(inputs, len(placeholders))
    for node, name in zip(placeholders, inputs):
        _rename_placeholder(module, node, name)
    normalise(module)
    fold_batch_norms(module)
    module.recompile()
    with torch.no_grad():
        results = module(*example_inputs)
    if len(outputs) != len(results):
        raise BadInput(f"{len(outputs)} output names for {len(results)} outputs: {', '.join(outputs)}")
    _check_same(network, example_inputs, results)
    return Captured(module, example_inputs, inputs, tuple(outputs))


def check_finite(network: nn.Module) -> None:
    """Raises BadInput naming the first weight or buffer that holds NaN or infinity."""
    for name, value in network.state_dict().items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise BadInput(f"{name}: holds NaN or infinite values; train again or load sound weights")


def to_program(module: GraphModule, example_inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Turns an edited graph module back into an exported program with the same node names and module paths."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    _gather_results(module)
    with torch.no_grad():
        program = torch.export.export(module, example_inputs, strict=False)
    _carry_names(module, program)
    return program


def _export(network: nn.Module, example_inputs: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused attention kernel has no form outside PyTorch
    try:
        with torch.no_grad():
            return torch.export.export(network, example_inputs, strict=False)
    except Exception as error:  # torch.export raises many kinds; each becomes one line for the user
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{type(network).__name__}: torch.export cannot trace it ({reason})") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


def _names_of_outputs(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    spec = program.call_spec.out_spec
    assert spec is not None
    paths = [path for path, _ in pytree.tree_flatten_with_path(pytree.tree_unflatten(range(spec.num_leaves), spec))[0]]
    keys = ["_".join(map(_text_of_key, path)) for path in paths]
    if len(keys) == 1 and keys[0] in ("", "0"):
        return ("output",)
    return tuple(f"output_{key}" if key.isdigit() else key for key in keys)


def _text_of_key(key: object) -> str:
    """A key of a dict, an index of a tuple, or the attribute of a dataclass."""
    return str(next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind)))


def _check_names(inputs: tuple[str, ...], count: int) -> None:
    if len(inputs) != count:
        raise BadInput(f"{len(inputs)} input names for {count} inputs: {', '.join(inputs)}")
    if len(set(inputs)) != len(inputs):
        raise BadInput(f"input names must differ, got {', '.join(inputs)}")
    for name in inputs:
        if not name.isidentifier() or iskeyword(name) or name == "self":
            raise BadInput(f"{name}: an input name must be a Python identifier, and neither a keyword nor self")


def _rename_placeholder(module: GraphModule, node: torch.fx.Node, name: str) -> None:
    """Gives an input its name; a value that has it already gets another."""
    for other in module.graph.nodes:
        if other is not node and other.name == name:
            other._rename(f"{name}_value")
            if other.op == "placeholder":
                other.target = other.name
    node.name = name
    node.target = name


def _check_same(network: nn.Module, example_inputs: tuple[Tensor, ...], results: Sequence[Tensor]) -> None:
    """Holds the captured graph against the network itself; a difference beyond rounding is a fault, never passed on."""
    with torch.no_grad():
        wanted = pytree.tree_leaves(network(*(tensor.clone() for tensor in example_inputs)))
    for place, (ours, theirs) in enumerate(zip(results, wanted)):
        if not isinstance(theirs, Tensor) or not theirs.is_floating_point():
            continue
        room = 1e-3 * max(float(theirs.abs().max()), 1.0) if theirs.numel() else 0.0
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs, rtol=0.0, atol=room, equal_nan=True):
            raise BadInput(
                f"{type(network).__name__}: its graph computes something else than itself at output {place}; "
                "write operators that change a tensor in place, or draw random numbers, another way"
            )


def _gather_results(module: GraphModule) -> None:
    """Moves each `getitem` right behind the operator whose result it takes, where tracing would put it."""
    for node in module.graph.nodes:
        taken = [user for user in node.users if user.target is operator.getitem]
        for user in sorted(taken, key=lambda user: user.args[1], reverse=True):
            node.append(user)
    module.recompile()


def _carry_names(module: GraphModule, program: torch.export.ExportedProgram) -> None:
    """Node by node, gives the re-exported program the names and module paths of the graph it came from."""
    before = [node for node in module.graph.nodes if node.op == "call_function"]
    after = [node for node in program.graph.nodes if node.op == "call_function"]
    if [str(node.target) for node in before] != [str(node.target) for node in after]:
        raise RuntimeError("the re-exported program differs from its graph, a fault of offramp; please report it")
    taken = {node.name for node in program.graph.nodes} - {node.name for node in after}
    for old, new in zip(before, after):
        new.meta["nn_module_stack"] = old.meta.get("nn_module_stack", {})
        for key in ("stack_trace", "from_node"):  # paths of this machine, numbers of this run
            new.meta.pop(key, None)
        # Assigned, not `_rename`d: the names are unique in the old graph, and FX never frees a name once given.
        new.name = old.name if old.name not in taken else f"{old.name}_value"
    signature = program.graph_signature
    outputs = next(node for node in program.graph.nodes if node.op == "output").args[0]
    for spec, node in zip(signature.output_specs, outputs):
        spec.arg.name = node.name


def module_paths(program: torch.export.ExportedProgram) -> dict[str, str]:
    """Value name -> path of the PyTorch module that computes it, for every operator of a program."""
    return {node.name: module_path(node) for node in program.graph.nodes if node.op == "call_function"}


def forward_names(network: nn.Module) -> tuple[str, ...]:
    """Names of the positional arguments of a network's `forward`."""
    parameters = inspect.signature(network.forward).parameters.values()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))

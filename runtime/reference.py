"""The program's own outputs and intermediate values, which artifacts are held against."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from ..quant.graph import module_path
from ..quant.program import DEQUANTIZE, QUANTIZE
from ..quant.threads import one_thread
from .samples import Samples


@dataclass(frozen=True)
class Reference:
    """A program with its outputs on held-out samples.

    Attributes:
        program: float or quantized.
        input_names, output_names: in order.
        outputs: by output name, (N, ...).
        steps: one output step (the output's scale) by output name; None where the output is not quantized.
    """

    program: ExportedProgram
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    outputs: dict[str, np.ndarray]
    steps: dict[str, float | None]


def run_reference(
    program: ExportedProgram, input_names: tuple[str, ...], output_names: tuple[str, ...], samples: Samples
) -> Reference:
    """Runs the program in PyTorch on every sample, one at a time, as artifacts do."""
    module = program.module(check_guards=False)
    results: list[list[np.ndarray]] = [[] for _ in output_names]
    with torch.no_grad(), one_thread():
        for sample in samples:
            outputs = module(*(torch.from_numpy(sample[name]) for name in input_names))
            for kept, value in zip(results, pytree.tree_leaves(outputs)):
                kept.append(value.numpy())
    outputs_by_name = {name: np.concatenate(values) for name, values in zip(output_names, results)}
    nodes = next(node for node in program.graph.nodes if node.op == "output").args[0]
    steps = {name: node.args[1] if node.target is DEQUANTIZE else None for name, node in zip(output_names, nodes)}
    return Reference(program, input_names, output_names, outputs_by_name, steps)


def output_values(program: ExportedProgram, output_names: tuple[str, ...]) -> dict[str, str]:
    """Name of each value that the program returns, behind its quantizer -> the output's name."""
    nodes = next(node for node in program.graph.nodes if node.op == "output").args[0]
    sources = [node.args[0].args[0] if node.target is DEQUANTIZE else node for node in nodes]
    return {source.name: name for source, name in zip(sources, output_names)}


@dataclass(frozen=True)
class ProgramValue:
    """An intermediate value: its name, the path of its module, its data and its step (None for float)."""

    name: str
    module: str
    data: np.ndarray
    step: float | None


Replacement = Callable[[ProgramValue], np.ndarray | None]


def program_values(
    reference: Reference, sample: dict[str, np.ndarray], replacement: Replacement = lambda _: None
) -> list[ProgramValue]:
    """Every floating-point value of one run, in order; a quantized one as its codes mean it, under the value's name.

    Args:
        replacement: gives what the operators behind a value shall read in its place, or None to leave it. With an
            artifact's own values, each operator is seen alone: it computes from what the artifact computed from.
    """
    module = reference.program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    # As a module, an input that is named like a builtin of Python's, as `input`, has another name.
    placeholders = [node.name for node in module.graph.nodes if node.op == "placeholder"]
    renamed = dict(zip(placeholders, map(str, reference.program.graph_signature.user_inputs)))
    recorder = _Recorder(module, replacement, renamed)
    with torch.no_grad(), one_thread():
        recorder.run(*(torch.from_numpy(sample[name]) for name in reference.input_names))
    return recorder.values


class _Recorder(torch.fx.Interpreter):
    def __init__(self, module: GraphModule, replacement: Replacement, renamed: dict[str, str]):
        super().__init__(module)
        self.values: list[ProgramValue] = []
        self.replacement, self.renamed = replacement, renamed

    def run_node(self, n: Node) -> object:
        result = super().run_node(n)
        source, step = _value_of(n)
        if source is None or not isinstance(result, Tensor) or not result.is_floating_point():
            return result
        name = self.renamed.get(source.name, source.name)
        value = ProgramValue(name, module_path(source), result.numpy(), step)
        self.values.append(value)
        other = self.replacement(value)
        return result if other is None else torch.from_numpy(np.ascontiguousarray(other, result.numpy().dtype))


def _value_of(node: Node) -> tuple[Node | None, float | None]:
    """The value that a node holds as artifacts do, and its step: a quantized value shows where it is dequantized."""
    if node.op != "call_function":
        return None, None
    if node.target is DEQUANTIZE and node.args[0].target is QUANTIZE:
        quantizer = node.args[0]
        return quantizer.args[0], float(quantizer.args[1])
    is_inner = "dequantize" in str(node.target) or any(user.target is QUANTIZE for user in node.users)
    return (None if is_inner else node), None

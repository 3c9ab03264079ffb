"""The program's own outputs and intermediate values, which artifacts are held against."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

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
            for kept, value in zip(results, outputs):
                kept.append(value.numpy())
    outputs_by_name = {name: np.concatenate(values) for name, values in zip(output_names, results)}
    nodes = next(node for node in program.graph.nodes if node.op == "output").args[0]
    steps = {name: node.args[1] if node.target is DEQUANTIZE else None for name, node in zip(output_names, nodes)}
    return Reference(program, input_names, output_names, outputs_by_name, steps)


@dataclass(frozen=True)
class ProgramValue:
    """An intermediate value: its name, the path of its module, its data and its step (None for float)."""

    name: str
    module: str
    data: np.ndarray
    step: float | None
    inputs: tuple[str, ...]


def program_values(reference: Reference, sample: dict[str, np.ndarray]) -> list[ProgramValue]:
    """Every floating-point value of one run, in order; a quantized one as its codes mean it, under the value's name."""
    program = reference.program
    module = program.module(check_guards=False)
    assert isinstance(module, GraphModule)
    seen: dict[str, Tensor] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: Node) -> object:
            value = super().run_node(n)
            if isinstance(value, Tensor):
                seen[n.name] = value
            return value

    with torch.no_grad(), one_thread():
        Recorder(module).run(*(torch.from_numpy(sample[name]) for name in reference.input_names))
    nodes = {node.name: node for node in program.graph.nodes}
    quantizers = {node.args[0].name: node for node in program.graph.nodes if node.target is QUANTIZE}
    values = []
    for name, node in nodes.items():
        if node.op != "call_function" or node.target in (QUANTIZE, DEQUANTIZE) or name not in seen:
            continue
        if not seen[name].is_floating_point() or "dequantize" in str(node.target):
            continue
        quantizer = quantizers.get(name)
        data, step = seen[name], None
        if quantizer is not None:
            dequantizer = next(user for user in quantizer.users)
            data, step = seen[dequantizer.name], float(quantizer.args[1])
        sources = tuple(dict.fromkeys(_value_behind(source) for source in node.all_input_nodes))
        values.append(ProgramValue(name, module_path(node), data.numpy(), step, sources))
    return values


def _value_behind(node: Node) -> str:
    """The value whose codes a dequantize reads; the node itself otherwise."""
    while node.target in (DEQUANTIZE, QUANTIZE) and isinstance(node.args[0], Node):
        node = node.args[0]
    return node.name

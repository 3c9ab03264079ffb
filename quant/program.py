"""`QuantizedProgram`: the network as every target must run it, with explicit integer codes.

It is a `torch.export` program in which each weight is an int8 buffer followed by `dequantize_per_channel`, each bias an
int32 buffer at scale s_x * s_w, and each quantized value passes through `quantize_per_tensor` and
`dequantize_per_tensor`. Codes of fewer than 8 bits are stored as int8 too; the limits in their nodes say how many bits
they have. Running the program in PyTorch is the reference that artifacts are held against.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.ao.quantization.fx._decomposed  # registers the quantized_decomposed operators
from torch import Tensor
from torch.fx import Node

from ..errors import BadInput
from ..storage import read_json, write_json
from .affine import Affine
from .archive import load_exported as load_exported
from .archive import save_exported
from .bits import LayerBits
from .codes import IntegerTensor
from .graph import module_path, stored_names, stored_tensors
from .scheme import Scheme

QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTIZE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
DEQUANTIZE_CHANNELS = torch.ops.quantized_decomposed.dequantize_per_channel.default


@dataclass(frozen=True)
class FloatOperator:
    """An operator that stays in float: its value's name, its ATen name, its module path and why."""

    name: str
    operator: str
    module: str
    reason: str


@dataclass(frozen=True)
class QuantizedProgram:
    """A quantized network.

    Attributes:
        program: the exported program, inputs and outputs in float at the border.
        scheme: how it was quantized.
        input_names, output_names: the user's names, in order.
        float_operators: what stays in float and why.
        layers: bits of every convolution and linear layer, with the reason where they differ from the scheme's.
    """

    program: torch.export.ExportedProgram
    scheme: Scheme
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    float_operators: tuple[FloatOperator, ...]
    layers: tuple[LayerBits, ...] = ()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the program in PyTorch on one sample (batch dimension included)."""
        with torch.no_grad():
            return tuple(self.program.module(check_guards=False)(*inputs))

    @property
    def modules(self) -> dict[str, str]:
        """Value name -> path of the PyTorch module that computes it."""
        return {node.name: module_path(node) for node in self.program.graph.nodes if node.op == "call_function"}

    def constants(self) -> dict[str, IntegerTensor]:
        """Every integer weight, bias and constant, by the name of its buffer."""
        names, tensors = stored_names(self.program), stored_tensors(self.program)
        found = {}
        for node in self.program.graph.nodes:
            source = node.args[0] if node.op == "call_function" and node.args else None
            if not isinstance(source, Node) or source.name not in names:
                continue
            codes = tensors[source.name].numpy()
            if node.target is DEQUANTIZE:
                scale, zero_point = np.float32(node.args[1]), np.int32(node.args[2])
                found[names[source.name]] = IntegerTensor(codes, np.asarray(scale), np.asarray(zero_point), None)
            elif node.target is DEQUANTIZE_CHANNELS:
                scales, zero_points = (tensors[arg.name].numpy() for arg in node.args[1:3])
                found[names[source.name]] = IntegerTensor(codes, scales, zero_points.astype(np.int32), node.args[3])
        return found

    def activations(self) -> dict[str, Affine]:
        """Every quantized value's name with the meaning of its codes."""
        quantizers = (node for node in self.program.graph.nodes if node.target is QUANTIZE)
        return {node.args[0].name: Affine(*node.args[1:5]) for node in quantizers}

    def output_steps(self) -> tuple[float | None, ...]:
        """The size of one output step (the output's scale) for each output; None where an output is not quantized."""
        outputs = next(node for node in self.program.graph.nodes if node.op == "output").args[0]
        return tuple(node.args[1] if node.target is DEQUANTIZE else None for node in outputs)


def save_program(quantized: QuantizedProgram, folder: Path) -> None:
    """Writes `program.pt2` and `scheme.json` into a folder, each atomically."""
    folder = Path(folder)
    save_exported(quantized.program, folder / "program.pt2")
    write_json(
        folder / "scheme.json",
        {
            "scheme": quantized.scheme.to_json(),
            "inputs": list(quantized.input_names),
            "outputs": list(quantized.output_names),
            "float_operators": [vars(entry) for entry in quantized.float_operators],
            "layers": [vars(entry) for entry in quantized.layers],
        },
    )


def load_program(folder: Path) -> QuantizedProgram:
    """Reads a program back; nothing in the files is executed.

    Raises:
        BadInput: a file is missing or damaged, or the program holds code.
    """
    path = Path(folder) / "scheme.json"
    about: dict[str, Any] = read_json(path)
    program = load_exported(Path(folder) / "program.pt2")
    try:
        return QuantizedProgram(
            program,
            Scheme.from_json(about["scheme"]),
            tuple(about["inputs"]),
            tuple(about["outputs"]),
            tuple(FloatOperator(**entry) for entry in about["float_operators"]),
            tuple(LayerBits(**entry) for entry in about.get("layers", ())),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: not a scheme written by offramp ({error}); quantize again") from error

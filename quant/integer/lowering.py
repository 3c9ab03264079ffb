"""From a `torch.export` program, float or quantized, to operations.

What stands between dequantize and quantize nodes becomes one operation on codes where `forms.py` knows one, and
otherwise runs on real numbers. Real numbers are computed on demand, so nothing is dequantized that no operator reads.
"""

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from ...errors import UnsupportedOperator
from ..affine import Affine
from ..graph import module_path, stored_tensors
from ..program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from . import forms, movements
from .operations import Dequantize, FloatOperation, IntegerProgram, Operation, Quantize, Sign
from .signs import fold_signs
from .simplify import simplify
from .values import Kind, Value

aten = torch.ops.aten
_HERE = "the whole-number program"


def integer_program(
    program: ExportedProgram,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    integer_border: bool = False,
) -> IntegerProgram:
    """The operations of a program.

    Args:
        program: float, or quantized with `quantize`.
        input_names, output_names: what its border is called.
        integer_border: take and give codes where the border is quantized, instead of real numbers.
    """
    lowering = Lowering(program, integer_border)
    outputs = lowering.run()
    operations = simplify(fold_signs(simplify(lowering.operations, outputs), outputs), outputs)
    return IntegerProgram(tuple(lowering.inputs), tuple(outputs), input_names, output_names, tuple(operations))


class Lowering:
    """Walks a program once; `codes`, `signs` and `real` give a node's value in the kind that a reader wants."""

    def __init__(self, program: ExportedProgram, integer_border: bool):
        self.program = program
        self.integer_border = integer_border
        self.operations: list[Operation] = []
        self.inputs: list[Value] = []
        self._tensors = stored_tensors(program)
        self._codes: dict[Node, Value] = {}
        self._signs: dict[tuple[str, int], Value] = {}
        self._reals: dict[Node, Value] = {}
        self._names: set[str] = set()

    def run(self) -> list[Value]:
        """Lowers everything that the outputs need; returns the outputs."""
        users = set(self.program.graph_signature.user_inputs)
        is_float = not any(node.target is QUANTIZE for node in self.program.graph.nodes)
        for node in self.program.graph.nodes:
            if node.op == "placeholder" and node.name in users:
                self._take_input(node)
            elif node.op == "call_function" and node.target is QUANTIZE:
                self._codes[node] = self._quantized(node)
            elif node.op == "call_function" and node.target is DEQUANTIZE and node.args[0] in self._codes:
                self._codes[node] = self._codes[node.args[0]]
            elif is_float and node.op == "call_function" and isinstance(node.meta.get("val"), Tensor):
                self.real(node)  # in order: on demand, a deep network would be a deep recursion
        outputs = next(node for node in self.program.graph.nodes if node.op == "output").args[0]
        return [self._output(node) for node in outputs]

    def add(self, operation: Operation) -> Value:
        """Appends an operation; returns what it computes."""
        self.operations.append(operation)
        return operation.output

    def named(self, name: str) -> str:
        """A free name close to `name`."""
        free, count = name, 1
        while free in self._names:
            free, count = f"{name}_{count}", count + 1
        self._names.add(free)
        return free

    def tensor(self, node: object) -> Tensor | None:
        """A constant, or what is dequantized from one; None for what is computed."""
        if not isinstance(node, Node):
            return None
        if node.name in self._tensors:
            return self._tensors[node.name]
        if node.target in (DEQUANTIZE, DEQUANTIZE_CHANNELS) and self.tensor(node.args[0]) is not None:
            args = [self.tensor(arg) if isinstance(arg, Node) else arg for arg in node.args]
            return node.target(*args)
        return None

    def codes(self, node: object) -> Value | None:
        """The codes that a node holds: computed ones, or a constant's; None for a value that has none."""
        if not isinstance(node, Node):
            return None
        if node not in self._codes and node.target is DEQUANTIZE:
            stored = self.tensor(node.args[0])
            if stored is not None and stored.dtype == torch.int8:
                affine = Affine(*node.args[1:5])
                name = self.named(node.args[0].name)
                self._codes[node] = Value(name, tuple(stored.shape), Kind.CODES, affine, stored.numpy())
        return self._codes.get(node)

    def signs(self, value: Value, axis: int, module: str) -> Value:
        """The signs of codes that are -1 and +1 only, for a layer that sums along an axis."""
        key = value.name, axis
        if key not in self._signs:
            output = Value(self.named(f"{value.name}_signs"), value.shape, Kind.SIGNS)
            least = np.zeros(value.shape[axis], np.int16)
            self._signs[key] = self.add(Sign((value,), output, module, least, axis))
        return self._signs[key]

    def real(self, node: Node) -> Value:
        """The real numbers that a node holds, computed now where they are not yet."""
        if node in self._reals:
            return self._reals[node]
        constant = self.tensor(node)
        codes = self._codes.get(node)
        if constant is not None:
            kind = Kind.REAL if constant.is_floating_point() else Kind.WHOLE
            value = Value(self.named(node.name), tuple(constant.shape), kind, None, constant.contiguous().numpy())
        elif codes is not None:
            output = Value(self.named(f"{codes.name}_real"), codes.shape, Kind.REAL)
            value = self.add(Dequantize((codes,), output, module_path(node)))
        else:
            value = self._computed(node)
        self._reals[node] = value
        return value

    def _take_input(self, node: Node) -> None:
        tensor = node.meta["val"]
        shape, users = _shape(tensor), list(node.users)
        if self.integer_border and len(users) == 1 and users[0].target is QUANTIZE:
            value = Value(self.named(node.name), shape, Kind.CODES, Affine(*users[0].args[1:5]))
            self._codes[users[0]] = value
        else:
            value = Value(self.named(node.name), shape, Kind.REAL if tensor.is_floating_point() else Kind.WHOLE)
            self._reals[node] = value
        self.inputs.append(value)

    def _output(self, node: Node) -> Value:
        codes = self._codes.get(node)
        return codes if self.integer_border and codes is not None else self.real(node)

    def _quantized(self, node: Node) -> Value:
        """The value of a quantize node: in codes throughout where its producer has a form in integers."""
        if node in self._codes:
            return self._codes[node]
        value = forms.quantized(self, node)
        if value is None:
            source = node.args[0]
            real = self.real(source)
            output = Value(self.named(f"{source.name}_codes"), real.shape, Kind.CODES, Affine(*node.args[1:5]))
            value = self.add(Quantize((real,), output, module_path(source)))
        return value

    def _computed(self, node: Node) -> Value:
        moved = movements.moved(self, node, self.real, node.name)
        if moved is not None:
            return moved
        tensor = node.meta.get("val")
        if not isinstance(tensor, Tensor) or node.op != "call_function":
            raise UnsupportedOperator(str(node.target), module_path(node), _HERE, "write it another way")
        inputs: list[Value] = []
        arguments, is_input = [], []
        for argument in node.args:
            is_input.append(isinstance(argument, Node))
            if isinstance(argument, Node):
                arguments.append(len(inputs))
                inputs.append(self.real(argument))
            else:
                arguments.append(argument)
        if node.kwargs:
            raise UnsupportedOperator(f"{node.target} with keywords", module_path(node), _HERE, "write it another way")
        output = Value(self.named(node.name), _shape(tensor), Kind.REAL if tensor.is_floating_point() else Kind.WHOLE)
        return self.add(
            FloatOperation(tuple(inputs), output, module_path(node), node.target, tuple(arguments), tuple(is_input))
        )


def _shape(tensor: Tensor) -> tuple[int, ...]:
    """Its sizes; a symbolic one counts as one."""
    return tuple(size if isinstance(size, int) else 1 for size in tensor.shape)

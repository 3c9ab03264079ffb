"""A Core ML package as a graph with constants, producers and readers: what counting, islands and memory read."""

from collections.abc import Iterable
from inspect import Parameter, signature
from math import prod
from pathlib import Path

import numpy as np

from .mil import OPERATORS, MilOperation, MilValue, load_program

# Operators whose results hold input values unchanged, in another order or shape, perhaps beside a constant border.
MOVES = frozenset((
    "batch_to_space", "concat", "crop", "depth_to_space", "expand_dims", "flatten2d", "gather", "gather_along_axis",
    "gather_nd", "identity", "pad", "pixel_shuffle", "pixel_unshuffle", "reshape", "reshape_like", "reverse",
    "slice_by_index", "slice_by_size", "sliding_windows", "space_to_batch", "space_to_depth", "split", "squeeze",
    "stack", "tile", "transpose", "upsample_nearest_neighbor",
))  # fmt: skip
# Operator that makes real weights of stored ones -> the parameter that holds what is stored.
_STORED_AS = {
    "constexpr_affine_dequantize": "quantized_data",
    "constexpr_blockwise_shift_scale": "data",
    "constexpr_cast": "source_val",
    "constexpr_lut_to_dense": "indices",
    "constexpr_lut_to_sparse": "indices_nonzero_data",
    "constexpr_sparse_blockwise_shift_scale": "nonzero_data",
    "constexpr_sparse_to_dense": "nonzero_data",
    "dequantize": "input",
}
# Of those, the ones whose stored integers are the weights up to a scale, so that kernels may multiply the integers; a
# palette belongs to them if it is one of codes.
_CODES = ("constexpr_affine_dequantize", "constexpr_blockwise_shift_scale", "dequantize")
_STATISTICS = ("mean", "variance")  # of a batch norm: not parameters


class CoremlGraph:
    """The main function of a package.

    Attributes:
        operations: what is computed at run time, in order; constants and what is made of them alone are not here.
        stored: name -> the operation that gives a constant.
        producers: value name -> the operation that computes it.
        readers: value name -> the operations that read it, each once.
        inputs, outputs: names.
    """

    def __init__(self, path: Path):
        program = load_program(path)
        self.inputs = [value.name for value in program.inputs]
        self.outputs = list(program.outputs)
        self.operations: list[MilOperation] = []
        self.stored: dict[str, MilOperation] = {}
        self.producers: dict[str, MilOperation] = {}
        self.readers: dict[str, list[MilOperation]] = {}
        self.values: dict[str, MilValue] = {value.name: value for value in program.inputs}
        for operation in program.operations:
            names = [value.name for value in operation.outputs]
            read = list(dict.fromkeys(_bound(operation)))
            if all(name in self.stored for name in read):
                self.stored.update(dict.fromkeys(names, operation))
            else:
                self.operations.append(operation)
                self.producers.update(dict.fromkeys(names, operation))
            self.values.update({value.name: value for value in operation.outputs})
            for name in read:
                self.readers.setdefault(name, []).append(operation)

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of a value, an open one as one.

        Raises:
            ValueError: it is no tensor.
        """
        shape = self.values[name].shape
        if shape is None:
            raise ValueError(f"{name} is no tensor")
        return tuple(1 if size is None else size for size in shape)

    def is_real(self, name: str) -> bool:
        return self.values[name].dtype.startswith("fp")

    def size_bytes(self, name: str) -> int:
        """Bytes of a value; a label and its dictionary of scores count nothing."""
        if self.values[name].shape is None:
            return 0
        return _size_bytes(prod(self.shape(name)), self.values[name].dtype)

    def constant(self, operation: MilOperation, parameter: str) -> np.ndarray | None:
        """The number or array bound to a parameter, or None where it is absent or computed."""
        argument = operation.inputs.get(parameter)
        if not isinstance(argument, tuple):
            return argument
        source = self.stored.get(argument[0])
        return source.inputs["val"] if source is not None and source.type == "const" else None

    def operands(self, operation: MilOperation) -> list[str]:
        """Names of the values that an operation works on, without its settings, in the order of its definition."""
        function = OPERATORS.get(operation.type)
        if function is None:
            return _bound(operation)
        kinds = signature(function).parameters.values()
        names = [parameter.name for parameter in kinds if parameter.kind is not Parameter.KEYWORD_ONLY]
        return [value for name in names for value in bound(operation, name)]

    def bits(self, name: str) -> int:
        """Bits of an operand: of its codes where it was dequantized, else of its type; moves are looked through."""
        operation = self.stored.get(name) or self.producers.get(name)
        if operation is not None and self.gives_codes(operation):
            return self._stored_bits(operation)
        if operation is not None and operation.type in MOVES and self.is_real(name):
            return max(self.bits(source) for source in self.operands(operation) if self.is_real(source))
        return _bits_of(self.values[name].dtype)

    def gives_codes(self, operation: MilOperation) -> bool:
        """Whether an operation makes real values of integer codes and a scale."""
        if operation.type == "constexpr_lut_to_dense":
            palette = [self.stored[name] for name in bound(operation, "lut") if name in self.stored]
            return any(self.gives_codes(maker) for maker in palette)
        return operation.type in _CODES

    def weights_behind(self, name: str) -> dict[str, int]:
        """Bits, as stored, of the constants that a value is made of by moves alone, by the constant's name."""
        operation = self.stored.get(name) or self.producers.get(name)
        if operation is None or operation.type not in MOVES:
            return {name: self._stored_size(name)} if name in self.stored else {}
        return {k: v for source in self.operands(operation) for k, v in self.weights_behind(source).items()}

    def parameters(self) -> int:
        """Elements of the constants that operators work on: real ones with an axis, and all that carry a scale."""
        counted: dict[str, int] = {}
        for operation in self.operations:
            settings = {name for key in _STATISTICS for name in bound(operation, key)}
            for name in self.operands(operation):
                if name in settings or name not in self.stored or operation.type in ("quantize", "dequantize"):
                    continue
                scaled = self.stored[name].type in _STORED_AS
                if scaled or (self.is_real(name) and self.values[name].shape):
                    counted[name] = prod(self.shape(name))
        return sum(counted.values())

    def _stored_bits(self, operation: MilOperation) -> int:
        parameter = _STORED_AS[operation.type]
        names = bound(operation, parameter)
        return _bits_of(self.values[names[0]].dtype if names else operation.stored_types[parameter])

    def _stored_size(self, name: str) -> int:
        """Bits that the elements behind a stored value take; scales and palettes left out."""
        operation = self.stored[name]
        parameter = _STORED_AS.get(operation.type)
        if parameter is None:
            return prod(self.shape(name)) * _bits_of(self.values[name].dtype)
        argument = operation.inputs[parameter]
        if isinstance(argument, tuple):
            return self._stored_size(argument[0])
        return argument.size * _bits_of(operation.stored_types[parameter])


def bound(operation: MilOperation, parameter: str) -> tuple[str, ...]:
    """Names of the values bound to a parameter; none where it is absent or written in place."""
    argument = operation.inputs.get(parameter)
    return argument if isinstance(argument, tuple) else ()


def _bound(operation: MilOperation) -> list[str]:
    names: Iterable[tuple[str, ...]] = (bound(operation, parameter) for parameter in operation.inputs)
    return [name for group in names for name in group]


def _size_bytes(elements: int, dtype: str) -> int:
    return -(-elements * _bits_of(dtype) // 8)


def _bits_of(dtype: str) -> int:
    """`fp16` -> 16, `uint4` -> 4; a truth value takes a byte."""
    digits = dtype.lstrip("fpuint")
    return int(digits) if digits.isdigit() else 8

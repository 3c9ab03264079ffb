"""What a `torch.export` program says of a node's operands: shapes, bits, and which stored tensors lie behind them."""

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from ...export.code_bits import bits_of_codes, bits_of_limits

_STORED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
# Operators that move values without changing them, beside views.
_MOVED_BY = (
    "reshape flatten clone contiguous cat stack constant_pad_nd pad flip roll repeat index_select chunk alias detach "
    "_unsafe_view pixel_shuffle pixel_unshuffle channel_shuffle"
)
_MOVES = {f"aten.{name}" for name in _MOVED_BY.split()}
# Arguments that hold running statistics, not parameters.
_STATISTICS = {
    "aten.batch_norm": (3, 4),
    "aten._native_batch_norm_legit_no_training": (3, 4),
    "aten.instance_norm": (3, 4),
}


def arguments(node: Node) -> tuple[Any, ...]:
    """The positional arguments, without the union type that `torch.fx` gives each."""
    return node.args


def packet(node: Node) -> str:
    """`aten.conv2d` of `aten.conv2d.default` and `aten.conv2d.padding` alike."""
    return ".".join(str(node.target).split(".")[:2])


class State:
    """The stored tensors of a program, and questions about its nodes."""

    def __init__(self, program: ExportedProgram):
        self._program = program
        self._stored = {spec.arg.name: spec for spec in program.graph_signature.input_specs if spec.kind in _STORED}
        self._sizes = _symbol_values(program)

    def shape_of(self, value: Any) -> tuple[int, ...]:
        """Sizes of a node's value; symbols as `count_program` says.

        Raises:
            ValueError: a size depends on data.
        """
        return self.sizes_of(value.meta["val"])

    def sizes_of(self, tensor: Tensor) -> tuple[int, ...]:
        return tuple(self._size(size) for size in tensor.shape)

    def shape(self, node: Node, argument: int) -> tuple[int, ...]:
        return self.shape_of(arguments(node)[argument])

    def own_bits(self, node: Node) -> int:
        """Bits of the dtype that the node computes."""
        return self._bits_of(node)

    def bits(self, node: Node, argument: int) -> int:
        """Bits of an operand: of its integer codes where it was dequantized, else of its dtype."""
        operands = _nodes(arguments(node)[argument])
        return max(self._bits_of(origin) for operand in operands for origin in _origins(operand))

    def needed_bits(self, name: str) -> int:
        """Bits that a stored tensor needs: of its codes where it is dequantized, else of its dtype."""
        tensor, placeholder = self._by_target(name)
        limits = [_limits(user) for user in placeholder.users if _is_dequantize(user) and user.args[0] is placeholder]
        each = max((bits_of_codes(tensor.numpy(), *pair) for pair in limits), default=tensor.dtype.itemsize * 8)
        return tensor.numel() * each

    def constants_behind(self, node: Node, operands: tuple[int, ...]) -> dict[str, Tensor]:
        """Stored tensors that the operands are made of, by name."""
        found = {}
        for place in operands:
            for operand in _nodes(arguments(node)[place]):
                for origin in _stored_origins(operand):
                    if origin.name in self._stored:
                        found[str(self._stored[origin.name].target)] = self._tensor(origin.name)
        return found

    def parameters(self) -> int:
        """Elements of the parameters and buffers that the graph reads for their values."""
        counted = {}
        for node in self._program.graph.nodes:
            spec = self._stored.get(node.name)
            if spec is None or (spec.kind == InputKind.CONSTANT_TENSOR and not any(map(_is_dequantize, node.users))):
                continue
            if any(_reads_values(user, node) for user in node.users):
                counted[spec.target] = self._tensor(node.name).numel()
        return sum(counted.values())

    def _bits_of(self, origin: Node) -> int:
        """Of a dequantize: the bits that its codes need. Of anything else: its dtype's."""
        if not _is_dequantize(origin):
            value = origin.meta["val"]
            return (value[0] if isinstance(value, list | tuple) else value).dtype.itemsize * 8
        source = _nodes(arguments(origin)[0])[0]
        if source.name in self._stored:
            return bits_of_codes(self._tensor(source.name).numpy(), *_limits(origin))
        return 1 if _limits(origin) == (-1, 1) and _is_sign(source) else bits_of_limits(*_limits(origin))

    def _by_target(self, target: str) -> tuple[Tensor, Node]:
        name = next(name for name, spec in self._stored.items() if spec.target == target)
        return self._tensor(name), next(node for node in self._program.graph.nodes if node.name == name)

    def _tensor(self, name: str) -> Tensor:
        target = self._stored[name].target
        found = self._program.state_dict.get(target)
        return self._program.constants[target] if found is None else found

    def _size(self, size: Any) -> int:
        if isinstance(size, int):
            return size
        value = size.node.expr.subs(self._sizes)
        if not value.is_number:
            raise ValueError(f"size {value} depends on data")
        return int(value)


def _symbol_values(program: ExportedProgram) -> dict[Any, int]:
    """Symbol -> number: one for a symbol that is some input's first size, its example for any other."""
    values: dict[Any, int] = {}
    users = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in users or not isinstance(node.meta.get("val"), Tensor):
            continue
        for place, size in enumerate(node.meta["val"].shape):
            for symbol in size.node.expr.free_symbols if isinstance(size, torch.SymInt) else ():
                values.setdefault(symbol, 1 if place == 0 else int(size.node.hint))
    return values


def _nodes(argument: Any) -> list[Node]:
    return [argument] if isinstance(argument, Node) else list(argument)


def _origins(node: Node) -> Iterator[Node]:
    """The nodes that computed the values, looking through operators that only move them."""
    if not _is_move(node):
        yield node
        return
    for operand in _nodes(arguments(node)[0]):
        yield from _origins(operand)


def _stored_origins(node: Node) -> Iterator[Node]:
    """As `_origins`, and on through quantize and dequantize to what is stored."""
    for origin in _origins(node):
        if str(origin.target).startswith("quantized_decomposed."):
            yield from _stored_origins(_nodes(arguments(origin)[0])[0])
        else:
            yield origin


def _is_move(node: Node) -> bool:
    if node.op != "call_function":
        return False
    if node.target is operator.getitem:
        return _is_move(_nodes(arguments(node)[0])[0])
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    return node.target.is_view or packet(node) in _MOVES


def _is_dequantize(node: Node) -> bool:
    return str(node.target).startswith("quantized_decomposed.dequantize")


def _limits(dequantize: Node) -> tuple[int, int]:
    """The least and the largest code of a dequantize."""
    first = 4 if "per_channel" in str(dequantize.target) else 3
    low, high = arguments(dequantize)[first : first + 2]
    return int(low), int(high)


def _is_sign(quantize: Node) -> bool:
    """Whether a quantize to -1..1 reads a clamped value: of activations only signs have these limits, never a zero."""
    source = arguments(quantize)[0] if quantize.op == "call_function" else None
    return isinstance(source, Node) and packet(source) == "aten.clamp"


def _reads_values(user: Node, node: Node) -> bool:
    """Whether `user` takes `node` as values; a scale, a zero point or a running statistic is none."""
    if str(user.target).startswith("quantized_decomposed."):
        return user.args[0] is node
    statistics = _STATISTICS.get(packet(user), ())
    return not any(user.args[place] is node for place in statistics)

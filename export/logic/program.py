"""Netlists of exported PyTorch programs: linear layers, each followed by a sign.

The graph is run once on what is known of its values: bits with two levels, sums of them, or one number.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch.export import ExportedProgram
from torch.fx import Node

from ...errors import BadInput, UnsupportedOperator
from ...quant.graph import module_path, stored_tensors
from .builder import Builder
from .layers import TIES, integer_rows, sign_layer
from .netlist import Netlist
from .plain import Neurons

_SIGNS = "torch.sign(x), torch.where(x >= 0, 1.0, -1.0) or 2 * (x >= 0).float() - 1"


@dataclass(frozen=True)
class Bits:
    """One bit for each element: the element is `offset` where it is 0 and `offset + scale` where it is 1.

    Attributes:
        layer: the number of the layer of neurons whose bits they are; -1 for the inputs.
    """

    literals: tuple[int, ...]
    scale: float
    offset: float
    layer: int


@dataclass(frozen=True)
class Sums:
    """Elements that are sums of ±1.

    Attributes:
        literals: the bits that stand for the ±1.
        rows: (elements, bits + 1) float64, weights, and last that of a constant -1.
        layer: the number of the layer whose bits they sum.
    """

    literals: tuple[int, ...]
    rows: np.ndarray
    layer: int


@dataclass(frozen=True, eq=False)
class Reading:
    """What a program was read as.

    Attributes:
        netlist: the network as gates, simplified.
        layers: the neurons, each layer behind the one that it reads; the last one's signs are the outputs.
        inverse: whether the outputs are the inverses of those.
        levels: what the network's outputs are for a bit of 0 and of 1, the lower first.
    """

    netlist: Netlist
    layers: tuple[Neurons, ...]
    inverse: bool
    levels: tuple[float, float]


Known = Bits | Sums | float | torch.Tensor


def from_program(program: ExportedProgram, largest: int = 7, ties: str = "refuse") -> Netlist:
    """A netlist of an exported network of `nn.Linear` and signs; see `read_program`."""
    return read_program(program, largest, ties).netlist


def read_program(program: ExportedProgram, largest: int = 7, ties: str = "refuse") -> Reading:
    """The neurons of an exported network of `nn.Linear` and signs, and its netlist.

    The netlist takes inputs of ±1, (N, ...) with one sample's elements in order, and gives one bit for each output.
    Real weights become whole numbers as by `integer_rows`. `torch.sign` gives 0 for 0, so a neuron whose sum can be 0
    is refused after it, unless `ties` says which sign 0 has; comparisons say so themselves.

    Args:
        program: of one input and one output.
        largest: size of a whole weight.
        ties: `refuse`, `plus` or `minus`, of `torch.sign`.

    Raises:
        UnsupportedOperator: an operator that is neither linear nor a sign, named with its module.
        BadInput: several inputs or outputs, sums as outputs, or a neuron that has no whole weights or can tie.
    """
    if ties not in TIES:
        raise BadInput(f"ties {ties}: unknown; choose from {', '.join(TIES)}")
    signature = program.graph_signature
    if len(signature.user_inputs) != 1 or len(signature.user_outputs) != 1:
        raise BadInput(
            f"a logic network has one input and one output, got {len(signature.user_inputs)} and "
            f"{len(signature.user_outputs)}"
        )
    stored = stored_tensors(program)
    reader: _Reader | None = None
    constants: dict[Node, Known] = {}
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in stored:
            constants[node] = stored[node.name]
        elif node.op == "placeholder":
            reader = _Reader(Builder(prod(node.meta["val"].shape[1:])), largest, TIES[ties])
            constants[node] = reader.inputs()
    assert reader is not None
    reader.known = constants
    for node in program.graph.nodes:
        if node.op == "call_function":
            reader.read(node)
    (result,) = next(node for node in program.graph.nodes if node.op == "output").args[0]
    found = reader.known[result]
    if not isinstance(found, Bits):
        raise BadInput(
            f"{module_path(result) or result.name}: the network ends in sums; end it in a sign ({_SIGNS}), an argmax "
            "stays outside"
        )
    inverse = found.scale < 0
    netlist = reader.builder.netlist([literal ^ inverse for literal in found.literals])
    low, high = sorted((found.offset, found.offset + found.scale))
    return Reading(netlist, _leading_to(reader.layers, found.layer), inverse, (low, high))


def _leading_to(layers: Sequence[Neurons], last: int) -> tuple[Neurons, ...]:
    """The layers that one depends on, and itself, numbered anew."""
    chain = []
    while last >= 0:
        chain.append(layers[last])
        last = layers[last].reads
    return tuple(replace(layer, reads=number - 1) for number, layer in enumerate(reversed(chain)))


class _Reader:
    """Follows a graph, node by node."""

    def __init__(self, builder: Builder, largest: int, tie: int):
        self.builder, self.largest, self.tie = builder, largest, tie
        self.known: dict[Node, Known] = {}
        self.layers: list[Neurons] = []

    def inputs(self) -> Bits:
        return Bits(tuple(self.builder.input(k) for k in range(self.builder.inputs)), 2.0, -1.0, -1)

    def read(self, node: Node) -> None:
        name = str(node.target)
        rule = _RULES.get(name)
        arguments = [self.known.get(a, a) if isinstance(a, Node) else a for a in node.args]
        found = rule(self, node, *arguments) if rule and node.kwargs.get("alpha", 1) == 1 else None
        if found is None:
            mend = f"a logic network is made of nn.Linear and signs, such as {_SIGNS}"
            raise UnsupportedOperator(name, module_path(node), "a netlist", mend)
        self.known[node] = found

    def linear(self, node: Node, x: Known, weight: Any, bias: Any = None) -> Known | None:
        if not isinstance(x, Bits) or len(node.meta["val"].shape) != 2:
            return None
        matrix = weight.detach().double().numpy()
        # An element is scale / 2 times its ±1, plus what lies in the middle.
        middle = matrix.sum(axis=1) * (x.offset + x.scale / 2)
        added = middle if bias is None else middle + bias.detach().double().numpy()
        return Sums(x.literals, np.column_stack([matrix * (x.scale / 2), -added]), x.layer)

    def compare(self, node: Node, x: Known, limit: Any, tie: int, below: bool) -> Known | None:
        """Bits of `x > limit` where tie is -1 and `x >= limit` where it is +1, or their inverses."""
        level = _number(limit)
        if not isinstance(x, Sums) or level is None:
            return None
        rows = x.rows.copy()
        rows[:, -1] += level
        name = module_path(node) or node.name
        whole = integer_rows(rows, self.largest, name=name)
        literals = sign_layer(self.builder, x.literals, whole, tie, name)
        self.layers.append(Neurons(name, x.layer, whole, tie, below))
        return Bits(tuple(literal ^ int(below) for literal in literals), 1.0, 0.0, len(self.layers) - 1)

    def sign(self, node: Node, x: Known) -> Known | None:
        found = self.compare(node, x, 0.0, self.tie, False)
        return Bits(found.literals, 2.0, -1.0, found.layer) if isinstance(found, Bits) else None

    def where(self, node: Node, condition: Known, high: Any, low: Any) -> Known | None:
        top, bottom = _number(high), _number(low)
        if not isinstance(condition, Bits) or top is None or bottom is None or top == bottom:
            return None
        if condition.scale < 0:
            top, bottom = bottom, top
        return Bits(condition.literals, top - bottom, bottom, condition.layer)

    def arithmetic(self, node: Node, x: Any, y: Any, step: Callable[[Any, Any], Any]) -> Known | None:
        """Sums, products and differences with one number."""
        numbers = _number(x), _number(y)
        if numbers[0] is not None and numbers[1] is not None:
            return float(step(*numbers))
        if numbers[0] is None and numbers[1] is None:
            return None
        value = x if numbers[0] is None else y
        zero, one = (step(v, numbers[1]) if numbers[0] is None else step(numbers[0], v) for v in (0.0, 1.0))
        if one == zero:
            return None
        factor = one - zero
        if isinstance(value, Bits):
            return Bits(value.literals, value.scale * factor, value.offset * factor + zero, value.layer)
        if not isinstance(value, Sums):
            return None
        rows = value.rows * factor
        rows[:, -1] -= zero
        return Sums(value.literals, rows, value.layer)


def _number(value: Any) -> float | None:
    """The one number that a number, or every element of a tensor, is."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().double().flatten()
        return float(flat[0]) if flat.numel() and bool((flat == flat[0]).all()) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _same(reader: _Reader, node: Node, x: Known, *rest: Any) -> Known | None:
    return x


def _converted(reader: _Reader, node: Node, x: Known, *rest: Any) -> Known | None:
    """To another type of real numbers, or from 0 and 1 of a comparison to any numbers."""
    dtype = node.meta["val"].dtype
    zero_or_one = isinstance(x, Bits) and (x.scale, x.offset) == (1.0, 0.0)
    return x if dtype.is_floating_point or zero_or_one else None


def _divided(reader: _Reader, node: Node, x: Known, y: Any) -> Known | None:
    divisor = _number(y)
    return reader.arithmetic(node, x, divisor, operator.truediv) if divisor else None


def _dropped(reader: _Reader, node: Node, x: Known, share: float, training: bool) -> Known | None:
    return None if training else x


def _reshaped(reader: _Reader, node: Node, x: Known, *rest: Any) -> Known | None:
    source = node.args[0]
    assert isinstance(source, Node)
    kept = node.meta["val"].shape[:1] == source.meta["val"].shape[:1]
    return x if kept else None


def _filled(level: float) -> Callable[..., Known]:
    return lambda reader, node, *rest: level


def _comparing(tie: int, below: bool) -> Callable[..., Known | None]:
    return lambda reader, node, x, limit: reader.compare(node, x, limit, tie, below)


def _computing(step: Callable[[Any, Any], Any]) -> Callable[..., Known | None]:
    return lambda reader, node, x, y: reader.arithmetic(node, x, y, step)


_RULES: dict[str, Callable[..., Known | None]] = {
    "aten.linear.default": _Reader.linear,
    "aten.sign.default": _Reader.sign,
    "aten.neg.default": lambda reader, node, x: reader.arithmetic(node, x, -1.0, operator.mul),
    "aten.rsub.Scalar": lambda reader, node, x, y: reader.arithmetic(node, y, x, operator.sub),
    "aten.ones_like.default": _filled(1.0),
    "aten.zeros_like.default": _filled(0.0),
    "aten.full_like.default": lambda reader, node, x, level, *rest: _number(level),
    "aten.full.default": lambda reader, node, shape, level, *rest: _number(level),
    "aten.scalar_tensor.default": lambda reader, node, level, *rest: _number(level),
    "aten.dropout.default": _dropped,
    "aten._assert_tensor_metadata.default": _same,
    **{f"aten.where.{kind}": _Reader.where for kind in ("self", "Scalar", "ScalarSelf", "ScalarOther")},
    **{f"aten.ge.{kind}": _comparing(1, False) for kind in ("Scalar", "Tensor")},
    **{f"aten.gt.{kind}": _comparing(-1, False) for kind in ("Scalar", "Tensor")},
    **{f"aten.lt.{kind}": _comparing(1, True) for kind in ("Scalar", "Tensor")},
    **{f"aten.le.{kind}": _comparing(-1, True) for kind in ("Scalar", "Tensor")},
    **{f"aten.mul.{kind}": _computing(operator.mul) for kind in ("Scalar", "Tensor")},
    **{f"aten.add.{kind}": _computing(operator.add) for kind in ("Scalar", "Tensor")},
    **{f"aten.sub.{kind}": _computing(operator.sub) for kind in ("Scalar", "Tensor")},
    **{f"aten.div.{kind}": _divided for kind in ("Scalar", "Tensor")},
    **{f"aten.{name}": _converted for name in ("to.dtype", "_to_copy.default")},
    **{f"aten.{name}": _same for name in ("clone.default", "detach.default", "detach_.default")},
    **{f"aten.{name}": _same for name in ("lift_fresh_copy.default", "alias.default", "contiguous.default")},
    **{f"aten.{name}": _reshaped for name in ("flatten.using_ints", "view.default", "reshape.default")},
}

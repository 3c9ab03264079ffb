"""The layers whose bits are to be chosen, and the bits that each can have."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.fx import GraphModule, Node

from ...errors import BadInput
from ..bits import layer_bits
from ..graph import module_path
from ..placement import Placement
from ..rules import Kind
from ..scheme import Scheme

aten = torch.ops.aten

Bits = tuple[int, int]  # of weights, of what the layer reads
Assignment = tuple[tuple[str, int, int], ...]  # every layer in the network's order, as `Scheme.layers` takes it
WIDE: Bits = (8, 8)


@dataclass(frozen=True)
class Layer:
    """A module whose bits are to be chosen.

    Attributes:
        module: its path.
        weights: how many it has.
        macs: multiply-accumulates for one sample.
        choices: the bits that it can have, fewest first.
    """

    module: str
    weights: int
    macs: int
    choices: tuple[Bits, ...]


def layers_of(
    module: GraphModule, plan: Placement, scheme: Scheme, choices: Sequence[Bits], batch: int
) -> tuple[Layer, ...]:
    """Every module with weights; those that must keep 8 bits (`keep_int8`, no ±1 form) have no other choice.

    Args:
        batch: samples that the graph computes at once.

    Raises:
        BadInput: there is none.
    """
    nodes: dict[str, list[Node]] = {}
    for node, rule in plan.rules.items():
        if rule.kind is Kind.WEIGHTED:
            nodes.setdefault(module_path(node), []).append(node)
    if not nodes:
        raise BadInput("no convolution or linear layer is quantized, so there are no bits to choose")
    possible: dict[str, set[Bits]] = {path: {WIDE} for path in nodes}
    for weight, activation in choices:
        own = tuple((path, weight, activation) for path in nodes)
        made = layer_bits(module, plan, replace(scheme, layers=own))
        for path, same in nodes.items():
            if all((made[node].weight, made[node].activation) == (weight, activation) for node in same):
                possible[path].add((weight, activation))
    return tuple(
        Layer(path, _weights(same), sum(map(_macs, same)) // batch, tuple(sorted(possible[path])))
        for path, same in nodes.items()
    )


def uniform(layers: Sequence[Layer], bits: Bits, border: Bits | None = None) -> Assignment:
    """The same bits in every layer that can have them, 8 in the others.

    Args:
        border: bits of the first and the last layer, where they are to differ.
    """
    wanted = [bits for _ in layers]
    if border is not None:
        wanted[0] = wanted[-1] = border
    return tuple((layer.module, *(own if own in layer.choices else WIDE)) for layer, own in zip(layers, wanted))


def _weights(nodes: list[Node]) -> int:
    """A module that is called twice has its weights once."""
    return sum({node.args[1]: node.args[1].meta["val"].numel() for node in nodes}.values())


def _macs(node: Node) -> int:
    """As `runtime.macs` counts them; a test holds both together."""
    weight, spread = node.args[1].meta["val"].shape, node.target is aten.conv_transpose2d.input
    positions = (node.args[0] if spread else node).meta["val"].shape
    return int(positions.numel() * (weight.numel() // weight[0]))

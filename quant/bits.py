"""Decides how many bits each convolution and linear layer gets, and says why where it differs from the scheme.

The first and the last layer keep the scheme's border bits: what enters and leaves a network carries more than a few
levels (Zhou et al., DoReFa-Net, arXiv 1606.06160). Of ±1 layers, these keep 8 bits too:

- depthwise ones, which sum only a kernel's few signs;
- layers that sum fewer than 16 products, for the same reason;
- projections on a shortcut, which carry the real values past the ±1 layers (Liu et al., Bi-Real Net, ECCV 2018);
- transposed convolutions, and layers whose input is no quantized value.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

from ..errors import BadInput
from .graph import is_constant, module_path
from .placement import Placement, activation_inputs
from .rules import AVERAGES, Kind
from .scheme import Scheme

aten = torch.ops.aten

_FEWEST_SIGNS = 16
_TRANSPOSED = {aten.conv_transpose2d.input}


@dataclass(frozen=True)
class LayerBits:
    """Bits of one weighted layer.

    Attributes:
        name: of its value in the program.
        module: path of its PyTorch module.
        weight, activation: bits of its weights and of what it reads.
        reason: why it differs from the scheme; empty where it does not.
    """

    name: str
    module: str
    weight: int
    activation: int
    reason: str = ""


def layer_bits(module: GraphModule, plan: Placement, scheme: Scheme) -> dict[Node, LayerBits]:
    """Bits of every weighted layer of a planned graph, in the order of the graph.

    Raises:
        BadInput: the scheme names a layer that the network does not have.
    """
    weighted = [node for node, rule in plan.rules.items() if rule.kind is Kind.WEIGHTED]
    _check_named(weighted, scheme)
    own = {path: (weight, activation) for path, weight, activation in scheme.layers}
    found = {}
    for node in weighted:
        path = module_path(node)
        wanted = own.get(path, (scheme.weight_bits, scheme.activation_bits))
        bits, reason = _kept(node, plan, scheme, wanted)
        found[node] = LayerBits(node.name, path, *bits, reason)
    return found


def _kept(node: Node, plan: Placement, scheme: Scheme, wanted: tuple[int, int]) -> tuple[tuple[int, int], str]:
    path = module_path(node)
    eight = 8, 8
    if wanted == (8, 8):
        return wanted, ""
    if any(path == kept or path.startswith(f"{kept}.") for kept in scheme.keep_int8):
        return eight, "kept in int8 on request"
    border = max(wanted[0], scheme.border_bits), max(wanted[1], scheme.border_bits)
    if path not in {named for named, _, _ in scheme.layers} and border != wanted:
        if _reads_input(node, plan):
            return border, "the first layer reads the network's input"
        if _makes_output(node, plan):
            return border, "the last layer makes the network's output"
    if 1 not in wanted:
        return wanted, ""
    reason = _unfit_for_signs(node, plan)
    return (eight, reason) if reason else (wanted, "")


def _unfit_for_signs(node: Node, plan: Placement) -> str:
    shape = node.args[1].meta["val"].shape
    groups = node.args[6] if len(node.args) > 6 else 1
    products = int(shape.numel() // shape[0])
    if node.target is not aten.linear.default and shape[1] == 1 and groups != 1:
        return f"a depthwise kernel sums only {products} signs"
    if products < _FEWEST_SIGNS:
        return f"it sums only {products} signs"
    if node.target in _TRANSPOSED:
        return "a transposed convolution has no ±1 form"
    if node.args[0] not in plan.groups:
        return "its input is no quantized value"
    if _is_shortcut(node, plan):
        return "it projects a shortcut, which carries real values past the ±1 layers"
    return ""


def _reads_input(node: Node, plan: Placement) -> bool:
    """Whether only movements and functions of one value stand between the network's input and the layer."""
    sources = activation_inputs(node, plan.rules[node])
    while len(sources) == 1 and sources[0].op != "placeholder":
        rule = plan.rules.get(sources[0])
        if rule is None or rule.kind is Kind.WEIGHTED:
            return False
        sources = activation_inputs(sources[0], rule)
    return len(sources) == 1


def _makes_output(node: Node, plan: Placement) -> bool:
    """Whether the layer's value reaches an output of the network with no other weighted layer behind it."""
    users = list(node.users)
    if not users:
        return False
    for user in users:
        if user.op == "output":
            continue
        if user not in plan.rules or plan.rules[user].kind is Kind.WEIGHTED:
            return False
        if len(activation_inputs(user, plan.rules[user])) != 1 or not _makes_output(user, plan):
            return False
    return True


def _is_shortcut(node: Node, plan: Placement) -> bool:
    """Whether an addition joins the layer with a path that starts at the same value and computes more than it."""
    value = node
    while len(value.users) == 1:
        (user,) = value.users
        if user.target is aten.add.Tensor:
            others = [operand for operand in user.args[:2] if isinstance(operand, Node) and operand is not value]
            return bool(others) and _work_from(others[0], node.args[0], plan) > _work(node)
        if user not in plan.rules or plan.rules[user].kind is Kind.WEIGHTED:
            return False
        value = user
    return False


def _work_from(end: Node, start: Node, plan: Placement) -> int:
    """Products of the weighted layers between two values; 0 where `end` does not come from `start`'s own source."""
    origins = {start, *_moved_or_averaged_from(start, plan)}
    total, frontier, seen = 0, [end], set()
    reached = False
    while frontier:
        node = frontier.pop()
        if node in seen or is_constant(node):
            continue
        seen.add(node)
        if node in origins:
            reached = True
            continue
        if node in plan.rules and plan.rules[node].kind is Kind.WEIGHTED:
            total += _work(node)
        frontier += node.all_input_nodes
    return total if reached else 0


def _moved_or_averaged_from(node: Node, plan: Placement) -> Iterator[Node]:
    """The values that a value was only pooled, moved or averaged from."""
    while node in plan.rules and (plan.rules[node].kind is Kind.MOVEMENT or node.target in AVERAGES):
        sources = activation_inputs(node, plan.rules[node])
        if len(sources) != 1:
            return
        node = sources[0]
        yield node


def _work(node: Node) -> int:
    shape, out = node.args[1].meta["val"].shape, node.meta["val"].shape
    return int(out.numel() * (shape.numel() // shape[0]))


def _check_named(weighted: list[Node], scheme: Scheme) -> None:
    paths = {module_path(node) for node in weighted}
    for path in scheme.keep_int8:
        if not any(f"{known}.".startswith(f"{path}.") for known in paths):
            raise BadInput(f"keep_int8: no layer {path} in the network; it has {', '.join(sorted(paths))}")
    for path, _, _ in scheme.layers:
        if path not in paths:
            raise BadInput(f"scheme: no layer {path} in the network; it has {', '.join(sorted(paths))}")

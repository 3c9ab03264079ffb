"""Decides where codes stand: which values are quantized, which share a scale, which operators stay in float."""

from dataclasses import dataclass, field

import torch
from torch.fx import GraphModule, Node

from ..errors import BadInput
from .affine import Affine
from .graph import calls, is_constant, is_float_value, module_path
from .rules import MANY_RESULTS, Kind, Rule, is_fused_activation, rule_of, stays_in_float

aten = torch.ops.aten


@dataclass
class Placement:
    """The plan of a quantization.

    Attributes:
        rules: what each operator call is.
        groups: each quantized value -> the first value of the group whose scale it shares.
        fixed: first value of a group -> the affine map its kernels prescribe.
        requantized: (concatenation, input) edges that convert from the input's own scale to the group's.
    """

    rules: dict[Node, Rule]
    groups: dict[Node, Node] = field(default_factory=dict)
    fixed: dict[Node, Affine] = field(default_factory=dict)
    requantized: list[tuple[Node, Node]] = field(default_factory=list)

    def members(self) -> dict[Node, list[Node]]:
        """First value -> all values of its group."""
        by_first: dict[Node, list[Node]] = {}
        for value, first in self.groups.items():
            by_first.setdefault(first, []).append(value)
        return by_first


def place(module: GraphModule, keep_float: tuple[str, ...] = ()) -> Placement:
    """Plans the quantization of a captured, folded graph."""
    _check_kept(module, keep_float)
    rules = {node: rule_of(node, keep_float, module_path(node)) for node in calls(module)}
    for node in reversed(list(rules)):
        rules[node] = stays_in_float(node, rules) or rules[node]
    plan = Placement(rules)
    quantized = [node for node in module.graph.nodes if _is_quantized(node, rules)]
    plan.groups = {node: node for node in quantized}
    for node in quantized:
        fixed = rules[node].fixed if node in rules else None
        if fixed is not None:
            plan.fixed[node] = fixed
    for node in calls(module):
        if rules[node].kind is Kind.MOVEMENT and node in plan.groups:
            _share(plan, node)
    return plan


def _check_kept(module: GraphModule, keep_float: tuple[str, ...]) -> None:
    paths = {module_path(node) for node in calls(module)}
    unknown = [kept for kept in keep_float if not any(f"{path}.".startswith(f"{kept}.") for path in paths)]
    if unknown:
        known = ", ".join(sorted(path for path in paths if path))
        raise BadInput(f"keep_float: no module {', '.join(unknown)} in the network; it has {known}")


def activation_inputs(node: Node, rule: Rule) -> list[Node]:
    """The operands of an integer operator that are activations, in order."""
    if rule.kind is Kind.WEIGHTED:
        return [node.args[0]] if isinstance(node.args[0], Node) else []
    if node.target is aten.cat.default:
        return list(node.args[0])
    operands = node.args[:2] if rule.kind is Kind.ARITHMETIC else node.args[:1]
    return [operand for operand in operands if isinstance(operand, Node) and not is_constant(operand)]


def fuses_into_activation(node: Node, rules: dict[Node, Rule]) -> bool:
    """Whether the value only feeds a ReLU that the kernel applies itself, so that nothing stands between them."""
    kind = rules[node].kind
    if kind is not Kind.WEIGHTED and node.target not in (aten.add.Tensor, aten.sub.Tensor):
        return False
    users = list(node.users)
    return len(users) == 1 and is_fused_activation(users[0]) and rules[users[0]].kind is Kind.POINTWISE


def _is_quantized(node: Node, rules: dict[Node, Rule]) -> bool:
    """A value is quantized when an integer operator makes it, or when one reads it."""
    if is_constant(node) or node.op not in ("placeholder", "call_function") or not is_float_value(node):
        return False
    if node.target in MANY_RESULTS:
        return False
    if node in rules and rules[node].kind is not Kind.FLOAT:
        return not fuses_into_activation(node, rules)
    readers = [user for user in node.users if user in rules and rules[user].kind is not Kind.FLOAT]
    return any(node in activation_inputs(user, rules[user]) for user in readers)


def _share(plan: Placement, node: Node) -> None:
    """Puts a MOVEMENT operator's output into the group of its inputs."""
    for source in activation_inputs(node, plan.rules[node]):
        origin = source.args[0] if source.target in MANY_RESULTS else source
        if not isinstance(origin, Node) or origin not in plan.groups:
            continue
        ours, theirs = plan.groups[node], plan.groups[origin]
        if ours is theirs:
            continue
        if node.target is aten.cat.default and (theirs in plan.fixed or ours in plan.fixed):
            plan.requantized += [(node, source)] * ((node, source) not in plan.requantized)
            continue
        for value, first in plan.groups.items():
            if first is ours:
                plan.groups[value] = theirs
        if ours in plan.fixed:
            plan.fixed[theirs] = plan.fixed.pop(ours)

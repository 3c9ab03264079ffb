"""Runs a float network and its quantized form side by side, operator by operator over all samples.

At every convolution and linear layer a visitor sees what both compute and may change the layer's integers before the
quantized side goes on. So each layer is mended knowing the errors that reach it from the layers before, and one pass
over the graph serves all of them. Values are dropped as soon as nothing reads them any more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from .bits import LayerBits
from .codes import IntegerTensor
from .coding import Coding
from .fake_quantized import call_float, call_quantized, fake_quantized, through_edge
from .graph import constant_of
from .placement import Placement, activation_inputs
from .rules import Kind

_HELD_BYTES = 512 << 20  # of one value over all samples, float and quantized


@dataclass(frozen=True)
class LayerRun:
    """A weighted layer between the two networks, one entry a sample.

    Attributes:
        inputs: what the quantized layer reads, fake-quantized.
        wanted: what the float layer makes of the float network's own input, bias included.
        weight, bias: of the float layer.
    """

    node: Node
    inputs: list[Tensor]
    wanted: list[Tensor]
    weight: Tensor
    bias: Tensor | None


def sweep(
    module: GraphModule,
    plan: Placement,
    bits: dict[Node, LayerBits],
    coding: Coding,
    samples: Sequence[tuple[Tensor, ...]],
    visit: Callable[[LayerRun], None],
) -> None:
    """Calls `visit` at each weighted layer, in the order of the graph; it may put new integers into `coding`.

    Args:
        module: the float graph that `plan` and `coding` are about.
        samples: real inputs; as many are used as fit into memory.
    """
    samples = samples[: _affordable(module, len(samples))]
    runner = _Sides(module, plan, bits, coding, samples)
    last = {source: node for node in module.graph.nodes for source in node.all_input_nodes}
    with torch.no_grad():
        for node in module.graph.nodes:
            if node.op == "output":
                break
            runner.run(node, visit)
            for source in {node, *node.all_input_nodes}:
                if last.get(source) in (node, None):
                    runner.forget(source)


def _affordable(module: GraphModule, count: int) -> int:
    values = [node.meta["val"] for node in module.graph.nodes if isinstance(node.meta.get("val"), Tensor)]
    largest = max((v.numel() * v.element_size() for v in values), default=1)
    return max(1, min(count, _HELD_BYTES // (2 * largest)))


class _Sides:
    def __init__(
        self,
        module: GraphModule,
        plan: Placement,
        bits: dict[Node, LayerBits],
        coding: Coding,
        samples: Sequence[tuple[Tensor, ...]],
    ):
        self.module, self.plan, self.bits, self.coding = module, plan, bits, coding
        self.count = len(samples)
        self.inputs = iter(zip(*samples))
        self.floats: dict[Node, list[Any]] = {}
        self.coded: dict[Node, list[Any]] = {}

    def forget(self, node: Node) -> None:
        self.floats.pop(node, None)
        self.coded.pop(node, None)

    def run(self, node: Node, visit: Callable[[LayerRun], None]) -> None:
        """Computes one node on both sides."""
        if node.op == "placeholder":
            self.floats[node] = self.coded[node] = list(next(self.inputs))
        elif node.op == "get_attr":
            self.floats[node] = self.coded[node] = [constant_of(self.module, node)] * self.count
        elif self.kind(node) is Kind.WEIGHTED:
            self.floats[node] = self.call(node, self.floats)
            inputs = self.read(node)
            bias_node = node.args[2] if len(node.args) > 2 else None
            constants = constant_of(self.module, node.args[1]), bias_node and constant_of(self.module, bias_node)
            visit(LayerRun(node, inputs, self.floats[node], *constants))
            weight, bias = self.coding.weights[node.name], self.coding.biases[node.name]
            operands = _real(weight), None if bias is None else _real(bias)
            self.coded[node] = [node.target(x, *operands, *node.args[3:]) for x in inputs]
        else:
            self.floats[node] = self.call(node, self.floats)
            self.coded[node] = self.call(node, self.coded)
        if node in self.plan.groups:
            affine = self.coding.values[node.name]
            self.coded[node] = [fake_quantized(value, affine) for value in self.coded[node]]

    def kind(self, node: Node) -> Kind | None:
        return self.plan.rules[node].kind if node in self.plan.rules else None

    def call(self, node: Node, side: dict[Node, list[Any]]) -> list[Any]:
        """The operator on every sample."""
        results = []
        for index in range(self.count):

            def value(source: Node, index: int = index) -> Any:
                return side[source][index]

            if side is self.coded:
                results.append(call_quantized(node, self.plan, self.coding, value))
            else:
                results.append(call_float(node, value))
        return results

    def read(self, node: Node) -> list[Tensor]:
        """What a weighted layer reads on the quantized side."""
        source, chosen = node.args[0], self.bits[node].activation
        values = self.coded[source]
        if chosen == 8:
            return values
        edge = self.coding.edges[activation_inputs(node, self.plan.rules[node])[0].name, chosen]
        return [through_edge(value, edge) for value in values]


def _real(tensor: IntegerTensor) -> Tensor:
    return torch.from_numpy(tensor.dequantize())

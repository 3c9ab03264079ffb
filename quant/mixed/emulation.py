"""The quantized network as float arithmetic in batches, with every layer's integers exchangeable from call to call.

Values are rounded to their codes and back, weights and biases are their integers as real numbers, so outputs are those
of the program but for the rounding of float32 sums, which moves a value that lies half-way between two codes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ..coding import Coding
from ..fake_quantized import call_float, call_quantized, fake_quantized, through_edge
from ..graph import constant_of, module_path
from ..placement import Placement, activation_inputs
from ..rules import Kind
from ..threads import one_thread
from .layers import Bits


@dataclass(frozen=True)
class Operands:
    """What a weighted layer computes with: weight and bias as real numbers, and the bits of what it reads."""

    weight: Tensor
    bias: Tensor | None
    activation: int


class Emulation:
    """A planned graph that runs at any integers of its layers.

    Args:
        module: for batches of `batch` samples.
        coding: values and edges.
    """

    def __init__(self, module: GraphModule, plan: Placement, coding: Coding, batch: int):
        self.module, self.plan, self.coding, self.batch = module, plan, coding, batch
        self._nodes = [node for node in module.graph.nodes if node.op in ("get_attr", "call_function")]
        self._inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
        self._results = next(node for node in module.graph.nodes if node.op == "output").args[0]

    def outputs(self, samples: Sequence[tuple[Tensor, ...]], operands: Mapping[str, Operands] | None) -> list[Tensor]:
        """Every output over all samples, (N, ...).

        Args:
            operands: by the name of a layer's value; None for the float network.
        """
        parts: list[list[Tensor]] = []
        with one_thread(), torch.no_grad():
            for inputs, size in self._batches(samples):
                parts.append([value[:size] for value in self._run(inputs, operands, {})])
        return [torch.cat(values) for values in zip(*parts)]

    def one_by_one(
        self,
        samples: Sequence[tuple[Tensor, ...]],
        base: Mapping[str, Operands],
        others: Mapping[tuple[str, Bits], Mapping[str, Operands]],
    ) -> dict[tuple[str, Bits], list[Tensor]]:
        """Outputs with the operands of one module changed from `base`, for each of `others`.

        Only what lies behind the changed layer is computed again.
        """
        behind = {path: self._behind(path) for path in dict.fromkeys(path for path, _ in others)}
        parts: dict[tuple[str, Bits], list[list[Tensor]]] = {key: [] for key in others}
        with one_thread(), torch.no_grad():
            for inputs, size in self._batches(samples):
                kept: dict[Node, Any] = {}
                self._run(inputs, base, kept)
                for key, changed in others.items():
                    results = self._run(inputs, {**base, **changed}, kept, behind[key[0]])
                    parts[key].append([value[:size] for value in results])
        return {key: [torch.cat(values) for values in zip(*found)] for key, found in parts.items()}

    def _batches(self, samples: Sequence[tuple[Tensor, ...]]) -> Iterator[tuple[list[Tensor], int]]:
        """Inputs of whole batches; the last one is filled up with its own first sample."""
        for start in range(0, len(samples), self.batch):
            part = list(samples[start : start + self.batch])
            filled = part + part[:1] * (self.batch - len(part))
            yield [torch.cat(values) for values in zip(*filled)], len(part)

    def _behind(self, path: str) -> set[Node]:
        """The module's layers and all that depends on them."""
        rules = self.plan.rules.items()
        found = {node for node, rule in rules if rule.kind is Kind.WEIGHTED and module_path(node) == path}
        for node in self.module.graph.nodes:
            if any(source in found for source in node.all_input_nodes):
                found.add(node)
        return found

    def _run(
        self,
        inputs: list[Tensor],
        operands: Mapping[str, Operands] | None,
        kept: dict[Node, Any],
        changed: set[Node] | None = None,
    ) -> list[Tensor]:
        """The outputs of one batch.

        Args:
            kept: is filled with every value; where `changed` is given, holds them.
            changed: the values to compute anew; None for all.
        """
        values = kept if changed is None else dict(kept)
        if changed is None:
            for node, value in zip(self._inputs, inputs):
                values[node] = value if operands is None else self._coded(node, value)
        for node in self._nodes if changed is None else (node for node in self._nodes if node in changed):
            if node.op == "get_attr":
                values[node] = constant_of(self.module, node)
            elif operands is None:
                values[node] = call_float(node, values.__getitem__)
            elif self.plan.rules[node].kind is Kind.WEIGHTED:
                values[node] = self._coded(node, self._layer(node, values, operands[node.name]))
            else:
                values[node] = self._coded(node, call_quantized(node, self.plan, self.coding, values.__getitem__))
        return [values[node] for node in self._results]

    def _coded(self, node: Node, value: Any) -> Any:
        return fake_quantized(value, self.coding.values[node.name]) if node in self.plan.groups else value

    def _layer(self, node: Node, values: Mapping[Node, Any], operands: Operands) -> Tensor:
        value = values[node.args[0]]
        if operands.activation < 8:
            source = activation_inputs(node, self.plan.rules[node])[0].name
            value = through_edge(value, self.coding.edges[source, operands.activation])
        return node.target(value, operands.weight, operands.bias, *node.args[3:])

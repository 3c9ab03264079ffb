"""The network that is trained: a prepared graph in whole batches, with the stages of its training."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from .layer import QuantizedLayer


@dataclass(frozen=True)
class Stages:
    """When what changes during training, in steps.

    Attributes:
        freeze_norms: from here on batch norms keep their statistics, as they are folded.
        quantize_weights: until here weights stay real while activations are quantized already; two stages are the
            usual way to ±1 (Martinez et al., Real-to-Binary, ICLR 2020).
    """

    freeze_norms: int
    quantize_weights: int = 0


class QuantizedNetwork(nn.Module):
    """A prepared graph that takes any number of samples and gives its outputs, one alone or several in a tuple.

    A captured graph holds its batch size in its reshapes. Samples are run that many at a time; the last batch is
    filled up with its own first samples, whose results are dropped.
    """

    steps: Tensor

    def __init__(self, graph: GraphModule, batch_size: int, stages: Stages):
        super().__init__()
        self.graph, self.batch_size, self.stages = graph, batch_size, stages
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.training:
            self._enter_stage(int(self.steps))
            self.steps += 1
        count = len(inputs[0])
        results = []
        for start in range(0, count, self.batch_size):
            parts = [tensor[start : start + self.batch_size] for tensor in inputs]
            size = len(parts[0])
            if size < self.batch_size:
                again = torch.arange(self.batch_size) % size
                parts = [part[again] for part in parts]
            results.append(tuple(output[:size] for output in self.graph(*parts)))
        outputs = tuple(map(torch.cat, zip(*results)))
        return outputs[0] if len(outputs) == 1 else outputs

    @property
    def layers(self) -> dict[str, QuantizedLayer]:
        """Weighted layer by the name of its value."""
        return {
            name.removeprefix("layer_"): child
            for name, child in self.graph.named_children()
            if isinstance(child, QuantizedLayer)
        }

    def _enter_stage(self, step: int) -> None:
        for layer in self.layers.values():
            layer.norm_frozen = step >= self.stages.freeze_norms
            layer.weight_quantized = layer.bits > 2 or step >= self.stages.quantize_weights
            if layer.weight_quantized:
                layer.clip_latent()

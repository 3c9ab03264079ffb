"""Networks of signs: linear layers, each followed by ±1, and what they are trained on and measured by.

Elser and Lal, "Learning with Boolean threshold functions", arXiv 2602.17493. True is +1 and False is -1; a layer's bias
is minus the weight of their constant node, which is -1. sign(0) is +1.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .data import Data
from .objectives import Batch, Objective, Outcome, in_tuple


class Sign(nn.Module):
    """±1 of each sum. In training its gradient is that of a clip to [-1, 1] (straight through)."""

    def forward(self, sums: Tensor) -> Tensor:
        signs = torch.where(sums >= 0, 1.0, -1.0)
        if not self.training:
            return signs
        clipped = functional.hardtanh(sums)
        return signs + (clipped - clipped.detach())  # the same signs, to the bit


class ThresholdNetwork(nn.Module):
    """(B, widths[0]) of ±1 to (B, widths[-1]) of ±1, through layers of those widths."""

    def __init__(self, widths: Sequence[int]):
        super().__init__()
        layers = [nn.Sequential(nn.Linear(before, after), Sign()) for before, after in pairwise(widths)]
        self.layers = nn.Sequential(*layers)

    def sign(self, sums: Tensor) -> Tensor:
        """The outputs of `sums`."""
        return list(self.layers.modules())[-1](sums)

    def forward(self, bits: Tensor) -> Tensor:
        return self.layers(bits)

    def sums(self, bits: Tensor) -> Tensor:
        """What the last signs are of, (B, widths[-1])."""
        *hidden, last = self.layers.children()
        for layer in hidden:
            bits = layer(bits)
        return next(last.children())(bits)


class Bits(Objective):
    """Outputs of ±1 against targets of ±1, (B, k).

    `accuracy` is the share of samples with all bits right, `bits` the share of bits. Trained by gradients, the loss is
    logistic in the last sums; where only outputs can be seen it is their squared error.
    """

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        """None.

        Raises:
            BadInput: targets are not ±1.
        """
        targets = torch.as_tensor(data.train[0][1])
        if targets.ndim != 1 or not bool((targets.abs() == 1).all()):
            raise BadInput(f"{data.name}: targets are not -1 and 1, one for each output; give a table of bits")
        return None

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs = in_tuple(batch.samples)
        if isinstance(network, ThresholdNetwork):
            sums = network.sums(*inputs)
            return Outcome(functional.softplus(-batch.targets * sums).mean(), inputs, network.sign(sums))
        outputs = network(*inputs)
        return Outcome(functional.mse_loss(outputs, batch.targets), inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 2): whether all bits are right, and the share of those that are."""
        right = (outputs[0] >= 0) == (targets >= 0)
        return torch.stack([right.all(1), right.float().mean(1)], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        whole, bits = scores.mean(0).tolist()
        return {"accuracy": whole, "bits": bits}

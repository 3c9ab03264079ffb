"""Training on weights as hardware will give them: both passes see them perturbed, the update moves the true ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ..devices.synapse.device import SynapseDevice
from ..devices.synapse.draws import Draws
from ..devices.synapse.write_errors import WriteErrors

_Norm = nn.modules.batchnorm._BatchNorm
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


@dataclass
class Perturbation:
    """A chip for every step: each layer's weights written into devices of a kind.

    Attributes:
        device: of the arrays.
        seconds: from writing to reading.
        verify_rounds: of write-and-verify.
        seed: of the chips.
    """

    device: SynapseDevice
    seconds: float = 0.0
    verify_rounds: int = 0
    seed: int = 0
    _errors: WriteErrors = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._errors = WriteErrors(self.device, self.seconds, self.verify_rounds, self.seed)

    @contextmanager
    def chip(self, module: nn.Module, step: int) -> Iterator[None]:
        """Perturbs the weights of linear layers and convolutions inside, and puts the true ones back.

        Batch norms keep the statistics that they have: with those of the batch they would even out what differs from
        chip to chip, which they cannot once they are part of the weights.
        """
        for norm in module.modules():
            if isinstance(norm, _Norm):
                norm.eval()
        layers = [layer for layer in module.modules() if isinstance(layer, _LAYERS)]
        kept = [layer.weight.detach().clone() for layer in layers]
        try:
            with torch.no_grad():
                for place, (layer, weights) in enumerate(zip(layers, kept)):
                    layer.weight.copy_(self._errors.perturbed(weights, Draws(self.seed, place), step))
            yield
        finally:
            with torch.no_grad():
                for layer, weights in zip(layers, kept):
                    layer.weight.copy_(weights)

    def to_json(self) -> dict[str, Any]:
        """For a run's configuration."""
        settings = {"seconds": self.seconds, "verify_rounds": self.verify_rounds}
        return {"name": "noise-aware", "device": self.device.to_json(), **settings}

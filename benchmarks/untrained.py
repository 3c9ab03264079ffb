"""Networks without training whose outputs depend on their inputs.

With the statistics that batch norms start with, signals fade on their way through a deep network: it answers nearly the
same to every input, and outputs that agree say nothing.
"""

from collections.abc import Sequence

import torch
from torch import nn

from ..models.system import System


def enlivened(system: System) -> nn.Module:
    """A system's network as it goes to devices, with weights of seed 0 that say something."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = system.build()
    enliven(network, list(system.input_shapes.values()))
    return (system.ship(network) if system.ship is not None else network).eval()


def enliven(network: nn.Module, shapes: Sequence[Sequence[int]]) -> None:
    """Gives random weights values with spread: batch norms take the statistics of random inputs, and scales that start
    near zero are set to a tenth.

    Args:
        shapes: of the inputs; their first axis is the batch.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.1)
    batches = [tuple(torch.randn((8, *shape[1:]), generator=generator) for shape in shapes) for _ in range(2)]
    measure_norms(network, batches)


def measure_norms(network: nn.Module, batches: Sequence[tuple[torch.Tensor, ...]]) -> None:
    """Gives batch norms the statistics of these inputs, so that no signal fades on its way; leaves evaluation mode."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None  # a plain average over the batches
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(*batch)
    network.eval()

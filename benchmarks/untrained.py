"""Networks without training whose outputs depend on their inputs.

With the statistics that batch norms start with, signals fade on their way through a deep network: it answers nearly the
same to every input, and outputs that agree say nothing.
"""

from collections.abc import Sequence

import torch
from torch import nn


def enliven(network: nn.Module, shape: Sequence[int]) -> None:
    """Gives random weights values with spread: batch norms take the statistics of random inputs, and scales that start
    near zero are set to a tenth.

    Args:
        shape: of the one input; its first axis is the batch.
    """
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.1)
    measure_norms(network, [(torch.randn((8, *shape[1:]), generator=generator),) for _ in range(2)])


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

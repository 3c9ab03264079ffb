"""Relaxing networks at rest, for the files that test how they answer and learn."""

import torch
from offramp.models.learning.equilibrium_condensed import at_rest
from offramp.models.learning.equilibrium_response import Rest
from torch.nn import functional


def resting(network, steps=60, count=20, side=4):
    """Samples of four classes, and the network relaxed on them."""
    draws = torch.Generator().manual_seed(1)
    samples = torch.rand(count, 1, side, side, generator=draws, dtype=torch.get_default_dtype())
    wanted = functional.one_hot(torch.arange(count) % 4, 4).to(samples)
    given = network.given(samples).detach()
    return samples, at_rest(network, Rest(network.start(given), given, wanted), steps)

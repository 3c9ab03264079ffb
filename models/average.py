"""Exponential moving average of a network's weights, the network that is evaluated and kept."""

import copy

import torch
from torch import nn


class WeightAverage:
    """`average <- d * average + (1 - d) * weights` after each step, with d = min(decay, (1 + n) / (10 + n)) at step n.

    Batch-norm statistics are averaged too; integer buffers are copied.
    """

    def __init__(self, module: nn.Module, decay: float):
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for mine, theirs in zip(self.module.state_dict().values(), module.state_dict().values(), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)

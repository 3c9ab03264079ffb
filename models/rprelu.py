"""RPReLU: a PReLU that learns where it bends and what it gives there.

Liu et al., "ReActNet", ECCV 2020, arXiv 2003.03488: for channel i, `x - bend_i + shift_i` above `bend_i`
and `slope_i * (x - bend_i) + shift_i` below it. What a sign keeps of a value depends on where zero lies, so a network
of signs gains from moving it.
"""

import torch
from torch import Tensor, nn


class RPReLU(nn.Module):
    """(B, channels, H, W) to the same shape; starts as a PReLU of slope 0.25."""

    def __init__(self, channels: int):
        super().__init__()
        self.bend = nn.Parameter(torch.zeros(channels, 1, 1))
        self.prelu = nn.PReLU(channels)
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(x - self.bend) + self.shift

"""A network that runs against a chain: from what the chain gives back to what it was given, with weights of its own."""

from collections.abc import Sequence
from math import prod

from torch import Tensor, nn
from torch.nn import functional

from .chain import Block


class OppositeBlock(nn.Module):
    """(B, *given) -> (B, *wanted): the shapes behind and before one block of a chain.

    Vectors go through a matrix; maps (C, H, W) are resized to the nearest and go through a 3 x 3 kernel; of a map
    behind which the chain keeps one number a channel, the vector's matrix gives the channels, the same everywhere.
    Without biases, as the chain's inputs have none.

    Args:
        inner: ends in an ELU; the one that gives the chain's input does not.
        spreads: whether a vector becomes the same channels everywhere rather than every value of a map.
    """

    def __init__(self, given: tuple[int, ...], wanted: tuple[int, ...], inner: bool, spreads: bool):
        super().__init__()
        self.wanted, self.inner = wanted, inner
        self.layer: nn.Module
        if len(given) == len(wanted) == 3:
            self.layer = nn.Conv2d(given[0], wanted[0], 3, padding=1, bias=False)
        elif len(given) == len(wanted) and len(given) > 1 and given[:-1] == wanted[:-1]:
            self.layer = nn.Linear(given[-1], wanted[-1], bias=False)
        else:
            self.layer = nn.Linear(prod(given), wanted[0] if spreads else prod(wanted), bias=False)
        self.spreads = spreads

    def forward(self, signal: Tensor) -> Tensor:
        if isinstance(self.layer, nn.Conv2d):
            if signal.shape[2:] != self.wanted[1:]:
                signal = functional.interpolate(signal, size=self.wanted[1:], mode="nearest")
            signal = self.layer(signal)
        elif isinstance(self.layer, nn.Linear) and signal.ndim > 2 and self.layer.in_features == signal.shape[-1]:
            signal = self.layer(signal)
        else:
            signal = self.layer(signal.flatten(1))
            if self.spreads:
                signal = signal.reshape(len(signal), -1, *[1] * (len(self.wanted) - 1))
            signal = signal.expand(-1, *self.wanted) if self.spreads else signal.reshape(-1, *self.wanted)
        return functional.elu(signal) if self.inner else signal


class Opposite(nn.Module):
    """The blocks of a chain in reverse.

    Args:
        inputs: shape of one sample that the chain takes.
        blocks: of the chain.
    """

    def __init__(self, inputs: tuple[int, ...], blocks: Sequence[Block]):
        super().__init__()
        shapes = [inputs, *(block.outputs for block in blocks)]
        self.blocks = nn.ModuleList(
            OppositeBlock(behind, before, number > 0, _pools(block, before))
            for number, (block, before, behind) in enumerate(zip(blocks, shapes, shapes[1:]))
        )

    def forward(self, signal: Tensor) -> list[Tensor]:
        """(B, ...) at the chain's end -> what arrives at every value of the chain, its input first.

        No gradient goes from one block into another.
        """
        signals = [signal]
        for block in reversed(self.blocks):
            signals.append(block(signals[-1].detach()))
        return signals[::-1]


def _pools(block: Block, before: tuple[int, ...]) -> bool:
    """Whether a block takes one number a channel of its map, ahead of its first matrix or behind its last kernel."""
    if len(before) < 2 or prod(before[1:]) == 1:
        return False
    matrices = [p for p in block.module.parameters() if sum(side > 1 for side in p.shape) > 1]
    ahead = matrices[0].ndim == 2 and matrices[0].shape[1] == before[0]
    return ahead or (matrices[-1].ndim > 2 and block.outputs == (matrices[-1].shape[0],))


def in_blocks(blocks: Sequence[Block], samples: Tensor) -> list[Tensor]:
    """What every block gives, the input first; no gradient goes from one block into another."""
    values = [samples]
    for block in blocks:
        values.append(block.module(values[-1].detach()))
    return values

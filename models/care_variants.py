"""Ablations of the CARE Transformer's block as data: what each changes, at the same number of multiplications.

Zhou et al., CVPR 2025, arXiv 2411.16170, claim that a thin slice of channels suffices for attention, that a memory
helps, and that two interactions are better than one. `VARIANTS` undoes each; `at_equal_macs` gives what that saves to
the interactions' hidden channels, or takes from them what it costs, so that accuracies can be compared.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from .care_blocks import Interaction, LinearAttention, StripConvolution
from .care_transformer import CareConfig, CareTransformer


@dataclass(frozen=True)
class CareVariant:
    """A block of 4g channels, as the paper has it or with something changed.

    Attributes:
        name: of the change.
        memory: channels that token mixing leaves alone, in units of g.
        attended: of the others, how many take part in attention, in units of g; a 3x3 and a 7x7 convolution share what
            is left evenly.
        stacked: every channel but the memory passes through a 3x3 convolution, attention and a 7x7 convolution in turn.
        rewrites_memory: False where the second interaction reads the memory and leaves it as it was.
        first, second: whether there is the interaction among features, and that with the memory. The network's last
            block always has the second, whose hidden channels the heads read.
        widening: factor on the hidden channels of the interactions.
    """

    name: str
    memory: float = 1
    attended: float = 1
    stacked: bool = False
    rewrites_memory: bool = True
    first: bool = True
    second: bool = True
    widening: float = 1.0


ASYMMETRIC = CareVariant("asymmetric")
VARIANTS = (
    ASYMMETRIC,
    CareVariant("symmetric", attended=1.5),
    CareVariant("stacked", stacked=True),
    CareVariant("memory kept", rewrites_memory=False),
    CareVariant("no memory", memory=0),
    CareVariant("second interaction only", first=False),
    CareVariant("first interaction only", second=False),
)


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates for one image: of the network, and of token mixing (attention and what is beside it)."""

    total: int
    mixers: int


class Decoupled(nn.Module):
    """Each slice of channels its own mixing: attention, a 3x3 and a 7x7 depthwise convolution; shapes stay."""

    def __init__(self, attended: int, near: int, far: int, head_dim: int):
        super().__init__()
        self.widths = (attended, near, far)
        self.attention = _global_mixer(attended, head_dim)
        self.conv3, self.conv7 = _depthwise(near, 3), _depthwise(far, 7)

    def forward(self, x: Tensor) -> Tensor:
        attended, near, far = x.split(self.widths, dim=1)
        return torch.cat([self.attention(attended), self.conv3(near), self.conv7(far)], dim=1)


class ReadingInteraction(Interaction):
    """An interaction that reads all channels and gives only the last `outputs` of them, rewritten."""

    def __init__(self, channels: int, hidden: int, outputs: int):
        super().__init__(channels, hidden, project=False)
        self.outputs = outputs
        self.rewrite = nn.Conv2d(hidden, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, -self.outputs :] + self.rewrite(self.hidden(x))


class VariantBlock(nn.Module):
    """(B, 4g, H, W) to the same shape, or to (B, 4g * r2, H, W) if it is the last; `CareBlock` with the changes."""

    def __init__(
        self,
        variant: CareVariant,
        memory_dim: int,
        ratios: tuple[int, int],
        head_dim: int,
        gamma: float,
        last: bool,
    ):
        super().__init__()
        channels, kept = 4 * memory_dim, round(variant.memory * memory_dim)
        mixed = channels - kept
        first, second = (
            round(width * ratio * variant.widening) for width, ratio in zip((mixed, channels), ratios, strict=True)
        )
        self.widths = (kept, mixed)
        self.mixer = _mixer(variant, memory_dim, mixed, head_dim)
        self.features = Interaction(mixed, first) if variant.first else nn.Identity()
        self.memory: nn.Module = nn.Identity()
        written = channels
        if last:
            self.memory = Interaction(channels, channels * ratios[1], project=False)
        elif variant.second and variant.rewrites_memory:
            self.memory = Interaction(channels, second)
        elif variant.second:
            self.memory, written = ReadingInteraction(channels, second, mixed), mixed
        self.kept = channels - written
        self.gamma = None if last else nn.Parameter(torch.full((1, written, 1, 1), gamma))

    def forward(self, x: Tensor) -> Tensor:
        memory, features = x.split(self.widths, dim=1)
        y = self.memory(torch.cat([memory, self.features(self.mixer(features))], dim=1))
        if self.gamma is None:
            return y
        untouched, written = x[:, : self.kept], x[:, self.kept :]
        return torch.cat([untouched, written + self.gamma * y], dim=1)


def variant_network(variant: CareVariant, config: CareConfig) -> CareTransformer:
    """A CARE Transformer whose blocks are the variant's."""
    return CareTransformer(config, partial(VariantBlock, variant))


def macs(variant: CareVariant, config: CareConfig, size: int) -> Macs:
    """Counted for one image of size x size pixels; no random number is drawn."""
    with torch.device("meta"):
        network = variant_network(variant, config)
    network = network.to_empty(device="cpu").eval()  # whatever lies there: numbers do not matter
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, config.in_channels, size, size))
    flops = {path: sum(of.values()) for path, of in counter.get_flop_counts().items()}
    return Macs(flops["Global"] // 2, sum(count for path, count in flops.items() if path.endswith(".mixer")) // 2)


def at_equal_macs(variant: CareVariant, config: CareConfig, size: int) -> CareVariant:
    """The variant with hidden channels widened or narrowed until it costs what the asymmetric network does.

    Multiplications grow linearly with the widening, but for rounding to whole channels.

    Args:
        variant: whose widening is set anew.
        config: sizes of both networks.
        size: height and width of the image in pixels.
    """
    wanted = macs(ASYMMETRIC, config, size).total
    once, twice = (macs(replace(variant, widening=factor), config, size).total for factor in (1.0, 2.0))
    return replace(variant, widening=1 + (wanted - once) / (twice - once))


def _mixer(variant: CareVariant, memory_dim: int, channels: int, head_dim: int) -> nn.Module:
    if variant.stacked:
        return nn.Sequential(_depthwise(channels, 3), _global_mixer(channels, head_dim), _depthwise(channels, 7))
    attended = round(variant.attended * memory_dim)
    near = (channels - attended) // 2
    return Decoupled(attended, near, channels - attended - near, head_dim)


def _global_mixer(channels: int, head_dim: int) -> nn.Module:
    return LinearAttention(channels, head_dim) if head_dim else StripConvolution(channels)


def _depthwise(channels: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)

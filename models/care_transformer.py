"""CARE Transformer: linear attention on a thin slice of channels, depthwise convolutions on the rest.

Zhou et al., "CARE Transformer: Mobile-Friendly Linear Visual Transformer via Decoupled Dual Interaction", CVPR 2025,
arXiv 2411.16170. Each block splits its 4g channels into `[memory | attention | conv 3x3 | conv 7x7]` of g channels,
mixes tokens in the last three, and lets them interact twice: among themselves, then with the memory.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .recipe import Recipe
from .system import System


@dataclass(frozen=True)
class CareConfig:
    """Sizes of a CARE Transformer.

    Attributes:
        depths: blocks per stage.
        memory_dims: g per stage; the stage is 4g channels wide.
        ratios: (r1, r2) per stage, the expansions of the two interactions.
        head_dims: width of an attention head per stage; 0 puts 11x1 and 1x11 convolutions in place of attention.
        class_dim: width of the features that the heads read.
        num_classes: outputs.
        in_channels: channels of the input image.
        stem: kernel and stride of the first convolution.
        gamma: initial value of the per-channel scale of each block's branch.
    """

    depths: tuple[int, ...]
    memory_dims: tuple[int, ...]
    ratios: tuple[tuple[int, int], ...]
    head_dims: tuple[int, ...]
    class_dim: int
    num_classes: int = 1000
    in_channels: int = 3
    stem: int = 4
    gamma: float = 1e-6


class LinearAttention(nn.Module):
    """Attention whose cost is linear in the number of positions.

    With phi(u) = ELU(u) + 1 and N positions per image:
    `out = phi(q) (phi(k)^T v / N) / (phi(q) . mean(phi(k)) + 1e-6)`. Values are the input itself.
    """

    def __init__(self, channels: int, head_dim: int):
        super().__init__()
        self.heads, self.head_dim = channels // head_dim, head_dim
        self.query_key = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        positions = height * width
        per_head = (batch, self.heads, self.head_dim, positions)
        query, key = self.query_key(x).chunk(2, dim=1)
        query = functional.elu(query.reshape(per_head)) + 1  # (B, h, D, N)
        key = functional.elu(key.reshape(per_head)) + 1
        value = x.reshape(per_head)
        summary = value @ key.transpose(-1, -2) * (1 / positions)  # (B, h, D, D)
        norm = key.mean(-1, keepdim=True).transpose(-1, -2) @ query  # (B, h, 1, N)
        return (summary @ query / (norm + 1e-6)).reshape(batch, channels, height, width)


class StripConvolution(nn.Module):
    """The sum of an 11x1 and a 1x11 depthwise convolution, the early stages' stand-in for attention."""

    def __init__(self, channels: int):
        super().__init__()
        self.vertical = nn.Conv2d(channels, channels, (11, 1), padding=(5, 0), groups=channels)
        self.horizontal = nn.Conv2d(channels, channels, (1, 11), padding=(0, 5), groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.vertical(x) + self.horizontal(x)


class Interaction(nn.Module):
    """Channel mixing: `x + fc2(DW3x3(GELU(fc1(BN(x)))))`; without `project` it ends at the depthwise convolution."""

    def __init__(self, channels: int, ratio: int, project: bool = True):
        super().__init__()
        hidden = channels * ratio
        self.norm = nn.BatchNorm2d(channels)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.fc2 = nn.Conv2d(hidden, channels, 1) if project else None

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.depthwise(functional.gelu(self.fc1(self.norm(x))))
        return hidden if self.fc2 is None else x + self.fc2(hidden)


class CareBlock(nn.Module):
    """Decoupled token mixing and dual interaction, (B, 4g, H, W) to the same shape.

    The `last` block of the network has no skip: it returns the second interaction's hidden features, (B, 4g*r2, H, W).
    """

    def __init__(self, memory_dim: int, ratios: tuple[int, int], head_dim: int, gamma: float, last: bool):
        super().__init__()
        g = memory_dim
        self.attention = LinearAttention(g, head_dim) if head_dim else StripConvolution(g)
        self.conv3 = nn.Conv2d(g, g, 3, padding=1, groups=g)
        self.conv7 = nn.Conv2d(g, g, 7, padding=3, groups=g)
        self.features = Interaction(3 * g, ratios[0])
        self.memory = Interaction(4 * g, ratios[1], project=not last)
        self.gamma = None if last else nn.Parameter(torch.full((1, 4 * g, 1, 1), gamma))

    def forward(self, x: Tensor) -> Tensor:
        memory, attended, near, far = x.chunk(4, dim=1)
        mixed = torch.cat([self.attention(attended), self.conv3(near), self.conv7(far)], dim=1)
        y = self.memory(torch.cat([memory, self.features(mixed)], dim=1))
        return y if self.gamma is None else x + self.gamma * y


class Head(nn.Module):
    """Layer norm and linear classifier on pooled features, (B, class_dim) to (B, num_classes)."""

    def __init__(self, class_dim: int, num_classes: int):
        super().__init__()
        self.norm = nn.LayerNorm(class_dim, eps=1e-6)
        self.classify = nn.Linear(class_dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.norm(x))


class CareTransformer(nn.Module):
    """The whole network, (B, in_channels, H, W) to logits (B, num_classes), the mean of two equal heads."""

    def __init__(self, config: CareConfig):
        super().__init__()
        widths = [4 * g for g in config.memory_dims]
        self.stem = nn.Sequential(
            nn.Conv2d(config.in_channels, widths[0], config.stem, stride=config.stem), nn.BatchNorm2d(widths[0])
        )
        self.downsample = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(before), nn.Conv2d(before, after, 2, stride=2))
            for before, after in pairwise(widths)
        )
        last_stage = len(widths) - 1
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    CareBlock(g, ratios, head_dim, config.gamma, last=s == last_stage and b == depth - 1)
                    for b in range(depth)
                )
            )
            for s, (depth, g, ratios, head_dim) in enumerate(
                zip(config.depths, config.memory_dims, config.ratios, config.head_dims)
            )
        )
        self.class_head = Head(config.class_dim, config.num_classes)
        self.distillation_head = Head(config.class_dim, config.num_classes)
        self.apply(_initialise)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features, (B, class_dim)."""
        x = self.stages[0](self.stem(x))
        for down, stage in zip(self.downsample, self.stages[1:]):
            x = stage(down(x))
        return functional.gelu(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.features(x)
        return (self.class_head(pooled) + self.distillation_head(pooled)) * 0.5


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


S0 = CareConfig((2, 4, 8, 4), (8, 16, 32, 64), ((2, 2), (2, 4), (4, 4), (4, 4)), (0, 0, 16, 32), 1024)
S1 = CareConfig((3, 6, 10, 6), (8, 16, 32, 64), ((2, 4), (2, 4), (4, 4), (4, 4)), (0, 0, 16, 32), 1024)
S2 = CareConfig((3, 6, 10, 6), (8, 16, 48, 96), ((4, 4),) * 4, (0, 0, 16, 32), 1536)
# The published gamma of 1e-6 needs hundreds of epochs to grow; a short run starts at 1.
XXS = CareConfig(
    (1, 1, 2, 1), (4, 8, 16, 32), ((2, 2),) * 4, (0, 0, 8, 16), 256, num_classes=10, in_channels=1, stem=2, gamma=1.0
)

_SOURCE = "Zhou et al., CARE Transformer, CVPR 2025, arXiv 2411.16170"
_IMAGENET = Recipe(
    learning_rate=2.5e-3, epochs=310, batch_size=1536, warmup_epochs=20, final_learning_rate=4e-3, mixup=0.8, flip=True
)
_SMALL = Recipe(learning_rate=2e-3, epochs=40, shift_pixels=2, threads=1)


def _system(name: str, config: CareConfig, size: int, dataset: str | None, recipe: Recipe) -> System:
    return System(
        name=name,
        paper="care-transformer",
        task="image-classification",
        build=lambda: CareTransformer(config),
        input_shapes={"image": (1, config.in_channels, size, size)},
        dataset=dataset,
        recipe=recipe,
        source=_SOURCE,
    )


SYSTEMS = (
    _system("care_s0", S0, 224, None, _IMAGENET),
    _system("care_s1", S1, 224, None, _IMAGENET),
    _system("care_s2", S2, 224, None, _IMAGENET),
    _system("care_xxs", XXS, 32, "digits", _SMALL),
)

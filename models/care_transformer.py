"""CARE Transformer: linear attention on a thin slice of channels, depthwise convolutions on the rest.

Zhou et al., "CARE Transformer: Mobile-Friendly Linear Visual Transformer via Decoupled Dual Interaction", CVPR 2025,
arXiv 2411.16170. Each block splits its 4g channels into `[memory | attention | conv 3x3 | conv 7x7]` of g channels,
mixes tokens in the last three, and lets them interact twice: among themselves, then with the memory.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from .care_blocks import CareBlock, Head
from .care_folding import fold_gamma, mean_of_heads
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


BuildBlock = Callable[[int, tuple[int, int], int, float, bool], nn.Module]


class CareTransformer(nn.Module):
    """The whole network, (B, in_channels, H, W) to logits (B, num_classes), the mean of two equal heads.

    `block` makes the blocks, from `CareBlock`'s arguments; ablations give their own.
    """

    def __init__(self, config: CareConfig, block: BuildBlock = CareBlock):
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
                *(block(g, ratios, head_dim, config.gamma, s == last_stage and b == depth - 1) for b in range(depth))
            )
            for s, (depth, g, ratios, head_dim) in enumerate(
                zip(config.depths, config.memory_dims, config.ratios, config.head_dims)
            )
        )
        self.class_head = Head(config.class_dim, config.num_classes)
        self.distillation_head: Head | None = Head(
            config.class_dim, config.num_classes
        )  # None once folded into the other
        self.apply(_initialise)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features, (B, class_dim)."""
        return functional.gelu(stage_maps(self.stem, self.downsample, self.stages, x)[-1].mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.features(x)
        if self.distillation_head is None:
            return self.class_head(pooled)
        return (self.class_head(pooled) + self.distillation_head(pooled)) * 0.5


def stage_maps(stem: nn.Module, downsample: nn.ModuleList, stages: nn.ModuleList, x: Tensor) -> list[Tensor]:
    """What each stage of an image (B, C, H, W) gives, from the finest map to the coarsest."""
    maps = [stages[0](stem(x))]
    for down, stage in zip(downsample, stages[1:]):
        maps.append(stage(down(maps[-1])))
    return maps


def fold(network: nn.Module) -> nn.Module:
    """A copy as it goes to devices: two heads in one, and each block's gamma in the layer before it.

    Equal to the network up to float rounding, with the same inputs and outputs.

    Args:
        network: a CARE Transformer, or another module that holds its blocks; it is left as it is.
    """
    folded = copy.deepcopy(network)
    for module in folded.modules():
        if isinstance(module, CareBlock):
            fold_gamma(module)
    if isinstance(folded, CareTransformer) and folded.distillation_head is not None:
        folded.class_head = mean_of_heads(folded.class_head, folded.distillation_head)
        folded.distillation_head = None
    return folded


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

SOURCE = "Zhou et al., CARE Transformer, CVPR 2025, arXiv 2411.16170"
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
        ship=fold,
        source=SOURCE,
    )


SYSTEMS = (
    _system("care_s0", S0, 224, None, _IMAGENET),
    _system("care_s1", S1, 224, None, _IMAGENET),
    _system("care_s2", S2, 224, None, _IMAGENET),
    _system("care_xxs", XXS, 32, "digits", _SMALL),
)

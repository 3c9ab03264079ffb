"""AsCAN: convolution blocks where maps are large, more and more transformer blocks where they are small.

Kag et al., "AsCAN: Asymmetric Convolution-Attention Networks for Efficient Recognition and Generation", NeurIPS 2024,
arXiv 2411.04967. The idea is where blocks stand, not the blocks: C is a Fused-MBConv, T a plain pre-norm transformer
block with full attention. Attention is dear where maps are large (quadratic in positions), a dense 3x3 convolution
where they are wide (quadratic in channels), so each stage has C before T, and the share of T grows with depth.

The paper publishes sizes, not widths and layouts: `ascan_t`, `ascan_b` and `ascan_l` are reconstructed, fitted to the
published parameters and MACs, and are not the authors' models.
"""

from itertools import groupby, pairwise
from math import prod

from torch import Tensor, nn

from ..errors import BadInput
from .ascan_blocks import AscanConfig, FusedMBConv, TransformerRun
from .blocks import conv_bn
from .recipe import Recipe
from .system import System


def _stage(blocks: str, inputs: int, width: int, stride: int, pool: int, config: AscanConfig) -> nn.Sequential:
    """The blocks of a stage; where a T opens it, a convolution without overlap brings maps to the stage's shape."""
    layers: list[nn.Module] = []
    if blocks[0] == "T" and (stride > 1 or inputs != width):
        layers.append(nn.Conv2d(inputs, width, stride, stride))
        inputs, stride = width, 1
    for kind, run in groupby(blocks):
        depth = len(list(run))
        if kind == "T":
            layers.append(TransformerRun(width, depth, pool, config))
            continue
        for _ in range(depth):
            layers.append(FusedMBConv(inputs, width, stride, config))
            inputs, stride = width, 1
    return nn.Sequential(*layers)


class Backbone(nn.Module):
    """Stem and stages, (B, in_channels, H, W) to the map of each stage.

    A stage's map is (B, width, H / stride, W / stride), with its own width and the product of the strides so far. H and
    W are multiples of the last one.
    """

    def __init__(self, config: AscanConfig):
        super().__init__()
        self.stride = 2 * prod(config.strides)
        channels = [config.in_channels, *config.stem]
        self.stem = nn.Sequential(
            *(
                conv_bn(before, after, 3, 1 if place else 2, activation=config.activation)
                for place, (before, after) in enumerate(pairwise(channels))
            )
        )
        widths = pairwise([channels[-1], *config.widths])
        self.stages = nn.ModuleList(
            _stage(blocks, inputs, width, stride, pool, config)
            for blocks, (inputs, width), stride, pool in zip(config.layout, widths, config.strides, config.pools)
        )
        self.apply(initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        if x.shape[2] % self.stride or x.shape[3] % self.stride:
            size = f"{x.shape[2]} x {x.shape[3]}"
            raise BadInput(f"AsCAN: an image of {size}; its sides must be multiples of {self.stride}")
        x = self.stem(x)
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Ascan(nn.Module):
    """The classifier, (B, in_channels, H, W) to logits (B, num_classes)."""

    def __init__(self, config: AscanConfig):
        super().__init__()
        self.backbone = Backbone(config)
        self.norm = nn.LayerNorm(config.widths[-1], eps=1e-6)
        self.classify = nn.Linear(config.widths[-1], config.num_classes)
        initialise(self.classify)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.norm(self.backbone(x)[-1].mean((2, 3))))  # (B, C, H, W) -> (B, C)


def initialise(module: nn.Module) -> None:
    """First weights of one layer: of convolutions by He et al., arXiv 1502.01852; of linear layers small."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


T = AscanConfig(("CCCC", "CCCT", "CCTT", "TTTTTT"), (64, 128, 320, 768))
B = AscanConfig(("CC", "CCCT", "CCCCCTTTTT", "TTTTTT"), (96, 192, 448, 768))
L = AscanConfig(("CC", "CCCT", "CCCCCCCTTTTTTT", "TTTTTT"), (128, 256, 512, 1024))
XS = AscanConfig(
    ("CC", "CCT", "CTT", "TT"),
    (8, 16, 32, 64),
    strides=(1, 2, 2, 2),
    stem=(8,),
    head_dim=8,
    num_classes=10,
    in_channels=1,
)

_SOURCE = "Kag et al., AsCAN, NeurIPS 2024, arXiv 2411.04967"
_RECONSTRUCTED = f"{_SOURCE}; widths and layout reconstructed from the published size"
# Stochastic depth and RandAugment, usual for the family, are not in it.
_IMAGENET = Recipe(learning_rate=3e-3, epochs=300, batch_size=4096, warmup_epochs=20, mixup=0.8, ema=0.9999, flip=True)
_SMALL = Recipe(learning_rate=2e-3, epochs=12, shift_pixels=2, threads=1)


def _system(name: str, config: AscanConfig, size: int, dataset: str | None, recipe: Recipe, source: str) -> System:
    return System(
        name=name,
        paper="ascan",
        task="image-classification",
        build=lambda: Ascan(config),
        input_shapes={"image": (1, config.in_channels, size, size)},
        dataset=dataset,
        recipe=recipe,
        source=source,
    )


SYSTEMS = (
    _system("ascan_t", T, 224, None, _IMAGENET, _RECONSTRUCTED),
    _system("ascan_b", B, 224, None, _IMAGENET, _RECONSTRUCTED),
    _system("ascan_l", L, 224, None, _IMAGENET, _RECONSTRUCTED),
    _system("ascan_xs", XS, 32, "digits", _SMALL, _SOURCE),
)

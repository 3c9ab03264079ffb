"""MobileNetV2: inverted residuals with linear bottlenecks.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv 1801.04381, table 2.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from .blocks import conv_bn
from .recipe import Recipe
from .system import System


@dataclass(frozen=True)
class MobileNetV2Config:
    """Sizes of a MobileNetV2.

    Attributes:
        stages: (expansion, channels, blocks, stride of the first block), in order.
        stem: channels of the first convolution, of stride 2.
        last: channels of the features that the classifier reads.
        num_classes: outputs.
        in_channels: channels of the input image.
        dropout: before the classifier.
    """

    stages: tuple[tuple[int, int, int, int], ...]
    stem: int
    last: int
    num_classes: int
    in_channels: int
    dropout: float


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a skip where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        expand = [] if expansion == 1 else [conv_bn(inputs, hidden, kernel=1, activation=nn.ReLU6)]
        self.body = nn.Sequential(
            *expand,
            conv_bn(hidden, hidden, stride=stride, groups=hidden, activation=nn.ReLU6),
            conv_bn(hidden, outputs, kernel=1, activation=None),
        )
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.skips else self.body(x)


class MobileNetV2(nn.Module):
    """The whole network, (B, in_channels, H, W) to logits (B, num_classes)."""

    def __init__(self, config: MobileNetV2Config):
        super().__init__()
        layers: list[nn.Module] = [conv_bn(config.in_channels, config.stem, stride=2, activation=nn.ReLU6)]
        width = config.stem
        for expansion, channels, blocks, stride in config.stages:
            for block in range(blocks):
                layers.append(InvertedResidual(width, channels, stride if block == 0 else 1, expansion))
                width = channels
        layers.append(conv_bn(width, config.last, kernel=1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(config.dropout)
        self.classify = nn.Linear(config.last, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.dropout(self.features(x).mean((2, 3))))  # (B, last, h, w) -> (B, num_classes)


IMAGENET = MobileNetV2Config(
    stages=(
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ),
    stem=32,
    last=1280,
    num_classes=1000,
    in_channels=3,
    dropout=0.2,
)
XS = MobileNetV2Config(
    stages=((1, 8, 1, 1), (4, 16, 2, 2), (4, 24, 2, 2), (4, 32, 1, 1)),
    stem=16,
    last=128,
    num_classes=10,
    in_channels=1,
    dropout=0.0,
)

_SOURCE = "Sandler et al., MobileNetV2, CVPR 2018, arXiv 1801.04381"
_IMAGENET = Recipe(
    optimizer="sgd", learning_rate=0.4, weight_decay=4e-5, epochs=150, batch_size=1024, warmup_epochs=5, flip=True
)
_SMALL = Recipe(epochs=30, shift_pixels=2, threads=1)

SYSTEMS = (
    System(
        name="mobilenet_v2",
        paper="",
        task="image-classification",
        build=lambda: MobileNetV2(IMAGENET),
        input_shapes={"image": (1, 3, 224, 224)},
        recipe=_IMAGENET,
        source=_SOURCE,
    ),
    System(
        name="mobilenet_v2_xs",
        paper="",
        task="image-classification",
        build=lambda: MobileNetV2(XS),
        input_shapes={"image": (1, 1, 32, 32)},
        dataset="digits",
        recipe=_SMALL,
        source=_SOURCE,
    ),
)

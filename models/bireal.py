"""Bi-Real Net: a ResNet whose every 3x3 convolution has a shortcut of its own, in its float form.

Liu et al., "Bi-Real Net: Enhancing the Performance of 1-bit CNNs With Improved Representational Capability and Advanced
Training Algorithm", ECCV 2018, arXiv 1808.00278. What a ±1 convolution loses is carried around it: the real value of
its input is added to its output. The convolutions behind a Hardtanh are those that are meant to become ±1; the stem,
the shortcuts that change the shape and the classifier stay as they are.

                parameters   MACs to become ±1   MACs that stay
    birealnet18 11,689,512       1,676,279,808      137,793,536
    bireal_xs      300,042           9,437,184          337,152

ResNet-18 has as many parameters: an average pool has none. Larq Zoo publishes 11,699,112 for this network, which counts
each batch norm's running statistics; at one bit for a sign and 32 for any other value that is its 4.03 MB.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from .blocks import clipped_conv_bn, conv_bn
from .recipe import Recipe
from .rprelu import RPReLU
from .system import System


@dataclass(frozen=True)
class BiRealConfig:
    """Sizes of a Bi-Real network behind its stem.

    Attributes:
        widths: channels of each stage; every stage but the first halves the map.
        blocks: convolutions of each stage.
        num_classes: outputs.
        rprelu: whether an RPReLU stands behind each sum, as ReActNet has it; the paper has nothing there.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    num_classes: int
    rprelu: bool = False


class BiRealBlock(nn.Module):
    """`conv(clip(x)) + skip(x)`, (B, inputs, H, W) to (B, outputs, H / stride, W / stride).

    Where the shape changes the skip is a 2x2 average and a 1x1 convolution, real-valued.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, rprelu: bool):
        super().__init__()
        self.body = clipped_conv_bn(inputs, outputs, stride=stride)
        changes = stride != 1 or inputs != outputs
        self.skip = (
            nn.Sequential(nn.AvgPool2d(stride), conv_bn(inputs, outputs, kernel=1, activation=None))
            if changes
            else nn.Identity()
        )
        self.activation = RPReLU(outputs) if rprelu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.body(x) + self.skip(x))


class BiRealNet(nn.Module):
    """Stem, stages, classifier: (B, C, H, W) to logits (B, num_classes); `stem` gives `config.widths[0]` channels."""

    def __init__(self, stem: nn.Sequential, config: BiRealConfig):
        super().__init__()
        self.stem = stem
        layers = []
        before = config.widths[0]
        for stage, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for block in range(blocks):
                layers.append(BiRealBlock(before, width, 2 if stage and not block else 1, config.rprelu))
                before = width
        self.stages = nn.Sequential(*layers)
        self.classify = nn.Linear(before, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(self.stem(x)).mean((2, 3)))  # (B, C, h, w) -> (B, num_classes)


EIGHTEEN = BiRealConfig(widths=(64, 128, 256, 512), blocks=(4, 4, 4, 4), num_classes=1000)
XS = BiRealConfig(widths=(32, 64, 128), blocks=(1, 2, 2), num_classes=10, rprelu=True)


def birealnet18() -> BiRealNet:
    """For 224x224x3 images."""
    stem = nn.Sequential(conv_bn(3, 64, kernel=7, stride=2, activation=None), nn.MaxPool2d(3, stride=2, padding=1))
    return BiRealNet(stem, EIGHTEEN)


def bireal_xs() -> BiRealNet:
    """For 32x32x1 images: a 3x3 stem of stride 2, and widths that are whole words of 32 signs."""
    return BiRealNet(conv_bn(1, 32, stride=2), XS)


_SOURCE = "Liu et al., Bi-Real Net, ECCV 2018, arXiv 1808.00278"

SYSTEMS = (
    System(
        name="birealnet18",
        paper="",
        task="image-classification",
        build=birealnet18,
        input_shapes={"image": (1, 3, 224, 224)},
        recipe=Recipe(learning_rate=1e-3, weight_decay=0.0, epochs=256, batch_size=512, warmup_epochs=5, flip=True),
        source=_SOURCE,
    ),
    System(
        name="bireal_xs",
        paper="",
        task="image-classification",
        build=bireal_xs,
        input_shapes={"image": (1, 1, 32, 32)},
        dataset="digits",
        recipe=Recipe(epochs=20, shift_pixels=2, threads=1),
        source=_SOURCE,
    ),
)

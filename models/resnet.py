"""ResNet of basic blocks: two 3x3 convolutions and a skip.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, table 1.
"""

from torch import Tensor, nn

from .blocks import conv_bn
from .recipe import Recipe
from .system import System


class BasicBlock(nn.Module):
    """`relu(conv(relu(conv(x))) + skip)`; the skip is a 1x1 convolution with batch norm where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(conv_bn(inputs, outputs, stride=stride), conv_bn(outputs, outputs, activation=None))
        changes = stride != 1 or inputs != outputs
        self.skip = conv_bn(inputs, outputs, kernel=1, stride=stride, activation=None) if changes else nn.Identity()
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.body(x) + self.skip(x))


class ResNet(nn.Module):
    """Stem, stages that halve the map (all but the first), classifier: (B, C, H, W) to logits (B, num_classes)."""

    def __init__(self, stem: nn.Sequential, widths: tuple[int, ...], blocks: int, num_classes: int):
        super().__init__()
        self.stem = stem
        layers = []
        before = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                layers.append(BasicBlock(before, width, stride=2 if stage and not block else 1))
                before = width
        self.stages = nn.Sequential(*layers)
        self.classify = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(self.stem(x)).mean((2, 3)))  # (B, C, h, w) -> (B, num_classes)


def resnet18(num_classes: int = 1000) -> ResNet:
    """For 224x224x3 images."""
    stem = nn.Sequential(conv_bn(3, 64, kernel=7, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
    return ResNet(stem, (64, 128, 256, 512), blocks=2, num_classes=num_classes)


def resnet_xs(num_classes: int = 10) -> ResNet:
    """For 32x32x1 images: a stem of stride 2 without pooling, one block a stage."""
    return ResNet(nn.Sequential(conv_bn(1, 16, stride=2)), (16, 32, 64), blocks=1, num_classes=num_classes)


_SOURCE = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016, arXiv 1512.03385"
_IMAGENET = Recipe(
    optimizer="sgd", learning_rate=0.4, weight_decay=5e-5, epochs=90, batch_size=1024, warmup_epochs=5, flip=True
)
_SMALL = Recipe(epochs=20, shift_pixels=2, threads=1)

SYSTEMS = (
    System(
        name="resnet18",
        paper="",
        task="image-classification",
        build=resnet18,
        input_shapes={"image": (1, 3, 224, 224)},
        recipe=_IMAGENET,
        source=_SOURCE,
    ),
    System(
        name="resnet_xs",
        paper="",
        task="image-classification",
        build=resnet_xs,
        input_shapes={"image": (1, 1, 32, 32)},
        dataset="digits",
        recipe=_SMALL,
        source=_SOURCE,
    ),
)

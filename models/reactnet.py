"""ReActNet: MobileNetV1's plan in ±1 convolutions, a 3x3 and a 1x1 per block, in its float form.

Liu et al., "ReActNet: Towards Precise Binary Neural Network with Generalized Activation Functions", ECCV 2020, arXiv
2003.03488. The 3x3 convolution is not depthwise, for a sign costs so little that it need not be. No shortcut
has weights: where the map halves it averages 2x2 pixels, where the channels double it is taken twice. The convolutions
behind a Hardtanh are those that are meant to become ±1; the paper's RSign is then the learned shift of their signs.

`reactnet_a` is the paper's ReActNet-A. `reactnet_s` halves its channels all along, but for a stem of 32 so that every
±1 convolution reads whole words of 32 signs; its depth is the same.

               parameters   MACs to become ±1   MACs that stay
    reactnet_a 29,333,672       4,816,896,000       11,862,016
    reactnet_s  7,612,008       1,297,350,656       11,350,016

The paper's counts of ReActNet-A: 4.82e9 binary operations, 0.12e8 others, 0.87e8 with 64 binary ones as one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .blocks import clipped_conv_bn, conv_bn
from .recipe import Recipe
from .rprelu import RPReLU
from .system import System


@dataclass(frozen=True)
class ReActNetConfig:
    """Sizes of a ReActNet.

    Attributes:
        stem: channels of the first convolution, of stride 2.
        blocks: (channels, stride) of each block; the channels stay or double.
        num_classes: outputs.
    """

    stem: int
    blocks: tuple[tuple[int, int], ...]
    num_classes: int = 1000


class ReActBlock(nn.Module):
    """3x3 and 1x1 convolution, each with a shortcut and an RPReLU: (B, inputs, H, W) to (B, outputs, H / s, W / s).

    The paper doubles the channels by two 1x1 convolutions side by side, each with its own shortcut from the same input;
    one convolution with twice the outputs and the input taken twice is the same function with the same weights.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        if outputs not in (inputs, 2 * inputs):
            raise ValueError(f"a ReActNet block keeps or doubles its channels, not {inputs} to {outputs}")
        self.spatial = clipped_conv_bn(inputs, inputs, stride=stride)
        self.shrink = nn.Identity() if stride == 1 else nn.AvgPool2d(stride)
        self.spatial_activation = RPReLU(inputs)
        self.pointwise = clipped_conv_bn(inputs, outputs, kernel=1)
        self.doubles = outputs != inputs
        self.pointwise_activation = RPReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spatial_activation(self.spatial(x) + self.shrink(x))
        skip = torch.cat((x, x), 1) if self.doubles else x
        return self.pointwise_activation(self.pointwise(x) + skip)


class ReActNet(nn.Module):
    """(B, 3, H, W) to logits (B, num_classes)."""

    def __init__(self, config: ReActNetConfig):
        super().__init__()
        self.stem = conv_bn(3, config.stem, stride=2, activation=None)
        layers = []
        width = config.stem
        for channels, stride in config.blocks:
            layers.append(ReActBlock(width, channels, stride))
            width = channels
        self.blocks = nn.Sequential(*layers)
        self.classify = nn.Linear(width, config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.blocks(self.stem(x)).mean((2, 3)))  # (B, C, h, w) -> (B, num_classes)


A = ReActNetConfig(
    stem=32,
    blocks=((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1)),
)
S = ReActNetConfig(
    stem=32,
    blocks=((32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *((256, 1),) * 5, (512, 2), (512, 1)),
)


def _system(name: str, config: ReActNetConfig) -> System:
    return System(
        name=name,
        paper="",
        task="image-classification",
        build=lambda: ReActNet(config),
        input_shapes={"image": (1, 3, 224, 224)},
        recipe=Recipe(learning_rate=5e-4, weight_decay=1e-5, epochs=256, batch_size=256, warmup_epochs=5, flip=True),
        source="Liu et al., ReActNet, ECCV 2020, arXiv 2003.03488",
    )


SYSTEMS = (_system("reactnet_a", A), _system("reactnet_s", S))

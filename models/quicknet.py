"""QuickNet: residual ±1 3x3 convolutions that never change the shape, in its float form; real-valued transitions do.

Bannink et al., "Larq Compute Engine: Design, Benchmark, and Deploy State-of-the-Art Binarized Neural Networks", MLSys
2021, arXiv 2011.09398; widths, order of layers and counts as QuickNetSmall is published in Larq Zoo. Padding at
stride 2 is TensorFlow's. The convolutions behind a Hardtanh are those that are meant to become ±1; `stem`,
`transitions` and `classify` stay as they are. Two details differ: the published network pads its signs with +1, here
with 0, and lets gradients pass them up to |x| = 1.25, here up to 1.

               parameters   MACs to become ±1   MACs that stay
    quicknet_s 12,652,504       1,156,055,040       15,941,120

The published 12,655,688 parameters are these with the fixed kernels of the blurs and two values for every channel of
every batch norm. As ±1 they take its 4.00 MB.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .blocks import conv_bn
from .recipe import Recipe
from .system import System


@dataclass(frozen=True)
class QuickNetConfig:
    """Sizes of a QuickNet.

    Attributes:
        widths: channels of each section; a transition between two halves the map.
        blocks: ±1 convolutions of each section.
        num_classes: outputs.
    """

    widths: tuple[int, ...]
    blocks: tuple[int, ...] = (4, 4, 4, 4)
    num_classes: int = 1000


class Blur(nn.Module):
    """Halves the map through the fixed binomial kernel (1 2 1) x (1 2 1) / 16 on each channel.

    (B, channels, H, W) to (B, channels, ceil(H / 2), ceil(W / 2)). Zhang, "Making Convolutional Networks
    Shift-Invariant Again", ICML 2019, arXiv 1904.11486.
    """

    kernel: Tensor

    def __init__(self, channels: int):
        super().__init__()
        row = torch.tensor([1.0, 2.0, 1.0]) / 4
        kernel = torch.outer(row, row).expand(channels, 1, 3, 3).contiguous()
        self.register_buffer("kernel", kernel, persistent=False)  # a constant: nothing to learn, nothing to save

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.kernel, stride=2, padding=1, groups=x.shape[1])


class ResidualBlock(nn.Module):
    """`norm(relu(conv(clip(x)))) + x` on (B, width, H, W); the norm comes last, where a ±1 kernel can take it in."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Hardtanh(), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.ReLU(), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + x


def stem(width: int) -> nn.Sequential:
    """(B, 3, H, W) to (B, width, H / 4, W / 4): a 3x3 convolution, then a depthwise separable one, both of stride 2."""
    narrow = width // 4
    depthwise = conv_bn(narrow, narrow, stride=2, groups=narrow, activation=None, same=True)
    depthwise[-1] = nn.BatchNorm2d(narrow, affine=False)  # the 1x1 convolution behind it scales and shifts
    return nn.Sequential(
        conv_bn(3, narrow, stride=2, same=True), depthwise, conv_bn(narrow, width, kernel=1, activation=None)
    )


def transition(inputs: int, outputs: int) -> nn.Sequential:
    """(B, inputs, H, W) to (B, outputs, H / 2, W / 2): an anti-aliased maximum and a 1x1 convolution, real-valued."""
    return nn.Sequential(
        nn.ReLU(), nn.MaxPool2d(2, stride=1), Blur(inputs), conv_bn(inputs, outputs, kernel=1, activation=None)
    )


class QuickNet(nn.Module):
    """(B, 3, H, W) to logits (B, num_classes)."""

    def __init__(self, config: QuickNetConfig):
        super().__init__()
        widths = config.widths
        self.stem = stem(widths[0])
        self.sections = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
            for width, blocks in zip(widths, config.blocks, strict=True)
        )
        self.transitions = nn.ModuleList(transition(before, after) for before, after in pairwise(widths))
        self.activation = nn.ReLU()
        self.classify = nn.Linear(widths[-1], config.num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.sections[0](self.stem(x))
        for transition, section in zip(self.transitions, self.sections[1:], strict=True):
            x = section(transition(x))
        return self.classify(self.activation(x).mean((2, 3)))  # (B, C, h, w) -> (B, num_classes)


S = QuickNetConfig(widths=(32, 64, 256, 512))

SYSTEMS = (
    System(
        name="quicknet_s",
        paper="",
        task="image-classification",
        build=lambda: QuickNet(S),
        input_shapes={"image": (1, 3, 224, 224)},
        recipe=Recipe(learning_rate=2.5e-3, weight_decay=0.0, epochs=150, batch_size=512, warmup_epochs=5, flip=True),
        source="Bannink et al., Larq Compute Engine, MLSys 2021, arXiv 2011.09398",
        keep_int8=("transitions",),
    ),
)

"""ResNet-8, image classification of MLPerf Tiny v1 (CIFAR-10; here trained by default on bundled digits in 3 channels).

Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021, arXiv 2106.07597. Padding is TensorFlow's, and the 1x1 shortcuts
have a bias and no batch norm, as in the published network.
"""

from torch import Tensor, nn

from .blocks import conv_bn
from .recipe import Recipe
from .system import System


class Residual(nn.Module):
    """`relu(conv(relu(conv(x))) + skip)`, (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            conv_bn(inputs, outputs, stride=stride, same=True), conv_bn(outputs, outputs, activation=None)
        )
        self.skip = nn.Identity() if stride == 1 else nn.Conv2d(inputs, outputs, 1, stride=stride)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.body(x) + self.skip(x))


class ResNet8(nn.Module):
    """(B, 3, 32, 32) to logits (B, num_classes)."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.stem = conv_bn(3, 16)
        self.stages = nn.Sequential(Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
        self.classify = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.stages(self.stem(x)).mean((2, 3)))  # (B, 64, 8, 8) -> (B, num_classes)


SYSTEMS = (
    System(
        name="resnet8",
        paper="",
        task="image-classification",
        build=ResNet8,
        input_shapes={"image": (1, 3, 32, 32)},
        dataset="digits",
        recipe=Recipe(epochs=12, shift_pixels=2, threads=1),
        source="Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021, arXiv 2106.07597",
    ),
)

"""MobileNetV1 at width 0.25, visual wake words of MLPerf Tiny v1: is there a person in a 96x96 picture?

Banbury et al., "MLPerf Tiny Benchmark", NeurIPS 2021, arXiv 2106.07597; Howard et al., "MobileNets", arXiv 1704.04861.
ReLU, not ReLU6, and TensorFlow's padding, as in the published network.
"""

from torch import Tensor, nn

from .blocks import conv_bn, depthwise_separable
from .recipe import Recipe
from .system import System

# (channels, stride) of each depthwise separable block.
BLOCKS = ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1))


class MobileNetV1(nn.Module):
    """(B, 3, 96, 96) to logits (B, num_classes)."""

    def __init__(self, num_classes: int = 2):
        super().__init__()
        layers: list[nn.Module] = [conv_bn(3, 8, stride=2, same=True)]
        width = 8
        for channels, stride in BLOCKS:
            layers.append(depthwise_separable(width, channels, stride, same=True))
            width = channels
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x).mean((2, 3)))  # (B, 256, 3, 3) -> (B, num_classes)


SYSTEMS = (
    System(
        name="mobilenet_v1_025",
        paper="",
        task="image-classification",
        build=MobileNetV1,
        input_shapes={"image": (1, 3, 96, 96)},
        recipe=Recipe(learning_rate=1e-3, epochs=50, batch_size=32, flip=True, shift_pixels=4),
        source="Banbury et al., MLPerf Tiny Benchmark, NeurIPS 2021, arXiv 2106.07597",
    ),
)

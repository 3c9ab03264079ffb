"""Face embedders trained with SymFace: MobileFaceNet for aligned faces, and a small one for generated ones.

Chen et al., "MobileFaceNets", CCBR 2018, arXiv 1804.07573: bottlenecks of MobileNetV2 with PReLU, and in place of
global averaging a depthwise convolution over the whole last map. How they are trained: Prakash et al., SymFace, arXiv
2409.11816 (`symface_training`). The symmetry loss adds nothing to what ships.
"""

from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

from torch import Tensor, nn

from ..errors import BadInput
from .data import Data
from .data.face_folder import load_face_folder
from .data.faces import SYMMETRIC, TURNED, named_faces
from .facial_symmetry import Symmetry
from .margin_losses import AdditiveCosine, ArcFace
from .recipe import Recipe
from .symface_pictures import illustrate
from .symface_training import FaceVerification
from .system import System


@dataclass(frozen=True)
class MobileFaceNetConfig:
    """Sizes of a MobileFaceNet.

    Attributes:
        stem: channels of the first convolution.
        stem_stride: of it.
        bottlenecks: (expansion, channels, blocks, stride of the first) of each group.
        head: channels of the last map.
        embedding: width of the output.
        in_channels: of the picture.
        size: height and width of the picture.
    """

    stem: int = 64
    stem_stride: int = 2
    bottlenecks: tuple[tuple[int, int, int, int], ...] = (
        (2, 64, 5, 2),
        (4, 128, 1, 2),
        (2, 128, 6, 1),
        (4, 128, 1, 2),
        (2, 128, 2, 1),
    )
    head: int = 512
    embedding: int = 128
    in_channels: int = 3
    size: int = 112


def conv_prelu(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, batch norm and a PReLU with a slope for each channel."""
    return nn.Sequential(*linear_conv(inputs, outputs, kernel, stride, kernel // 2, groups), nn.PReLU(outputs))


def linear_conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1
) -> nn.Sequential:
    """Convolution and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Bottleneck(nn.Module):
    """Expand, filter each channel, project, (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int):
        super().__init__()
        hidden = expansion * inputs
        self.body = nn.Sequential(
            conv_prelu(inputs, hidden, 1),
            conv_prelu(hidden, hidden, 3, stride, groups=hidden),
            linear_conv(hidden, outputs, 1),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.is_residual else self.body(x)


class MobileFaceNet(nn.Module):
    """(B, in_channels, size, size) to unit embeddings (B, embedding)."""

    def __init__(self, config: MobileFaceNetConfig):
        super().__init__()
        channels = config.stem
        self.stem = nn.Sequential(
            conv_prelu(config.in_channels, channels, 3, config.stem_stride),
            conv_prelu(channels, channels, 3, groups=channels),
        )
        blocks = []
        for expansion, outputs, count, stride in config.bottlenecks:
            for place in range(count):
                blocks.append(Bottleneck(channels, outputs, expansion, 1 if place else stride))
                channels = outputs
        self.blocks = nn.Sequential(*blocks)
        side = config.size // prod([config.stem_stride, *(stride for *_, stride in config.bottlenecks)])
        self.head = nn.Sequential(
            conv_prelu(channels, config.head, 1),
            linear_conv(config.head, config.head, side, groups=config.head),
            linear_conv(config.head, config.embedding, 1),
        )

    def features(self, image: Tensor) -> Tensor:
        """(B, embedding), of a length that grows with how clear the face is."""
        return self.head(self.blocks(self.stem(image))).flatten(1)

    def forward(self, image: Tensor) -> Tensor:
        return to_unit_length(self.features(image))


def to_unit_length(features: Tensor) -> Tensor:
    """Features (B, D) divided by their length, in operators that every target has.

    A product with the inverse root would be quantized, and the length with it; a division stays in float.
    """
    return features / (features.square().sum(1, keepdim=True) + 1e-12).sqrt()


def read_faces(name: str, seed: int, channels: int, size: int) -> Data:
    """The user's folder of faces.

    Raises:
        BadInput: there is no such folder, or it cannot be used.
    """
    return load_face_folder(Path(name), channels, size, seed)


def read_small_faces(name: str, seed: int) -> Data:
    """Generated faces by name, or a folder in grey, 20 x 20.

    Raises:
        BadInput: there is neither.
    """
    generated = named_faces(name, seed)
    if generated is None and not Path(name).exists():
        raise BadInput(f"{name}: no such data; give {SYMMETRIC}, {TURNED} or a folder with IDENTITY/*.jpg")
    return generated or read_faces(name, seed, XS.in_channels, XS.size)


FULL = MobileFaceNetConfig()
XS = MobileFaceNetConfig(
    stem=16,
    bottlenecks=((2, 32, 1, 2),),
    head=64,
    embedding=32,
    in_channels=1,
    size=20,
)
_SOURCE = (
    "Prakash et al., SymFace, arXiv 2409.11816; network of Chen et al., MobileFaceNets, CCBR 2018, arXiv 1804.07573"
)

SYSTEMS = (
    System(
        name="mobilefacenet",
        paper="symface",
        task="face-verification",
        build=lambda: MobileFaceNet(FULL),
        input_shapes={"image": (1, FULL.in_channels, FULL.size, FULL.size)},
        output_names=("embedding",),
        recipe=Recipe(
            optimizer="sgd", learning_rate=0.1, weight_decay=5e-4, epochs=24, batch_size=512, label_smoothing=0.0
        ),
        objective=FaceVerification(FULL.embedding, ArcFace, Symmetry(ramp_steps=1000), flips=True),
        read=partial(read_faces, channels=FULL.in_channels, size=FULL.size),
        illustrate=illustrate,
        source=_SOURCE,
    ),
    System(
        name="symface_xs",
        paper="symface",
        task="face-verification",
        build=lambda: MobileFaceNet(XS),
        input_shapes={"image": (1, XS.in_channels, XS.size, XS.size)},
        output_names=("embedding",),
        dataset=SYMMETRIC,
        recipe=Recipe(learning_rate=4e-3, epochs=12, label_smoothing=0.0, threads=1),
        objective=FaceVerification(XS.embedding, AdditiveCosine, Symmetry(weight=0.2)),
        read=read_small_faces,
        illustrate=illustrate,
        source=_SOURCE,
    ),
)

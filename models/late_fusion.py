"""Two encoders with late fusion, which also answer where one of the two inputs is missing."""

from collections.abc import Callable

from torch import Tensor, nn

from .blocks import conv_bn
from .resnet import ResNet

Outputs = tuple[Tensor, Tensor, Tensor]


class LateFusion(nn.Module):
    """`o = W_1 f_1 + W_2 f_2 + b`, and each modality alone, `o_m = W_m f_m + b`: features (B, F_m) to three (B, C).

    A linear layer on the concatenation in two parts, each of which has a scale of its own in int8.
    """

    def __init__(self, widths: tuple[int, int], num_classes: int):
        super().__init__()
        self.first = nn.Linear(widths[0], num_classes)
        self.second = nn.Linear(widths[1], num_classes, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Outputs:
        first, second = self.first(first), self.second(second)
        return first + second, first, second + self.first.bias


class TwoSensors(nn.Module):
    """Encoders of two inputs and their fusion.

    Args:
        first, second: encoders, to features (B, F_1) and (B, F_2).
        widths: F_1 and F_2.
        num_classes: C.
    """

    def __init__(self, first: nn.Module, second: nn.Module, widths: tuple[int, int], num_classes: int):
        super().__init__()
        self.first, self.second = first, second
        self.head = LateFusion(widths, num_classes)

    def fuse(self, first: Tensor, second: Tensor, present: Tensor) -> Outputs:
        """Logits of features; those of a missing input count as zeros."""
        return self.head(first * present[:, :1], second * present[:, 1:])

    def forward(self, first: Tensor, second: Tensor, present: Tensor) -> Outputs:
        """Fused logits and those of each input alone, all (B, C).

        Args:
            present: (B, 2), 1 where the input is there and 0 where it is missing. The fused logits are then the
                other's own, whatever finite numbers stand in for the missing input.
        """
        return self.fuse(self.first(first), self.second(second), present)


class Pooled(nn.Module):
    """Convolutions and their map's mean, (B, C, H, W) to (B, F)."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


def perceptrons(inputs: int = 32, width: int = 64, num_classes: int = 10) -> TwoSensors:
    """For two vectors of equal length: two linear layers with ReLU each."""
    return _twins(lambda: _perceptron(inputs, width), width, num_classes)


def small_convolutional(widths: tuple[int, ...] = (8, 16, 32), num_classes: int = 10) -> TwoSensors:
    """For two images of one channel and any size: each convolution halves the map."""
    return _twins(lambda: _convolutions(widths), widths[-1], num_classes)


def resnets(num_classes: int = 6) -> TwoSensors:
    """ResNet-18 for a frame of 3 channels, and one for a spectrogram of one channel.

    As published with ARL (arXiv 2507.10203): convolutions start by Kaiming's rule (fan out), linear layers by Xavier's.
    """
    network = TwoSensors(_trunk(3), _trunk(1), (512, 512), num_classes)
    return network.apply(_initialise)


def _twins(encoder: Callable[[], nn.Module], width: int, num_classes: int) -> TwoSensors:
    return TwoSensors(encoder(), encoder(), (width, width), num_classes)


def _perceptron(inputs: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())


def _convolutions(widths: tuple[int, ...]) -> nn.Module:
    return Pooled(*(conv_bn(before, after, stride=2) for before, after in zip((1, *widths), widths)))


def _trunk(channels: int) -> nn.Module:
    """ResNet-18 without its classifier."""
    stem = nn.Sequential(conv_bn(channels, 64, kernel=7, stride=2), nn.MaxPool2d(3, stride=2, padding=1))
    whole = ResNet(stem, (64, 128, 256, 512), blocks=2, num_classes=1)
    return Pooled(whole.stem, whole.stages)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    if isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)

"""Networks for counter-current learning: a deep perceptron, a convolutional classifier and an autoencoder of digits.

Kao and Hariharan, "Counter-Current Learning: A Biologically Plausible Dual Network Approach for Deep Learning", NeurIPS
2024, arXiv 2409.19841. The forms are the paper's (ELU, no biases; 3 x 3 kernels with 2 x 2 pooling down to one value a
channel; strided kernels mirrored by upsampling), the widths smaller, for digits.
"""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from .learning.counter_current import CounterCurrent
from .objectives.reconstruction import Reconstruction
from .recipe import Recipe
from .system import System


class Perceptron(nn.Module):
    """(B, 1, 8, 8) to logits (B, 10): matrices without biases, ELU between."""

    def __init__(self, widths: Sequence[int] = (64, 128, 128, 128, 128, 10)):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths[:-1]):
            layers += [nn.Linear(before, after, bias=False), nn.ELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=False))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class PooledNetwork(nn.Module):
    """(B, 1, 32, 32) to logits (B, 10): five kernels, each with ELU and 2 x 2 pooling, and a matrix."""

    def __init__(self, widths: Sequence[int] = (16, 16, 32, 32, 64)):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((1, *widths)):
            layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.ELU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classify = nn.Linear(widths[-1], 10, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.classify(self.features(image).flatten(1))


class Autoencoder(nn.Module):
    """(B, 1, 32, 32) to its reconstruction: kernels of stride 2 down to 4 x 4, upsampling and kernels back."""

    def __init__(self, widths: Sequence[int] = (16, 32, 32)):
        super().__init__()
        down: list[nn.Module] = []
        for before, after in pairwise((1, *widths)):
            kernel = nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)
            down += [kernel, nn.BatchNorm2d(after), nn.ReLU()]
        up: list[nn.Module] = []
        for before, after in pairwise(widths[::-1]):
            kernel = nn.Conv2d(before, after, 3, padding=1, bias=False)
            up += [nn.Upsample(scale_factor=2.0, mode="nearest"), kernel, nn.BatchNorm2d(after), nn.ReLU()]
        last = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.layers = nn.Sequential(*down, *up, nn.Upsample(scale_factor=2.0, mode="nearest"), last)

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(image)


class Autoencoding(Reconstruction):
    """Every sample is one to reconstruct, whatever its class: `mean_squared_error` alone."""

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        return super().scores(outputs, inputs, torch.zeros_like(targets))


_CHAIN = Recipe("sgd", 0.3, 0.0, 60, 64, 0.0, label_smoothing=0.0, threads=1)
_FILTERS = Recipe(weight_decay=0.0, epochs=40, warmup_epochs=1.0, label_smoothing=0.0, threads=1)
_SOURCE = "Kao, Hariharan, Counter-Current Learning, NeurIPS 2024, arXiv 2409.19841"
_system = partial(System, paper="counter-current-learning", dataset="digits", source=_SOURCE, rule=CounterCurrent())
_LARGE: dict[str, tuple[int, ...]] = {"image": (1, 1, 32, 32)}
SYSTEMS = (
    _system(
        name="ccl_mlp",
        task="image-classification",
        build=Perceptron,
        input_shapes={"image": (1, 1, 8, 8)},
        recipe=_CHAIN,
    ),
    _system(name="ccl_cnn", task="image-classification", build=PooledNetwork, input_shapes=_LARGE, recipe=_FILTERS),
    _system(
        name="ccl_autoencoder",
        task="reconstruction",
        build=Autoencoder,
        input_shapes=_LARGE,
        output_names=("reconstruction",),
        recipe=_FILTERS,
        objective=Autoencoding(),
    ),
)

"""Networks that run in both directions on one set of weights: classes from an image, and an image from a class.

Pontes-Filho and Liwicki, "Bidirectional Learning for Robust Neural Networks", IJCNN 2019, arXiv 1805.08006. `Reverse`
(in `reverse_chain`) is a chain of layers read backwards through transposed weights. `TwoWay` holds a classifier and its
reverse, for files with both directions; a network that ships as a classifier alone is the plain chain.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from .batches import Raw
from .data import Preprocessing
from .learning.bidirectional import Bidirectional
from .learning.hybrid_adversarial import HybridAdversarial
from .objectives import Batch, Outcome, in_tuple
from .objectives.classification import Classification
from .recipe import Recipe
from .reverse_chain import TwoWay
from .system import System

_LEAST = 1e-3  # of a generated pixel's distance from 0 and 1, where the loss of training for a precision reads it


class TwoWayClassification(Classification):
    """Of a `TwoWay`: `accuracy` and `loss` of the logits, and `generation_error`.

    The code that a network takes where it is measured is the target as one-hot, so the generated image is the one of
    the sample's class; `generation_error` is its mean squared error against the sample, pixels from 0 to 1.
    Preprocessing must leave pixels in that range.

    Args:
        classes: width of the code.
    """

    def __init__(self, classes: int = 10):
        self.width = classes

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        return (*in_tuple(samples), functional.one_hot(targets, self.width).float())

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        """Both directions' losses in one sum: what a training for a precision goes by, and back-propagation."""
        assert isinstance(batch.samples, Tensor)
        code = functional.one_hot(batch.targets, self.width).float()
        logits, generated = network(batch.samples, code)
        classifying = functional.cross_entropy(logits, batch.targets, label_smoothing=batch.recipe.label_smoothing)
        generating = functional.binary_cross_entropy(generated.clamp(_LEAST, 1 - _LEAST), batch.samples.clamp(0, 1))
        return Outcome(classifying + generating, (batch.samples, code), logits)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 3): hit, loss and error of the generated image."""
        error = (outputs[1] - inputs[0]).square().flatten(1).mean(1, keepdim=True)
        return torch.cat([super().scores(outputs, inputs, targets), error], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        return super().metrics(scores[:, :2]) | {"generation_error": scores[:, 2].mean().item()}


def perceptron(pixels: int, hidden: tuple[int, ...] = (64,), classes: int = 10) -> nn.Sequential:
    """(B, 1, H, W) to logits, sigmoid units between: the paper's form."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((pixels, *hidden), hidden):
        layers += [nn.Linear(before, after), nn.Sigmoid()]
    return nn.Sequential(*layers, nn.Linear((pixels, *hidden)[-1], classes))


def two_way_perceptron(side: int = 8) -> TwoWay:
    """A perceptron with one hidden layer of 64 and its reverse."""
    return TwoWay(perceptron(side * side), (1, side, side))


def strided_classifier(side: int = 16, channels: tuple[int, int] = (16, 32), units: int = 64) -> nn.Sequential:
    """(B, 1, side, side) to logits (B, 10): the paper's adversarial form, narrower.

    Two 4 x 4 kernels of stride 2 with leaky ReLU, the second with a batch norm, and two matrices.

    Args:
        side: a multiple of 4.
    """
    first, second = channels
    return nn.Sequential(
        nn.Conv2d(1, first, 4, stride=2, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(first, second, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(second),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.Linear(second * (side // 4) ** 2, units),
        nn.ReLU(),
        nn.Linear(units, 10),
    )


_SOURCE = "Pontes-Filho, Liwicki, Bidirectional Learning for Robust Neural Networks, IJCNN 2019, arXiv 1805.08006"
_GREY = Preprocessing(1 / 255)  # 0 to 1, as the generated images
_system = partial(
    System, paper="bidirectional-learning", task="image-classification", dataset="digits", source=_SOURCE,
    preprocessing=_GREY,
)  # fmt: skip
SYSTEMS = (
    _system(
        name="bl_mlp",
        build=two_way_perceptron,
        input_shapes={"image": (1, 1, 8, 8), "code": (1, 10)},
        output_names=("logits", "generated"),
        recipe=Recipe(learning_rate=2e-2, weight_decay=0.0, epochs=60, label_smoothing=0.0, threads=1),
        objective=TwoWayClassification(),
        rule=Bidirectional(),
    ),
    _system(
        name="han_cnn",
        build=strided_classifier,
        input_shapes={"image": (1, 1, 16, 16)},
        recipe=Recipe(learning_rate=1e-3, weight_decay=0.0, epochs=20, label_smoothing=0.0, threads=1),
        rule=HybridAdversarial(),
    ),
)

"""`bidirectional`: one set of weights, trained forwards to classify and, transposed, backwards to generate.

Pontes-Filho and Liwicki, "Bidirectional Learning for Robust Neural Networks", IJCNN 2019, arXiv 1805.08006. Each batch
makes two steps, one after the other, each by an optimizer with moments of its own: the classifier's cross-entropy
changes W and b; then the sigmoid cross-entropy between the image that comes out of the one-hot target and the sample
itself, mean over pixels, changes W and c. Biases c and batch norms of the way back are its own and stay behind, unless
the network is a `TwoWay`, which ships both directions.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import BadInput
from ..augment import draw_mixture
from ..data import Preprocessing
from ..objectives import Batch
from ..objectives.classification import Classification, cross_entropy
from ..reverse_chain import Reverse, TwoWay
from ..weights import prefixed, under
from . import Learner, LearningRule, Setup
from .chain import first_samples
from .descent import Descent

_SLACK = 1e-3  # of pixels beyond 0 and 1


@dataclass(frozen=True)
class BothWays(LearningRule):
    """Settings of rules that train one set of weights in both directions.

    Attributes:
        generator_rate: the generation's learning rate, as a multiple of the classification's.
        share: of the training's batches that generate too; after those, classification alone. 0.5 is the paper's
            "half" variant, 0 back-propagation.
        biases: whether the way back has biases of its own.
    """

    source = "Pontes-Filho, Liwicki, Bidirectional Learning for Robust Neural Networks, IJCNN 2019, arXiv 1805.08006"
    trains = "classifiers that are chains of Linear and Conv2d layers, activations and batch norms, of one input"

    generator_rate: float = 1.0
    share: float = 1.0
    biases: bool = True

    def __post_init__(self) -> None:
        if not self.generator_rate > 0:
            raise BadInput(f"--rule {self.name}: generator_rate must be above 0, got {self.generator_rate:g}")
        if not 0 <= self.share <= 1:
            raise BadInput(f"--rule {self.name}: share must be from 0 to 1, got {self.share:g}")


class Bidirectional(BothWays):
    """A step of classification and a step of generation for each batch."""

    name = "bidirectional"

    def learner(self, setup: Setup) -> "BidirectionalLearner":
        """Takes on a classifier, alone or as part of a `TwoWay`.

        Raises:
            BadInput: it has no way back, is no classifier of one input, or pixels are not from 0 to 1 before the mean
                and spread that preprocessing takes away.
        """
        return BidirectionalLearner(setup, self)


class BidirectionalLearner(Learner):
    """A classifier, its reverse, and an optimizer for each direction."""

    def __init__(self, setup: Setup, rule: Bidirectional):
        self.ways = two_ways(setup, rule.name, rule.biases)
        self._preprocessing = setup.data.preprocessing
        self._classify = Descent({"forward": self.ways.classifier}, setup.recipe, setup.module)
        self._generate = Descent({"reverse": self.ways.reverse}, setup.recipe, None)
        self._rate, self._until, self._steps = rule.generator_rate, rule.share * setup.steps, 0

    def learn(self, batch: Batch, rate: float) -> float:
        """Both steps; the loss is the classification's."""
        loss = self._classify.down(rate, lambda: classification_loss(self.ways.classifier, batch))
        if self._steps < self._until:
            self._generate.down(rate * self._rate, lambda: self.generation_loss(batch))
        self._steps += 1
        return loss

    def generation_loss(self, batch: Batch) -> Tensor:
        """Sigmoid cross-entropy between what the targets generate and the samples, mean over pixels and batch."""
        assert isinstance(batch.samples, Tensor)
        code = functional.one_hot(batch.targets, self.ways.classes).float()
        pixels = pixels_of(batch.samples, self._preprocessing)
        return functional.binary_cross_entropy_with_logits(self.ways.reverse(code), pixels)

    def tensors(self) -> dict[str, Tensor]:
        """Both optimizers' slots, the count of steps, and what of the reverse the network does not hold."""
        parts = {"classify": self._classify.tensors(), "generate": self._generate.tensors(), "reverse": self.ways.own()}
        return {**prefixed(parts), "steps": torch.tensor(self._steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._classify.restore(under(tensors, "classify."))
        self._generate.restore(under(tensors, "generate."))
        self.ways.reverse.restore(under(tensors, "reverse."))
        self._steps = int(tensors["steps"])

    def average(self) -> nn.Module | None:
        """Follows behind each classification step."""
        return self._classify.average()


@dataclass(frozen=True)
class Ways:
    """A classifier and its reverse, which share weights.

    Attributes:
        classes: width of the code.
        ships: whether the reverse is part of the network that is trained.
    """

    classifier: nn.Module
    reverse: Reverse
    classes: int
    ships: bool

    def own(self) -> dict[str, Tensor]:
        """What of the reverse the network does not hold."""
        return {} if self.ships else self.reverse.own()


def two_ways(setup: Setup, rule: str, biases: bool) -> Ways:
    """Both directions of what is to be trained.

    Raises:
        BadInput: as of the rules that ask.
    """
    samples = first_samples(setup, rule)
    if not isinstance(setup.objective, Classification):
        raise BadInput(
            f"--rule {rule}: {setup.name} does not learn classes, from which its images would be generated; train it "
            "by back-propagation"
        )
    _check_pixels(samples, setup, rule)
    module = setup.module
    if isinstance(module, TwoWay) and not biases:
        raise BadInput(f"--rule {rule}: {setup.name} ships its way back with biases; leave out biases=false")
    reverse = module.reverse if isinstance(module, TwoWay) else Reverse(module, samples, biases, rule)
    classifier = module.classifier if isinstance(module, TwoWay) else module
    classes = len(setup.data.labels)
    if reverse.given != (classes,):
        raise BadInput(
            f"--rule {rule}: {setup.name} gives {reverse.given}, the data have {classes} classes; give a network "
            "with a score for each"
        )
    return Ways(classifier, reverse, classes, isinstance(module, TwoWay))


def classification_loss(classifier: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy, with the recipe's label smoothing and mixup."""
    samples, recipe = batch.samples, batch.recipe
    assert isinstance(samples, Tensor)
    mixture = draw_mixture(len(batch.targets), recipe.mixup, batch.draws) if recipe.mixup else None
    if mixture is not None:
        samples = mixture(samples)
    return cross_entropy(classifier(samples), batch.targets, recipe.label_smoothing, mixture)


def pixels_of(samples: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Preprocessed samples as pixels from 0 to 1: without the mean and spread, raw values times `scale`."""
    return preprocessing.scaled(samples).clamp(0, 1)


def _check_pixels(samples: Tensor, setup: Setup, rule: str) -> None:
    values = setup.data.preprocessing.scaled(samples)
    least, most = values.min().item(), values.max().item()
    if least < -_SLACK or most > 1 + _SLACK:
        raise BadInput(
            f"--rule {rule}: samples of {setup.data.name} reach from {least:g} to {most:g} once scaled, generated ones "
            "from 0 to 1; give data whose preprocessing scales them to that range, or train by back-propagation"
        )


RULES = (Bidirectional,)

"""`hybrid-adversarial`: a classifier whose transposed weights generate from noise, against a discriminator.

Pontes-Filho and Liwicki, "Bidirectional Learning for Robust Neural Networks", IJCNN 2019, arXiv 1805.08006. Each batch
makes three steps: the classifier's cross-entropy changes W and b; a discriminator learns to tell samples from generated
ones; the generator, which is the classifier read backwards from z ~ U(-1, 1), one value a class, changes W, its own
biases and its own batch norms so that the discriminator takes what it makes for samples. Only the classifier ships.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..objectives import Batch
from ..optimizers import make_optimizer, optimizer_tensors, restore_optimizer, set_learning_rate
from ..recipe import Recipe
from ..weights import under
from . import Learner, LearningRule, Setup
from .bidirectional import check_rate_and_share, classification_loss, pixels_of, stepped, two_ways
from .descent import Descent

_FIRST_MOMENT = 0.5  # of AdamW in both adversaries, as the paper


@dataclass(frozen=True)
class HybridAdversarial(LearningRule):
    """Steps of classification, discrimination and generation for each batch.

    Attributes:
        generator_rate: of discriminator and generator, as a multiple of the classification's; the paper's is 5.
        share: of the training's batches that generate too; after those, classification alone.
        biases: whether the generator has biases of its own.
    """

    name = "hybrid-adversarial"
    source = "Pontes-Filho, Liwicki, Bidirectional Learning for Robust Neural Networks, IJCNN 2019, arXiv 1805.08006"
    trains = "classifiers that are chains of Linear and Conv2d layers, activations and batch norms, of one input"

    generator_rate: float = 1.0
    share: float = 1.0
    biases: bool = True

    def __post_init__(self) -> None:
        check_rate_and_share(self.name, self.generator_rate, self.share)

    def learner(self, setup: Setup) -> "HybridAdversarialLearner":
        """Takes on a classifier.

        Raises:
            BadInput: as of `bidirectional`.
        """
        return HybridAdversarialLearner(setup, self)


class HybridAdversarialLearner(Learner):
    """A classifier, its reverse as generator, and a discriminator of the classifier's form with one output."""

    def __init__(self, setup: Setup, rule: HybridAdversarial):
        self.ways = two_ways(setup, rule.name, rule.biases)
        self.discriminator = discriminator_like(self.ways.classifier).to(setup.ranks.device)
        self._preprocessing = setup.data.preprocessing
        self._classify = Descent({"forward": self.ways.classifier}, setup.recipe, setup.module)
        self._discriminate = _Adversary(self.discriminator, setup.recipe)
        self._generate = _Adversary(self.ways.reverse, setup.recipe)
        self._rate, self._until, self._steps = rule.generator_rate, rule.share * setup.steps, 0

    def learn(self, batch: Batch, rate: float) -> float:
        """All three steps; the loss is the classification's."""
        loss = stepped(self._classify, rate, lambda: classification_loss(self.ways.classifier, batch))
        if self._steps < self._until:
            self._compete(batch, rate * self._rate)
        self._steps += 1
        return loss

    def _compete(self, batch: Batch, rate: float) -> None:
        assert isinstance(batch.samples, Tensor)
        pixels = pixels_of(batch.samples, self._preprocessing)
        noise = 2 * torch.rand(len(pixels), self.ways.classes, generator=batch.draws) - 1
        noise = noise.to(pixels.device)
        with torch.no_grad():
            made = self.ways.reverse(noise).sigmoid()
        self._discriminate.step(rate, lambda: _taken_for(self.discriminator(pixels), 1) + self._seen(made, 0))
        self._generate.step(rate, lambda: self._seen(self.ways.reverse(noise).sigmoid(), 1))

    def _seen(self, made: Tensor, wanted: int) -> Tensor:
        return _taken_for(self.discriminator(made), wanted)

    def tensors(self) -> dict[str, Tensor]:
        """The discriminator, the generator's own biases and norms, all optimizers' slots, and the count of steps."""
        parts = {
            "classify": self._classify.tensors(),
            "discriminate": self._discriminate.tensors(),
            "generate": self._generate.tensors(),
            "discriminator": self.discriminator.state_dict(),
            "reverse": self.ways.own(),
        }
        named = {f"{part}.{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        return {**named, "steps": torch.tensor(self._steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._classify.restore(under(tensors, "classify."))
        self._discriminate.restore(under(tensors, "discriminate."))
        self._generate.restore(under(tensors, "generate."))
        self.discriminator.load_state_dict(under(tensors, "discriminator."))
        self.ways.reverse.restore(under(tensors, "reverse."))
        self._steps = int(tensors["steps"])

    def average(self) -> nn.Module | None:
        """Follows behind each classification step."""
        return self._classify.average()


def discriminator_like(classifier: nn.Module) -> nn.Module:
    """The classifier's form with weights drawn anew from the global generator, and one output; sees pixels 0 to 1."""
    found = copy.deepcopy(classifier)
    names = [name for name, layer in found.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    holder, _, last = names[-1].rpartition(".")
    setattr(found.get_submodule(holder), last, _one_output(found.get_submodule(names[-1])))
    for layer in found.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.BatchNorm1d | nn.BatchNorm2d):
            layer.reset_parameters()
    return found.requires_grad_().train()


def _one_output(layer: nn.Module) -> nn.Module:
    has_bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, 1, has_bias)
    assert isinstance(layer, nn.Conv2d)
    kept = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return nn.Conv2d(layer.in_channels, 1, *kept, bias=has_bias)  # type: ignore[arg-type]


def _taken_for(logits: Tensor, wanted: int) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, wanted))


class _Adversary:
    """Steps of one side, by an optimizer of the recipe's kind whose first moment forgets faster."""

    def __init__(self, part: nn.Module, recipe: Recipe):
        self._part, self._clip, self._optimizer = part, recipe.gradient_clip, make_optimizer(part, recipe)
        for group in self._optimizer.param_groups:
            if "betas" in group:
                group["betas"] = (_FIRST_MOMENT, group["betas"][1])

    def step(self, rate: float, loss_of: Callable[[], Tensor]) -> None:
        set_learning_rate(self._optimizer, rate)
        self._optimizer.zero_grad()
        loss_of().backward()
        if self._clip:
            nn.utils.clip_grad_norm_(self._part.parameters(), self._clip)
        self._optimizer.step()

    def tensors(self) -> dict[str, Tensor]:
        return optimizer_tensors(self._optimizer)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        restore_optimizer(self._optimizer, tensors)


RULES = (HybridAdversarial,)

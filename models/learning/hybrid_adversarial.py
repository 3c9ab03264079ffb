"""`hybrid-adversarial`: a classifier whose transposed weights generate from noise, against a discriminator.

Pontes-Filho and Liwicki, "Bidirectional Learning for Robust Neural Networks", IJCNN 2019, arXiv 1805.08006. Each batch
makes three steps: the classifier's cross-entropy changes W and b; a discriminator learns to tell samples from generated
ones; the generator, which is the classifier read backwards from z ~ U(-1, 1), one value a class, changes W, its own
biases and its own batch norms so that the discriminator takes what it makes for samples. Only the classifier ships.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..objectives import Batch
from ..weights import prefixed, under
from . import Learner, Setup
from .bidirectional import BothWays, classification_loss, pixels_of, two_ways
from .descent import Descent

_FIRST_MOMENT = 0.5  # of AdamW in both adversaries, as the paper


class HybridAdversarial(BothWays):
    """Steps of classification, discrimination and generation for each batch; the paper's `generator_rate` is 5."""

    name = "hybrid-adversarial"

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
        self._discriminate = Descent({"discriminator": self.discriminator}, setup.recipe, None, _FIRST_MOMENT)
        self._generate = Descent({"reverse": self.ways.reverse}, setup.recipe, None, _FIRST_MOMENT)
        self._rate, self._until, self._steps = rule.generator_rate, rule.share * setup.steps, 0

    def learn(self, batch: Batch, rate: float) -> float:
        """All three steps; the loss is the classification's."""
        loss = self._classify.down(rate, lambda: classification_loss(self.ways.classifier, batch))
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
        self._discriminate.down(rate, lambda: _taken_for(self.discriminator(pixels), 1) + self._seen(made, 0))
        self._generate.down(rate, lambda: self._seen(self.ways.reverse(noise).sigmoid(), 1))

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
        return {**prefixed(parts), "steps": torch.tensor(self._steps)}

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


RULES = (HybridAdversarial,)

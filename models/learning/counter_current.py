"""`counter-current`: two networks in opposite directions whose layers draw each other nearer, block by block.

Kao and Hariharan, "Counter-Current Learning", NeurIPS 2024, arXiv 2409.19841. The forward network maps samples to
classes, the other one maps the classes, once a batch, towards the input; of an autoencoder, what is to come
out. At each value the two are compared by a loss of their own; no gradient crosses a block's border, and the weights of
one are never read by the other. Only the forward network ships.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import BadInput
from ..augment import Mixture, draw_mixture
from ..objectives import Batch
from ..objectives.classification import cross_entropy
from ..objectives.reconstruction import Reconstruction
from . import LearningRule, Setup
from .chain import Block, chain_of, first_samples
from .counter_signals import ClassSignals, Signals, TargetSignals
from .descent import Descent, DescentLearner
from .opposite import Opposite, in_blocks


@dataclass(frozen=True)
class CounterCurrent(LearningRule):
    """Local losses between a chain of blocks and its opposite.

    Attributes:
        strength: of the losses between blocks; 0 takes 0.5 for vectors, as the paper, 1 for autoencoders, as the
            paper, and 4 for maps, where the paper has 1 and a spread of 0.5 (docs/log.md says why).
        spread: of the loss that draws samples apart from each other, and classes likewise; for maps only.
        lead: of autoencoders, how strongly the half that leads is drawn to the one that follows. The paper draws both
            alike (1), from first weights of the followers near 0. At 0 the halves that lead keep their first weights.
    """

    name = "counter-current"
    source = "Kao, Hariharan, Counter-Current Learning, NeurIPS 2024, arXiv 2409.19841"
    trains = "classifiers and autoencoders that are chains of blocks; a block may hold norms and skip connections"

    strength: float = 0.0
    spread: float = 0.1
    lead: float = 0.0

    def __post_init__(self) -> None:
        for name in ("strength", "spread", "lead"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"--rule {self.name}: {name} must be 0 or more, got {getattr(self, name):g}")

    def learner(self, setup: Setup) -> "CounterCurrentLearner":
        """Takes on a classifier or an autoencoder of at least two blocks.

        Raises:
            BadInput: it is neither, or no chain.
        """
        return CounterCurrentLearner(setup, self)


class CounterCurrentLearner(DescentLearner):
    """A chain, its opposite, and the local losses between them."""

    def __init__(self, setup: Setup, rule: CounterCurrent):
        samples = first_samples(setup, rule.name)
        self.blocks = chain_of(setup.module, samples, rule.name)
        self._signals = _signals(setup, rule, self.blocks, samples)
        self.opposite = Opposite(tuple(samples.shape[1:]), self.blocks).to(setup.ranks.device)
        if not setup.objective.classes:
            for weights in self.opposite.parameters():
                nn.init.orthogonal_(weights)  # what a sample's signals say of it must not fade on their way
        self._recipe, self._classifies = setup.recipe, setup.objective.classes
        parts = {"forward": setup.module, "opposite": self.opposite}
        super().__init__(Descent(parts, setup.recipe, setup.module), {"opposite": self.opposite})

    def learn(self, batch: Batch, rate: float) -> float:
        self.descent.begin(rate)
        losses = self.losses(batch)
        torch.stack(losses).sum().backward()
        self.descent.step()
        return losses[-1].item()

    def losses(self, batch: Batch) -> list[Tensor]:
        """One for each value of the chain, its input first; the last compares with what is to come out.

        The loss at a value has gradients for the block before it and for the opposite's block that gives to it.
        """
        samples, mixture = batch.samples, None
        assert isinstance(samples, Tensor)
        if self._recipe.mixup:
            mixture = draw_mixture(len(batch.targets), self._recipe.mixup, batch.draws)
            samples = mixture(samples)
        forward = in_blocks(self.blocks, samples)
        against = self.opposite(self._signals.start(samples))
        pairs = zip(forward[:-1], against[:-1])
        local = [self._signals.distance(place, *pair, batch.targets, mixture) for place, pair in enumerate(pairs)]
        return [*local, self._last(forward[-1], against[-1], batch, mixture)]

    def _last(self, outputs: Tensor, wanted: Tensor, batch: Batch, mixture: Mixture | None) -> Tensor:
        if self._classifies:
            return cross_entropy(outputs, batch.targets, self._recipe.label_smoothing, mixture)
        return self._signals.distance(len(self.blocks), outputs, wanted, batch.targets, mixture)


def _signals(setup: Setup, rule: CounterCurrent, blocks: list[Block], samples: Tensor) -> Signals:
    if setup.objective.classes and setup.data.labels:
        if blocks[-1].outputs != (len(setup.data.labels),):
            raise BadInput(
                f"--rule {rule.name}: {setup.name} gives {blocks[-1].outputs}, the data have "
                f"{len(setup.data.labels)} classes; give a network with a score for each"
            )
        return ClassSignals(blocks, rule.strength, rule.spread, samples.device)
    if isinstance(setup.objective, Reconstruction):
        return TargetSignals(len(blocks), rule.strength, rule.lead)
    raise BadInput(
        f"--rule {rule.name}: {setup.name} gives neither scores for classes nor its input again, which the signals "
        "against the current start from; train it by back-propagation"
    )


RULES = (CounterCurrent,)

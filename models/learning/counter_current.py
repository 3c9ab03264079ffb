"""`counter-current`: two networks in opposite directions whose layers draw each other nearer, block by block.

Kao and Hariharan, "Counter-Current Learning", NeurIPS 2024, arXiv 2409.19841. The forward network maps samples to
classes, the other one maps the classes, once a batch, towards the input. At each value the two are compared by a loss
of their own; no gradient crosses a block's border, and the weights of one are never read by the other. Only the forward
network ships.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import BadInput
from ..augment import Mixture, draw_mixture
from ..objectives import Batch
from ..objectives.classification import cross_entropy
from ..weights import under
from . import Learner, LearningRule, Setup
from .chain import chain_of, first_samples
from .descent import Descent
from .opposite import Opposite, in_blocks

_PRODUCT_GAIN = 256.0  # of the loss of vectors, over their width


@dataclass(frozen=True)
class CounterCurrent(LearningRule):
    """Local losses between a chain of blocks and its opposite.

    Attributes:
        strength: of the losses between blocks; 0 takes 0.5 for vectors, as the paper, and 4 for maps. The paper's 1
            for maps, with a spread of 0.5, learns several times more slowly on residual networks with batch norms.
        spread: of the loss that draws samples apart from each other, and classes likewise; for maps only.
    """

    name = "counter-current"
    source = "Kao, Hariharan, Counter-Current Learning, NeurIPS 2024, arXiv 2409.19841"
    trains = "classifiers that are chains of blocks; a block may hold norms and skip connections"

    strength: float = 0.0
    spread: float = 0.1

    def __post_init__(self) -> None:
        for name in ("strength", "spread"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"--rule {self.name}: {name} must be 0 or more, got {getattr(self, name):g}")

    def learner(self, setup: Setup) -> "CounterCurrentLearner":
        """Takes on a classifier with at least two blocks.

        Raises:
            BadInput: it is no classifier, or no chain.
        """
        if not setup.objective.classes or not setup.data.labels:
            raise BadInput(
                f"--rule {self.name}: {setup.name} gives no scores for classes, which the signals against the current "
                "start from; train it by back-propagation"
            )
        return CounterCurrentLearner(setup, self)


class CounterCurrentLearner(Learner):
    """A chain, its opposite, and the local losses between them."""

    def __init__(self, setup: Setup, rule: CounterCurrent):
        samples = first_samples(setup, rule.name)
        self.blocks = chain_of(setup.module, samples, rule.name)
        classes = self.blocks[-1].outputs[-1]
        if self.blocks[-1].outputs != (len(setup.data.labels),):
            raise BadInput(
                f"--rule {rule.name}: {setup.name} gives {self.blocks[-1].outputs}, the data have "
                f"{len(setup.data.labels)} classes; give a network with a score for each"
            )
        self.opposite = Opposite(tuple(samples.shape[1:]), self.blocks).to(setup.ranks.device)
        self._signals = torch.eye(classes, device=samples.device)
        self._recipe = setup.recipe
        self._has_maps = any(len(block.outputs) > 1 for block in self.blocks[:-1])
        self._strength = rule.strength or (4.0 if self._has_maps else 0.5)
        self._spread = rule.spread
        self._descent = Descent({"forward": setup.module, "opposite": self.opposite}, setup.recipe, setup.module)

    def learn(self, batch: Batch, rate: float) -> float:
        self._descent.begin(rate)
        losses = self.losses(batch)
        torch.stack(losses).sum().backward()
        self._descent.step()
        return losses[-1].item()

    def losses(self, batch: Batch) -> list[Tensor]:
        """One for each value of the chain, its input first; the last is the cross-entropy of the classes.

        The loss at a value has gradients for the block before it and for the opposite's block that gives to it.
        """
        samples, mixture = batch.samples, None
        assert isinstance(samples, Tensor)
        if self._recipe.mixup:
            mixture = draw_mixture(len(batch.targets), self._recipe.mixup, batch.draws)
            samples = mixture(samples)
        forward = in_blocks(self.blocks, samples)
        against = self.opposite(self._signals)
        wanted = _shares(batch.targets, len(self._signals), mixture)
        local = [self._distance(*pair, wanted) for pair in zip(forward[:-1], against[:-1])]
        return [*local, cross_entropy(forward[-1], batch.targets, self._recipe.label_smoothing, mixture)]

    def _distance(self, values: Tensor, signals: Tensor, wanted: Tensor) -> Tensor:
        """Of what samples (B, ...) give and classes (K, ...) ask for: each sample is to match its class alone."""
        mine, theirs = values.flatten(1), signals.flatten(1)
        if not self._has_maps:
            gain = self._strength * _PRODUCT_GAIN / prod(values.shape[1:])
            return gain * functional.mse_loss(mine @ theirs.T, wanted)
        mine, theirs = functional.normalize(mine), functional.normalize(theirs)
        matched = self._strength * functional.mse_loss(mine @ theirs.T, wanted)
        return matched + self._spread * (_likeness(mine) + _likeness(theirs))

    def tensors(self) -> dict[str, Tensor]:
        """The opposite's weights, and the descent's."""
        return {
            **{f"opposite.{name}": tensor for name, tensor in self.opposite.state_dict().items()},
            **self._descent.tensors(),
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.opposite.load_state_dict(under(tensors, "opposite."))
        self._descent.restore(tensors)

    def average(self) -> nn.Module | None:
        return self._descent.average()


def _shares(targets: Tensor, classes: int, mixture: Mixture | None) -> Tensor:
    """(B, K): 1 for a sample's class, or a mixed sample's share of each."""
    shares = functional.one_hot(targets, classes).float()
    if mixture is None:
        return shares
    return mixture.share * shares + (1 - mixture.share) * shares[mixture.partners]


def _likeness(rows: Tensor) -> Tensor:
    """How far unit rows are from being at right angles."""
    return functional.mse_loss(rows @ rows.T, torch.eye(len(rows), device=rows.device))


RULES = (CounterCurrent,)

"""Learning rules: how a batch changes a network. Without one, the loss's gradients do, through an optimizer.

A rule is one file here. The training loop, its order, checkpoints, progress and figures are the same for all.
"""

from typing import Protocol

from torch import Tensor, nn

from ..batches import Raw
from ..recipe import Recipe


class Learner(Protocol):
    """One network in the course of its training."""

    def learn(self, samples: Raw, targets: Tensor) -> float:
        """Changes the network by one batch; returns the loss before."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything beyond the network's own tensors that going on takes."""

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""


class LearningRule(Protocol):
    """A rule with its settings."""

    def learner(self, module: nn.Module, recipe: Recipe, seed: int, total_steps: int) -> Learner:
        """Takes a network on.

        Raises:
            BadInput: it is none that the rule can train; the message names what stands in the way.
        """

    def to_json(self) -> dict[str, object]:
        """The rule's name and settings, for a run's configuration."""

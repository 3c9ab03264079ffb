"""Objectives: what a network trains on, what it is measured by, and what it takes on a device.

A task of the zoo without an objective of its own has the one that `objective_of` names; a system with another sets
`System.objective`, one class in the system's own file.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ...errors import BadInput
from ..batches import Raw, each, in_order, read_batches, size_of
from ..data import Data, Preprocessing
from ..distributed import ALONE, Ranks
from ..evaluation_mode import in_evaluation
from ..recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """What a training step's forward pass came to.

    Attributes:
        loss: the batch's mean loss, with its gradient.
        inputs: what the network was given.
        outputs: its first output, which a teacher's is compared with.
    """

    loss: Tensor
    inputs: tuple[Tensor, ...]
    outputs: Tensor


@dataclass(frozen=True)
class Batch:
    """What a training step is given.

    Attributes:
        samples: augmented and preprocessed, (B, ...).
        targets: (B,) or (B, k).
        recipe: of the training.
        draws: where whatever the step draws comes from.
    """

    samples: Raw
    targets: Tensor
    recipe: Recipe
    draws: torch.Generator


class Objective(ABC):
    """What a network trains on and is measured by."""

    classes: ClassVar[bool] = False
    """Whether the first output holds a score for each class."""

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        """What trains beside the network and stays behind when it ships, as the class vectors of a margin loss."""
        return None

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        """What the network takes where it is measured and on a device, from preprocessed samples (B, ...)."""
        return in_tuple(samples)

    @abstractmethod
    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        """One forward pass of training.

        Where a network is trained for a precision, `network` is not the system's own class: it takes what `inputs`
        gives and returns what the network ships with, and no more can be asked of it.
        """

    @abstractmethod
    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, k): what a whole split's figures are made of, sample by sample."""

    @abstractmethod
    def metrics(self, scores: Tensor) -> dict[str, float]:
        """Figures of a whole split, from its float64 scores (N, k)."""

    def distance(self, outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """How far a network's first output is from its teacher's: the mean squared error."""
        return functional.mse_loss(outputs, teacher)


def objective_of(task: str) -> Objective:
    """The objective of a task that needs none of its own."""
    from .classification import Classification
    from .reconstruction import Reconstruction

    return Reconstruction() if task == "anomaly-detection" else Classification()


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    objective: Objective | None = None,
    batch_size: int = 256,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Figures on a whole split, in evaluation mode; the module's own mode is put back.

    What the objective draws is the same in every call.

    Args:
        objective: None measures class scores.

    Raises:
        BadInput: the split is empty.
    """
    if not size_of(dataset):
        raise BadInput("the held-out split is empty; give samples to measure on")
    objective = objective or objective_of("")
    draws = torch.Generator().manual_seed(ranks.rank)
    rows = []
    with in_evaluation(module):
        for raw, targets in read_batches(dataset, in_order(dataset, batch_size, ranks.rank, ranks.world)):
            samples = each(preprocessing.apply, each(lambda tensor: tensor.to(ranks.device), raw))
            inputs = objective.inputs(samples, targets.to(ranks.device), draws)
            outputs = in_tuple(module(*inputs))
            rows.append(objective.scores(outputs, inputs, targets.to(ranks.device)).cpu())
    return objective.metrics(ranks.gather(torch.cat(rows)).double())


def in_tuple(outputs: Tensor | tuple[Tensor, ...] | list[Tensor]) -> tuple[Tensor, ...]:
    """A network's outputs, however many."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

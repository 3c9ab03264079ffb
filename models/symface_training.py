"""SymFace as an objective: a margin loss on faces, and what symmetry adds to it; measured by verification.

Prakash et al., "SymFace: Additional Facial Symmetry Loss for Deep Face Recognition", arXiv 2409.11816: the sum of the
margin loss of all faces and lambda times the mean distance of the halves of those that look ahead. Only training knows
of halves and class vectors; the network that ships is the bare embedder.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .data import Data
from .facial_symmetry import Symmetry, distance
from .margin_losses import AdditiveCosine, MarginLoss
from .objectives import Batch, Objective, Outcome
from .verification import Pairs, figures, fold_accuracy, pairs_of

PERSON, LANDMARKS, PICTURE, PAIR, FOLD = 0, slice(1, 4), 4, 5, 6
"""Columns of the targets; the last three are there where pairs are listed."""


class Companion(nn.Module):
    """What trains beside the network: class vectors, and the count of steps."""

    steps: Tensor

    def __init__(self, margin: MarginLoss):
        super().__init__()
        self.margin = margin
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))


@dataclass(frozen=True)
class FaceVerification(Objective):
    """Networks that give unit embeddings (B, width); targets are a person's number and landmarks.

    Attributes:
        width: of an embedding.
        margin: makes the margin loss, from the number of persons and the width.
        symmetry: None trains on the margin loss alone.
        flips: mirrors every other face at random, landmarks included.
    """

    width: int
    margin: Callable[[int, int], MarginLoss] = AdditiveCosine
    symmetry: Symmetry | None = None
    flips: bool = False

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        """Class vectors of the persons to train on.

        Raises:
            BadInput: the data are no faces, or the margin needs more of the network than its outputs.
        """
        targets = getattr(data.train, "labels", None)
        if not isinstance(targets, Tensor) or targets.ndim != 2 or targets.shape[1] < LANDMARKS.stop:
            raise BadInput(f"{data.name}: targets are not a person and three landmarks; give a folder of faces")
        margin = self.margin(int(targets[:, PERSON].max()) + 1, self.width)
        if margin.reads_norms and not hasattr(network, "features"):
            raise BadInput(
                f"{type(margin).__name__} reads the length of features, and this network gives unit embeddings only; "
                "choose another margin"
            )
        return Companion(margin)

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        samples, targets, recipe = batch.samples, batch.targets, batch.recipe
        assert isinstance(samples, Tensor) and isinstance(companion, Companion)
        if recipe.flip or recipe.shift_pixels or recipe.mixup:
            raise BadInput("faces: flip, shift_pixels and mixup of the recipe know no landmarks; set them to 0")
        persons, landmarks, margin = targets[:, PERSON].long(), targets[:, LANDMARKS], companion.margin
        if self.flips:
            samples, landmarks = mirrored(samples, landmarks, batch.draws)
        ahead, views = self.symmetry.views(samples, landmarks) if self.symmetry else (None, ())
        # One batch of all, as batch norms otherwise see faces and halves in turn.
        features = getattr(network, "features", network)(torch.cat([samples, *views]))
        whole, *halves = features.split([len(samples), *map(len, views)])
        margin.observe(whole.detach().norm(dim=1))
        loss = margin(whole, persons, recipe.label_smoothing)
        if self.symmetry is not None and ahead is not None and len(ahead):
            weight = self.symmetry.weight_at(int(companion.steps))
            loss = loss + weight * _gap(whole[ahead], halves).mean()
            if self.symmetry.labelled:
                own = [margin(half, persons[ahead], recipe.label_smoothing) for half in halves]
                loss = loss + self.symmetry.labelled * torch.stack(own).sum()
        companion.steps += 1
        return Outcome(loss, (samples,), functional.normalize(whole, dim=1))

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, width + k): embedding and target of each sample."""
        return torch.cat([outputs[0], targets], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        """`auc`, `tar_at_far_1` and `pair_accuracy` over all pairs, and `listed_pair_accuracy` of the pairs listed.

        A figure is missing where the samples hold no pairs of both kinds for it.
        """
        embeddings, targets = scores[:, : self.width].numpy(), scores[:, self.width :].numpy()
        if targets.shape[1] <= FOLD:
            return figures(pairs_of(embeddings, targets[:, PERSON]))
        once = first_of_each(targets[:, PICTURE])  # a picture is in several pairs
        found = figures(pairs_of(embeddings[once], targets[once, PERSON]))
        accuracy = fold_accuracy(listed_pairs(embeddings, targets))
        return found if accuracy is None else found | {"listed_pair_accuracy": accuracy}

    def distance(self, outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """Mean squared distance of unit embeddings."""
        return distance(outputs, teacher).mean()


def mirrored(faces: Tensor, landmarks: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Every face (B, C, H, W) mirrored with probability one half, with its landmarks (B, 3)."""
    chosen = (torch.rand(len(faces), generator=draws) < 0.5).to(faces.device)
    seen = faces.shape[3] - 1 - landmarks[:, [1, 0, 2]]  # what was the right eye is now the left one
    return (
        torch.where(chosen[:, None, None, None], faces.flip(3), faces),
        torch.where(chosen[:, None], seen, landmarks),
    )


def first_of_each(numbers: np.ndarray) -> np.ndarray:
    """(N,), whether a number has not come before."""
    found = np.zeros(len(numbers), bool)
    found[np.unique(numbers, return_index=True)[1]] = True
    return found


def listed_pairs(embeddings: np.ndarray, targets: np.ndarray) -> Pairs:
    """The pairs of which both pictures are among the samples (N, D), targets (N, 7)."""
    order = np.argsort(targets[:, PAIR], kind="stable")
    numbers = targets[order, PAIR]
    first = np.flatnonzero(numbers[:-1] == numbers[1:])
    one, other = order[first], order[first + 1]
    return Pairs(
        (embeddings[one] * embeddings[other]).sum(1),
        targets[one, PERSON] == targets[other, PERSON],
        targets[one, FOLD].astype(int),
    )


def _gap(whole: Tensor, halves: list[Tensor]) -> Tensor:
    """Distance of two views, or of one view from the face, (S,)."""
    first, second = halves if len(halves) == 2 else (whole, halves[0])
    return distance(functional.normalize(first, dim=1), functional.normalize(second, dim=1))

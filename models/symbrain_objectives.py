"""What SymBrain's networks train on and are measured by: the line of a slice, and whether a pair of halves is alike."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .brain_midline import Lines, angle_errors
from .data import Data
from .objectives import Batch, Objective, Outcome, in_tuple

ANGLE, OFFSET = 0, 1  # columns of a midline's target: degrees from the rows, pixels from the centre
_BETA = 0.05  # where the loss goes over from squares to absolute values


def to_outputs(lines: Lines, size: int) -> Tensor:
    """What a network gives for lines: sin 2 phi, cos 2 phi, offset / (size / 2), (N, 3).

    Twice the angle, as half a turn leaves a line as it is; lines must be canonical, as a line along the columns has
    either sign of the offset.
    """
    doubled = 2 * lines.angles.deg2rad()
    return torch.stack([doubled.sin(), doubled.cos(), lines.offsets / (size / 2)], 1)


def to_lines(outputs: Tensor, size: int) -> Lines:
    """Lines from a network's outputs (N, 3)."""
    angles = torch.atan2(outputs[:, 0], outputs[:, 1]).rad2deg() / 2
    return Lines(angles, outputs[:, 2] * (size / 2))


@dataclass(frozen=True)
class MidlineRegression(Objective):
    """Networks that give (sin 2 phi, cos 2 phi, offset); targets are angle in degrees and offset in pixels, (B, 2).

    Figures are the means `angle_error_deg` and `offset_error_px`, and `angle_error_median_deg`.

    Attributes:
        size: height and width of the slices.
    """

    size: int

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        """None.

        Raises:
            BadInput: the data have no lines.
        """
        _check_targets(data, 2, "an angle and an offset", "slices with lines")
        return None

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        _check_augmentation(batch)
        inputs = in_tuple(batch.samples)
        outputs = in_tuple(network(*inputs))[0]
        lines = Lines(batch.targets[:, ANGLE], batch.targets[:, OFFSET])
        loss = functional.smooth_l1_loss(outputs, to_outputs(lines, self.size), beta=_BETA)
        return Outcome(loss, inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 2): both errors."""
        found = to_lines(outputs[0], self.size)
        return torch.stack(
            [angle_errors(found.angles, targets[:, ANGLE]), (found.offsets - targets[:, OFFSET]).abs()], 1
        )

    def metrics(self, scores: Tensor) -> dict[str, float]:
        angles, offsets = scores.unbind(1)
        return {
            "angle_error_deg": angles.mean().item(),
            "angle_error_median_deg": angles.median().item(),
            "offset_error_px": offsets.mean().item(),
        }


class AsymmetryDetection(Objective):
    """Networks of two halves that give a logit (B, 1); targets are 1 where one half has a lesion, (B, 1).

    Figures are `accuracy` at a probability of one half, `loss`, and `auc` where the samples are of both kinds.
    """

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        """None.

        Raises:
            BadInput: the data are no pairs, or all of one kind.
        """
        targets = _check_targets(data, 1, "0 or 1", "pairs of halves")
        if len(kinds := targets.unique().tolist()) < 2:
            raise BadInput(f"{data.name}: every pair has the label {kinds[0]:g}; give pairs with a lesion and without")
        return None

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        _check_augmentation(batch)
        inputs = in_tuple(batch.samples)
        outputs = in_tuple(network(*inputs))[0]
        loss = functional.binary_cross_entropy_with_logits(outputs, batch.targets)
        return Outcome(loss, inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 2): logit and target."""
        return torch.cat([outputs[0], targets], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        logits, targets = scores.unbind(1)
        found = {
            "accuracy": ((logits >= 0) == (targets == 1)).double().mean().item(),
            "loss": functional.binary_cross_entropy_with_logits(logits, targets).item(),
        }
        return found | {"auc": auc(logits, targets)} if len(targets.unique()) == 2 else found


def auc(scores: Tensor, targets: Tensor) -> float:
    """How likely a sample of label 1 has the higher score; samples (N,) must be of both kinds."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(targets.numpy(), scores.numpy()))


def _check_targets(data: Data, columns: int, expected: str, mend: str) -> Tensor:
    targets = getattr(data.train, "labels", None)
    if not isinstance(targets, Tensor) or targets.ndim != 2 or targets.shape[1] != columns:
        raise BadInput(f"{data.name}: targets are not {expected}; give {mend}")
    return targets


def _check_augmentation(batch: Batch) -> None:
    recipe = batch.recipe
    if recipe.flip or recipe.shift_pixels or recipe.mixup:
        raise BadInput("brain slices: flip, shift_pixels and mixup of the recipe know no midline; set them to 0")

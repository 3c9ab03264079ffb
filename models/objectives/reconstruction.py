"""Reconstruction, for anomaly detection: mean squared error between input and output.

`mean_squared_error` of the normal samples (label 0), and `auc` if there are others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..augment import draw_mixture
from . import Batch, Objective, Outcome, in_tuple


class Reconstruction(Objective):
    """Networks whose output is their input again; targets tell normal samples (0) from others."""

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs = in_tuple(batch.samples)
        if batch.recipe.mixup:
            inputs = tuple(map(draw_mixture(len(batch.targets), batch.recipe.mixup, batch.draws), inputs))
        outputs = network(*inputs)
        return Outcome(functional.mse_loss(outputs, inputs[0]), inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 2): error and label of each sample."""
        return torch.stack([(outputs[0] - inputs[0]).square().flatten(1).mean(1), targets.float()], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        errors, labels = scores.unbind(1)
        normal = labels == 0
        found = {"mean_squared_error": (errors[normal] if normal.any() else errors).mean().item()}
        if normal.any() and not normal.all():
            from sklearn.metrics import roc_auc_score

            found["auc"] = float(roc_auc_score((~normal).numpy(), errors.numpy()))
        return found

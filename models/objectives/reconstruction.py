"""Reconstruction, for anomaly detection: mean squared error between input and output.

`mean_squared_error` of the normal samples (label 0), and `auc` if there are others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..augment import draw_mixture
from ..batches import Raw
from ..data import Data
from ..recipe import Recipe
from . import Outcome


class Reconstruction:
    """Networks whose output is their input again; targets tell normal samples (0) from others."""

    classes = False

    def companion(self, network: nn.Module, data: Data) -> nn.Module | None:
        return None

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        return (samples,) if isinstance(samples, Tensor) else samples

    def loss(
        self,
        network: nn.Module,
        companion: nn.Module | None,
        samples: Raw,
        targets: Tensor,
        recipe: Recipe,
        draws: torch.Generator,
    ) -> Outcome:
        inputs = self.inputs(samples, targets, draws)
        if recipe.mixup:
            inputs = tuple(map(draw_mixture(len(targets), recipe.mixup, draws), inputs))
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

    def distance(self, outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        return functional.mse_loss(outputs, teacher)

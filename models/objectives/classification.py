"""Classification: cross-entropy; `accuracy` and `loss` of the held-out split."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..augment import Mixture, draw_mixture
from . import Batch, Objective, Outcome, in_tuple


class Classification(Objective):
    """Networks of one input whose first output holds a score for each class; targets are class numbers (B,)."""

    classes = True

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs, recipe = in_tuple(batch.samples), batch.recipe
        mixture = draw_mixture(len(batch.targets), recipe.mixup, batch.draws) if recipe.mixup else None
        if mixture is not None:
            inputs = tuple(map(mixture, inputs))
        outputs = network(*inputs)
        return Outcome(cross_entropy(outputs, batch.targets, recipe.label_smoothing, mixture), inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 2): hit and loss of each sample."""
        loss = functional.cross_entropy(outputs[0], targets, reduction="none")
        return torch.stack([(outputs[0].argmax(1) == targets).float(), loss], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        hits, losses = scores.unbind(1)
        return {"accuracy": hits.mean().item(), "loss": losses.mean().item()}

    def distance(self, outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T^2 times the Kullback-Leibler divergence of the softened classes (Hinton et al., arXiv 1503.02531)."""
        mine, theirs = (functional.log_softmax(logits / temperature, 1) for logits in (outputs, teacher))
        return temperature**2 * functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)


def cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float, mixture: Mixture | None = None) -> Tensor:
    """The batch's mean; of samples that were mixed, by each share to each label."""
    loss = functional.cross_entropy(outputs, targets, label_smoothing=smoothing)
    if mixture is None:
        return loss
    other = functional.cross_entropy(outputs, targets[mixture.partners], label_smoothing=smoothing)
    return mixture.share * loss + (1 - mixture.share) * other

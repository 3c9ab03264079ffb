"""What a task is trained on and measured by.

Classification: cross-entropy; `accuracy` and `loss` of the held-out split. Anomaly detection: mean squared error
between input and reconstruction; `mean_squared_error` of the normal samples (label 0), and `auc` if there are others.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ..errors import BadInput
from .augment import Mixture
from .batches import in_order, read_batches, size_of
from .data import Preprocessing
from .distributed import Ranks

ANOMALY = "anomaly-detection"
_ALONE = Ranks(0, 1, torch.device("cpu"))


def training_loss(
    task: str, outputs: Tensor, inputs: Tensor, labels: Tensor, smoothing: float, mixture: Mixture | None
) -> Tensor:
    """The batch's mean loss; `inputs` are already mixed, `labels` not yet."""
    if task == ANOMALY:
        return functional.mse_loss(outputs, inputs)
    loss = functional.cross_entropy(outputs, labels, label_smoothing=smoothing)
    if mixture is None:
        return loss
    other = functional.cross_entropy(outputs, labels[mixture.partners], label_smoothing=smoothing)
    return mixture.share * loss + (1 - mixture.share) * other


def distillation_loss(task: str, outputs: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """How far a network's outputs are from its teacher's.

    Classification: T^2 times the Kullback-Leibler divergence of the softened classes (Hinton et al., arXiv 1503.02531).
    Anything else: the mean squared error.
    """
    if task == ANOMALY:
        return functional.mse_loss(outputs, teacher)
    mine, theirs = (functional.log_softmax(logits / temperature, 1) for logits in (outputs, teacher))
    return temperature**2 * functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)


@torch.inference_mode()
def evaluate(
    module: nn.Module,
    dataset: Dataset,
    preprocessing: Preprocessing,
    task: str = "image-classification",
    batch_size: int = 256,
    ranks: Ranks = _ALONE,
) -> dict[str, float]:
    """Figures on a whole split, in evaluation mode; the module's own mode is put back.

    Raises:
        BadInput: the split is empty.
    """
    if not size_of(dataset):
        raise BadInput("the held-out split is empty; give samples to measure on")
    was_training = module.training
    module.eval()
    rows = [torch.empty(0, 2)]
    for raw, labels in read_batches(dataset, in_order(dataset, batch_size, ranks.rank, ranks.world)):
        inputs = preprocessing.apply(raw.to(ranks.device))
        rows.append(_scores(task, module(inputs), inputs, labels.to(ranks.device)).cpu())
    module.train(was_training)
    first, second = ranks.gather(torch.cat(rows)).double().unbind(1)
    if task == ANOMALY:
        return _anomaly_metrics(first, second)
    return {"accuracy": first.mean().item(), "loss": second.mean().item()}


def _scores(task: str, outputs: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """(B, 2): hit and loss of each sample, or reconstruction error and label."""
    if task == ANOMALY:
        return torch.stack([(outputs - inputs).square().flatten(1).mean(1), labels.float()], 1)
    loss = functional.cross_entropy(outputs, labels, reduction="none")
    return torch.stack([(outputs.argmax(1) == labels).float(), loss], 1)


def _anomaly_metrics(errors: Tensor, labels: Tensor) -> dict[str, float]:
    normal = labels == 0
    metrics = {"mean_squared_error": (errors[normal] if normal.any() else errors).mean().item()}
    if normal.any() and not normal.all():
        from sklearn.metrics import roc_auc_score

        metrics["auc"] = float(roc_auc_score((~normal).numpy(), errors.numpy()))
    return metrics

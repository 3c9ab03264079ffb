"""The optimizer and its learning rate at each step."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from .recipe import Recipe

_WARMUP_START = 0.01


def learning_rate_at(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Linear warm-up from 1% of the peak, then half a cosine down to `final_learning_rate` of the peak."""
    warmup = recipe.warmup_epochs * steps_per_epoch
    total = recipe.epochs * steps_per_epoch
    if step < warmup:
        return recipe.learning_rate * (_WARMUP_START + (1 - _WARMUP_START) * step / warmup)
    share = min(1.0, (step - warmup) / max(1.0, total - 1 - warmup))
    cosine = 0.5 * (1 + math.cos(math.pi * share))
    return recipe.learning_rate * (recipe.final_learning_rate + (1 - recipe.final_learning_rate) * cosine)


def make_optimizer(module: nn.Module, recipe: Recipe) -> Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9. Weight decay spares every parameter that is a vector."""
    matrices: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    for parameter in module.parameters():
        if parameter.requires_grad:
            (vectors if _is_vector(parameter) else matrices).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def _is_vector(parameter: nn.Parameter) -> bool:
    """True for biases, norms, scalars, and per-channel scales such as (1, C, 1, 1)."""
    return sum(side > 1 for side in parameter.shape) <= 1

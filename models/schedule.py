"""The learning rate at each step."""

import math

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

"""Random changes to a batch of raw images: shift, flip and mixup. Every draw is from the generator handed in."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .recipe import Recipe


@dataclass(frozen=True)
class Mixture:
    """Sample i becomes `share * sample i + (1 - share) * sample partners[i]`, and its loss likewise."""

    partners: Tensor
    share: float

    def __call__(self, samples: Tensor) -> Tensor:
        return self.share * samples + (1 - self.share) * samples[self.partners]


def augment(raw: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """What the recipe asks for, on images (B, C, H, W); other inputs pass unchanged."""
    if raw.dim() != 4:
        return raw
    if recipe.shift_pixels:
        raw = shift(raw, recipe.shift_pixels, generator)
    return flip(raw, generator) if recipe.flip else raw


def shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    """Moves each image by up to `pixels` in either direction of each axis; zeros come in."""
    batch, _, height, width = images.shape
    offsets = torch.randint(0, 2 * pixels + 1, (2, batch, 1), generator=generator).to(images.device)
    rows = (offsets[0] + torch.arange(height, device=images.device)).unsqueeze(2)  # (B, H, 1)
    columns = (offsets[1] + torch.arange(width, device=images.device)).unsqueeze(1)  # (B, 1, W)
    padded = functional.pad(images, (pixels,) * 4).permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)
    each = torch.arange(batch, device=images.device).reshape(-1, 1, 1)
    return padded[each, rows, columns].permute(0, 3, 1, 2).contiguous()  # back to (B, C, H, W)


def flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirrors each image left to right with probability one half."""
    chosen = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(chosen.reshape(-1, 1, 1, 1), images.flip(3), images)


def draw_mixture(batch: int, beta: float, generator: torch.Generator) -> Mixture:
    """Mixup of Zhang et al. 2018, arXiv 1710.09412: one share per batch, from Beta(beta, beta)."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return Mixture(torch.randperm(batch, generator=generator), float(np.random.default_rng(seed).beta(beta, beta)))

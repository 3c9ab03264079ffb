"""Small networks that are chains of blocks, with pictures to train them on: for the files about learning rules."""

import sys
from pathlib import Path

import torch
from offramp.models.data import Data, Preprocessing
from offramp.models.learning import Setup
from offramp.models.objectives import Batch
from offramp.models.objectives.classification import Classification
from offramp.models.recipe import Recipe
from torch import nn

sys.path.append(str(Path(__file__).parent))
from small_stripes import stripes

RECIPE = Recipe("sgd", 0.1, 0.0, 3, 8, 0.0, label_smoothing=0.0, threads=1)
SPREAD = Preprocessing(1 / 255, (0.3,), (0.3,))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return torch.relu(x + self.norm(self.conv(x)))


def perceptron() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(16, 12, bias=False), nn.ELU(), nn.Linear(12, 9), nn.ELU(), nn.Linear(9, 3)
    )


def residual() -> nn.Sequential:
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), Residual(), Residual(), pool, nn.Linear(4, 3))


def setup(module: nn.Module, recipe: Recipe = RECIPE, data: Data | None = None) -> Setup:
    return Setup(
        "net", "image-classification", module, Classification(), data or stripes(preprocessing=SPREAD), recipe, 0, 10
    )


def batch(recipe: Recipe = RECIPE, count: int = 8) -> Batch:
    data = stripes(preprocessing=SPREAD)
    raw, labels = data.train.batch(range(count))
    return Batch(data.preprocessing.apply(raw), labels, recipe, torch.Generator().manual_seed(1))


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(2))

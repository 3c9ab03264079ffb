"""The ground of the study of brain symmetry: slices of each seed, networks trained on them, and what finds midlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

import torch
from torch import Tensor, nn

from ..models.batches import shuffled
from ..models.brain_midline import Halves, Lines, angle_errors, difference_score, mirror_search, principal_axis
from ..models.brain_phantoms import Phantoms, SliceRecipe, cut, draw_halves, draw_slices
from ..models.data import InMemory
from ..models.objectives import Batch, Objective
from ..models.optimizers import make_optimizer, set_learning_rate
from ..models.recipe import Recipe
from ..models.schedule import learning_rate_at
from ..models.symbrain import (
    PREPROCESSING,
    SIDES,
    VARIED,
    XS,
    Concatenation,
    Difference,
    MidlineNetwork,
    PairNetwork,
)
from ..models.symbrain_objectives import AsymmetryDetection, MidlineRegression, auc, to_lines
from ._trainings import seeded

CLEAN = SliceRecipe(XS.size)
HARD = SliceRecipe(XS.size, (1.0, 1.0), fissure=0.0)
MIXED = SliceRecipe(XS.size, VARIED, fissure=0.5)
TRAIN, TEST = 1200, 80
MIDLINES = Recipe(learning_rate=8e-3, weight_decay=0.01, epochs=8, batch_size=32, warmup_epochs=1.0)
SMOOTHNESSES = (0.5, 1.0, 1.5, 2.0, 3.0)  # of the difference that is scored without learning

Fusion = type[Difference] | type[Concatenation]


@dataclass(frozen=True)
class Errors:
    """Of one way to find midlines on one seed's slices: degrees, degrees, pixels."""

    angle: float
    angle_median: float
    offset: float


@dataclass(frozen=True)
class PairTask:
    """Halves to train on and to measure with, each with labels (N,)."""

    train: tuple[Halves, Tensor]
    test: tuple[Halves, Tensor]


def generator(seed: int, use: int) -> torch.Generator:
    """Draws of a seed for one use, apart from those for others."""
    return torch.Generator().manual_seed(1_000 * seed + use)


def fit(network: nn.Module, data: InMemory, objective: Objective, recipe: Recipe, seed: int) -> nn.Module:
    """The network after training on raw samples, in evaluation mode."""
    # A faster layout on a CPU.
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer, draws, step = make_optimizer(network, recipe), generator(seed, 0), 0
    for epoch in range(recipe.epochs):
        batches = shuffled(data, recipe.batch_size, seed, epoch, 0, 1)
        for indices in batches:
            raw, targets = data.batch(indices)
            samples = PREPROCESSING.apply(raw) if isinstance(raw, Tensor) else tuple(map(PREPROCESSING.apply, raw))
            set_learning_rate(optimizer, learning_rate_at(step, len(batches), recipe))
            outcome = objective.loss(network, None, Batch(samples, targets, recipe, draws))
            optimizer.zero_grad()
            outcome.loss.backward()
            optimizer.step()
            step += 1
    return network.to(memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]


def midline_network(seed: int, recipe: Recipe, count: int = TRAIN) -> tuple[nn.Module, Tensor]:
    """The zoo's `symbrain_xs` trained on slices of every kind, and the first of these as it takes them."""
    slices = draw_slices(count, MIXED, generator(seed, 1))
    data = InMemory(slices.images, torch.stack([slices.lines.angles, slices.lines.offsets], 1))
    network = seeded(lambda: MidlineNetwork(XS), seed)
    return fit(network, data, MidlineRegression(XS.size), recipe, seed), PREPROCESSING.apply(slices.images[:128])


def found_by(network: nn.Module, slices: Phantoms) -> Lines:
    with torch.no_grad():
        return to_lines(network(PREPROCESSING.apply(slices.images)), XS.size)


def midlines(network: nn.Module, slices: Phantoms) -> dict[str, Errors]:
    """Errors of each way on the same slices."""
    ways = {
        "principal axis": principal_axis(slices.images),
        "network": found_by(network, slices),
        "mirror search": mirror_search(slices.images),
    }
    return {name: errors_of(lines, slices.lines) for name, lines in ways.items()}


def errors_of(found: Lines, true: Lines) -> Errors:
    angles = angle_errors(found.angles, true.angles).tolist()
    return Errors(fmean(angles), median(angles), (found.offsets - true.offsets).abs().mean().item())


def pair_task(seed: int, asymmetry: float, train: int, test: int = 300) -> PairTask:
    """Halves with two nuclei that they have in common, and in half of the pairs a lesion that they have not."""
    recipe = SliceRecipe(SIDES.size, (asymmetry, asymmetry), nuclei=2)
    draws = generator(seed, 2)
    return PairTask(draw_halves(train, recipe, draws), draw_halves(test, recipe, draws))


def learned_auc(task: PairTask, fusion: Fusion, recipe: Recipe, seed: int) -> float:
    """Of a network trained on the task's pairs, on those held out."""
    halves, labels = task.train
    data = InMemory((halves.upper, halves.lower), labels[:, None].float())
    network = fit(seeded(lambda: PairNetwork(SIDES, fusion), seed), data, AsymmetryDetection(), recipe, seed)
    held_out, kinds = task.test
    with torch.no_grad():
        logits = network(PREPROCESSING.apply(held_out.upper), PREPROCESSING.apply(held_out.lower))
    return auc(logits[:, 0], kinds)


def raw_auc(task: PairTask) -> float:
    """Of the largest smoothed difference, as smooth as is best on the pairs to train on."""
    halves, labels = task.train
    best = max(SMOOTHNESSES, key=lambda smoothness: auc(difference_score(halves, smoothness), labels))
    return auc(difference_score(task.test[0], best), task.test[1])


def misaligned_aucs(seed: int, asymmetry: float, axis_errors: Sequence[float], count: int = 200) -> list[float]:
    """Of the largest smoothed difference, where the same slices are cut along an axis off by so many degrees."""
    slices = draw_slices(count, SliceRecipe(XS.size, (asymmetry, asymmetry)), generator(seed, 3))
    return [auc(difference_score(cut(slices, off)), slices.has_lesion) for off in axis_errors]

"""Variants of a small CARE Transformer, trained on single digits first, then on pairs: the ground of its ablations."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from ..models.care_transformer import CareConfig, CareTransformer
from ..models.care_variants import CareVariant, at_equal_macs, macs, variant_network
from ._same_different import CLASSES, Draw, Split, accuracy, one_digit, prepared, same_different
from ._trainings import seeded, two_at_a_time

SIZE, GRID = 24, 8  # pixels of a picture, and of its cells
# Two stages: 11x1 and 1x11 convolutions on 6 x 6 positions, attention on 3 x 3. Twelve outputs: ten digits, then
# "different" and "same".
CONFIG = CareConfig(
    depths=(1, 1),
    memory_dims=(8, 16),
    ratios=((1, 1), (1, 1)),
    head_dims=(0, 8),
    class_dim=64,
    num_classes=CLASSES + 2,
    in_channels=1,
    gamma=1.0,
)


@dataclass(frozen=True)
class Schedule:
    """How long each of the two phases is.

    Attributes:
        digit_epochs, pair_epochs: passes.
        digits, pairs: fresh pictures a pass.
        batch: pictures a step.
        learning_rate: peak of each phase, after a warm-up, before a cosine.
    """

    digit_epochs: int = 4
    pair_epochs: int = 5
    digits: int = 1280
    pairs: int = 1536
    batch: int = 128
    learning_rate: float = 2e-2


SCHEDULE = Schedule()


@dataclass(frozen=True)
class Trained:
    """A variant at the asymmetric network's cost, and what its trainings reached.

    Attributes:
        variant: with its widening.
        macs, parameters: of the network.
        digits, pairs: accuracies by seed, on pictures of digits that no training saw.
    """

    variant: CareVariant
    macs: int
    parameters: int
    digits: list[float]
    pairs: list[float]


def train_variants(variants: Sequence[CareVariant], seeds: Sequence[int], schedule: Schedule) -> list[Trained]:
    """Every variant with every seed, two trainings at a time, each on a thread of its own.

    Weights are drawn before any training begins, and pictures and orders come from generators of each seed, so that
    equal seeds give equal bits whatever runs beside them. All variants of a seed see the same pictures.
    """
    equal = [at_equal_macs(variant, CONFIG, SIZE) for variant in variants]
    jobs = [(seeded(partial(variant_network, variant, CONFIG), seed), seed) for variant in equal for seed in seeds]
    found = two_at_a_time(lambda job: _train(*job, schedule), jobs)
    trained = []
    for place, variant in enumerate(equal):
        own = slice(place * len(seeds), (place + 1) * len(seeds))
        parameters = sum(parameter.numel() for parameter in jobs[own.start][0].parameters())
        digits, pairs = (list(values) for values in zip(*found[own], strict=True))
        trained.append(Trained(variant, macs(variant, CONFIG, SIZE).total, parameters, digits, pairs))
    return trained


def _train(network: CareTransformer, seed: int, schedule: Schedule) -> tuple[float, float]:
    """Accuracy on single digits after the first phase, and on pairs after the second."""
    _phase(network, _digits, schedule.digits, schedule.digit_epochs, seed, schedule)
    on_digits = accuracy(network, _digits)
    _phase(network, _pairs, schedule.pairs, schedule.pair_epochs, seed, schedule)
    return on_digits, accuracy(network, _pairs)


def _digits(count: int, seed: int, split: Split) -> tuple[Tensor, Tensor]:
    return one_digit(count, seed, SIZE, split=split, grid=GRID)


def _pairs(count: int, seed: int, split: Split) -> tuple[Tensor, Tensor]:
    images, same = same_different(count, seed, SIZE, split=split, grid=GRID)
    return images, same + CLASSES


def _phase(network: CareTransformer, draw: Draw, count: int, epochs: int, seed: int, schedule: Schedule) -> None:
    """AdamW with a warm-up and a cosine; pictures come in random order already.

    Channels come last, in which a CPU's depthwise convolutions run faster.
    """
    steps = count // schedule.batch
    optimizer = torch.optim.AdamW(network.parameters(), schedule.learning_rate, weight_decay=0.05, fused=True)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, schedule.learning_rate, total_steps=epochs * steps, pct_start=0.15
    )
    network.train()
    for epoch in range(epochs):
        images, labels = draw(count, 1000 * seed + epoch, "train")
        for step in range(steps):
            chosen = slice(step * schedule.batch, (step + 1) * schedule.batch)
            optimizer.zero_grad()
            batch = prepared(images[chosen]).contiguous(memory_format=torch.channels_last)
            functional.cross_entropy(network(batch), labels[chosen]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rates.step()

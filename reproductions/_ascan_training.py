"""AsCAN's layouts trained on single digits, and some of them then on pairs: the ground of its study."""

import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from ..models.ascan import XS, Ascan
from ..models.ascan_blocks import AscanConfig
from ._same_different import CLASSES, TEST_SEED, Draw, Split, accuracy, one_digit, prepared, same_different
from ._trainings import seeded

SIZE, GRID = 32, 8  # pixels of a picture, and of its cells; a digit fills one
LAYOUTS = {
    "asymmetric": ("CC", "CCT", "CTT", "TT"),
    "CoAtNet-like": ("CC", "CCC", "TTT", "TT"),
    "alternating": ("CT", "CTC", "TCT", "CT"),
    "all C": ("CC", "CCC", "CCC", "CC"),
    "reversed": ("TT", "TTC", "TCC", "CC"),
}
_BATCH, _RATE = 64, 4e-3


@dataclass(frozen=True)
class Trained:
    """A layout, and what its trainings reached.

    Attributes:
        digits: accuracies by seed, on pictures of digits that no training saw.
        pairs: likewise; empty where it was not trained on pairs.
        network: of the first seed, after digits.
    """

    digits: list[float]
    pairs: list[float]
    network: Ascan


def config_of(layout: str) -> AscanConfig:
    """Maps of 8, 4, 2 and 2 positions across; twelve outputs: ten digits, then "different" and "same".

    Without squeeze-and-excitation, which would let convolutions see the whole map as attention does.
    """
    return replace(XS, layout=LAYOUTS[layout], strides=(2, 2, 2, 1), squeeze=0, num_classes=CLASSES + 2)


def fresh(layout: str, seed: int) -> Ascan:
    """A network with first weights of a seed."""
    return seeded(lambda: Ascan(config_of(layout)), seed)


Job = tuple[str, int]  # layout, seed


def fresh_layouts(seeds: Sequence[int]) -> dict[Job, Ascan]:
    """Every layout with every seed."""
    return {(layout, seed): fresh(layout, seed) for layout in LAYOUTS for seed in seeds}


def train_layouts(
    pool: Executor, networks: Mapping[Job, Ascan], digit_steps: int, pair_steps: int, on_pairs: Sequence[str]
) -> dict[str, Trained]:
    """What `fresh_layouts` gave, in place.

    Pictures come from generators of each seed, so that equal seeds give equal bits whatever runs beside them. All
    layouts of a seed see the same pictures.
    """

    def run(job: Job) -> tuple[float, float | None, Ascan]:
        (layout, seed), network = job, networks[job]
        _phase(network, draw_digits, digit_steps, seed)
        found, kept = accuracy(network, draw_digits), copy.deepcopy(network)
        if layout not in on_pairs:
            return found, None, kept
        _phase(network, draw_pairs, pair_steps, seed)
        return found, accuracy(network, draw_pairs), kept

    rows = dict(zip(networks, pool.map(run, networks)))
    trained = {}
    for layout in LAYOUTS:
        own = [row for (each, _), row in rows.items() if each == layout]
        pairs = [value for _, value, _ in own if value is not None]
        trained[layout] = Trained([value for value, _, _ in own], pairs, own[0][2])
    return trained


def draw_digits(count: int, seed: int, split: Split) -> tuple[Tensor, Tensor]:
    """A digit in one of sixteen cells."""
    return one_digit(count, seed, SIZE, split=split, grid=GRID)


def draw_pairs(count: int, seed: int, split: Split) -> tuple[Tensor, Tensor]:
    """Two digits in two cells; labels follow those of digits."""
    images, same = same_different(count, seed, SIZE, split=split, grid=GRID)
    return images, same + CLASSES


def held_out(count: int) -> tuple[Tensor, Tensor]:
    """Prepared images of digits that no training saw, and labels."""
    images, labels = draw_digits(count, TEST_SEED, "test")
    return prepared(images), labels


def _phase(network: Ascan, draw: Draw, steps: int, seed: int) -> None:
    """AdamW on fresh pictures, with a warm-up and a cosine. Channels last are faster on a CPU."""
    network.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=0.05, fused=True)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=max(2, steps), pct_start=0.15)
    images, labels = draw(steps * _BATCH, seed, "train")
    for chosen in torch.arange(len(images)).split(_BATCH):
        optimizer.zero_grad()
        batch = prepared(images[chosen]).contiguous(memory_format=torch.channels_last)
        functional.cross_entropy(network(batch), labels[chosen]).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rates.step()

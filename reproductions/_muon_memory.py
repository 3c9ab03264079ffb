"""Two-layer memories of the study of Muon: trained on draws from a power law, measured fact by fact, then rounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..models.associative_memory import FACT_COUNT, FACT_EDGES, GROUPS, KEY_WIDTH, FeedForwardMemory
from ..models.associative_memory_data import frequencies
from ..quant.scheme import Scheme
from ._artifacts import run_on, ship
from ._muon_training import ADAM, MUON, SGD, Choice, Copies, Rule, distinct, train_copies
from ._trainings import seeded

BATCH = 256
OPTIMIZERS = (ADAM, MUON, SGD)
# By the steps of a training, for each optimizer the best of six rates for the tail, on two seeds that are none of the
# study's: 0.01 to 0.08 for Adam, 0.01 to 0.16 for Muon, 0.1 to 0.6 for SGD.
RATES: Mapping[int, Mapping[str, float]] = {
    50: {ADAM: 0.04, MUON: 0.08, SGD: 0.4},
    100: {ADAM: 0.03, MUON: 0.04, SGD: 0.4},
    200: {ADAM: 0.03, MUON: 0.03, SGD: 0.4},
}


@dataclass(frozen=True)
class Memories:
    """Trained memories, one of each optimizer of `OPTIMIZERS` and each seed.

    Attributes:
        keys: (seeds, facts, width).
        seen: (seeds, facts), whether a fact was drawn at all.
    """

    copies: Copies
    keys: Tensor
    seen: Tensor

    def hits(self, copies: Copies | None = None) -> Tensor:
        """(optimizers, seeds, facts): 1 where the right fact has the best score, of these copies or changed ones."""
        scores = (copies or self.copies).scores(self.keys)
        return (scores.argmax(-1) == torch.arange(scores.shape[-1])).float()

    def second(self, optimizer: str) -> Tensor:
        """(seeds, width, hidden): the matrices that facts are stored in."""
        return self.copies.states["second.weight"][OPTIMIZERS.index(optimizer)]


def train_memories(seeds: Sequence[int], length: int, steps: int) -> Memories:
    """Memories of keys that each seed draws.

    Args:
        length: of the training whose rates are taken, of `RATES`.
        steps: that are made, as many where nothing is cut short.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    keys = torch.stack([torch.randn(FACT_COUNT, KEY_WIDTH, generator=generator) for generator in generators])
    shares, rows = frequencies(FACT_COUNT), torch.arange(len(seeds))[:, None]
    seen = torch.zeros(len(seeds), FACT_COUNT)

    def batches(_: int) -> tuple[Tensor, Tensor, Tensor]:
        draws = torch.stack([torch.multinomial(shares, BATCH, True, generator=generator) for generator in generators])
        facts, parts = distinct(draws, FACT_COUNT)
        seen.scatter_(1, draws, 1.0)
        return keys[rows, facts], facts, parts

    networks = [seeded(FeedForwardMemory, seed) for seed in seeds]
    choices = [Choice(Rule(name, RATES[length][name])) for name in OPTIMIZERS]
    return Memories(train_copies(networks, choices, batches, steps), keys, seen)


def by_group(hits: Tensor, edges: tuple[int, int] = FACT_EDGES) -> dict[str, Tensor]:
    """(..., facts in order of frequency) to the mean of the head, the middle and the tail, (...)."""
    parts = hits.tensor_split(edges, dim=-1)
    return {name: part.mean(-1) for name, part in zip(GROUPS, parts, strict=True)}


def rounded(copies: Copies, bits: int) -> Copies:
    """Weights in `2^bits - 1` symmetric steps, with one scale for all of a matrix."""
    most = 2 ** (bits - 1) - 1
    states = dict(copies.states)
    for name in ("first.weight", "second.weight"):
        scale = states[name].abs().amax((-2, -1), keepdim=True) / most
        states[name] = (states[name] / scale).round() * scale
    return Copies(states, copies.network)


def score_errors(memories: Memories, bits: int) -> Tensor:
    """(optimizers, seeds): root mean square of what rounding changes of the scores, over that of the scores."""
    exact = memories.copies.scores(memories.keys)
    change = rounded(memories.copies, bits).scores(memories.keys) - exact
    return change.square().mean((-2, -1)).sqrt() / exact.square().mean((-2, -1)).sqrt()


def artifact_hits(memories: Memories, optimizer: str, folder: Path) -> Tensor:
    """(seeds, facts) of int8 ONNX files with weights rounded to the nearest code, executed on every key.

    Each is quantized on every second key, which are in the order of their frequencies.
    """
    return torch.stack([_executed(memories, optimizer, seed, folder) for seed in range(len(memories.keys))])


def _executed(memories: Memories, optimizer: str, seed: int, folder: Path) -> Tensor:
    network = memories.copies.network_of(OPTIMIZERS.index(optimizer), seed)
    keys, scheme = memories.keys[seed], Scheme(rounding="nearest")
    given = {"key": keys[::2].numpy()}
    files = ship(f"{optimizer}_{seed}", network, {"key": keys[:1]}, given, folder, ("onnx",), ("int8",), scheme)
    (scores,) = run_on(files["onnx", "int8"], {"key": keys.numpy()}).values()
    return (torch.from_numpy(scores).argmax(1) == torch.arange(len(keys))).float()

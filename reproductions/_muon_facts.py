"""Small transformers of the study of Muon: biographies, with Muon on some of the matrices and Adam on the rest."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..models.associative_memory import ANSWERS, RELATIONS, SUBJECTS, TOKENS, transformer
from ..models.associative_memory_data import Biographies, frequencies, one_hot
from ._muon_training import ADAM, MUON, Choice, Rule, distinct, train_copies
from ._trainings import seeded

STEPS, BATCH = 200, 64  # subjects of a batch, each asked for in every relation
QK = ("attention.query.weight", "attention.key.weight")
VO = ("attention.value.weight", "attention.output.weight")
FFN = ("feed_forward.inner.weight", "feed_forward.outer.weight")
BLOCKS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "QK": QK,
    "VO": VO,
    "FFN": FFN,
    "VO and FFN": VO + FFN,
    "all": QK + VO + FFN,
}
# Muon's and Adam's, for each the best for the tail: of eight on two seeds, then of the best two on four, none of them
# the study's. Muon's were 0.01, 0.02, 0.04 and 0.08 with Adam at 0.01 and at 0.02; Adam's alone 0.0025 to 0.03.
RATES: Mapping[str, tuple[float, float]] = {
    "none": (0.0, 0.015),
    "QK": (0.01, 0.02),
    "VO": (0.08, 0.01),
    "FFN": (0.08, 0.02),
    "VO and FFN": (0.08, 0.02),
    "all": (0.04, 0.02),
}


def choice_of(blocks: str) -> Choice:
    """Muon on the matrices of these blocks."""
    muon, adam = RATES[blocks]
    return Choice(Rule(ADAM, adam), dict.fromkeys(BLOCKS[blocks], Rule(MUON, muon)))


def train_transformers(seeds: Sequence[int], steps: int) -> Tensor:
    """(blocks, seeds, subjects * relations): 1 where a prompt is answered, those of the most frequent subject first."""
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    known = [Biographies.draw(SUBJECTS, RELATIONS, ANSWERS, generator) for generator in generators]
    shares = frequencies(SUBJECTS)

    def batches(_: int) -> tuple[Tensor, Tensor, Tensor]:
        draws = torch.stack([torch.multinomial(shares, BATCH, True, generator=generator) for generator in generators])
        subjects, parts = distinct(draws, SUBJECTS)
        inputs, answers = _asked(known, subjects)
        return inputs, answers, parts.repeat_interleave(RELATIONS, 1) / RELATIONS

    networks = [seeded(transformer, seed) for seed in seeds]
    copies = train_copies(networks, [choice_of(blocks) for blocks in BLOCKS], batches, steps)
    inputs, answers = _asked(known, torch.arange(SUBJECTS).expand(len(seeds), -1))
    return (copies.scores(inputs).argmax(-1) == answers).float()


def _asked(known: Sequence[Biographies], subjects: Tensor) -> tuple[Tensor, Tensor]:
    """One-hot prompts (seeds, N * relations, 3, tokens) of subjects (seeds, N) in every relation, and the answers."""
    asked = subjects.repeat_interleave(RELATIONS, 1)
    relations = torch.arange(RELATIONS).repeat(subjects.shape[1])
    pairs = [facts.prompts(row, relations) for facts, row in zip(known, asked)]
    prompts, answers = (torch.stack(list(parts)) for parts in zip(*pairs))
    return one_hot(prompts, TOKENS), answers

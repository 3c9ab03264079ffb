"""Associative memories of facts, a few of them frequent and most of them rare: a feed-forward one and a transformer.

Wang, Zhang, Li, Du, Du, Pang, Yang, Hong and Tan, "Muon Outperforms Adam in Tail-End Associative Memory Learning",
ICLR 2026, arXiv 2509.26030. Accuracy is told for the head, the middle and the tail of the frequencies, of the network
and of every artifact: what quantization costs, it may take from rare facts first.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from .associative_memory_data import BIOGRAPHIES, FACTS, biographies, check_name, keyed_facts
from .data import Data
from .objectives.classification import Classification
from .recipe import Recipe
from .system import System

GROUPS = ("head", "middle", "tail")


class FeedForwardMemory(nn.Module):
    """A key (B, width) to scores of the facts (B, facts): `values W2 relu(W1 key)`.

    Attributes:
        first, second: W1 (hidden, width) and W2 (width, hidden), without biases.
        values: (facts, width), an embedding of each fact of length about 1; drawn once, never trained.
    """

    values: Tensor

    def __init__(self, facts: int = 512, width: int = 64, hidden: int = 128):
        super().__init__()
        self.first = nn.Linear(width, hidden, bias=False)
        self.second = nn.Linear(hidden, width, bias=False)
        self.register_buffer("values", torch.randn(facts, width) / math.sqrt(width))

    def forward(self, key: Tensor) -> Tensor:
        return functional.linear(self.second(functional.relu(self.first(key))), self.values)


class Attention(nn.Module):
    """The last position of (B, T, width) asks all of them: (B, 1, width), one head.

    Query, key, value and output matrices are apart, as an optimizer may treat each in its own way.
    """

    def __init__(self, width: int):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, tokens: Tensor) -> Tensor:
        weights = self.query(tokens[:, -1:]) @ self.key(tokens).transpose(1, 2) / math.sqrt(tokens.shape[2])
        return self.output(weights.softmax(2) @ self.value(tokens))


class FeedForward(nn.Module):
    """(B, 1, width) to the same through `hidden` units."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.inner, self.outer = nn.Linear(width, hidden, bias=False), nn.Linear(hidden, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.outer(functional.relu(self.inner(tokens)))


class FactTransformer(nn.Module):
    """One-hot prompts `subject relation ?` (B, 3, tokens) to scores (B, answers): a transformer of one block.

    Tokens differ by place, so places need no embedding of their own. Only what the last position becomes is computed.
    """

    def __init__(self, tokens: int, answers: int, width: int = 32, hidden: int = 128):
        super().__init__()
        self.embed = nn.Embedding(tokens, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.attention = Attention(width)
        self.feed_forward = FeedForward(width, hidden)
        self.answer = nn.Linear(width, answers)

    def forward(self, prompt: Tensor) -> Tensor:
        return self.answers(functional.linear(prompt, self.embed.weight.T))

    def answers(self, embedded: Tensor) -> Tensor:
        """Scores (B, answers) of embedded tokens (B, 3, width)."""
        asked = embedded[:, -1:] + self.attention(self.norms[0](embedded))
        asked = asked + self.feed_forward(self.norms[1](asked))
        return self.answer(self.norms[2](asked).flatten(1))


class ByFrequency(Classification):
    """Classification with `accuracy_head`, `accuracy_middle` and `accuracy_tail`, of targets numbered by frequency.

    Args:
        edges: where the middle and the tail begin; a group without samples has no figure.
    """

    def __init__(self, edges: tuple[int, int]):
        self.edges = edges

    def ranks(self, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B,) each sample's place in the order of frequencies."""
        return targets

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 3): hit, loss, and group."""
        groups = torch.bucketize(
            self.ranks(inputs, targets), torch.tensor(self.edges, device=targets.device), right=True
        )
        return torch.cat([super().scores(outputs, inputs, targets), groups[:, None].float()], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        found = super().metrics(scores[:, :2])
        for number, name in enumerate(GROUPS):
            hits = scores[scores[:, 2] == number, 0]
            if len(hits):
                found[f"accuracy_{name}"] = hits.mean().item()
        return found


class BySubject(ByFrequency):
    """The same of prompts, by the frequency of their subject, which is their first token."""

    def ranks(self, inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        return inputs[0][:, 0].argmax(1)


FACT_COUNT, KEY_WIDTH, FACT_EDGES = 512, 64, (64, 160)
SUBJECTS, RELATIONS, ANSWERS, SUBJECT_EDGES = 128, 4, 64, (16, 40)
TOKENS = SUBJECTS + RELATIONS + 1


def read_facts(name: str, seed: int) -> Data:
    """`power-law-facts`.

    Raises:
        BadInput: it is another name.
    """
    check_name(name, FACTS)
    return keyed_facts(seed, FACT_COUNT, KEY_WIDTH)


def read_biographies(name: str, seed: int) -> Data:
    """`power-law-biographies`.

    Raises:
        BadInput: it is another name.
    """
    check_name(name, BIOGRAPHIES)
    return biographies(seed, SUBJECTS, RELATIONS, ANSWERS)


def transformer() -> FactTransformer:
    """Of the zoo's biographies."""
    return FactTransformer(TOKENS, ANSWERS)


_RECIPE = Recipe("muon", 2e-2, 0.0, epochs=10, batch_size=128, warmup_epochs=0.5, label_smoothing=0.0, threads=1)


def _system(
    name: str,
    build: Callable[[], nn.Module],
    shapes: dict[str, tuple[int, ...]],
    objective: ByFrequency,
    dataset: str,
    read: Callable[[str, int], Data],
) -> System:
    return System(
        name=name,
        paper="muon-associative-memory",
        task="associative-recall",
        build=build,
        input_shapes=shapes,
        dataset=dataset,
        recipe=_RECIPE,
        source="Wang et al., Muon Outperforms Adam in Tail-End Associative Memory Learning, arXiv 2509.26030",
        objective=objective,
        read=read,
    )


SYSTEMS = (
    _system("assoc_memory", FeedForwardMemory, {"key": (1, KEY_WIDTH)}, ByFrequency(FACT_EDGES), FACTS, read_facts),
    _system(
        "fact_transformer",
        transformer,
        {"prompt": (1, 3, TOKENS)},
        BySubject(SUBJECT_EDGES),
        BIOGRAPHIES,
        read_biographies,
    ),
)

"""Multitasking Hebbian networks: one state recalls several patterns at once, because patterns leave entries blank.

Agliari, Alessandrelli, Barra and Ricci-Tersenghi, "Parallel Learning by Multitasking Neural Networks", J. Stat. Mech.
2023, arXiv 2308.04106. Spins follow the sign of their field and keep their value where it is 0. Devices have no
asynchronous order, so a quarter of the spins moves at a time, as the squares of a board in four colours, and only
spins of different quarters are coupled: a move never raises the energy, so there are no cycles of two states, and every
state of rest is one of asynchronous dynamics. As no spin is coupled to its own quarter, the diagonal is zero. Fields
are whole numbers, in int8 as well (`Move`).
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from .diluted_patterns import DIGITS, PATTERNS, PatternRecipe, read_patterns
from .hebbian_objective import Retrieval
from .hebbian_pictures import illustrate
from .learning.hebbian import Hebbian
from .recipe import Recipe
from .system import System

MOST_CODE = 127
PARTS = 4


def parts_of(spins: int) -> Tensor:
    """(4, N): 1 for the spins that move together, every fourth in its row."""
    return functional.one_hot(torch.arange(spins) % PARTS, PARTS).T.float()


class Multitasking(nn.Module):
    """A cue (B, N) of -1 and +1 to the relaxed state (B, N), and its overlaps xi . s with the K patterns, (B, K).

    Attributes:
        patterns: (K, N) of -1, 0 and +1; random until it learns.
        steps: in each, all spins move once, a quarter at a time.
    """

    parts: Tensor

    def __init__(self, patterns: Tensor, steps: int):
        super().__init__()
        self.patterns, self.steps = nn.Parameter(patterns.clone()), steps
        self.register_buffer("parts", parts_of(patterns.shape[1]), persistent=False)

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(self.steps):
            for own in self.parts:
                overlaps = functional.linear(state * (1 - own), self.patterns)
                field = overlaps @ self.patterns * own
                # Of whole numbers: a field of at least 1 decides, one of 0 keeps the spin.
                state = (state + 2 * field).clamp(-1, 1)
        return state, functional.linear(state, self.patterns)


class Move(nn.Module):
    """The spins of one part follow the fields of all others, through counts of at most 127 that 8 bits hold exactly.

    `count` has rows that read at most 127 spins each, and two that are always -128 and 127; these, and the state laid
    beside them, make the codes of a quantized network the whole numbers themselves: scale 1, zero point 0.
    """

    def __init__(self, patterns: Tensor, own: Tensor):
        super().__init__()
        rows, owner = _rows_of(patterns * (1 - own))
        self.count = _linear(torch.cat([rows, torch.zeros(2, rows.shape[1])]), _anchors(len(rows), 1))
        field = 2 * (patterns * own)[owner].T
        field = torch.cat([field, torch.zeros(len(field), 2)], 1)
        self.field = _linear(torch.cat([field, -field]))

    def forward(self, state: Tensor) -> Tensor:
        joint = torch.cat([self.count(state), state], 1)
        width = self.count.out_features
        counts, state = joint[:, :width], joint[:, width:]
        up, down = functional.relu6(self.field(counts)).chunk(2, 1)
        return (state + (up - down)).clamp(-1, 1)


class ShippedMultitasking(nn.Module):
    """The network of a `Multitasking` as it goes to devices, of the same outputs: constant layers, ternary weights.

    Overlaps of patterns with more than 127 entries that are not blank come in steps of 2 (3, ...) in int8.
    """

    def __init__(self, trained: Multitasking):
        super().__init__()
        patterns = trained.patterns.detach()
        self.steps = trained.steps
        self.moves = nn.Sequential(*(Move(patterns, own) for own in trained.parts))
        self.patterns = len(patterns)
        step = -(-int(patterns.abs().sum(1).max()) // MOST_CODE)
        self.overlap = _linear(torch.cat([patterns, torch.zeros(2, patterns.shape[1])]), _anchors(len(patterns), step))

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(self.steps):
            state = self.moves(state)
        joint = torch.cat([self.overlap(state), state], 1)
        return joint[:, self.patterns + 2 :], joint[:, : self.patterns]


class Pooled(nn.Module):
    """A cue (B, N) to the relaxed state (B, N), by couplings of all pairs, which need no labels to be learnt.

    Attributes:
        couplings: (N, N) of whole numbers; random until it learns.
        steps: in each, all spins move once, a quarter at a time.
    """

    parts: Tensor

    def __init__(self, couplings: Tensor, steps: int):
        super().__init__()
        self.couplings, self.steps = nn.Parameter(couplings.clone()), steps
        self.register_buffer("parts", parts_of(len(couplings)), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        for _ in range(self.steps):
            for own in self.parts:
                field = functional.linear(state * (1 - own), self.couplings) * own
                state = (state + 2 * field).clamp(-1, 1)
        return state


class WholeCodes(nn.Module):
    """A state laid beside the constants -128 and 127 and taken out again, so that its int8 codes are -1, 0 and +1."""

    def __init__(self, spins: int):
        super().__init__()
        self.anchors = _linear(torch.zeros(2, spins), _anchors(0, 1))

    def forward(self, state: Tensor) -> Tensor:
        return torch.cat([self.anchors(state), state], 1)[:, 2:]


class PooledMove(nn.Module):
    """The spins of one part follow the fields of all others, through one layer of couplings.

    Of whole codes the fields are exact sums of the couplings' codes, in every engine; they keep the sign of the float
    network's up to the rounding of the couplings.
    """

    def __init__(self, couplings: Tensor, own: Tensor):
        super().__init__()
        field = 2 * own[:, None] * couplings * (1 - own)
        self.field = _linear(torch.cat([field, -field]))

    def forward(self, state: Tensor) -> Tensor:
        up, down = functional.relu6(self.field(state)).chunk(2, 1)
        return (state + (up - down)).clamp(-1, 1)


class ShippedPooled(nn.Module):
    """The network of a `Pooled` as it goes to devices, of the same output."""

    def __init__(self, trained: Pooled):
        super().__init__()
        self.steps = trained.steps
        self.moves = nn.ModuleList(PooledMove(trained.couplings.detach(), own) for own in trained.parts)
        self.whole = WholeCodes(trained.couplings.shape[1])

    def forward(self, state: Tensor) -> Tensor:
        for _ in range(self.steps):
            for move in self.moves:
                state = move(self.whole(state))
        return self.whole(state)


def ship(trained: nn.Module) -> nn.Module:
    """A network of spins as it goes to devices."""
    if isinstance(trained, Pooled):
        return ShippedPooled(trained).train(trained.training)
    assert isinstance(trained, Multitasking)
    return ShippedMultitasking(trained).train(trained.training)


def _rows_of(patterns: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with at most 127 entries each that add up to the patterns, (R, N), and whose each one is, (R,)."""
    rows, owner = [], []
    for number, pattern in enumerate(patterns):
        places = pattern.nonzero()[:, 0]
        for part in places.split(MOST_CODE) or (places,):
            rows.append(torch.zeros_like(pattern).index_copy_(0, part, pattern[part]))
            owner.append(number)
    return torch.stack(rows), torch.tensor(owner)


def _anchors(rows: int, step: int) -> Tensor:
    """The bias of rows that are followed by the constants -128 and 127 steps."""
    return torch.cat([torch.zeros(rows), step * torch.tensor([-128.0, 127.0])])


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


def _random(rows: int, spins: int) -> Tensor:
    return torch.randint(-1, 2, (rows, spins)).float()


DRAWN = PatternRecipe()
OF_DIGITS = PatternRecipe(n=64, k=3, d=0.4, r=0.6, m=41)
_ONE_PASS = Recipe(epochs=1, batch_size=1, warmup_epochs=0.0, label_smoothing=0.0, threads=1)
_SOURCE = Hebbian.source


def _system(name: str, patterns: PatternRecipe, dataset: str, steps: int) -> System:
    return System(
        name=name,
        paper="multitasking-hebbian",
        task="multitask-recall",
        build=lambda: Multitasking(_random(patterns.k, patterns.n), steps),
        input_shapes={"spins": (1, patterns.n)},
        output_names=("recalled", "overlaps"),
        dataset=dataset,
        recipe=_ONE_PASS,
        objective=Retrieval(),
        read=partial(read_patterns, default=patterns),
        ship=ship,
        illustrate=illustrate,
        rule=Hebbian(),
        source=_SOURCE,
    )


SYSTEMS = (
    _system("hopfield_multitask", DRAWN, PATTERNS, 3),
    _system("hopfield_step", DRAWN, PATTERNS, 1),
    _system("hopfield_digits", OF_DIGITS, DIGITS, 3),
    System(
        name="hopfield_unsupervised",
        paper="multitasking-hebbian",
        task="multitask-recall",
        build=lambda: Pooled(_random(DRAWN.n, DRAWN.n), 1),
        input_shapes={"spins": (1, DRAWN.n)},
        output_names=("recalled",),
        dataset=PATTERNS,
        recipe=_ONE_PASS,
        objective=Retrieval(),
        read=partial(read_patterns, default=DRAWN),
        ship=ship,
        illustrate=illustrate,
        rule=Hebbian("unsupervised"),
        source=_SOURCE,
    ),
)

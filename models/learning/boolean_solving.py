"""Many starts of one search until each is solved: what success rates and records are made of."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

import torch
from torch import Tensor

from .boolean_projections import start, table_of
from .boolean_search import Layers, Search, evaluate_layers, whole_layers
from .boolean_threshold import BooleanThreshold

SMALLEST = {"cuda": 0.5}
"""A batch shrinks when fewer than this share are left; a GPU records another graph then."""


@dataclass(frozen=True)
class Outcome:
    """What a start came to.

    Attributes:
        seed: of the start.
        solved: whether the gap fell below the rule's, and the rows, rounded to whole numbers, fit every item.
        steps: taken, until then or in all.
        exact_steps: after which rows of a whole number first fitted every item; None where they never did.
        gap: the smallest.
        layers: the rows, of whole numbers where those give the same signs on the items: where it was solved, else where
            they first fitted, else where the gap was smallest.
        seconds: since all began.
    """

    seed: int
    solved: bool
    steps: int
    exact_steps: int | None
    gap: float
    layers: Layers = field(repr=False)
    seconds: float

    @property
    def exact(self) -> bool:
        """Whether the rows are whole numbers and fit every item."""
        return self.exact_steps is not None


@dataclass(frozen=True)
class Limits:
    """When to stop.

    Attributes:
        steps: of each start.
        seconds: in all.
        until_exact: whether rows that fit end a search, however far the projections still are from one another.
    """

    steps: int
    seconds: float = inf
    until_exact: bool = False


def solve(
    inputs: Tensor,
    outputs: Tensor,
    hidden: tuple[int, ...],
    rule: BooleanThreshold,
    seeds: Sequence[int],
    limits: Limits,
    device: str = "cpu",
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Searches from a start for each seed, all at once; those that are done leave the others to go on.

    Args:
        inputs: (M, n) of ±1.
        outputs: (M, k) likewise.
        hidden: widths between.
        rule: its settings; every `iterations` steps are looked at.
        seeds: each start's, whose first values do not depend on the others.
        device: `cpu` or `cuda`.
        tell: is given each outcome as it comes.

    Returns:
        In the order of the seeds.
    """
    race = _Race(inputs.cpu(), outputs.cpu(), rule, limits, tell)
    table = table_of(race.inputs, race.outputs, hidden, rule.support).to(device)
    at = start(table, [torch.Generator().manual_seed(seed) for seed in seeds])
    running = list(seeds)
    smallest = SMALLEST.get(device, 1.0)
    while running:
        search = Search(table, at, rule.relaxation, rule.stiffening)
        keep = list(range(len(running)))
        while len(keep) == len(running) or len(keep) > smallest * len(running):
            search.advance(min(rule.iterations, limits.steps - race.steps))
            race.steps += min(rule.iterations, limits.steps - race.steps)
            keep = race.look(search, running, keep)
        running = [running[place] for place in keep]
        if running:
            at = search.at.only(torch.tensor(keep, device=table.inputs.device))
    return sorted(race.found, key=lambda outcome: list(seeds).index(outcome.seed))


class _Race:
    """What is known of all starts while they run."""

    def __init__(
        self, inputs: Tensor, outputs: Tensor, rule: BooleanThreshold, limits: Limits, tell: Callable[[Outcome], None]
    ):
        self.inputs, self.outputs, self.rule, self.limits, self.tell = inputs, outputs, rule, limits, tell
        self.found: list[Outcome] = []
        self.steps = 0
        self._began = time.perf_counter()
        self._first: dict[int, tuple[int, Layers]] = {}

    def look(self, search: Search, running: Sequence[int], places: Sequence[int]) -> list[int]:
        """Of places in the batch, those that are not done yet."""
        gaps, fits = search.gaps().tolist(), search.fits().tolist()
        seconds = time.perf_counter() - self._began
        over = self.steps >= self.limits.steps or seconds >= self.limits.seconds
        keep = []
        for place in places:
            seed = running[place]
            whole = self._whole(search, place) if fits[place] else None
            if whole is not None:
                self._first.setdefault(seed, (self.steps, whole))
            solved = whole is not None and gaps[place] < self.rule.gap_stop
            if not (solved or over or (self.limits.until_exact and seed in self._first)):
                keep.append(place)
                continue
            exact_steps, layers = self._first.get(seed, (None, None))
            if solved or layers is None:
                layers = whole or whole_layers(search.layers(place), self.inputs)[0]
            outcome = Outcome(seed, solved, self.steps, exact_steps, gaps[place], layers, seconds)
            self.found.append(outcome)
            self.tell(outcome)
        return keep

    def _whole(self, search: Search, place: int) -> Layers | None:
        """The rows as whole numbers, where those exist and fit."""
        layers, failed = whole_layers(search.layers(place), self.inputs)
        fits = not failed and torch.equal(evaluate_layers(layers, self.inputs), self.outputs.double())
        return layers if fits else None

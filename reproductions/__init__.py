"""Reproductions: a paper's claims at small scale, each held against the baseline that it is about.

One file a paper, named after its slug, with a function `reproduce(study)` that returns claims. `find_reproduction`
reads the folder, so adding a paper is adding its file.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from ..errors import BadInput
from ..estimate import Estimate

Table = dict[str, Any]  # "title", "columns", "rows"


@dataclass(frozen=True)
class Study:
    """How a reproduction is run.

    Attributes:
        seeds: that every condition is run with.
        data: a data set's name or path; None for the bundled one.
        effort: share of the full number of epochs, for a quick look; claims are held at 1.
        say: told of each step.
    """

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    data: str | None = None
    effort: float = 1.0
    say: Callable[[str], None] = field(default=lambda _: None, compare=False)

    def __post_init__(self) -> None:
        if not 0 < self.effort <= 1:
            raise BadInput(f"effort must be above 0 and at most 1, got {self.effort:g}")

    def refuse_data(self, source: str) -> None:
        """For studies whose truth must be known.

        Raises:
            BadInput: the user gave data.
        """
        if self.data is not None:
            raise BadInput(f"{self.data}: this study {source}; leave out --data")

    def epochs(self, full: int) -> int:
        """As many as the effort leaves, at least one."""
        return max(1, round(full * self.effort))


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what was found.

    Attributes:
        claim: in our words, with the condition it was tried under.
        metric: what `baseline` and `ours` are.
        baseline, ours: over the seeds.
        holds: whether it does, by the rule that `claim` states.
        note: what else a reader must know.
        table: further figures.
    """

    claim: str
    metric: str
    baseline: Estimate
    ours: Estimate
    holds: bool
    note: str = ""
    table: Table | None = None


Reproduce = Callable[[Study], list[Claim]]


def reproductions() -> tuple[str, ...]:
    """Slugs of the papers that can be reproduced."""
    names = (info.name for info in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in names if not name.startswith("_")))


def find_reproduction(slug: str) -> Reproduce:
    """The reproduction of a paper.

    Raises:
        BadInput: there is none of that slug; the message lists those that exist.
    """
    if slug not in reproductions():
        raise BadInput(f"{slug}: no such reproduction; known: {', '.join(reproductions())}")
    return importlib.import_module(f"{__name__}.{slug.replace('-', '_')}").reproduce


def claims_of(slug: str, study: Study) -> list[dict[str, Any]]:
    """Runs a reproduction; one row for each claim: `slug`, the claim's fields, and `seeds`."""
    return [{"slug": slug, **asdict(claim), "seeds": len(study.seeds)} for claim in find_reproduction(slug)(study)]

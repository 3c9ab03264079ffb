"""Patterns with blank entries, for networks that recall several at once: drawn, made from digits, or the user's own.

An archetype has entries of -1, 0 (blank) and +1; an example is an archetype some of whose signs are turned over, and
blanks stay blank (Agliari et al., "Parallel Learning by Multitasking Neural Networks", J. Stat. Mech. 2023, arXiv
2308.04106). A cue is an example whose blanks are filled by chance, so that it has a sign for every spin.
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from .data import Data, InMemory, Preprocessing, load_arrays
from .data.digits import load_digits

PATTERNS, DIGITS = "diluted-patterns", "diluted-digits"
MOST_DILUTION = 1.0


@dataclass(frozen=True)
class PatternRecipe:
    """How archetypes and examples are drawn.

    Attributes:
        n: entries of a pattern.
        k: archetypes.
        d: dilution, the share of blank entries, from 0 to below 1; exactly `round(d n)` are blank.
        r: quality of examples, from 0 to 1; a sign is turned over with probability (1 - r) / 2.
        m: examples of each archetype to learn from.
        cues: of each archetype, to measure recall on.
    """

    n: int = 240
    k: int = 3
    d: float = 0.5
    r: float = 0.6
    m: int = 41
    cues: int = 40

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be a whole number above 0, got {getattr(self, name):g}"
            for name in ("n", "k", "m", "cues")
            if getattr(self, name) < 1 or getattr(self, name) != int(getattr(self, name))
        ]
        if not 0 <= self.d < MOST_DILUTION or (not faults and round(self.d * self.n) >= self.n):
            faults.append(f"d must leave an entry that is not blank, got d {self.d:g} of {self.n:g} entries; lower it")
        if not 0 <= self.r <= 1:
            faults.append(f"r must be from 0 to 1, got {self.r:g}")
        if faults:
            raise BadInput("patterns: " + "; ".join(faults))


def recipe_named(name: str, default: PatternRecipe) -> PatternRecipe:
    """The recipe of `diluted-patterns`, or of `diluted-patterns:k=2,d=0.3` with changes.

    Raises:
        BadInput: a change is no `name=number` that is known.
    """
    known = {field.name: field.type for field in fields(PatternRecipe)}
    changes: dict[str, float] = {}
    for part in filter(None, name.partition(":")[2].split(",")):
        key, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = float("nan")
        if key not in known or not np.isfinite(number):
            raise BadInput(f"{name}: {part} is no change of the patterns; write {', '.join(known)} as d=0.3,m=20")
        changes[key] = number
    drawn = replace(default, **changes)  # type: ignore[arg-type]
    whole = {key: int(getattr(drawn, key)) for key in ("n", "k", "m", "cues")}
    return replace(drawn, **whole)


def draw_archetypes(recipe: PatternRecipe, draws: torch.Generator) -> Tensor:
    """(k, n) of -1, 0 and +1."""
    signs = _signs((recipe.k, recipe.n), draws)
    order = torch.rand((recipe.k, recipe.n), generator=draws).argsort(1)
    return torch.where(order < round(recipe.d * recipe.n), torch.zeros(()), signs)


def draw_examples(archetypes: Tensor, count: int, quality: float, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """`count` noisy copies of each archetype, (k count, n), and which one each is of, (k count,)."""
    labels = torch.arange(len(archetypes)).repeat(count)
    right = torch.rand((len(labels), archetypes.shape[1]), generator=draws) < (1 + quality) / 2
    return torch.where(right, archetypes[labels], -archetypes[labels]), labels


def filled(examples: Tensor, draws: torch.Generator) -> Tensor:
    """Examples with a random sign wherever they are blank: cues."""
    return torch.where(examples == 0, _signs(tuple(examples.shape), draws), examples)


def data_of(name: str, archetypes: Tensor, recipe: PatternRecipe, draws: torch.Generator) -> Data:
    """Examples to learn from and cues to recall by; a target is the archetype's number and then its entries."""
    examples, labels = draw_examples(archetypes, recipe.m, recipe.r, draws)
    noisy, of = draw_examples(archetypes, recipe.cues, recipe.r, draws)
    return _data(name, examples, labels, filled(noisy, draws), of, archetypes)


def read_patterns(name: str, seed: int, default: PatternRecipe) -> Data:
    """Drawn patterns, archetypes of digits, or the user's `.npz`.

    Args:
        name: `diluted-patterns` or `diluted-digits`, each with changes as in `diluted-patterns:k=2,d=0.3`; or an
            `.npz` with `patterns` (k, n), which examples are drawn of, or with `examples` (m, n) and `labels` (m,).

    Raises:
        BadInput: it is none of these, or its patterns do not fit a network of `default.n` spins and `default.k` rows.
    """
    draws = torch.Generator().manual_seed(seed)
    kind = name.partition(":")[0]
    if kind == PATTERNS:
        recipe = recipe_named(name, default)
        return _fitting(name, data_of(PATTERNS, draw_archetypes(recipe, draws), recipe, draws), default)
    if kind == DIGITS:
        recipe = recipe_named(name, default)
        return _fitting(name, data_of(DIGITS, digit_archetypes(recipe), recipe, draws), default)
    if Path(name).suffix == ".npz":
        return _fitting(name, load_patterns(Path(name), default, draws), default)
    raise BadInput(
        f"{name}: no such patterns; give {PATTERNS} or {DIGITS}, or an .npz with patterns, or with examples and labels"
    )


def digit_archetypes(recipe: PatternRecipe) -> Tensor:
    """The first k digits as (k, 64) signs: which pixels a class has darker than the mean of the classes has.

    Blank are the pixels whose class differs least from the others, as a share of the pixel's spread.
    """
    train = load_digits(1, 8).train
    assert isinstance(train, InMemory)
    images, labels = train.batch(range(len(train)))
    if recipe.n != 64 or recipe.k > 10:
        raise BadInput(f"{DIGITS}: have 64 pixels and 10 classes, got n {recipe.n} and k {recipe.k}; leave out n")
    assert isinstance(images, Tensor)
    pixels = images.flatten(1)
    means = torch.stack([pixels[labels == digit].mean(0) for digit in range(recipe.k)])
    apart = (means - means.mean(0)) / pixels.std(0).clamp(min=1.0)
    blank = apart.abs().argsort(dim=1, stable=True).argsort(dim=1) < round(recipe.d * recipe.n)
    return torch.where(blank, torch.zeros(()), torch.where(apart >= 0, 1.0, -1.0))


def load_patterns(path: Path, recipe: PatternRecipe, draws: torch.Generator) -> Data:
    """The user's own: `patterns`, whose examples are drawn, or `examples` with `labels`, whose majority is recalled.

    Raises:
        BadInput: the file cannot be read, or holds other values than -1, 0 and +1; the message names the array.
    """
    arrays, labels = load_arrays(path)
    if set(arrays) == {"patterns"} and labels is None:
        patterns = _ternary(path, "patterns", arrays["patterns"])
        return data_of(path.stem, patterns, recipe, draws)
    if set(arrays) != {"examples"} or labels is None:
        found = ", ".join(sorted([*arrays, *(["labels"] if labels is not None else [])]))
        raise BadInput(f"{path}: expected patterns, or examples and labels; found {found}")
    examples, of = _ternary(path, "examples", arrays["examples"]), torch.from_numpy(labels).long()
    counts = torch.zeros(int(of.max()) + 1, examples.shape[1]).index_add_(0, of, examples)
    if not counts.any(1).all():
        empty = int((~counts.any(1)).nonzero()[0])
        raise BadInput(f"{path}: the examples of label {empty} are missing or cancel out; give it others")
    return _data(path.stem, examples, of, filled(examples, draws), of, counts.sign())


def _ternary(path: Path, name: str, values: np.ndarray) -> Tensor:
    if values.ndim != 2:
        raise BadInput(f"{path}: {name} has shape {values.shape}; expected (number of {name}, spins)")
    wrong = ~np.isin(values, (-1, 0, 1))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise BadInput(
            f"{path}: {name}[{row}, {column}] is {values[row, column]:g}; expected -1, 0 (blank) or +1: take signs "
            "first"
        )
    blank = ~values.any(1)
    if blank.any():
        raise BadInput(
            f"{path}: {name}[{int(np.argmax(blank))}] is all blank (dilution 1), so nothing can be recalled; leave it "
            "out"
        )
    return torch.from_numpy(values).float()


def _data(name: str, examples: Tensor, labels: Tensor, cues: Tensor, of: Tensor, archetypes: Tensor) -> Data:
    train, test = (
        InMemory(samples, torch.cat([which[:, None].float(), archetypes[which]], 1))
        for samples, which in ((examples, labels), (cues, of))
    )
    return Data(name, train, test, (), Preprocessing())


def _fitting(name: str, data: Data, default: PatternRecipe) -> Data:
    assert isinstance(data.train, InMemory)
    spins, count = data.train.labels.shape[1] - 1, int(data.train.labels[:, 0].max()) + 1
    if spins != default.n or count > default.k:
        raise BadInput(
            f"{name}: {count} patterns of {spins} entries; the network has room for {default.k} of {default.n}: "
            "choose such patterns, or build a network of their size"
        )
    return data


def _signs(shape: tuple[int, ...], draws: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=draws).float() * 2 - 1

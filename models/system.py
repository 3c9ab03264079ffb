"""`System`: a named architecture with everything needed to train, reproduce and ship it.

A system file in this folder holds its blocks, its builder and a module-level `SYSTEMS` tuple. `find_system` and
`all_systems` read those tuples from every file here, so adding a system is adding its file.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor, nn

from ..errors import BadInput
from .data import Data, Preprocessing
from .learning import LearningRule
from .objectives import Objective
from .picture import Illustrate
from .recipe import Recipe


@dataclass(frozen=True)
class System:
    """A named architecture.

    Attributes:
        name: what the user types, for example `care_xxs`.
        paper: slug of the source paper, for example `care-transformer`; empty for textbook networks.
        task: `image-classification`, `keyword-spotting`, `anomaly-detection`, ...
        build: makes the network, untrained, with seeds taken from the global torch generator.
        input_shapes: name and shape of each input for one sample, batch dimension included, for example
            `{"image": (1, 1, 32, 32)}`.
        output_names: names of the outputs, in the order the network returns them.
        dataset: default data, by the name that `models.data.load` knows, for example `digits`; None where no
            bundled data fits (the network can still be deployed untrained, or trained on the user's data).
        recipe: how it is trained by default.
        preprocessing: in place of the data's own, where the network wants its values in another range.
        keep_int8: module paths (or prefixes) that keep 8 bits where the rest becomes ±1.
        objective: what it trains on and is measured by; None for the task's own.
        read: its own data, by name (generated or bundled) or path, with the seed of what is drawn; None for
            `models.data.load`.
        ship: the trained network as it goes to devices, of the same inputs and outputs: exact foldings, and without
            what only training needs. None where it goes as it is.
        illustrate: pictures for the report, made with an exported artifact.
        source: citation with link, one line.
        rule: what it is trained by where the user names none; None for back-propagation.
    """

    name: str
    paper: str
    task: str
    build: Callable[[], nn.Module]
    input_shapes: dict[str, tuple[int, ...]]
    output_names: tuple[str, ...] = ("logits",)
    dataset: str | None = None
    recipe: Recipe = field(default_factory=Recipe)
    source: str = ""
    keep_int8: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    objective: Objective | None = None
    read: Callable[[str, int], Data] | None = None
    ship: Callable[[nn.Module], nn.Module] | None = None
    illustrate: Illustrate | None = None
    rule: LearningRule | None = None

    def example_inputs(self, seed: int = 0) -> tuple[Tensor, ...]:
        """Standard normal inputs of the declared shapes, the same for the same seed."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(torch.randn(shape, generator=generator) for shape in self.input_shapes.values())


@cache
def all_systems() -> dict[str, System]:
    """Every system of the zoo by name, in alphabetical order."""
    package = __name__.rpartition(".")[0]
    folder = importlib.import_module(package).__path__
    found: dict[str, System] = {}
    for info in pkgutil.iter_modules(folder):
        if info.ispkg:
            continue
        for system in getattr(importlib.import_module(f"{package}.{info.name}"), "SYSTEMS", ()):
            if system.name in found:
                raise ValueError(f"two systems are named {system.name}")
            found[system.name] = system
    return dict(sorted(found.items()))


def find_system(name: str) -> System:
    """The system of that name.

    Raises:
        BadInput: no system has that name; the message lists those that exist.
    """
    systems = all_systems()
    if name not in systems:
        raise BadInput(f"{name}: no such system; known: {', '.join(systems)}; or give your own as package.module:build")
    return systems[name]

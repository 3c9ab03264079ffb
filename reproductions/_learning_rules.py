"""Trainings by rule, for studies that compare rules: one network, recipe and order of samples, and the learner."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from ..models.data import Data
from ..models.learning import Learner, LearningRule, Setup
from ..models.recipe import Recipe
from ..models.run import Run
from ..models.system import System
from ..models.training import train


@dataclass(frozen=True)
class _Watched(LearningRule):
    """A rule, and what it made."""

    rule: LearningRule
    learners: list[Learner] = field(default_factory=list)

    def learner(self, setup: Setup) -> Learner:
        self.learners.append(self.rule.learner(setup))
        return self.learners[-1]

    def to_json(self) -> dict[str, object]:
        return self.rule.to_json()


def trained(system: System, data: Data, recipe: Recipe, seed: int, rule: LearningRule) -> tuple[Run, Learner]:
    """One training, with the learner as it was at the end.

    Equal seeds give equal first weights and orders whatever the rule.
    """
    watched = _Watched(rule)
    with TemporaryDirectory() as folder:
        run = train(system, data, recipe, Path(folder) / "run", seed, progress=False, rule=watched)
    return run, watched.learners[0]


def readout_of(build: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    """The same network, of which only the last layer with weights learns: what random features are worth."""

    def built() -> nn.Module:
        module = build()
        layers = [layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None]
        for layer in layers[:-1]:
            layer.requires_grad_(False)
        return module

    return built

"""Learning rules: how a batch changes a network.

A rule is one file here, with a module-level `RULES`; `find_rule` and `all_rules` read those from every file, so adding
a rule is adding its file. Back-propagation is one of them. The training loop, its order, rates, checkpoints, progress
and figures are the same for all.
"""

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from typing import Any, ClassVar, Self

from torch import Tensor, nn

from ...errors import BadInput
from ..data import Data
from ..distributed import ALONE, Ranks
from ..objectives import Batch, Objective
from ..perturbation import Perturbation
from ..recipe import Recipe

_TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Setup:
    """What a rule takes on.

    Attributes:
        name: the system's.
        task: the system's.
        module: in training mode, on its device, with first weights drawn from the seed.
        objective: what it is trained on and measured by.
        data: the splits, with the preprocessing that applies.
        recipe: of the training.
        seed: of whatever the rule draws.
        steps: batches in the whole training.
        ranks: this process among its equals.
        teacher: whose outputs the recipe's `distillation` draws the network's to.
        perturbation: what the passes see in place of the weights.
    """

    name: str
    task: str
    module: nn.Module
    objective: Objective
    data: Data
    recipe: Recipe
    seed: int = 0
    steps: int = 1
    ranks: Ranks = ALONE
    teacher: nn.Module | None = None
    perturbation: Perturbation | None = None

    def refuse_companion(self, rule: str) -> None:
        """For rules that change the network alone.

        Raises:
            BadInput: the objective trains something beside the network.
        """
        if self.objective.companion(self.module, self.data) is not None:
            raise BadInput(
                f"--rule {rule}: {self.name} trains class vectors or the like too; train it by back-propagation"
            )


class Learner(ABC):
    """One network in the course of its training."""

    @abstractmethod
    def learn(self, batch: Batch, rate: float) -> float:
        """Changes the network by one batch, at the schedule's learning rate; returns the loss before."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Everything beyond the network's own tensors that going on takes."""

    @abstractmethod
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""

    def figures(self) -> dict[str, float]:
        """Figures of its own at the end of an epoch, kept with the run's metrics.

        Of a rule that searches or relaxes, `converged` (0 or 1) and what is left, as `residual` or `gap`.
        """
        return {}

    def finished(self) -> bool:
        """Whether nothing is left to learn: the training ends with this epoch."""
        return False

    def average(self) -> nn.Module | None:
        """What is measured and kept in place of the module that is changed."""
        return None


class LearningRule(ABC):
    """A rule with its settings, which are the fields of a frozen dataclass.

    Attributes:
        name: what the user types, for example `counter-current`.
        source: citation, one line.
        trains: which networks it trains, in a few words.
        required: settings that have no default, with an example of each.
        heeds: of a recipe's `optimizer` and `learning_rate`, those that the rule goes by.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    trains: ClassVar[str]
    required: ClassVar[Mapping[str, str]] = {}
    heeds: ClassVar[frozenset[str]] = frozenset({"optimizer", "learning_rate"})

    @abstractmethod
    def learner(self, setup: Setup) -> Learner:
        """Takes a network on.

        Raises:
            BadInput: it is none that the rule can train; the message names what stands in the way, and the mend.
        """

    def to_json(self) -> dict[str, Any]:
        """The rule's name and settings, for a run's configuration."""
        return {"name": self.name, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """The rule with settings as a user types them.

        Raises:
            BadInput: there is no such setting, or the value is not of its kind.
        """
        return cls(**cls._values(settings))

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """This rule with some settings as a user types them, and its own for the others.

        Raises:
            BadInput: there is no such setting, or the value is not of its kind.
        """
        return replace(self, **self._values(settings))  # type: ignore[type-var]

    @classmethod
    def _values(cls, settings: Mapping[str, str]) -> dict[str, Any]:
        kinds = {field.name: type(field.default) for field in fields(cls)}  # type: ignore[arg-type]
        return {name: _value(cls.name, name, text, kinds) for name, text in settings.items()}


@cache
def all_rules() -> dict[str, type[LearningRule]]:
    """Every rule by name, in alphabetical order."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    rules = [rule for name in names for rule in getattr(importlib.import_module(f"{__name__}.{name}"), "RULES", ())]
    return {rule.name: rule for rule in sorted(rules, key=lambda rule: rule.name)}


def find_rule(name: str, settings: Mapping[str, str] | None = None, own: LearningRule | None = None) -> LearningRule:
    """The rule of a name: where that is a system's own, with what the system sets, else with the rule's defaults.

    Raises:
        BadInput: there is none, or it has no such settings; the message lists those that exist.
    """
    if name not in all_rules():
        raise BadInput(f"--rule {name}: no such learning rule; known: {', '.join(all_rules())}")
    if own is not None and own.name == name:
        return own.with_settings(settings or {})
    return all_rules()[name].from_settings(settings or {})


def _value(rule: str, name: str, text: str, kinds: Mapping[str, type]) -> Any:
    if name not in kinds:
        known = f"it has {', '.join(kinds)}" if kinds else "it has none"
        raise BadInput(f"--rule {rule}: no setting {name}; {known}")
    kind = kinds[name]
    try:
        return _TRUTH[text.lower()] if kind is bool else kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}.get(kind, "text")
        raise BadInput(f"--rule {rule}: {name} must be {wanted}, got {text}") from None

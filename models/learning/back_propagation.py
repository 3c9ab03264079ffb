"""`back-propagation`: the loss's gradients through an optimizer, the plain way that other rules are held against."""

from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...errors import BadInput
from ..objectives import Batch, in_tuple
from . import LearningRule, Setup
from .descent import Descent, DescentLearner


@dataclass(frozen=True)
class BackPropagation(LearningRule):
    """Any network and objective; alone or in several processes, with a teacher, on perturbed weights."""

    name = "back-propagation"
    source = "Rumelhart, Hinton, Williams, Learning representations by back-propagating errors, Nature 323 (1986)"
    trains = "any network"

    def learner(self, setup: Setup) -> "BackPropagationLearner":
        return BackPropagationLearner(setup)


class BackPropagationLearner(DescentLearner):
    """Descent along the loss's gradients, of the network and what the objective trains beside it."""

    def __init__(self, setup: Setup):
        self._objective, self._module = setup.objective, setup.module
        self._recipe, self._name = setup.recipe, setup.name
        self._companion = setup.objective.companion(setup.module, setup.data)
        if self._companion is not None and setup.ranks.world > 1:
            raise BadInput(f"{setup.ranks.world} processes: {setup.name} trains in one; start it without torchrun")
        # What the optimizer changes; a run keeps the network alone.
        whole = setup.module if self._companion is None else nn.ModuleList([setup.module, self._companion])
        whole.to(setup.ranks.device).train()
        self._teacher = setup.teacher if setup.recipe.distillation else None
        if self._teacher is not None:
            self._teacher = self._teacher.to(setup.ranks.device).eval()
        several = setup.ranks.world > 1
        self._replica: nn.Module = DistributedDataParallel(setup.module) if several else setup.module
        beside = {} if self._companion is None else {"companion": self._companion}
        super().__init__(Descent({"whole": whole}, setup.recipe, setup.module), beside)
        self._perturbation, self._steps = setup.perturbation, 0

    def learn(self, batch: Batch, rate: float) -> float:
        self.descent.begin(rate)
        with self._perturbation.chip(self._module, self._steps) if self._perturbation else nullcontext():
            loss = self._loss(batch)
            if not loss.requires_grad:
                raise BadInput(
                    f"{self._name}: no gradient reaches its weights; give what its outputs pass through a gradient, as "
                    "a sign one straight through, or leave this training out"
                )
            loss.backward()
        self.descent.step()
        self._steps += 1
        return loss.item()

    def _loss(self, batch: Batch) -> Tensor:
        outcome = self._objective.loss(self._replica, self._companion, batch)
        if self._teacher is None:
            return outcome.loss
        with torch.no_grad():
            wanted = in_tuple(self._teacher(*outcome.inputs))[0]
        distance = self._objective.distance(outcome.outputs, wanted, self._recipe.temperature)
        share = self._recipe.distillation
        return (1 - share) * outcome.loss + share * distance

    def tensors(self) -> dict[str, Tensor]:
        """The count of steps too, by which chips are drawn."""
        return {**super().tensors(), "steps": torch.tensor(self._steps)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        super().restore(tensors)
        self._steps = int(tensors["steps"])


RULES = (BackPropagation,)

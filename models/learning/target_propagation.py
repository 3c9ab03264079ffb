"""`target-propagation`: every block is given a target by the block behind it, through a learned way back.

Lee et al., "Difference Target Propagation", ECML 2015, arXiv 1412.7525. The way back of a block learns to undo it on
values with noise; the target of a value is what the way back gives for the target behind, less what it gives for the
value behind, plus the value.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import BadInput
from ..objectives import Batch
from . import LearningRule, Setup
from .chain import chain_of, first_samples
from .descent import Descent, DescentLearner
from .opposite import Opposite, in_blocks


@dataclass(frozen=True)
class TargetPropagation(LearningRule):
    """Difference targets for chains of blocks.

    Attributes:
        reach: how far the target of the last hidden value lies down the loss's gradient.
        noise: standard deviation of what is added to values that the ways back learn to restore.
    """

    name = "target-propagation"
    source = "Lee et al., Difference Target Propagation, ECML 2015, arXiv 1412.7525"
    trains = "chains of blocks; a block may hold norms and skip connections"

    reach: float = 0.5
    noise: float = 0.1

    def __post_init__(self) -> None:
        if not self.reach > 0 or not self.noise >= 0:
            raise BadInput(
                f"--rule {self.name}: reach must be above 0 and noise 0 or more, got {self.reach:g}, {self.noise:g}"
            )

    def learner(self, setup: Setup) -> "TargetPropagationLearner":
        """Takes on a chain of at least two blocks.

        Raises:
            BadInput: the network is none, or trains something beside itself.
        """
        setup.refuse_companion(self.name)
        return TargetPropagationLearner(setup, self)


class TargetPropagationLearner(DescentLearner):
    """A chain, and the ways back of its blocks."""

    def __init__(self, setup: Setup, rule: TargetPropagation):
        samples = first_samples(setup, rule.name)
        self.blocks = chain_of(setup.module, samples, rule.name)
        self.back = Opposite(tuple(samples.shape[1:]), self.blocks).to(setup.ranks.device)
        self._objective, self._rule = setup.objective, rule
        parts = {"forward": setup.module, "back": self.back}
        super().__init__(Descent(parts, setup.recipe, setup.module), {"back": self.back})

    def learn(self, batch: Batch, rate: float) -> float:
        self.descent.begin(rate)
        assert isinstance(batch.samples, Tensor)
        values = in_blocks(self.blocks, batch.samples)
        loss, targets = self._targets(values, batch)
        hidden = zip(values[1:-1], targets)
        local = [functional.mse_loss(value, target, reduction="sum") / len(value) for value, target in hidden]
        torch.stack([loss, *local, *self._restoring(values, batch)]).sum().backward()
        self.descent.step()
        return loss.item()

    def _targets(self, values: list[Tensor], batch: Batch) -> tuple[Tensor, list[Tensor]]:
        """The loss, with gradients for the last block alone, and a target for each hidden value."""
        last = values[-2].detach().requires_grad_()
        outcome = self._objective.loss(_Last(self.blocks[-1].module, last), None, batch)
        (slope,) = torch.autograd.grad(outcome.loss, last, retain_graph=True)
        target = last.detach() - self._rule.reach * len(last) * slope
        targets = [target]
        with torch.no_grad():
            for place in range(len(values) - 3, 0, -1):
                way = self.back.blocks[place]
                target = values[place] + way(target) - way(values[place + 1])
                targets.append(target)
        return outcome.loss, targets[::-1]

    def _restoring(self, values: list[Tensor], batch: Batch) -> list[Tensor]:
        """For each way back between hidden values, how far it is from undoing its block on values with noise."""
        losses = []
        for place in range(1, len(self.blocks) - 1):
            given = values[place].detach()
            noise = torch.randn(given.shape, generator=batch.draws).to(given.device)
            disturbed = given + self._rule.noise * noise
            with torch.no_grad():
                behind = self.blocks[place].module(disturbed)
            losses.append(functional.mse_loss(self.back.blocks[place](behind), disturbed))
        return losses


class _Last(nn.Module):
    """The last block as a network that an objective can be asked about, whatever the batch's samples."""

    def __init__(self, block: nn.Module, value: Tensor):
        super().__init__()
        self.block, self.value = block, value

    def forward(self, *samples: Tensor) -> Tensor:
        return self.block(self.value)


RULES = (TargetPropagation,)

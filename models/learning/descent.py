"""`Descent`: gradients into weights, for rules that end in some: optimizers, clipping, and the weights' average."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn, tensor

from ..average import WeightAverage
from ..optimizers import make_optimizer, optimizer_tensors, restore_optimizer, set_learning_rate
from ..recipe import Recipe
from ..weights import prefixed, under
from . import Learner


class Descent:
    """Steps of parts that are clipped apart, each by an optimizer of its own.

    Args:
        parts: what is changed, by name.
        recipe: names the optimizer, the clip and the decay of the average.
        network: whose weights are averaged; None averages none.
        first_moment: of AdamW.
    """

    def __init__(
        self, parts: Mapping[str, nn.Module], recipe: Recipe, network: nn.Module | None, first_moment: float = 0.9
    ):
        self._parts, self._network, self._clip = parts, network, recipe.gradient_clip
        self._optimizers = {name: make_optimizer(part, recipe, first_moment) for name, part in parts.items()}
        self._average = WeightAverage(network, recipe.ema) if recipe.ema and network is not None else None

    def begin(self, rate: float) -> None:
        """Forgets the gradients of the step before."""
        for optimizer in self._optimizers.values():
            set_learning_rate(optimizer, rate)
            optimizer.zero_grad()

    def step(self) -> None:
        """Clips each part's gradients to the recipe's norm, steps, and follows with the average."""
        for name, part in self._parts.items():
            if self._clip:
                nn.utils.clip_grad_norm_(part.parameters(), self._clip)
            self._optimizers[name].step()
        if self._average is not None and self._network is not None:
            self._average.update(self._network)

    def down(self, rate: float, loss_of: Callable[[], Tensor]) -> float:
        """One whole step down a loss; returns the loss before."""
        self.begin(rate)
        loss = loss_of()
        loss.backward()
        self.step()
        return loss.item()

    def average(self) -> nn.Module | None:
        """The averaged network, where the recipe asks for one."""
        return None if self._average is None else self._average.module

    def tensors(self) -> dict[str, Tensor]:
        """Slots of the optimizers, and the average with its count of steps."""
        kept = {name: optimizer_tensors(optimizer) for name, optimizer in self._optimizers.items()}
        tensors = prefixed({"optimizer": prefixed(kept)})
        if self._average is not None:
            tensors |= prefixed({"average": self._average.module.state_dict()})
            tensors["average_steps"] = tensor(self._average.steps)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""
        for name, optimizer in self._optimizers.items():
            restore_optimizer(optimizer, under(tensors, f"optimizer.{name}."))
        if self._average is not None:
            self._average.module.load_state_dict(under(tensors, "average."))
            self._average.steps = int(tensors["average_steps"])


class DescentLearner(Learner):
    """A learner with one descent; what it keeps beyond that are modules beside the network.

    Args:
        descent: of the network and whatever trains with it.
        beside: modules that a run leaves behind, by name.
    """

    def __init__(self, descent: Descent, beside: Mapping[str, nn.Module]):
        self.descent, self._beside = descent, beside

    def tensors(self) -> dict[str, Tensor]:
        """The descent's, and the state of what stands beside the network."""
        beside = {name: module.state_dict() for name, module in self._beside.items()}
        return {**self.descent.tensors(), **prefixed(beside)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self.descent.restore(tensors)
        for name, module in self._beside.items():
            module.load_state_dict(under(tensors, f"{name}."))

    def average(self) -> nn.Module | None:
        return self.descent.average()

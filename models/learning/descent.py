"""`Descent`: gradients into weights, for rules that end in some: optimizers, clipping, and the weights' average."""

from collections.abc import Mapping

from torch import Tensor, nn, tensor

from ..average import WeightAverage
from ..optimizers import make_optimizer, optimizer_tensors, restore_optimizer, set_learning_rate
from ..recipe import Recipe
from ..weights import under


class Descent:
    """Steps of parts that are clipped apart, each by an optimizer of its own.

    Args:
        parts: what is changed, by name.
        recipe: names the optimizer, the clip and the decay of the average.
        network: whose weights are averaged.
    """

    def __init__(self, parts: Mapping[str, nn.Module], recipe: Recipe, network: nn.Module):
        self._parts, self._network, self._clip = parts, network, recipe.gradient_clip
        self._optimizers = {name: make_optimizer(part, recipe) for name, part in parts.items()}
        self._average = WeightAverage(network, recipe.ema) if recipe.ema else None

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
        if self._average is not None:
            self._average.update(self._network)

    def average(self) -> nn.Module | None:
        """The averaged network, where the recipe asks for one."""
        return None if self._average is None else self._average.module

    def tensors(self) -> dict[str, Tensor]:
        """Slots of the optimizers, and the average with its count of steps."""
        tensors = {
            f"optimizer.{name}.{slot}": value
            for name, optimizer in self._optimizers.items()
            for slot, value in optimizer_tensors(optimizer).items()
        }
        if self._average is not None:
            tensors |= {f"average.{name}": value for name, value in self._average.module.state_dict().items()}
            tensors["average_steps"] = tensor(self._average.steps)
        return tensors

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""
        for name, optimizer in self._optimizers.items():
            restore_optimizer(optimizer, under(tensors, f"optimizer.{name}."))
        if self._average is not None:
            self._average.module.load_state_dict(under(tensors, "average."))
            self._average.steps = int(tensors["average_steps"])

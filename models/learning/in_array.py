"""`in-array`: weights live in synapse devices, and learn there by whole pulses (Lim et al., arXiv 1707.06381)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any, Self

import torch
from torch import Tensor, nn

from ...devices.synapse.catalogue import find_device
from ...devices.synapse.device import SynapseDevice
from ...devices.synapse.perceptron import ArrayPerceptron, Learning
from ...errors import BadInput
from ..objectives import Batch
from . import Learner, LearningRule, Setup

FIRST_SCALE, OTHER_SCALE = 1.0, 2.0  # weight of a whole range of conductance, in the first layer and behind it


@dataclass(frozen=True)
class InArray(LearningRule):
    """Training in emulated arrays.

    Attributes:
        device: of every weight.
        learning: how updates become pulses; its rate is the recipe's.
    """

    name = "in-array"
    source = "Lim et al., Adaptive learning rule for hardware DNNs, NCAA 31 (2019), arXiv 1707.06381"
    trains = "chains of Linear layers with Hardtanh(0, 1) between"
    required = MappingProxyType({"synapse": "epiram"})
    heeds = frozenset({"learning_rate"})

    device: SynapseDevice
    learning: Learning

    def learner(self, setup: Setup) -> "InArrayLearner":
        """Takes on a chain of linear layers with hidden units clipped to [0, 1].

        Raises:
            BadInput: the network is another.
        """
        recipe = setup.recipe
        learning = replace(self.learning, rates=(recipe.learning_rate,), final=recipe.final_learning_rate)
        return InArrayLearner(_linears(setup.module), self.device, learning, setup.seed, setup.steps)

    @classmethod
    def from_settings(cls, settings: Mapping[str, str]) -> Self:
        """From `synapse`, the devices' name, and where wanted `scheme` and `counts`.

        Raises:
            BadInput: no synapse is named, there is none of that name, or it knows no pulses.
        """
        given = dict(settings)
        name, learning = given.pop("synapse", None), Learning()
        if name is None:
            raise BadInput(
                "--rule in-array: needs the devices to learn in; name them with --synapse, see `offramp synapse`"
            )
        scheme, counts = given.pop("scheme", learning.scheme), given.pop("counts", learning.counts)
        if given:
            raise BadInput(f"--rule in-array: no setting {next(iter(given))}; it has synapse, scheme, counts")
        device = find_device(name)
        if device.retention != "power-law":
            raise BadInput(
                f"--synapse {name}: its description knows no single pulses, by which arrays learn; take another"
            )
        return cls(device, replace(learning, scheme=scheme, counts=counts))

    def with_settings(self, settings: Mapping[str, str]) -> Self:
        """From the devices, scheme and counts that it has, but for what is given.

        Raises:
            BadInput: as `from_settings`.
        """
        held = {"synapse": self.device.name, "scheme": self.learning.scheme, "counts": self.learning.counts}
        return self.from_settings({**held, **settings})

    def to_json(self) -> dict[str, Any]:
        """Name, device and settings."""
        settings = {key: value for key, value in asdict(self.learning).items() if key not in ("rates", "final")}
        return {"name": "in-array", "device": self.device.to_json(), **settings}


class InArrayLearner(Learner):
    """A perceptron in arrays, and the module that always has its weights."""

    def __init__(
        self, linears: list[nn.Linear], device: SynapseDevice, learning: Learning, seed: int, total_steps: int
    ):
        self._linears = linears
        sizes = [linears[0].in_features, *(linear.out_features for linear in linears)]
        scales = [FIRST_SCALE] + [OTHER_SCALE] * (len(linears) - 1)
        where = str(linears[0].weight.device)
        self.arrays = ArrayPerceptron([device], sizes, scales, learning, [seed], total_steps, where)
        self._show()

    def learn(self, batch: Batch, rate: float) -> float:
        """One update from (batch, ...) inputs; arrays keep the rate's schedule themselves, for each layer."""
        samples, targets = batch.samples, batch.targets
        assert isinstance(samples, Tensor)  # a chain has one input
        if int(targets.max()) >= self._linears[-1].out_features:
            raise BadInput(
                f"class {int(targets.max())}: the network tells {self._linears[-1].out_features} classes apart"
            )
        loss = self.arrays.learn(samples.flatten(1)[None], targets[None])
        self._show()
        return float(loss)

    def tensors(self) -> dict[str, Tensor]:
        """The state of every device, and what thresholds follow."""
        return self.arrays.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts devices back where they stood."""
        self.arrays.restore(tensors)
        self._show()

    @torch.no_grad()
    def _show(self) -> None:
        for linear, layer in zip(self._linears, self.arrays.layers):
            weights = layer.weights()[0]
            linear.weight.copy_(weights[:-1].T)
            linear.bias.copy_(weights[-1])


def _linears(module: nn.Module) -> list[nn.Linear]:
    """The layers of a chain that arrays can train."""
    leaves = [(name, leaf) for name, leaf in module.named_modules() if not list(leaf.children())]
    linears: list[nn.Linear] = []
    is_clipped = True
    for name, leaf in leaves:
        if isinstance(leaf, nn.Linear) and leaf.bias is not None and is_clipped:
            linears.append(leaf)
            is_clipped = False
        elif isinstance(leaf, nn.Hardtanh) and (leaf.min_val, leaf.max_val) == (0.0, 1.0):
            is_clipped = True
        elif not isinstance(leaf, nn.Flatten | nn.Identity):
            raise BadInput(
                f"{name or 'the network'} is a {type(leaf).__name__}: in-array learning trains chains of Linear layers "
                "with biases and Hardtanh(0, 1) between; train this network by back-propagation"
            )
    if not linears:
        raise BadInput("the network has no Linear layer that arrays could hold; train it by back-propagation")
    return linears


RULES = (InArray,)

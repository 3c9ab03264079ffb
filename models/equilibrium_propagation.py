"""Relaxing networks for digits, trained by nudging where they come to rest; forward and feedback weights differ.

Laborieux and Zenke, "Improving equilibrium propagation without weight symmetry through Jacobian homeostasis", ICLR
2024, arXiv 2309.02214. The forms are the paper's (a chain of layers, logistic activities, a readout outside the
relaxation; 3 x 3 kernels), the widths for digits; pooling is average pooling, which devices have, in place of the
paper's softmax-weighted one. On a device a network relaxes freely for a fixed number of steps.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from ..errors import BadInput
from .data import Preprocessing
from .learning.equilibrium import Equilibrium
from .recipe import Recipe
from .relaxation import (
    DenseLink,
    Link,
    Phi,
    PooledLink,
    States,
    apart,
    damped_step,
    lecun,
    residual,
    settle,
    soft_ramp,
    steep_logistic,
)
from .system import System


class RelaxingNetwork(nn.Module):
    """Images (B, ...) to scores (B, classes): a free relaxation of `steps` steps, and the readout.

    Args:
        take: from images to the first layer's drive, which is computed once.
        links: between each layer and the next.
        activity: phi.
        classes: of the readout.
        steps: that a forward pass relaxes for.
        damping: share of the way to its drive that a state goes in a step.

    Raises:
        BadInput: there are no links or no steps, or the damping is not in (0, 1].
    """

    def __init__(
        self,
        take: nn.Module,
        links: Sequence[Link],
        activity: Phi,
        classes: int,
        steps: int,
        damping: float,
    ):
        super().__init__()
        if not links or steps < 1 or not 0 < damping <= 1:
            raise BadInput(
                "a relaxing network needs two layers or more, 1 step or more and a damping above 0 and at most 1; got "
                f"{len(links) + 1} layers, {steps} steps, damping {damping:g}"
            )
        self.take, self.between = take, nn.ModuleList(links)
        self.steps, self.damping, self._phi = steps, damping, activity
        self.readout = nn.Linear(links[-1].above[0], classes)

    def forward(self, image: Tensor) -> Tensor:
        given = self.given(image)
        states = settle(self, self.start(given), given, self.steps)
        return self.readout(self.activity(states[-1]))

    def residual(self, image: Tensor, steps: int | None = None) -> Tensor:
        """How far states are from rest after so many steps, None for the network's own: a root mean square."""
        given = self.given(image)
        return residual(self, settle(self, self.start(given), given, steps or self.steps), given)

    def given(self, samples: Tensor) -> Tensor:
        return self.take(samples)

    def start(self, given: Tensor) -> States:
        """Upwards once, nothing coming back yet: nearer to rest than the paper's zeros, and no constants to ship."""
        states = [given]
        for link in self.links():
            states.append(link.up(self.activity(states[-1])))
        return states

    def activity(self, state: Tensor) -> Tensor:
        return self._phi(state)

    def drives(self, activities: Sequence[Tensor], given: Tensor) -> States:
        drives: States = [given]
        for below, link in zip(activities, self.links()):
            drives.append(apart(link.up, below))
        for place, (above, link) in enumerate(zip(activities[1:], self.links())):
            drives[place] = drives[place] + apart(link.down, above)
        return drives

    def step(self, states: Sequence[Tensor], given: Tensor, push: Tensor | None = None) -> States:
        return damped_step(self, states, given, push)

    def links(self) -> Sequence[Link]:
        return list(self.between)  # type: ignore[arg-type]


def equilibrium_mlp(
    widths: Sequence[int] = (64, 64, 64, 32),
    classes: int = 10,
    steps: int = 16,
    angle: float = 90.0,
    damping: float = 0.7,
) -> RelaxingNetwork:
    """Images of widths[0] pixels through dense layers.

    Args:
        widths: of the image and of each layer of states, two of those or more.
        angle: between forward and transposed feedback weights at the start, degrees.
    """
    take = nn.Sequential(nn.Flatten(), lecun(nn.Linear(widths[0], widths[1])))
    links = [DenseLink((below,), above, angle) for below, above in pairwise(widths[1:])]
    return RelaxingNetwork(take, links, steep_logistic, classes, steps, damping)


def equilibrium_cnn(
    side: int = 16,
    channels: tuple[int, int] = (8, 16),
    units: int = 64,
    classes: int = 10,
    steps: int = 16,
    angle: float = 90.0,
    damping: float = 0.7,
) -> RelaxingNetwork:
    """Grey images of side x side through two pooled kernels and a dense layer.

    Args:
        side: a multiple of 4.
        angle: between forward and transposed feedback weights at the start, degrees.
    """
    first = (channels[0], side // 2, side // 2)
    take = nn.Sequential(lecun(nn.Conv2d(1, channels[0], 3, padding=1)), nn.AvgPool2d(2))
    pooled = PooledLink(first, channels[1], angle)
    links = [pooled, DenseLink(pooled.above, units, angle)]
    return RelaxingNetwork(take, links, soft_ramp, classes, steps, damping)


_SOURCE = "Laborieux, Zenke, Equilibrium propagation and Jacobian homeostasis, ICLR 2024, arXiv 2309.02214"
_RECIPE = Recipe(learning_rate=5e-3, weight_decay=0.0, epochs=20, batch_size=50, label_smoothing=0.0, threads=1)
_GREY = Preprocessing(1 / 255)  # 0 to 1, as the activities
SYSTEMS = (
    System(
        name="equilibrium_mlp",
        paper="equilibrium-propagation-homeostasis",
        task="image-classification",
        build=equilibrium_mlp,
        input_shapes={"image": (1, 1, 8, 8)},
        dataset="digits",
        recipe=_RECIPE,
        source=_SOURCE,
        preprocessing=_GREY,
        rule=Equilibrium(),
    ),
    System(
        name="equilibrium_cnn",
        paper="equilibrium-propagation-homeostasis",
        task="image-classification",
        build=equilibrium_cnn,
        input_shapes={"image": (1, 1, 16, 16)},
        dataset="digits",
        recipe=replace(_RECIPE, learning_rate=1e-2, epochs=12, warmup_epochs=1.0),
        source=_SOURCE,
        preprocessing=_GREY,
        rule=Equilibrium(free_steps=40, nudged_steps=12),
    ),
)

"""Networks that relax: layers of states which drive each other both ways, by weights of their own each way.

Laborieux and Zenke, "Improving equilibrium propagation without weight symmetry through Jacobian homeostasis", ICLR
2024, arXiv 2309.02214. States u of a chain of layers have activities phi(u); every layer is driven by the activities
of its neighbours, and its state goes a share of the way to its drive in each step: u <- (1 - d) u + d H(phi(u)). Where
nothing moves any more, the last layer's activity is read out.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import cos, prod, radians, sin
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from ..errors import BadInput

Drawn = TypeVar("Drawn", bound=nn.Module)
Phi = Callable[[Tensor], Tensor]
States = list[Tensor]
"""Of every layer, the one next to the input first; each (B, ...)."""


class Dynamics(Protocol):
    """States that drive each other, from wherever they are.

    Attributes:
        damping: share of the way to its drive that a state goes in a step, above 0 and at most 1.
        readout: from the last layer's activity, flattened, to a score for each class; outside the relaxation.
    """

    damping: float
    readout: nn.Linear

    def activity(self, state: Tensor) -> Tensor:
        """phi of one layer's state, value by value; differentiable in complex numbers."""

    def drives(self, activities: Sequence[Tensor], given: Tensor) -> States:
        """H, every layer's drive, of activities that are all real or all complex."""

    def step(self, states: Sequence[Tensor], given: Tensor, push: Tensor | None = None) -> States:
        """One step of all layers at once; `push` is further drive of the last layer."""


@runtime_checkable
class Relaxing(Dynamics, Protocol):
    """What a learning rule asks of a module to nudge it."""

    def given(self, samples: Tensor) -> Tensor:
        """What the samples drive the first layer by, in every step the same."""

    def start(self, given: Tensor) -> States:
        """States to relax from."""

    def links(self) -> "Sequence[Link]":
        """Between each layer of states and the next: all that layers drive each other by."""


class Link(nn.Module, ABC):
    """Two layers of states that drive each other.

    Attributes:
        up: from the activity below to the drive above; affine, so real and imaginary parts may pass it apart.
        down: the way back, linear.
        above: shape of the layer above, of one sample.
    """

    up: nn.Module
    down: nn.Module
    above: tuple[int, ...]

    @abstractmethod
    def weights(self) -> tuple[Tensor, Tensor]:
        """Weights of both ways in one shape: equal where each way is the other's transpose."""


class DenseLink(Link):
    """Matrices both ways.

    Args:
        below: shape of the layer below, of one sample.
        above: units of the layer above.
        angle: between the forward and the transposed feedback weights at the start, degrees; 0 makes them equal.
    """

    def __init__(self, below: tuple[int, ...], above: int, angle: float):
        super().__init__()
        up, down = lecun(nn.Linear(prod(below), above)), nn.Linear(above, prod(below), bias=False)
        with torch.no_grad():
            down.weight.copy_(turned(up.weight, angle).T)
        if len(below) == 1:
            self.up, self.down = up, down
        else:
            self.up, self.down = nn.Sequential(nn.Flatten(), up), nn.Sequential(down, nn.Unflatten(1, below))
        self.above = (above,)

    def weights(self) -> tuple[Tensor, Tensor]:
        forward, back = (next(p for p in way.parameters() if p.ndim == 2) for way in (self.up, self.down))
        return forward, back.T

    def bias(self) -> Tensor:
        """Of the layer above."""
        return next(p for p in self.up.parameters() if p.ndim == 1)


class PooledLink(Link):
    """A 3 x 3 kernel and 2 x 2 average pooling; back, the same values four times over by a quarter, and a kernel.

    Args:
        below: (C, H, W) of the layer below, H and W even.
        above: channels of the layer above.
        angle: as of a `DenseLink`.
    """

    def __init__(self, below: tuple[int, ...], above: int, angle: float):
        super().__init__()
        up, down = nn.Conv2d(below[0], above, 3, padding=1), nn.Conv2d(above, below[0], 3, padding=1, bias=False)
        lecun(up)
        with torch.no_grad():
            down.weight.copy_(turned(up.weight, angle).transpose(0, 1).flip(2, 3))
        self.up, self.down = nn.Sequential(up, nn.AvgPool2d(2)), nn.Sequential(_Spread(), down)
        self.above = (above, below[1] // 2, below[2] // 2)

    def weights(self) -> tuple[Tensor, Tensor]:
        forward, back = self.up[0].weight, self.down[1].weight  # type: ignore[index]
        return forward, back.transpose(0, 1).flip(2, 3)


class _Spread(nn.Module):
    """The transpose of 2 x 2 average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.repeat = nn.Upsample(scale_factor=2.0, mode="nearest")

    def forward(self, value: Tensor) -> Tensor:
        return self.repeat(0.25 * value)


def turned(weight: Tensor, angle: float) -> Tensor:
    """Weights at an angle to given ones, of nearly the same norm: sin(angle) random + cos(angle) weight.

    Raises:
        BadInput: the angle is not in 0..90 degrees.
    """
    if not 0 <= angle <= 90:
        raise BadInput(f"angle between forward and feedback weights must be 0 to 90 degrees, got {angle:g}")
    other = torch.randn_like(weight) * weight.detach().square().mean().sqrt()
    return sin(radians(angle)) * other + cos(radians(angle)) * weight.detach()


def lecun(layer: Drawn) -> Drawn:
    """A Linear or Conv2d layer with weights drawn anew: standard deviation 1 / sqrt(inputs), biases 0."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")  # type: ignore[arg-type]
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def apart(layer: nn.Module, value: Tensor) -> Tensor:
    """An affine layer of real or complex values; of complex ones its bias is added once, to the real part."""
    if not value.is_complex():
        return layer(value)
    real, imaginary = layer(torch.cat([value.real, value.imag])).chunk(2)
    return torch.complex(real, imaginary - layer(torch.zeros_like(value.real[:1])))


def logistic(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z)), of complex values without overflow."""
    if not z.is_complex():
        return torch.sigmoid(z)
    right = z.real >= 0
    small = torch.exp(torch.where(right, -z, z))
    return torch.where(right, torch.ones_like(small), small) / (1 + small)


def steep_logistic(z: Tensor) -> Tensor:
    """1 / (1 + exp(-4 z + 2)): the paper's for dense layers; its largest slope is 1, at z = 1/2."""
    return logistic(4 * z - 2)


def soft_ramp(z: Tensor) -> Tensor:
    """z s(z) / 2 + (1 - z / 2) s(z - 2), s the logistic: the paper's for convolutions, from 0 to 1."""
    half = 0.5 * z
    return half * logistic(z) + (1 - half) * logistic(z - 2)


def damped_step(network: Dynamics, states: Sequence[Tensor], given: Tensor, push: Tensor | None = None) -> States:
    """One step of all layers at once, as `Dynamics.step` says it."""
    drives = network.drives([network.activity(state) for state in states], given)
    if push is not None:
        drives[-1] = drives[-1] + push
    share = network.damping
    return [(1 - share) * state + share * drive for state, drive in zip(states, drives)]


def settle(network: Dynamics, states: Sequence[Tensor], given: Tensor, steps: int) -> States:
    """The free relaxation: so many steps."""
    found = list(states)
    for _ in range(steps):
        found = network.step(found, given)
    return found


def residual(network: Dynamics, states: Sequence[Tensor], given: Tensor) -> Tensor:
    """How far states are from rest: the root mean square of H(phi(u)) - u over all units and samples, a scalar."""
    drives = network.drives([network.activity(state) for state in states], given)
    away = [(drive - state).flatten() for drive, state in zip(drives, states)]
    return torch.cat(away).square().mean().sqrt()

"""What pulses do to the state of a cell: the share of the nominal range that its conductance stands at.

A linear, a constant, a soft-bounded and an exponential response have one thing in common: a pulse moves the state by
offset + slope · state, with its own pair for each direction and each cell. One rule, and one kernel, serves all four.
"""

from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

from .device import LABEL_BOUNDS, SynapseDevice
from .nonlinearity import curvature_of

_MIDDLE = 0.5  # where the steps of soft bounds are as large in both directions


@dataclass(frozen=True)
class CellFigures:
    """What distinguishes cells of one kind, each of the array's shape, float64.

    Attributes:
        low, high: ends of the state, 0 and 1 for the nominal device.
        label_up, label_down: nonlinearity.
        gain_up, gain_down: factors on the size of a step.
    """

    low: Tensor
    high: Tensor
    label_up: Tensor
    label_down: Tensor
    gain_up: Tensor
    gain_down: Tensor


@dataclass(frozen=True)
class AffineResponse:
    """A pulse moves the state by offset + slope · state, kept within [low, high]; all tensors of the array's shape."""

    offset_up: Tensor
    slope_up: Tensor
    offset_down: Tensor
    slope_down: Tensor
    low: Tensor
    high: Tensor

    def step(self, state: Tensor, up: Tensor) -> Tensor:
        """How far one pulse moves each state, before its ends are minded.

        Args:
            up: bool, the direction of each pulse.
        """
        return (
            torch.where(up, self.offset_up, self.offset_down) + torch.where(up, self.slope_up, self.slope_down) * state
        )

    def after(self, state: Tensor, pulses: Tensor, up: Tensor) -> Tensor:
        """The states after so many pulses without noise, in closed form."""
        offset = torch.where(up, self.offset_up, self.offset_down)
        slope = torch.where(up, self.slope_up, self.slope_down)
        # n ln(1 + slope); a step that leads beyond the fixed point may as well lead to it, at an end or beyond both.
        factor = torch.special.xlog1py(pulses, slope.clamp(min=-1.0))
        is_straight = slope == 0
        sums = torch.where(
            is_straight, pulses.to(slope.dtype), torch.expm1(factor) / torch.where(is_straight, 1, slope)
        )
        return self.kept(state + (offset + slope * state) * sums)

    def kept(self, state: Tensor) -> Tensor:
        """The states within their ends."""
        return torch.minimum(torch.maximum(state, self.low), self.high)


@dataclass(frozen=True)
class CurveResponse:
    """A pulse moves the state along a measured curve, stretched between each cell's ends.

    Attributes:
        curve_up, curve_down: rising and falling, from one end of [0, 1] to the other, (points,).
        gain_up, gain_down: factors on the size of a step, of the array's shape.
        low, high: ends of the state, of the array's shape.
    """

    curve_up: Tensor
    curve_down: Tensor
    gain_up: Tensor
    gain_down: Tensor
    low: Tensor
    high: Tensor

    def step(self, state: Tensor, up: Tensor) -> Tensor:
        """How far one pulse moves each state; as `AffineResponse.step`."""
        move = self._moved(state, torch.ones_like(state), up) - state
        return move * torch.where(up, self.gain_up, self.gain_down)

    def after(self, state: Tensor, pulses: Tensor, up: Tensor) -> Tensor:
        """The states after so many pulses without noise."""
        return self.kept(self._moved(state, pulses * torch.where(up, self.gain_up, self.gain_down), up))

    def kept(self, state: Tensor) -> Tensor:
        """The states within their ends."""
        return torch.minimum(torch.maximum(state, self.low), self.high)

    def _moved(self, state: Tensor, pulses: Tensor, up: Tensor) -> Tensor:
        share = (state - self.low) / (self.high - self.low).clamp(min=1e-12)
        rising = _along(self.curve_up, share, pulses)
        falling = 1.0 - _along(1.0 - self.curve_down, 1.0 - share, pulses)
        return self.low + torch.where(up, rising, falling) * (self.high - self.low)


Response = AffineResponse | CurveResponse


def response_of(device: SynapseDevice, figures: CellFigures, dtype: torch.dtype = torch.float32) -> Response:
    """How cells of a device respond; computed in float64, then rounded to `dtype`."""
    if device.response == "measured":
        curves = (torch.tensor(c, dtype=dtype, device=figures.low.device) for c in (device.curve_up, device.curve_down))
        ends = (figures.gain_up, figures.gain_down, figures.low, figures.high)
        return CurveResponse(*curves, *(end.to(dtype) for end in ends))
    offset_up, slope_up, offset_down, slope_down = _RULES[device.response](device, figures)
    up, down = figures.gain_up, figures.gain_down
    parts = (offset_up * up, slope_up * up, offset_down * down, slope_down * down, figures.low, figures.high)
    return AffineResponse(*(part.to(dtype).contiguous() for part in parts))


@cache
def nominal_curve(device: SynapseDevice, up: bool) -> Tensor:
    """float64 (points,): the nominal device after 0, 1, 2, ... pulses, rising from 0 or falling from 1.

    As far as the other end; soft bounds, which never reach it, to 4e-4 of it.
    """
    if device.response == "measured":
        return torch.tensor(device.curve_up if up else device.curve_down, dtype=torch.float64)
    if not up:  # in the mirror: steps that are small at first would be lost beside a state of 1
        mirrored = replace(device, pulses_up=device.pulses_down, nonlinearity_up=-device.nonlinearity_down)
        return 1.0 - nominal_curve(mirrored, True)
    count = device.pulses_up * (4 if device.response == "soft-bounds" else 1)
    pulses = torch.arange(count + 1, dtype=torch.float64)
    zeros, ones = torch.zeros_like(pulses), torch.ones_like(pulses)
    label_up, label_down = zeros + device.nonlinearity_up, zeros + device.nonlinearity_down
    response = response_of(device, CellFigures(zeros, ones, label_up, label_down, ones, ones), torch.float64)
    return response.after(zeros, pulses, torch.ones_like(pulses, dtype=torch.bool))


def _constant_step(device: SynapseDevice, figures: CellFigures) -> tuple[Tensor, ...]:
    """Steps of a share of the nominal range, whatever the cell's own range (Gokmen and Vlasov, 2016)."""
    ones, zeros = torch.ones_like(figures.low), torch.zeros_like(figures.low)
    return ones / device.pulses_up, zeros, -ones / device.pulses_down, zeros


def _linear(device: SynapseDevice, figures: CellFigures) -> tuple[Tensor, ...]:
    """As many equal steps as the device has pulses, from one end of the cell's own range to the other."""
    span, zeros = figures.high - figures.low, torch.zeros_like(figures.low)
    return span / device.pulses_up, zeros, -span / device.pulses_down, zeros


def _soft_bounds(device: SynapseDevice, figures: CellFigures) -> tuple[Tensor, ...]:
    """Steps that shrink to nothing towards the end they lead to; mid range they are those of a constant step."""
    up = 1.0 / device.pulses_up / (figures.high - _MIDDLE)
    down = 1.0 / device.pulses_down / (_MIDDLE - figures.low)
    return up * figures.high, -up, down * figures.low, -down


def _exponential(device: SynapseDevice, figures: CellFigures) -> tuple[Tensor, ...]:
    """y(x) = B (1 - exp(-x / A)) for either direction, each with its own A (Chen, Peng and Yu, 2018).

    A pulse takes y to B (1 - r) + r y with r = exp(-1 / (A P)), whatever y it starts from; depression runs the curve
    of its own A backwards.
    """
    low, span = figures.low, figures.high - figures.low
    straight_up, _, straight_down, _ = _linear(device, figures)
    parts = []
    up, down = LABEL_BOUNDS["nonlinearity_up"], LABEL_BOUNDS["nonlinearity_down"]
    for label, bounds, pulses, sign, straight in (
        (figures.label_up, up, device.pulses_up, -1.0, straight_up),
        (figures.label_down, down, device.pulses_down, 1.0, straight_down),
    ):
        label = label.clamp(*bounds)
        is_shared = bool((label == label.flatten()[0]).all())  # then one root is enough for all cells
        curvature = curvature_of(label.flatten()[0] if is_shared else label).expand_as(label)
        is_straight = curvature.isinf()
        a = torch.where(is_straight, 1.0, curvature)
        slope = torch.expm1(sign / (a * pulses))  # r - 1
        end = -1.0 / torch.expm1(-1.0 / a)  # B
        parts += [
            torch.where(is_straight, straight, -slope * (end * span + low)),
            torch.where(is_straight, 0.0, slope),
        ]
    return tuple(parts)


_RULES = {
    "constant-step": _constant_step,
    "linear": _linear,
    "soft-bounds": _soft_bounds,
    "exponential": _exponential,
}


def _along(curve: Tensor, share: Tensor, pulses: Tensor) -> Tensor:
    """Where a rising curve stands so many pulses behind the place at which it has the value `share`."""
    return _at(curve, _place(curve, share) + pulses)


def _place(curve: Tensor, share: Tensor) -> Tensor:
    right = torch.searchsorted(curve, share.contiguous(), right=True).clamp(1, len(curve) - 1)
    before, behind = curve[right - 1], curve[right]
    return right - 1 + ((share - before) / (behind - before).clamp(min=1e-30)).clamp(0, 1)


def _at(curve: Tensor, place: Tensor) -> Tensor:
    place = place.clamp(0, len(curve) - 1)
    left = place.long().clamp(max=len(curve) - 2)
    return curve[left] + (place - left) * (curve[left + 1] - curve[left])

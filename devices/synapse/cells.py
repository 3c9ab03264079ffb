"""`Cells`: arrays of synapse devices, each cell with figures and a state of its own.

Cells stand in a stack of arrays of rows and columns. An array has one kind of device and one seed, so a stack holds
several chips, or several kinds, and computes each as if it were alone.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

import torch
from torch import Tensor

from ...errors import BadInput
from . import native
from .device import SynapseDevice
from .draws import Draws, Purpose, normals
from .response import AffineResponse, CellFigures, CurveResponse, Response, response_of

_MOST_PULSES = 512  # of a cell in one step: its numbers lie in 256 blocks of two
_NEXT_ROUND = 1 << 24  # what longer trains add to the step


class Cells:
    """A stack of arrays.

    Attributes:
        devices: the kind of each array.
        state: float32 (stack, rows, columns), the share of the nominal range, within each cell's ends; written in
            place, never replaced: the C kernel holds its address.
        figures: what distinguishes the cells.
        response: how they respond to pulses.
        is_stuck: bool (stack, rows, columns).
        pulses: int64 (stack, rows, columns), pulses that reached each cell so far; None unless they are counted.
    """

    def __init__(
        self,
        devices: Sequence[SynapseDevice],
        rows: int,
        columns: int,
        draws: Sequence[Draws],
        state: float | Tensor = 0.0,
        counts_pulses: bool = False,
    ):
        """Draws every cell's figures.

        Args:
            devices: one for each array of the stack; their response is of one kind, measured or not.
            draws: as many; their layers and seeds tell the arrays apart.
            state: where the cells stand at first, (stack, rows, columns) or one number.
            counts_pulses: keep `pulses`.
        """
        self.devices, self.draws = tuple(devices), tuple(draws)
        shape = (len(self.devices), rows, columns)
        drawn = [_drawn(device, each, rows, columns) for device, each in zip(self.devices, self.draws)]
        self.figures = _stacked([figures for figures, _ in drawn])
        self.is_stuck = torch.stack([is_stuck for _, is_stuck in drawn])
        responses = [response_of(device, figures) for device, (figures, _) in zip(self.devices, drawn)]
        self.response: Response = _stacked(responses)  # type: ignore[type-var]
        start = torch.as_tensor(state, dtype=torch.float32, device=self.is_stuck.device).expand(shape)
        self.state = self.response.kept(start).contiguous()
        self.pulses = torch.zeros(shape, dtype=torch.int64, device=self.state.device) if counts_pulses else None
        self._numbers = torch.arange(rows * columns, device=self.state.device).reshape(rows, columns)
        self._structs = self._described()

    def pulse(self, counts: Tensor, step: int) -> None:
        """Pulses cells, noise and all, one pulse after the other along each cell's curve.

        Args:
            counts: int32 (stack, rows, columns): pulses up, or below zero pulses down.
            step: number of the update, below 2^24; equal steps draw equal noise.
        """
        if counts.shape != self.state.shape:
            raise ValueError(f"counts are {tuple(counts.shape)}, the cells {tuple(self.state.shape)}")
        counts = counts.to(torch.int32)
        for number in range(-(-int(counts.abs().max()) // _MOST_PULSES)):
            done = number * _MOST_PULSES
            left = counts - counts.clamp(-done, done)
            self._pulse(left.clamp(-_MOST_PULSES, _MOST_PULSES), step + number * _NEXT_ROUND)

    def _pulse(self, counts: Tensor, step: int) -> None:
        """As `pulse`, for at most 512 pulses a cell."""
        if self.pulses is not None:
            self.pulses += counts.abs()
        if self._structs is not None and (library := native.library()) is not None:
            library.apply_counts(self._structs, counts.contiguous(), step)
            return
        left, up = counts.abs(), counts > 0
        for ordinal in range(int(left.max())):
            noise = torch.stack([self._noise(each, step, ordinal) for each in self.draws])
            self._pulse_once(left > ordinal, up, noise)

    def pulse_trains(self, rows: Tensor, columns: Tensor, step: int) -> None:
        """Pulses one array by trains on its rows and columns: a pulse where both have a slot set.

        Args:
            rows, columns: int32 (batch, rows) and (batch, columns) of `pulse_trains.trains`; sample after sample.
            step: number of the first sample; the others count on.
        """
        is_counted = self.pulses is not None
        if self._structs is not None and not is_counted and (library := native.library()) is not None:
            library.apply_trains(self._structs, rows.contiguous(), columns.contiguous(), step)
            return
        for sample, (row, column) in enumerate(zip(rows, columns)):
            both = row[:, None] & column[None, :] & 0x7FFFFFFF
            signs = torch.where((row[:, None] ^ column[None, :]) < 0, 1, -1)
            self.pulse((_ones_of(both) * signs)[None].to(torch.int32), step + sample)

    def jump(self, counts: Tensor, step: int) -> None:
        """As `pulse`, but with one draw of noise at the end, of n pulses' size: as circuit simulators have it."""
        if self.pulses is not None:
            self.pulses += counts.abs()
        n = counts.abs().to(torch.float32)
        moved = self.response.after(self.state, n, counts > 0)
        shape = self.state.shape[1:]
        noise = torch.stack([d.normal(Purpose.WRITE, shape.numel(), step).reshape(shape) for d in self.draws])
        relative, additive = (self._share(name) for name in ("cycle_step_noise", "cycle_noise"))
        size = additive * n.sqrt() + relative * (moved - self.state).abs() / n.sqrt().clamp(min=1.0)
        self.state.copy_(self.response.kept(moved + size * noise))

    def conductance(self) -> Tensor:
        """float32 (stack, rows, columns) in siemens."""
        low = torch.tensor([device.g_min for device in self.devices], dtype=torch.float64)
        span = torch.tensor([device.g_max - device.g_min for device in self.devices], dtype=torch.float64)
        low, span = (each.to(self.state)[:, None, None] for each in (low, span))
        return (low + span * self.state).clamp(min=0.0)

    def _noise(self, draws: Draws, step: int, ordinal: int) -> Tensor:
        pair = normals(*draws.words(Purpose.WRITE, self._numbers, step, ordinal // 2))
        return pair[ordinal % 2]

    def _pulse_once(self, reached: Tensor, up: Tensor, noise: Tensor) -> None:
        """One pulse to the cells that are reached; in the order of operations of the C kernel."""
        relative, additive = (self._share(name) for name in ("cycle_step_noise", "cycle_noise"))
        step = self.response.step(self.state, up) * (1.0 + relative * noise)
        moved = self.state + torch.where(reached, step, 0.0)
        moved = moved + torch.where(reached & (additive != 0), additive * noise, 0.0)
        self.state.copy_(self.response.kept(moved))

    def _share(self, name: str) -> Tensor:
        values = [getattr(device, name) for device in self.devices]
        return torch.tensor(values, dtype=torch.float32, device=self.state.device)[:, None, None]

    def _described(self) -> native.CellArray | None:
        """What the C kernel works on, where it can: the tensors' own memory."""
        r = self.response
        if self.state.device.type != "cpu" or not isinstance(r, AffineResponse):
            return None
        slopes = (r.slope_up, r.slope_down) if r.slope_up.any() or r.slope_down.any() else (None, None)
        return native.described(
            self.state,
            (r.offset_up, slopes[0], r.offset_down, slopes[1], r.low, r.high),
            [(each.seed, each.key(Purpose.WRITE)) for each in self.draws],
            [(device.cycle_step_noise, device.cycle_noise) for device in self.devices],
        )


def _drawn(device: SynapseDevice, draws: Draws, rows: int, columns: int) -> tuple[CellFigures, Tensor]:
    """One array's figures, and which of its cells are stuck: those have both ends where they stand."""

    def normal(purpose: Purpose) -> Tensor:
        return draws.normal(purpose, rows * columns).double().reshape(rows, columns)

    def uniform(purpose: Purpose) -> Tensor:
        return draws.uniform(purpose, rows * columns).double().reshape(rows, columns)

    # Ends that would cross the middle are reflected at it, and steps that would go the wrong way at zero.
    high = 0.5 + (0.5 + device.high_spread * normal(Purpose.HIGH)).abs()
    low = 0.5 - (0.5 + device.low_spread * normal(Purpose.LOW)).abs()
    up_deviation = normal(Purpose.NONLINEARITY_UP)
    shared = device.nonlinearity_correlation
    down_deviation = shared * up_deviation + math.sqrt(1 - shared**2) * normal(Purpose.NONLINEARITY_DOWN)
    gain = 1.0 + device.step_spread * normal(Purpose.STEP)
    lean = device.asymmetry_spread * normal(Purpose.ASYMMETRY)
    is_stuck = uniform(Purpose.STUCK) < device.stuck
    place = {"low": torch.zeros_like(low), "high": torch.ones_like(low)}.get(device.stuck_at)
    place = low + (high - low) * (uniform(Purpose.STUCK_AT) if place is None else place)
    return CellFigures(
        low=torch.where(is_stuck, place, low),
        high=torch.where(is_stuck, place, high),
        label_up=device.nonlinearity_up + device.nonlinearity_spread * up_deviation,
        label_down=device.nonlinearity_down + device.nonlinearity_spread * down_deviation,
        gain_up=(gain + lean).abs(),
        gain_down=(gain - lean).abs(),
    ), is_stuck


_Tensors = TypeVar("_Tensors", CellFigures, AffineResponse, CurveResponse)


def _stacked(parts: Sequence[_Tensors]) -> _Tensors:
    """Data classes of tensors as one, their tensors stacked; curves are shared."""

    def joined(name: str) -> Tensor:
        tensors = [getattr(part, name) for part in parts]
        if not name.startswith("curve"):
            return torch.stack(tensors)
        if not all(torch.equal(each, tensors[0]) for each in tensors):
            raise BadInput("a stack of arrays: measured curves must be one device's; stack each device by itself")
        return tensors[0]

    return type(parts[0])(**{each.name: joined(each.name) for each in fields(parts[0])})


def _ones_of(words: Tensor) -> Tensor:
    """Set bits of int32 words that are not negative."""
    return torch.stack([words >> bit & 1 for bit in range(31)]).sum(0)

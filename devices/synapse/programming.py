"""Writes wanted states into cells: once along the nominal curve, or again and again until each reads what it should."""

import torch
from torch import Tensor

from .cells import Cells
from .draws import Purpose
from .response import nominal_curve

_FIRST_STEP = 1 << 23  # updates of a training count from 0, those of programming from here


def write(
    cells: Cells, target: Tensor, verify_rounds: int = 0, where: Tensor | None = None, occasion: int = 0
) -> Tensor:
    """Programs a stack of arrays from wherever its cells stand.

    A device of N levels takes the nearest of N equal levels. One pulse train is as long as the nominal device would
    need; what the cell makes of it, with its own curve and the noise of its pulses, is what it then holds.
    Verification reads each cell without noise and sends pulses for what is missing, until that is within the device's
    tolerance. A device of a continuum of states holds what is asked. Last comes the device's `program_error`, of which
    verified cells keep at most the tolerance; devices with a law of retention of their own have it from that.

    Args:
        target: float64 (stack, rows, columns), shares of the nominal range; a little outside of it is brought inside.
        verify_rounds: of reading and mending, at most.
        where: bool, the cells that are written; all by default.
        occasion: number of the writing, below 2^23; equal ones draw equal noise.

    Returns:
        The states that the cells then hold, float64; a continuum's have all their digits.
    """
    target = target.double().clamp(0.0, 1.0)
    levels = _column(cells, "states") - 1.0
    is_pulsed = levels > 0
    wanted = torch.where(is_pulsed, torch.round(target * levels) / levels, target)
    is_written = torch.ones_like(cells.is_stuck) if where is None else where
    first = _FIRST_STEP + occasion * (1 + verify_rounds)
    cells.pulse((_counts(cells, wanted) * (is_pulsed & is_written)).to(torch.int32), first)
    tolerance, reads = _column(cells, "verify_tolerance"), range(verify_rounds)
    for read in reads:
        is_off = is_pulsed & is_written & ((wanted - cells.state).abs() > tolerance)
        if not bool(is_off.any()):
            break
        cells.pulse((_counts(cells, wanted) * is_off).to(torch.int32), first + 1 + read)
    has_error = torch.tensor([device.retention == "power-law" for device in cells.devices])[:, None, None]
    error = _column(cells, "program_error") * has_error.to(cells.state.device) * _normal(cells, occasion)
    if verify_rounds:
        error = torch.minimum(torch.maximum(error, -tolerance), tolerance)
    held = torch.where(is_pulsed, cells.state.double(), wanted) + error
    held = torch.minimum(torch.maximum(held, cells.figures.low), cells.figures.high)
    held = torch.where(is_written, held, cells.state.double())
    cells.state.copy_(held)
    return held


def _counts(cells: Cells, wanted: Tensor) -> Tensor:
    """Pulses, whole numbers in float64, that bring the nominal device from each cell's state nearest to `wanted`."""
    counts = []
    for place, device in enumerate(cells.devices):
        state, goal = cells.state[place].double().clamp(0.0, 1.0), wanted[place]
        up = goal > state
        rising, falling = nominal_curve(device, True), nominal_curve(device, False).flip(0)
        ahead = _place(rising, goal) - _place(rising, state)
        back = _place(falling, state) - _place(falling, goal)
        counts.append(torch.where(up, torch.round(ahead), -torch.round(back)))
    return torch.stack(counts)


def _place(rising: Tensor, state: Tensor) -> Tensor:
    """Pulses along a rising curve, with fractions, at which it has a state."""
    rising = rising.to(state.device)
    right = torch.searchsorted(rising, state.contiguous()).clamp(1, len(rising) - 1)
    before, behind = rising[right - 1], rising[right]
    return right - 1 + (state - before) / (behind - before).clamp(min=1e-12)


def _column(cells: Cells, name: str) -> Tensor:
    """A figure of each array's device, float64 (stack, 1, 1)."""
    values = [getattr(device, name) for device in cells.devices]
    return torch.tensor(values, dtype=torch.float64, device=cells.state.device)[:, None, None]


def _normal(cells: Cells, occasion: int) -> Tensor:
    """A standard normal number for each cell."""
    shape = cells.state.shape[1:]
    return torch.stack([draws.normal(Purpose.PROGRAM, shape.numel(), occasion).reshape(shape) for draws in cells.draws])

"""What is left of conductances some time after they were written, by the device's own law."""

import torch
from torch import Tensor

from .device import SynapseDevice
from .draws import Draws, Purpose
from .retention import FilamentSpread, OxideRelaxation, PhaseChange, drifted


def aged(device: SynapseDevice, fresh: Tensor, seconds: float, draws: Draws, place: int = 0) -> Tensor:
    """Conductances so long after they were written.

    Laws other than `power-law` say at once what writing, relaxing and drifting come to, so that `program_error`,
    `drift` and `drift_spread` have no part in them. Before the first moment that a law knows, that moment counts.

    Args:
        fresh: siemens, float64, any shape.
        seconds: since writing.
        draws: of the array; the same numbers at all times are the same devices at different ages.
        place: tells several tensors of one array apart.

    Raises:
        BadInput: the law does not reach so far.
    """

    def number(purpose: Purpose) -> Tensor:
        return draws.normal(purpose, fresh.numel(), place).double().reshape(fresh.shape)

    low, span = device.g_min, device.g_max - device.g_min
    share = ((fresh - low) / span).clamp(0.0, 1.0)
    if device.retention == "phase-change":
        law = PhaseChange()
        numbers = [number(purpose) for purpose in (Purpose.RETENTION, Purpose.DRIFT, Purpose.FLICKER)]
        return low + span * law.aged(share, max(seconds, law.read_seconds), *numbers)
    if device.retention == "filament":
        return low + span * FilamentSpread().aged(share, max(seconds, 1.0), number(Purpose.RETENTION))
    if device.retention == "oxide":
        siemens = (low + span * share).clamp(max=device.g_max)  # which a rounded sum may exceed
        return OxideRelaxation(low, device.g_max).aged(siemens, max(seconds, 1.0), number(Purpose.RETENTION))
    if not device.drift and not device.drift_spread:
        return fresh
    exponent = torch.clamp(device.drift + device.drift_spread * number(Purpose.DRIFT), min=0.0)
    return drifted(fresh, seconds, device.drift_start, exponent)

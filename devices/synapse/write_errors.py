"""What writing, ageing and reading do to a weight, sampled once and drawn from as often as a training asks."""

import torch
from torch import Tensor

from .ageing import aged
from .cells import Cells
from .device import SynapseDevice
from .draws import Draws, Purpose
from .programming import write

_STATES, _DEVICES = 65, 1024  # states that are written, and devices that each is written into


class WriteErrors:
    """Deviations of a device's conductance from what was asked, by state, as shares of the range.

    Attributes:
        deviations: float32 (states, devices): state i of n stands for a share of i / (n - 1).
    """

    def __init__(self, device: SynapseDevice, seconds: float = 0.0, verify_rounds: int = 0, seed: int = 0):
        """Writes every state into many devices, lets them age and reads them once.

        Args:
            seconds: from writing to reading.
            verify_rounds: of reading and mending.
        """
        draws = Draws(seed)
        wanted = torch.linspace(0, 1, _STATES, dtype=torch.float64)[:, None].expand(_STATES, _DEVICES)
        cells = Cells([device], _STATES, _DEVICES, [draws])
        held = write(cells, wanted[None], verify_rounds)[0]
        low, span = device.g_min, device.g_max - device.g_min
        conductance = low + span * held
        noise = draws.normal(Purpose.READ, held.numel()).double().reshape(held.shape)
        conductance = aged(device, conductance, seconds, draws) * (1 + device.read_noise * noise)
        self.deviations = ((conductance - low) / span - wanted).float()

    def perturbed(self, weights: Tensor, draws: Draws, step: int) -> Tensor:
        """Weights as pairs of such devices would give them, each output's largest weight being the whole range.

        Args:
            weights: (outputs, ...).
            step: equal ones draw equal deviations.
        """
        largest = weights.abs().flatten(1).amax(1).clamp(min=1e-12).reshape(-1, *[1] * (weights.ndim - 1))
        share = weights / largest
        moved = share
        for place, (sign, states) in enumerate(((1, share.clamp(min=0)), (-1, (-share).clamp(min=0)))):
            chosen = draws.uniform(Purpose.SAMPLES, states.numel(), step, place * states.numel()).to(states.device)
            device = (chosen * _DEVICES).long().reshape(states.shape)
            state = (states * (_STATES - 1)).round().long()
            moved = moved + sign * self.deviations.to(states.device)[state, device]
        return moved * largest

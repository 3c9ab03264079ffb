"""Devices of one layer, written: pairs, or devices against reference columns."""

import torch
from torch import Tensor

from .ageing import aged
from .cells import Cells
from .design import ArrayDesign
from .device import SynapseDevice
from .draws import Draws
from .mapping import column_range, pair_states
from .programming import write


class Written:
    """The devices of a layer after writing: those that add, and those that subtract or stand as references.

    Attributes:
        fresh: siemens of both, float64 (slices, groups, inputs, outputs), references with one output for each array.
        reference: whether the others are references.
        columns: which of the others belongs to each output.
        gain: digits for a difference of the whole range.
        cells, pulses: how many devices, and what writing took.
    """

    def __init__(self, digits: Tensor, device: SynapseDevice, design: ArrayDesign, draws: Draws):
        self.shape, self.device, self.draws = digits.shape, device, draws
        self.reference = design.reference == "column"
        count, groups, inputs, outputs = digits.shape
        self.gain = 1.0
        if self.reference:
            wide = -(-outputs // design.weight_columns)
            middle, reach = column_range(device.states)
            standing = torch.full((count, groups, inputs, wide), middle, dtype=torch.float64, device=digits.device)
            parts = [middle + reach * digits, standing]
            self.gain = 1.0 / reach
            self.columns = torch.arange(outputs, device=digits.device) // design.weight_columns
        else:
            parts = list(pair_states(digits))
            self.columns = torch.arange(outputs, device=digits.device)
        self.cells, self.pulses, self.fresh = sum(part.numel() for part in parts), 0, []
        for place, part in enumerate(parts):
            numbers = range(place * count, (place + 1) * count)
            own = [Draws(draws.seed, draws.layer + number, draws.device) for number in numbers]
            states = part.reshape(count, groups * inputs, -1)
            cells = Cells([device] * count, states.shape[1], states.shape[2], own, counts_pulses=True)
            held = write(cells, states, design.verify_rounds)
            self.pulses += int(cells.pulses.sum()) if cells.pulses is not None else 0
            self.fresh.append((device.g_min + (device.g_max - device.g_min) * held).clamp(min=0.0).reshape(part.shape))

    def aged(self, seconds: float) -> list[Tensor]:
        """The conductances so long after they were written."""
        return [aged(self.device, fresh, seconds, self.draws, place) for place, fresh in enumerate(self.fresh)]

    def difference(self, conductances: list[Tensor]) -> Tensor:
        """(slices, groups, inputs, outputs): of a pair's two, or from the reference."""
        return conductances[0] - conductances[1][..., self.columns]

    def row_siemens(self, conductances: list[Tensor]) -> Tensor:
        """(groups, inputs): all devices on a row, of all slices."""
        return conductances[0].sum((0, 3)) + conductances[1].sum((0, 3))

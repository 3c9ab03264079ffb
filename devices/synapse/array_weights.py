"""`ArrayWeights`: weights that live in devices alone, and are read and learned there.

No floating-point copy is kept: a weight is what its devices conduct, and moves only by whole pulses and resets.
S. Lim et al., "Adaptive learning rule for hardware-based deep neural networks using electronic synapse devices",
Neural Computing and Applications 31, 2019 (arXiv 1707.06381): weights as differences of two devices, of which the
unidirectional scheme only ever raises one. The details below are a reconstruction: the abstract alone was available.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ...errors import BadInput
from .cells import Cells
from .device import SynapseDevice
from .draws import Draws, Purpose
from .programming import write

SCHEMES = ("unidirectional", "bidirectional", "single")
# A pair is reset when one device stands this high and the other is not idle; what is left of it is written again.
_NEARLY_FULL, _NOT_IDLE = 0.75, 0.05
_VERIFY = 1  # reads of what was written again: devices differ, and an error here would add up over the training
LAYERS_APART = 4  # arrays of one layer have draws of their own, numbered from the layer's on


class ArrayWeights:
    """A stack of weight matrices in devices.

    Attributes:
        scheme: of `SCHEMES`. `unidirectional` raises the first device of a pair for a larger weight and the second for
            a smaller one; `bidirectional` moves both, in opposite directions; `single` has one device a weight and a
            fixed reference at mid range.
        scales: (stack, 1, 1), the weight of a whole g_max.
        pulses: of updates so far, in each matrix; those of resets come on top.
        resets: pairs that were reset so far.
        reads: noisy passes so far, which number their draws.
    """

    def __init__(
        self,
        devices: Sequence[SynapseDevice],
        weights: Tensor,
        scales: Sequence[float],
        scheme: str,
        draws: Sequence[Draws],
        write_with: Callable[[Cells, Tensor], object] | None = None,
    ):
        """Sets the first weights.

        Args:
            devices: one for each matrix of the stack.
            weights: (stack, rows, columns); what is beyond a device's range is clipped.
            scales: one for each matrix.
            draws: as many; layers are `LAYERS_APART` apart.
            write_with: puts states into cells, as `programming.write` does; without it they are simply there, as for
                first weights, which are random anyway.

        Raises:
            BadInput: there is no such scheme.
        """
        if scheme not in SCHEMES:
            raise BadInput(f"update {scheme}: unknown; choose from {', '.join(SCHEMES)}")
        self.scheme = scheme
        _, rows, columns = weights.shape
        arrays = 1 if scheme == "single" else 2
        self._arrays = [
            Cells(devices, rows, columns, [Draws(d.seed, d.layer + place, d.device) for d in draws])
            for place in range(arrays)
        ]
        # A weight is scale (G+ - G-) / g_max: what a small on/off ratio leaves of the range is less than the scale.
        ranges = torch.tensor([1 - device.g_min / device.g_max for device in devices], dtype=torch.float32)
        self._full = torch.tensor(scales, dtype=torch.float32)[:, None, None].to(weights.device)
        self.scales = self._full * ranges[:, None, None].to(weights.device)
        self._draws = tuple(draws)
        self.reads = torch.zeros((), dtype=torch.int64)
        self.pulses = torch.zeros(len(devices), dtype=torch.int64, device=weights.device)
        self.resets = torch.zeros_like(self.pulses)
        for cells, states in zip(self._arrays, self._states(weights)):
            if write_with is None:
                cells.state.copy_(cells.response.kept(states))
            else:
                write_with(cells, states)

    @property
    def step_sizes(self) -> Tensor:
        """(stack, 1, 1): how far one pulse to every device of a nominal linear weight moves it."""
        pulses = [(each.pulses_up + each.pulses_down) / 2 for each in self._arrays[0].devices]
        moved = 1.0 if self.scheme == "unidirectional" else 2.0
        return (
            self.scales * (moved / torch.tensor(pulses, dtype=torch.float32, device=self.scales.device))[:, None, None]
        )

    def weights(self) -> Tensor:
        """float32 (stack, rows, columns): what a read of both passes sees."""
        if self.scheme == "single":
            return 2 * self.scales * (self._arrays[0].state - 0.5)
        return self.scales * (self._arrays[0].state - self._arrays[1].state)

    def forward(self, inputs: Tensor) -> Tensor:
        """(stack, batch, rows) to (stack, batch, columns): rows driven, columns read, with the devices' read noise."""
        return self._read(inputs, self.weights(), self._variances())

    def backward(self, errors: Tensor) -> Tensor:
        """(stack, batch, columns) to (stack, batch, rows): the same devices, columns driven, rows read."""
        variances = self._variances()
        return self._read(errors, self.weights().transpose(1, 2), None if variances is None else variances.mT)

    def _read(self, driven: Tensor, weights: Tensor, variances: Tensor | None) -> Tensor:
        outputs = driven @ weights
        if variances is None:
            return outputs
        each = outputs[0].numel()
        noise = torch.stack([draws.normal(Purpose.READ, each, int(self.reads)) for draws in self._draws])
        self.reads += 1
        return outputs + (driven.square() @ variances).sqrt() * noise.reshape(outputs.shape)

    def _variances(self) -> Tensor | None:
        """What each weight deviates by at a read, squared; None where no device's reads are noisy."""
        noises = [device.read_noise for device in self._arrays[0].devices]
        if not any(noises):
            return None
        share = torch.tensor(noises, dtype=torch.float32, device=self.scales.device)[:, None, None]
        peak = torch.tensor([device.g_max for device in self._arrays[0].devices], device=self.scales.device)
        siemens = [cells.conductance() / peak[:, None, None] for cells in self._arrays]
        factor = self._full * share * (2 if self.scheme == "single" else 1)
        return factor.square() * torch.stack([each.square() for each in siemens]).sum(0)

    def pulse(self, counts: Tensor, step: int, jumps: bool = False) -> None:
        """Pulses weights up, or down where counts are below zero.

        Args:
            counts: int32 (stack, rows, columns).
            step: number of the update.
            jumps: noise of several pulses is drawn once, as circuit simulators have it.
        """
        if self.scheme == "unidirectional":
            parts = [counts.clamp(min=0), (-counts).clamp(min=0)]
        else:
            parts = [counts, -counts]
        for cells, part in zip(self._arrays, parts):
            self.pulses += part.abs().sum((1, 2))
            (cells.jump if jumps else cells.pulse)(part.to(torch.int32), step)

    def refresh(self, step: int) -> None:
        """Resets the pairs of the unidirectional scheme that can hardly move any more; what is left is written again.

        Args:
            step: number of the update; its pulses draw noise of their own.
        """
        if self.scheme != "unidirectional":
            return
        up, down = (cells.state for cells in self._arrays)
        is_full = (torch.maximum(up, down) > _NEARLY_FULL) & (torch.minimum(up, down) > _NOT_IDLE)
        if not bool(is_full.any()):
            return
        difference = up - down
        self.resets += is_full.sum((1, 2))
        for cells, wanted in zip(self._arrays, (difference.clamp(min=0), (-difference).clamp(min=0))):
            cells.state.copy_(torch.where(is_full, cells.response.low, cells.state))
            write(cells, wanted, _VERIFY, is_full, step)

    def tensors(self) -> dict[str, Tensor]:
        """States of the devices, and the counts."""
        states = {f"state.{place}": cells.state for place, cells in enumerate(self._arrays)}
        return {**states, "pulses": self.pulses, "resets": self.resets, "reads": self.reads}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])

    def _states(self, weights: Tensor) -> list[Tensor]:
        share = (weights / self.scales).clamp(-1.0, 1.0)
        if self.scheme == "single":
            return [(share + 1) / 2]
        if self.scheme == "bidirectional":
            return [(1 + share) / 2, (1 - share) / 2]
        return [share.clamp(min=0), (-share).clamp(min=0)]

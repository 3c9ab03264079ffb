"""From wanted changes of weights to pulses: stochastic trains, stochastically rounded counts, single pulses.

Trains are how a crossbar updates all its cells at once (Gokmen and Vlasov, "Acceleration of deep neural network
training with resistive cross-point devices", 2016): a row sends a pulse in a time slot with a probability in proportion
to its input, a column in proportion to its error, and a cell changes where both fall together.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from . import native
from .draws import Draws, Purpose

MOST_SLOTS = 31


@dataclass(frozen=True)
class Trains:
    """Pulses on the lines of one array: bit k of a word is slot k, bit 31 the sign of the line's value.

    Attributes:
        rows: int32 (batch, rows).
        columns: int32 (batch, columns).
        slots: time slots of each sample.
    """

    rows: Tensor
    columns: Tensor
    slots: int


def trains(
    inputs: Tensor, errors: Tensor, rate: float, step_size: float, draws: Draws, step: int, most_slots: int = MOST_SLOTS
) -> Trains:
    """Trains whose mean effect is a change of -rate · input · error in each cell.

    As many slots as the largest product of the batch needs, at most `most_slots`; the probabilities of rows and columns
    are balanced so that their largest are equal. Where even all slots cannot carry the change, probabilities stop at 1.

    Args:
        inputs: float32 (batch, rows).
        errors: float32 (batch, columns), the loss's gradient at the outputs.
        rate: learning rate.
        step_size: how far one pulse moves a weight.
        draws: of the array.
        step: number of the first sample.
    """
    largest_input, largest_error = (values.abs().amax().clamp(min=1e-30) for values in (inputs, errors))
    pulses = rate * float(largest_input * largest_error) / step_size
    slots = min(most_slots, max(1, -int(-pulses // 1)))
    balance = torch.sqrt(largest_error / largest_input)
    scale = (rate / (step_size * slots)) ** 0.5
    return Trains(
        line_trains(inputs * (scale * balance), slots, draws, Purpose.ROW_TRAIN, step),
        line_trains(errors * (scale / balance), slots, draws, Purpose.COLUMN_TRAIN, step),
        slots,
    )


def line_trains(values: Tensor, slots: int, draws: Draws, purpose: Purpose, step: int) -> Tensor:
    """int32 of the values' shape (batch, lines): slot k is set with probability |value|, bit 31 if it is negative."""
    values = values.to(torch.float32).contiguous()
    library = native.library() if values.device.type == "cpu" else None
    if library is not None:
        return library.draw_trains(draws.seed, draws.key(purpose), step, values, slots)
    batch, lines = values.shape
    cells = torch.arange(lines, device=values.device)[None, :]
    steps = torch.arange(step, step + batch, device=values.device)[:, None]
    found = torch.where(values.signbit(), -(1 << 31), 0)
    for slot in range(slots):
        word = draws.words(purpose, cells, steps, slot // 2)[slot % 2]
        is_set = (word >> 8).to(torch.float32) * 2.0**-24 < values.abs()
        found = found | (is_set.long() << slot)
    return found.to(torch.int32)


def rounded_counts(pulses: Tensor, draws: Draws, step: int) -> Tensor:
    """int32 counts whose mean is `pulses`: (rows, columns), the fraction rounded up with its own probability."""
    uniform = draws.uniform(Purpose.ROUNDING, pulses.numel(), step).reshape(pulses.shape)
    return (torch.sign(pulses) * torch.floor(pulses.abs() + uniform)).to(torch.int32)


def nearest_counts(pulses: Tensor) -> Tensor:
    """int32 counts nearest to `pulses`: what is less than half a pulse is lost."""
    return torch.round(pulses).to(torch.int32)


def single_pulses(change: Tensor, threshold: float | Tensor) -> Tensor:
    """int32: one pulse in the direction of each change that exceeds the threshold."""
    return (torch.sign(change) * (change.abs() > threshold)).to(torch.int32)

"""Which states stand for a layer's weights: slices of bits, pairs of devices, devices against a reference column."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadInput
from .design import ArrayDesign


@dataclass(frozen=True)
class Slices:
    """Weights as sums of digits: weight = sum over slices of factor · digit.

    Attributes:
        digits: float64 (slices, groups, inputs, outputs), from -1 to 1.
        factors: as many numbers.
    """

    digits: Tensor
    factors: tuple[float, ...]


def sliced(weights: Tensor, design: ArrayDesign, layer: str) -> Slices:
    """Weights as digits that one device, or the difference of two, can hold.

    The largest weight, or with `clip_share` the weight that this share does not exceed, becomes a digit of 1.

    Args:
        weights: float64 (groups, inputs, outputs); whole numbers where the design slices.
        layer: for errors.

    Raises:
        BadInput: weights are to be sliced and are no whole numbers, or none is finite.
    """
    size = weights.abs()
    if not bool(torch.isfinite(size).all()):
        raise BadInput(f"{layer}: holds NaN or infinity, which no conductance stands for; train again")
    largest = float(torch.quantile(size.flatten()[: 1 << 24], design.clip_share)) if design.clip_share < 1 else 0.0
    largest = largest or float(size.max()) or 1.0
    if not design.slice_bits:
        return Slices((weights / largest).clamp(-1.0, 1.0)[None], (largest,))
    if not bool((weights == weights.round()).all()):
        raise BadInput(f"{layer}: slice_bits takes weights that are whole numbers; quantize the network first")
    codes = size.clamp(max=math.floor(largest)).long()
    length = max(1, int(codes.max()).bit_length())
    bits = min(design.slice_bits, length)  # what no weight uses would waste range
    base = 1 << bits
    count = math.ceil(length / bits)
    parts = [(codes >> bits * place) % base for place in range(count)]
    digits = torch.stack([torch.sign(weights) * part / (base - 1) for part in parts])
    return Slices(digits, tuple(float(base**place * (base - 1)) for place in range(count)))


def pair_states(digits: Tensor) -> Tensor:
    """(2, ...): states of the devices that add and that subtract; the idle one of a pair stands at the low end."""
    return torch.stack([digits.clamp(min=0.0), (-digits).clamp(min=0.0)])


def column_range(states: int) -> tuple[float, float]:
    """Where references stand, and how far digits of 1 reach from there: a level, and as many levels to either side.

    Args:
        states: of the device; 0 for a continuum.

    Raises:
        BadInput: there are too few for a level above and one below another.
    """
    if not states:
        return 0.5, 0.5
    if states < 3:
        raise BadInput(f"levels {states}: a reference column needs 3 or more; take pairs, or another device")
    reach = (states - 1) // 2
    return reach / (states - 1), reach / (states - 1)


def array_count(groups: int, inputs: int, outputs: int, slices: int, design: ArrayDesign) -> int:
    """Arrays that a layer takes: groups that fit lie along the diagonal of one array, and share its reference."""
    across, down = math.ceil(outputs / design.weight_columns), math.ceil(inputs / design.rows)
    if across == down == 1:
        packed = min(design.rows // inputs, design.weight_columns // outputs)
        tiles = math.ceil(groups / packed)
    else:
        tiles = groups * across * down
    return tiles * slices * (2 if design.reference == "pair" else 1)

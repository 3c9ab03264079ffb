"""Random numbers that can be drawn again: a draw depends on what it is for, never on how it was come by.

Each number is a function of (seed, layer, purpose, cell, step, place), computed by the counter-based generator
Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Any number of
threads, any split of a batch and any order of calls give the same bits, in PyTorch on every device and in C: normals
are made with additions, multiplications and square roots alone, which IEEE 754 rounds in one way, in one fixed order.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from ...errors import BadInput
from . import native

MOST_LAYERS = 1 << 16  # of a seed
_MASK = 0xFFFFFFFF
_PARITY = 0x1BD11BDA
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_ROUNDS = 20

# ln(1 + f) = f + f² P(f) for f in [√½ - 1, √2 - 1]; sin a = a + a³ S(a²) and cos a = 1 + a² C(a²) for |a| <= π/4.
# Least squares at Chebyshev nodes, rounded to float32; off by less than 3e-8 and 3e-9.
LOG = (-0.4999999403953552, 0.33333659172058105, -0.25001609325408936, 0.19973105192184448,
       -0.16575047373771667, 0.14806459844112396, -0.14257794618606567, 0.09004202485084534)  # fmt: skip
SIN = (-0.1666666716337204, 0.008333331905305386, -0.00019840082677546889, 2.7249541290075285e-06)
COS = (-0.5, 0.04166664928197861, -0.0013887588866055012, 2.4463799491059035e-05)
LN2 = float(np.float32(np.log(2.0)))
EIGHTH_TURN = float(np.float32(np.pi / 4 / 2**29))  # radians in a unit of the remaining angle


class Purpose(IntEnum):
    """What a number is drawn for: no two purposes share numbers."""

    HIGH = 0
    LOW = 1
    NONLINEARITY_UP = 2
    NONLINEARITY_DOWN = 3
    STEP = 4
    ASYMMETRY = 5
    STUCK = 6
    STUCK_AT = 7
    WRITE = 8
    PROGRAM = 9
    DRIFT = 10
    READ = 11
    ROW_TRAIN = 12
    COLUMN_TRAIN = 13
    ROUNDING = 14
    WEIGHTS = 15
    SAMPLES = 16
    RETENTION = 17
    FLICKER = 18
    REFERENCE = 19


@dataclass(frozen=True)
class Draws:
    """The numbers of one seed and one layer.

    Attributes:
        seed: 0 to 2^32 - 1.
        layer: which array of cells, 0 to 65,535.
        device: that tensors are made on.
    """

    seed: int
    layer: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _MASK:
            raise BadInput(f"seed {self.seed}: must be from 0 to 4294967295")
        if not 0 <= self.layer < MOST_LAYERS:
            raise BadInput(f"layer {self.layer}: must be from 0 to {MOST_LAYERS - 1}")

    def words(self, purpose: Purpose, cells: Tensor, step: int | Tensor = 0, block: int = 0) -> tuple[Tensor, Tensor]:
        """Two words of 32 random bits for each cell, as int64 tensors.

        Args:
            cells: int64 numbers of cells, 0 to 2^32 - 1.
            step: which occasion, 0 to 2^32 - 1; a tensor is broadcast against `cells`.
            block: further pairs for the same cell and step, 0 to 255.
        """
        key = torch.tensor([self.seed, self.key(purpose, block)], dtype=torch.int64, device=cells.device)
        steps = torch.as_tensor(step, dtype=torch.int64, device=cells.device)
        return threefry(key[0], key[1], cells, steps)

    def key(self, purpose: Purpose, block: int = 0) -> int:
        """The second word of the key; the first is the seed."""
        return self.layer << 16 | int(purpose) << 8 | block

    def uniform(self, purpose: Purpose, count: int, step: int = 0, first: int = 0) -> Tensor:
        """float32 (count,) in [0, 1), multiples of 2^-24, for the cells from `first` on."""
        library = native.library() if self.device == "cpu" else None
        if library is not None:
            return library.uniforms(self.seed, self.key(purpose), step, first, count)
        first_word, _ = self.words(purpose, self._cells(count, first), step)
        return (first_word >> 8).to(torch.float32) * 2.0**-24

    def normal(self, purpose: Purpose, count: int, step: int = 0, first: int = 0) -> Tensor:
        """float32 (count,) standard normal numbers, at most 6.7 in size, for the cells from `first` on."""
        library = native.library() if self.device == "cpu" else None
        if library is not None:
            return library.normals(self.seed, self.key(purpose), step, first, count)
        return normals(*self.words(purpose, self._cells(count, first), step))[0]

    def _cells(self, count: int, first: int) -> Tensor:
        return torch.arange(first, first + count, dtype=torch.int64, device=self.device)


def threefry(key0: Tensor, key1: Tensor, counter0: Tensor, counter1: Tensor) -> tuple[Tensor, Tensor]:
    """Threefry-2x32-20: int64 tensors that hold 32-bit words, broadcast against each other."""
    keys = (key0, key1, key0 ^ key1 ^ _PARITY)
    x0, x1 = torch.broadcast_tensors((counter0 + keys[0]) & _MASK, (counter1 + keys[1]) & _MASK)
    for group in range(_ROUNDS // 4):
        for rotation in _ROTATIONS[group % 2]:
            x0 = (x0 + x1) & _MASK
            x1 = (x1 << rotation & _MASK | x1 >> (32 - rotation)) ^ x0
        x0 = (x0 + keys[(group + 1) % 3]) & _MASK
        x1 = (x1 + keys[(group + 2) % 3] + group + 1) & _MASK
    return x0, x1


def normals(word0: Tensor, word1: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent standard normal float32 tensors from two words each (Box and Muller, 1958)."""
    radius = _radius(word0)
    quarter = (word1 + (1 << 29)) >> 30  # turns are counted in quarters around which the angle is small
    angle = (word1 - (quarter << 30)).to(torch.float32) * EIGHTH_TURN
    square = angle * angle
    sine = angle + angle * (square * _polynomial(SIN, square))
    cosine = 1.0 + square * _polynomial(COS, square)
    odd, sign_cos, sign_sin = (quarter & 1) == 1, ((quarter + 1) & 2) == 2, (quarter & 2) == 2
    first, second = torch.where(odd, sine, cosine), torch.where(odd, cosine, sine)
    return radius * torch.where(sign_cos, -first, first), radius * torch.where(sign_sin, -second, second)


def _radius(word: Tensor) -> Tensor:
    """sqrt(-2 ln u) for u = (word / 2 + 0.5) / 2^31."""
    x = (word >> 1).to(torch.float32) + 0.5
    bits = x.view(torch.int32)
    exponent = (bits - 0x3F3504F3) >> 23  # so that what is left lies between √½ and √2
    f = (bits - (exponent << 23)).view(torch.float32) - 1.0
    log = f + (f * f) * _polynomial(LOG, f)
    log = (exponent - 31).to(torch.float32) * LN2 + log
    # PyTorch's root in float32 may be off by a unit in the last place; from float64 it rounds as IEEE 754 asks.
    return torch.sqrt((log * -2.0).clamp(min=0.0).double()).to(torch.float32)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Horner's rule, one rounding after each product and each sum."""
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value

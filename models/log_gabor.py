"""Dictionaries of log-Gabor kernels: edges of every orientation, with one or with several orientation bandwidths.

Ladret, Casanova and Perrinet, "Kernel Heterogeneity Improves Sparseness of Natural Images Representations",
Neuromorphic Computing and Engineering 2024, arXiv 2312.14685. In the frequency plane, with f and phi its polar
coordinates, a kernel is `exp(-ln(f / f0)^2 / (2 b^2)) / f * exp(cos(phi - theta) / B^2)`; B is about the standard
deviation of its orientations, in radians, and `1 / B` how precise it is.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput

_SPECTRUM = 64  # side of the zero-padded spectrum that a kernel is measured in


@dataclass(frozen=True)
class LogGabors:
    """A dictionary: every orientation with every bandwidth, each as an even and an odd kernel.

    Attributes:
        orientations: how many, evenly spread over half a turn.
        bandwidths: B, in radians.
        size: height and width of a kernel, in pixels.
        frequency: f0, in cycles per pixel.
        spread: b, of the logarithm of the frequency.
    """

    orientations: int
    bandwidths: tuple[float, ...]
    size: int = 12
    frequency: float = 0.4
    spread: float = 0.4

    def __post_init__(self) -> None:
        if self.orientations < 1 or not self.bandwidths or self.size < 3:
            raise BadInput(
                f"log-Gabor kernels: {self.orientations} orientations, {len(self.bandwidths)} bandwidths and size "
                f"{self.size}; give at least 1, 1 and 3"
            )
        values = (*self.bandwidths, self.frequency, self.spread)
        if not all(math.isfinite(value) and value > 0 for value in values):
            raise BadInput(f"log-Gabor kernels: bandwidths, frequency and spread must be above 0, got {values}")

    def __len__(self) -> int:
        return 2 * self.orientations * len(self.bandwidths)

    def kernels(self) -> Tensor:
        """(K, size, size) float64 of unit norm and zero mean; phase is the fastest index, orientation the slowest."""
        made = [
            _kernel(self, math.pi * step / self.orientations, bandwidth, phase)
            for step in range(self.orientations)
            for bandwidth in self.bandwidths
            for phase in (0.0, math.pi / 2)
        ]
        return torch.stack(made)


HETEROGENEOUS = LogGabors(12, tuple(math.radians(degrees) for degrees in (5, 10, 15, 20, 25, 30)))
HOMOGENEOUS = LogGabors(72, (math.radians(12),))


def _kernel(bank: LogGabors, orientation: float, bandwidth: float, phase: float) -> Tensor:
    """(size, size) float64, centred on pixel (size / 2, size / 2), under a round window."""
    down, across = _frequencies(bank.size)
    radius, angle = torch.hypot(down, across), torch.atan2(down, across)
    radius[0, 0] = 1.0  # the mean, which is taken out below
    radial = torch.exp(-0.5 * (torch.log(radius / bank.frequency) / bank.spread) ** 2) / radius
    # exp(1 / B^2) is 1e57 at 5 degrees: the largest exponent is made 0.
    angular = torch.exp((torch.cos(angle - orientation) - 1) / bandwidth**2)
    envelope = radial * angular
    envelope[0, 0] = 0.0
    # One lobe alone, so that turning the phase by a quarter makes an even kernel odd.
    turn = 2 * math.pi * (down + across) * (bank.size // 2) + phase
    kernel = torch.fft.ifft2(envelope * torch.polar(torch.ones_like(turn), -turn)).real * _window(bank.size)
    kernel -= kernel.mean()
    return kernel / kernel.norm()


def _frequencies(size: int) -> tuple[Tensor, Tensor]:
    """Cycles per pixel down and across, (size, size) each."""
    steps = torch.fft.fftfreq(size, dtype=torch.float64)
    down, across = torch.meshgrid(steps, steps, indexing="ij")
    return down, across


def _window(size: int) -> Tensor:
    """((1 + cos(pi r)) / 2)^(1/3) where r < 1, and 0 outside; r is 1 at the middle of each side."""
    steps = torch.linspace(-1, 1, size, dtype=torch.float64)
    radius = torch.hypot(*torch.meshgrid(steps, steps, indexing="ij")).clamp(max=1)
    return ((1 + torch.cos(math.pi * radius)) / 2) ** (1 / 3)


def coherence(kernels: Tensor) -> float:
    """The largest |inner product| of two different kernels (K, h, w), each scaled to unit norm."""
    flat = functional.normalize(kernels.flatten(1), dim=1)
    return float((flat @ flat.T).fill_diagonal_(0).abs().max())


def effective_rank(kernels: Tensor) -> float:
    """exp of the entropy of the normalised squared singular values: how many directions the kernels really span."""
    energies = torch.linalg.svdvals(kernels.flatten(1)) ** 2
    shares = energies / energies.sum()
    return float(torch.exp(torch.special.entr(shares).sum()))


def orientations_of(kernels: Tensor) -> tuple[Tensor, Tensor]:
    """Orientation in [0, pi) and its circular standard deviation, in radians, of each kernel (K, h, w).

    Both are those of the power spectrum as a distribution over angles, of which opposite ones are the same.
    """
    power = torch.fft.fft2(kernels.double(), s=(_SPECTRUM, _SPECTRUM)).abs() ** 2
    down, across = _frequencies(_SPECTRUM)
    turns = torch.polar(torch.ones_like(down), 2 * torch.atan2(down, across))
    mean = (power * turns).sum((1, 2)) / power.sum((1, 2))
    spread = torch.sqrt(-2 * torch.log(mean.abs().clamp(max=1))) / 2
    return (mean.angle() / 2) % math.pi, spread

"""Convolutional sparse coding: an image as a sum of few kernels at few places.

Convolutional basis pursuit finds the code x (K maps) of an image s with unit-norm kernels d_k:
`min_x |s - sum_k d_k * x_k|^2 / 2 + weight |x|_1`. Solved by FISTA (Beck and Teboulle, SIAM J. Imaging Sciences 2009)
or, on a torus, by ADMM (Wohlberg, "Efficient Algorithms for Convolutional Sparse Representations", IEEE Transactions on
Image Processing 2016), as Ladret et al. do, arXiv 2312.14685. Images are (B, 1, H, W), codes (B, K, h, w).
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import BadInput

RELAXATION = 1.8  # of ADMM
_CHECKED_EVERY = 50  # iterations


class Operator(Protocol):
    """What makes an image of a code."""

    lipschitz: float
    """The largest eigenvalue of `analyse(synthesise(.))`, or a bound on it."""

    def synthesise(self, code: Tensor) -> Tensor:
        """(B, K, h, w) to (B, 1, H, W)."""

    def analyse(self, images: Tensor) -> Tensor:
        """The adjoint, (B, 1, H, W) to (B, K, h, w)."""


class Circular:
    """Convolution with kernels (K, h, w) on a torus of `height` by `width`; their origin is pixel (h / 2, w / 2).

    Raises:
        BadInput: a kernel is larger than the image.
    """

    def __init__(self, kernels: Tensor, height: int, width: int):
        rows, columns = kernels.shape[1:]
        if rows > height or columns > width:
            raise BadInput(f"kernels of {rows}x{columns} do not fit images of {height}x{width}; give larger images")
        self.size, self.support = (height, width), (rows, columns)
        padded = functional.pad(kernels, (0, width - columns, 0, height - rows))
        self.spectra = torch.fft.rfft2(padded.roll((-(rows // 2), -(columns // 2)), (1, 2)))  # (K, H, W / 2 + 1)
        self.power = self.spectra.abs().square().sum(0)
        self.lipschitz = float(self.power.detach().max())

    def synthesise(self, code: Tensor) -> Tensor:
        return self._image((self.spectra * torch.fft.rfft2(code)).sum(1, keepdim=True))

    def analyse(self, images: Tensor) -> Tensor:
        return self._image(self.spectra.conj() * torch.fft.rfft2(images))

    def nearest(self, images: Tensor, code: Tensor, stiffness: float) -> Tensor:
        """argmin over x of |s - D x|^2 / 2 + stiffness |x - code|^2 / 2; at each frequency D has rank one."""
        missing = torch.fft.rfft2(images) - (self.spectra * torch.fft.rfft2(code)).sum(1, keepdim=True)
        return code + self._image(self.spectra.conj() * (missing / (self.power + stiffness)))

    def kernel_gradient(self, code: Tensor, residual: Tensor) -> Tensor:
        """The gradient of half the squared residual `images - synthesise(code)` by the kernels, (K, h, w)."""
        rows, columns = self.support
        spectrum = (torch.fft.rfft2(code).conj() * torch.fft.rfft2(residual)).sum(0)
        correlation = self._image(spectrum).roll((rows // 2, columns // 2), (1, 2))
        return -correlation[:, :rows, :columns]

    def _image(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfft2(spectrum, s=self.size)


@dataclass(frozen=True)
class Solution:
    """A code and how good it is.

    Attributes:
        code: (B, K, h, w), with exact zeros.
        reconstruction: (B, 1, H, W).
        objective: (B,), what was to be as small as possible.
        gap: (B,), by how much of itself the objective can at most be above the least one (its duality gap).
        iterations: that were done.
    """

    code: Tensor
    reconstruction: Tensor
    objective: Tensor
    gap: Tensor
    iterations: int


def soft(values: Tensor, threshold: Tensor | float) -> Tensor:
    """Towards 0 by `threshold` (0 or more), and no further: what is within it becomes exactly 0."""
    return torch.relu(values - threshold) - torch.relu(-values - threshold)


def objective(images: Tensor, reconstruction: Tensor, code: Tensor, weight: float) -> Tensor:
    """Half the squared error plus `weight` times the sum of absolute coefficients, (B,)."""
    return (images - reconstruction).square().flatten(1).sum(1) / 2 + weight * code.abs().flatten(1).sum(1)


def duality_gap(operator: Operator, images: Tensor, residual: Tensor, value: Tensor, weight: float) -> Tensor:
    """At most how far `value` is above the least objective, as a share of `value`, (B,).

    Any v with |analyse(v)| <= weight everywhere bounds the least objective by <v, s> - |v|^2 / 2 from below. v is the
    best such multiple of `residual` (B, 1, H, W), which at the solution is the image less its reconstruction.
    """
    tiny = torch.finfo(value.dtype).tiny  # an image of zeros has no residual, and no gap
    allowed = weight / operator.analyse(residual).abs().flatten(1).amax(1).clamp(min=tiny)
    along = (residual * images).flatten(1).sum(1)
    energy = residual.square().flatten(1).sum(1)
    scale = torch.minimum((along / energy.clamp(min=tiny)).clamp(min=0), allowed)
    return (value - (scale * along - scale.square() * energy / 2)) / value.clamp(min=tiny)


def ista(operator: Operator, images: Tensor, weight: float, iterations: int) -> Solution:
    """Plain proximal gradient steps, from zero."""
    step = 1 / operator.lipschitz
    code = torch.zeros_like(operator.analyse(images))
    for _ in range(iterations):
        code = soft(code + step * operator.analyse(images - operator.synthesise(code)), weight * step)
    return _solution(operator, images, code, weight, iterations)


def fista(
    operator: Operator,
    images: Tensor,
    weight: float,
    iterations: int,
    tolerance: float = 0.0,
    start: Tensor | None = None,
) -> Solution:
    """Accelerated proximal gradient steps; an image's objective never rises by more than rounding.

    A step that would raise it is not taken, and the momentum starts again (O'Donoghue and Candes, "Adaptive Restart for
    Accelerated Gradient Schemes", Foundations of Computational Mathematics 2015).

    Args:
        iterations: at most, 1 or more.
        tolerance: ends when every image's duality gap is at most this.
        start: first code; None for zero.
    """
    step = 1 / operator.lipschitz
    rounding = 1 + 4 * torch.finfo(images.dtype).eps
    code = torch.zeros_like(operator.analyse(images)) if start is None else start
    shown = operator.synthesise(code)
    value = objective(images, shown, code, weight)
    ahead, ahead_shown, momentum = code, shown, torch.ones_like(value)
    for done in range(1, iterations + 1):
        moved = soft(ahead + step * operator.analyse(images - ahead_shown), weight * step)
        moved_shown = operator.synthesise(moved)
        moved_value = objective(images, moved_shown, moved, weight)
        better = moved_value <= rounding * value
        grown = torch.where(better, (1 + torch.sqrt(1 + 4 * momentum**2)) / 2, 1.0)
        push = torch.where(better, (momentum - 1) / grown, 0.0)[:, None, None, None]
        taken = better[:, None, None, None]
        moved, moved_shown = torch.where(taken, moved, code), torch.where(taken, moved_shown, shown)
        # The image is linear in the code, so that of the point ahead needs no synthesis of its own.
        ahead, ahead_shown = moved + push * (moved - code), moved_shown + push * (moved_shown - shown)
        code, shown, value, momentum = moved, moved_shown, torch.where(better, moved_value, value), grown
        if tolerance and done % _CHECKED_EVERY == 0:
            gap = duality_gap(operator, images, images - shown, value, weight)
            if bool((gap <= tolerance).all()):
                break
    return _solution(operator, images, code, weight, done)


def admm(
    operator: Circular,
    images: Tensor,
    weight: float,
    iterations: int,
    tolerance: float = 0.0,
    stiffness: float | None = None,
) -> Solution:
    """Alternating directions: a code that fits (solved exactly, frequency by frequency), and one that is sparse.

    Far fewer iterations than FISTA where kernels are nearly alike. The sparse one of the two codes is returned.

    Args:
        iterations: at most, 1 or more.
        tolerance: ends when every image's duality gap is at most this.
        stiffness: how strongly the two are held together (rho); None for ten times the weight.
    """
    stiffness = 10 * weight if stiffness is None else stiffness
    sparse = torch.zeros_like(operator.analyse(images))
    apart = torch.zeros_like(sparse)
    for done in range(1, iterations + 1):
        fitting = operator.nearest(images, sparse - apart, stiffness)
        mixed = RELAXATION * fitting + (1 - RELAXATION) * sparse + apart
        sparse = soft(mixed, weight / stiffness)
        apart = mixed - sparse
        if tolerance and done % _CHECKED_EVERY == 0:
            found = _solution(operator, images, sparse, weight, done, fitting)
            if bool((found.gap <= tolerance).all()):
                return found
    return _solution(operator, images, sparse, weight, iterations, fitting)


def _solution(
    operator: Operator, images: Tensor, code: Tensor, weight: float, iterations: int, fitting: Tensor | None = None
) -> Solution:
    """`fitting` is the code whose residual bounds the least objective; None for the code itself."""
    shown = operator.synthesise(code)
    value = objective(images, shown, code, weight)
    residual = images - (shown if fitting is None else operator.synthesise(fitting))
    return Solution(code, shown, value, duality_gap(operator, images, residual, value, weight), iterations)


def learn_dictionary(
    kernels: Tensor,
    crops: Tensor,
    weight: float,
    steps: int,
    draws: torch.Generator,
    batch: int = 5,
    iterations: int = 30,
    rate: float = 0.05,
) -> Tensor:
    """Kernels (K, h, w) of unit norm, learned from `kernels` on crops (N, 1, H, W).

    Each step codes a few crops and moves the kernels down the gradient of the squared error; the rate falls as
    `rate / (1 + step / 100)`.
    """
    height, width = crops.shape[-2:]
    for step in range(steps):
        chosen = crops[torch.randint(len(crops), (batch,), generator=draws)]
        operator = Circular(kernels, height, width)
        found = admm(operator, chosen, weight, iterations)
        gradient = operator.kernel_gradient(found.code, chosen - found.reconstruction)
        moved = kernels - rate / (1 + step / 100) * gradient
        kernels = moved / moved.flatten(1).norm(dim=1)[:, None, None]
    return kernels


def psnr(images: Tensor, reconstruction: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (B,); the peak is the image's own range. Finite, whatever the images."""
    tiny = torch.finfo(images.dtype).tiny
    extent = images.flatten(1).amax(1) - images.flatten(1).amin(1)
    error = (images - reconstruction).square().flatten(1).mean(1)
    return 10 * (torch.log10(extent.square().clamp(min=tiny)) - torch.log10(error.clamp(min=tiny)))


def sparseness(code: Tensor) -> Tensor:
    """Share of coefficients that are exactly 0, (B,)."""
    return (code == 0).flatten(1).double().mean(1)


def without_small(code: Tensor, least: float) -> Tensor:
    """The code without coefficients below `least` in absolute value."""
    return torch.where(code.abs() < least, 0, code)


def code_bits(code: Tensor, value_bits: int = 8) -> Tensor:
    """Bits of the list of non-zero coefficients, each with its place among all and its value, (B,)."""
    flat = code.flatten(1)
    return (flat != 0).sum(1) * (math.log2(flat.shape[1]) + value_bits)

"""A sparse coder that runs on devices: few steps of FISTA, unrolled and learned, over log-Gabor kernels.

Ladret, Casanova and Perrinet, "Kernel Heterogeneity Improves Sparseness of Natural Images Representations",
Neuromorphic Computing and Engineering 2024, arXiv 2312.14685, code images with kernels of several orientation
bandwidths. Their solver needs hundreds of Fourier transforms; here a fixed number of its steps is trained to lower the
same objective, as in LISTA (Gregor and LeCun, "Learning Fast Approximations of Sparse Coding", ICML 2010). The code
lies on a grid `stride` pixels wide; within the network an image is its `stride^2` phases on that grid, so that every
layer is a plain convolution.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..errors import BadInput
from . import sparse_coding
from .data.photographs import NAME, load_photographs
from .kernel_pictures import illustrate
from .log_gabor import HETEROGENEOUS, LogGabors
from .objectives import Batch, Objective, Outcome, in_tuple
from .picture import Picture, RunArtifact
from .recipe import Recipe
from .system import System

_SPECTRUM = 64  # frequencies along each side at which an operator's norm is taken


@dataclass(frozen=True)
class CoderConfig:
    """A sparse coder.

    Attributes:
        bank: the dictionary, K kernels.
        stride: pixels from one place of the code to the next; divides the kernels' size.
        steps: that are unrolled.
        weight: of the sum of absolute coefficients (lambda).
    """

    bank: LogGabors
    stride: int
    steps: int
    weight: float

    def __post_init__(self) -> None:
        if self.stride < 1 or self.bank.size % self.stride or self.steps < 2 or not self.weight > 0:
            raise BadInput(
                f"sparse coder: stride {self.stride}, {self.steps} steps and weight {self.weight:g}; give a stride "
                f"that divides the kernels' size of {self.bank.size}, 2 steps or more and a weight above 0"
            )


class Strided:
    """Convolution with kernels (K, n, n) placed every `stride` pixels, beyond zeros: (B, K, H / s, W / s) to an image.

    Attributes:
        analysis: (K, s^2, n / s, n / s), the kernels' phases.
        synthesis: (s^2, K, n / s, n / s), the same turned round.
        lipschitz: that of the endless grid, which bounds that of every image.
    """

    def __init__(self, kernels: Tensor, stride: int):
        self.stride = stride
        self.analysis = pixel_unshuffle(kernels.unsqueeze(1), stride)
        self.synthesis = self.analysis.transpose(0, 1).flip(2, 3).contiguous()
        spectra = torch.fft.rfft2(self.analysis.double(), s=(_SPECTRUM, _SPECTRUM)).permute(2, 3, 0, 1)
        self.lipschitz = float(torch.linalg.matrix_norm(spectra, 2).square().max())

    def synthesise(self, code: Tensor) -> Tensor:
        return pixel_shuffle(convolve_back(code, self.synthesis), self.stride)

    def analyse(self, images: Tensor) -> Tensor:
        return convolve(pixel_unshuffle(images, self.stride), self.analysis)


def convolve(phases: Tensor, weight: Tensor) -> Tensor:
    """(B, s^2, h, w) with weights (K, s^2, t, t), to (B, K, h, w)."""
    taps = weight.shape[-1]
    return _padded_convolution(phases, weight, (taps - 1) // 2, taps // 2)


def convolve_back(code: Tensor, weight: Tensor) -> Tensor:
    """The adjoint, where `weight` (s^2, K, t, t) is transposed and turned round: (B, K, h, w) to (B, s^2, h, w)."""
    taps = weight.shape[-1]
    return _padded_convolution(code, weight, taps // 2, (taps - 1) // 2)


def _padded_convolution(x: Tensor, weight: Tensor, before: int, after: int) -> Tensor:
    if before == after:
        return functional.conv2d(x, weight, padding=before)
    return functional.conv2d(functional.pad(x, (before, after, before, after)), weight)


class UnrolledCoder(nn.Module):
    """(B, 1, H, W), sides divisible by the stride, to a code (B, K, H / s, W / s) and its reconstruction (B, 1, H, W).

    Step t of T, with y = x_t + momentum_t (x_t - x_{t-1}): `x_{t+1} = soft(y + step_t A(s - D y), threshold_t)`.
    Untrained, A is the adjoint of the dictionary D and the code is exactly that of T steps of FISTA. A, the steps, the
    momenta and a threshold for each channel are learned; D stays, or small coefficients on large kernels would win.
    """

    phases: Tensor
    synthesis: Tensor

    def __init__(self, config: CoderConfig):
        super().__init__()
        self.stride, self.steps, self.size = config.stride, config.steps, config.bank.size
        operator = Strided(config.bank.kernels(), config.stride)
        # What pixel_unshuffle does to one channel, in an operator that every target has.
        unit = torch.eye(self.stride**2).reshape(-1, 1, self.stride, self.stride)
        self.register_buffer("phases", unit)
        self.register_buffer("synthesis", operator.synthesis.float())
        # A kernel of unit norm has values of about 1 / size: so scaled, one learning rate suits all parameters.
        self.analysis = nn.Parameter(operator.analysis.float() * self.size)
        self.log_step = nn.Parameter(torch.full((self.steps,), -math.log(operator.lipschitz)))
        first = math.log(config.weight / operator.lipschitz)
        self.log_threshold = nn.Parameter(torch.full((self.steps, len(config.bank), 1, 1), first))
        self.momentum = nn.Parameter(torch.tensor(_momenta(self.steps)[1:]))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        phases = functional.conv2d(image, self.phases, stride=self.stride)
        before, code = None, self._step(0, None, phases)
        for step in range(1, self.steps):
            ahead = code if before is None else code + self.momentum[step - 2] * (code - before)
            before, code = code, self._step(step, ahead, phases - convolve_back(ahead, self.synthesis))
        return code, pixel_shuffle(convolve_back(code, self.synthesis), self.stride)

    def _step(self, step: int, ahead: Tensor | None, residual: Tensor) -> Tensor:
        move = convolve(residual, self.analysis * (self.log_step[step].exp() / self.size))
        return _soft(move if ahead is None else ahead + move, -self.log_threshold[step].exp())


def _soft(values: Tensor, lowered: Tensor) -> Tensor:
    """`sparse_coding.soft` by the threshold `-lowered`, in sums: with the ReLU behind it each is one kernel."""
    return torch.relu(values + lowered) - torch.relu(lowered - values)


def _momenta(steps: int) -> list[float]:
    """FISTA's, of the steps from the second on; the first of them is 0."""
    found, now = [], 1.0
    for _ in range(steps - 1):
        grown = (1 + math.sqrt(1 + 4 * now**2)) / 2
        found.append((now - 1) / grown)
        now = grown
    return found


@dataclass(frozen=True)
class SparseCoding(Objective):
    """Trains on what sparse coding minimises, per pixel; measures it, and what the code is worth.

    Attributes:
        weight: of the sum of absolute coefficients.
    """

    weight: float

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs = in_tuple(batch.samples)
        code, reconstruction = network(*inputs)
        return Outcome(self._objective(inputs[0], code, reconstruction).mean(), inputs, code)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 3): objective, signal-to-noise ratio and share of zeros of each image."""
        (code, reconstruction), (images,) = outputs, inputs
        ratio, zeros = sparse_coding.psnr(images, reconstruction), sparse_coding.sparseness(code)
        return torch.stack([self._objective(images, code, reconstruction), ratio, zeros.to(ratio)], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        """`objective` per pixel, `psnr` in dB and `sparseness` as a share: means over images."""
        return dict(zip(("objective", "psnr", "sparseness"), scores.mean(0).tolist()))

    def _objective(self, images: Tensor, code: Tensor, reconstruction: Tensor) -> Tensor:
        return sparse_coding.objective(images, reconstruction, code, self.weight) / images[0].numel()


FULL = CoderConfig(HETEROGENEOUS, stride=3, steps=6, weight=0.2)
XS = CoderConfig(LogGabors(8, (math.radians(10), math.radians(30)), size=10), stride=2, steps=6, weight=0.2)


def _illustrate(
    config: CoderConfig, run: RunArtifact, inputs: dict[str, np.ndarray], targets: np.ndarray
) -> tuple[Picture, ...]:
    return illustrate(config.bank, Strided(config.bank.kernels().float(), config.stride), run, inputs)


def _system(name: str, config: CoderConfig, size: int) -> System:
    return System(
        name=name,
        paper="kernel-heterogeneity",
        task="sparse-coding",
        build=partial(UnrolledCoder, config),
        input_shapes={"image": (1, 1, size, size)},
        output_names=("code", "reconstruction"),
        dataset=NAME,
        recipe=Recipe(
            learning_rate=0.03,
            weight_decay=0.0,
            epochs=4,
            batch_size=4,
            warmup_epochs=0.1,
            gradient_clip=0.0,
            threads=1,
        ),
        objective=SparseCoding(config.weight),
        read=lambda name_or_path, seed: load_photographs(name_or_path, size, seed),
        illustrate=partial(_illustrate, config),
        source="Ladret et al., Kernel Heterogeneity Improves Sparseness of Natural Images Representations, 2024, "
        "arXiv 2312.14685",
    )


SYSTEMS = (_system("sparse_coder", FULL, 48), _system("sparse_coder_xs", XS, 32))

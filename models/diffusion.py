"""Denoising diffusion: the noise schedule, what a denoiser trains on, and the sampler that runs it.

A clean image x becomes `cos(w_t) x + sin(w_t) e` with standard normal noise e and an angle w_t that rises from almost 0
to almost pi/2 over the time steps t. A denoiser is given that, t and a class, and tells e (Ho et al., NeurIPS 2020,
arXiv 2006.11239). Samples are drawn by walking t down without new noise (Song et al., DDIM, ICLR 2021, arXiv
2010.02502). The sampler knows a denoiser only as a function, so that a network and its exported artifact are sampled by
the same lines.

Networks here tell x, of which e follows; training measures e all the same. To tell e itself from an image that holds
little of it is to magnify it, by 1 / sin(w_t), and every rounding with it: int8 files of one program then give
different noise, where their clean images agree.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from ..errors import BadInput
from .batches import Raw, size_of, stacked
from .data import Data, InMemory, Preprocessing
from .objectives import Batch, Objective, Outcome
from .picture import RunArtifact

Denoise = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Noisy images (B, C, H, W), time steps (B,) and one-hot classes (B, classes + 1) to what they hold, (B, C, H, W)."""


@dataclass(frozen=True)
class Schedule:
    """The cosine schedule of Nichol and Dhariwal, ICML 2021, arXiv 2102.09672, equation 17, as angles.

    Attributes:
        steps: time steps, 0 to `steps - 1`.
        offset: keeps the first steps from adding next to nothing; the least noise is a step of 8-bit pixels in -1 to 1.
    """

    steps: int = 1000
    offset: float = 0.008

    def angles(self, timesteps: Tensor) -> Tensor:
        """w_t of time steps (B,), in radians above 0 and below pi/2."""
        return (timesteps / self.steps + self.offset) / (1 + self.offset) * (math.pi / 2)

    def noised(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Images (B, C, H, W) at time steps (B,)."""
        angles = self.angles(timesteps).reshape(-1, 1, 1, 1)
        return angles.cos().to(clean) * clean + angles.sin().to(clean) * noise

    def noise_in(self, noisy: Tensor, clean: Tensor, timesteps: Tensor) -> Tensor:
        """What images (B, C, H, W) at time steps (B,) hold beside the clean ones."""
        angles = self.angles(timesteps).reshape(-1, 1, 1, 1)
        return (noisy - angles.cos() * clean.reshape(noisy.shape)) / angles.sin()


@dataclass(frozen=True)
class Sampler:
    """Deterministic sampling with classifier-free guidance.

    The noise is taken as `e(no class) + guidance * (e(class) - e(no class))` (Ho and Salimans, arXiv 2207.12598).

    Attributes:
        schedule: that the denoiser was trained with.
        steps: calls of the denoiser for an image; twice as many where guidance is not 1.
        guidance: 1 follows the class as trained, more follows it more strictly.
    """

    schedule: Schedule = field(default_factory=Schedule)
    steps: int = 20
    guidance: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= self.schedule.steps:
            raise BadInput(f"sampler: steps must be 1 to the schedule's {self.schedule.steps}, got {self.steps}")

    def timesteps(self) -> Tensor:
        """Falling from the schedule's last to 0, evenly spread, (steps,)."""
        return torch.linspace(self.schedule.steps - 1, 0, self.steps).round()

    @torch.no_grad()
    def __call__(self, denoise: Denoise, noise: Tensor, classes: Tensor, count: int) -> Tensor:
        """Images in -1 to 1, (B, C, H, W), one for each class asked for.

        Args:
            denoise: tells the noise; `noise_by` makes one of a network, and of what runs an artifact.
            noise: standard normal, (B, C, H, W), where sampling starts; equal noise gives equal images.
            classes: (B,) of 0 to `count - 1`.
            count: classes known to the denoiser.
        """
        walk = self.timesteps()
        angles = [*self.schedule.angles(walk.double()).tolist(), 0.0]
        images, asked, free = noise, one_hot(classes, count), one_hot(torch.full_like(classes, count), count)
        for t, now, after in zip(walk, angles, angles[1:]):
            predicted = self._guided(denoise, images, t.expand(len(images)), asked, free)
            clean = ((images - math.sin(now) * predicted) / math.cos(now)).clamp(-1, 1)
            predicted = (images - math.cos(now) * clean) / math.sin(now)  # the noise that goes with the clipped image
            images = math.cos(after) * clean + math.sin(after) * predicted
        return images

    def _guided(self, denoise: Denoise, images: Tensor, timesteps: Tensor, asked: Tensor, free: Tensor) -> Tensor:
        if self.guidance == 1:
            return denoise(images, timesteps, asked)
        without = denoise(images, timesteps, free)
        return without + self.guidance * (denoise(images, timesteps, asked) - without)


def one_hot(classes: Tensor, count: int) -> Tensor:
    """(B,) of 0 to `count`, the last of which means no class, to float (B, count + 1)."""
    return functional.one_hot(classes.long(), count + 1).float()


def noise_by(tell_clean: Denoise, schedule: Schedule) -> Denoise:
    """Tells the noise by telling the clean images."""

    def denoise(images: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        clean = tell_clean(images.float(), timesteps.float(), labels)
        return schedule.noise_in(images.double(), clean.double(), timesteps.double())

    return denoise


def in_batches(run: RunArtifact) -> Denoise:
    """An artifact with inputs `image`, `timestep`, `label` and one output as a function of batches."""

    def denoise(images: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        named = {"image": images.numpy(), "timestep": timesteps.numpy(), "label": labels.numpy()}
        outputs = [run({name: v[i : i + 1] for name, v in named.items()}) for i in range(len(images))]
        return torch.from_numpy(np.concatenate([each.popitem()[1] for each in outputs])).reshape(images.shape)

    return denoise


@dataclass(frozen=True)
class NoisePrediction(Objective):
    """Mean squared error of the noise, by networks that tell the clean image.

    `noise_error` over a whole split is that, with every sample's own time step, in units of the noise's variance.
    Targets are those of `with_clean_targets`.

    Attributes:
        count: classes.
        schedule: of the noise.
        dropped: share of samples whose class is kept from the network, so that it learns to do without.
    """

    count: int
    schedule: Schedule = field(default_factory=Schedule)
    dropped: float = 0.1

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        return self._drawn(samples, targets, draws)[0]

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs, noise = self._drawn(batch.samples, batch.targets, batch.draws)
        outputs = network(*inputs)
        told = self.schedule.noise_in(inputs[0], outputs, inputs[1])
        return Outcome(functional.mse_loss(told, noise), inputs, outputs)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 1): the mean squared error of each sample; its noise is what its input has beside the clean image."""
        noisy, timestep = inputs[:2]
        told, true = (self.schedule.noise_in(noisy, clean, timestep) for clean in (outputs[0], targets[:, 1:]))
        return (told - true).square().flatten(1).mean(1, keepdim=True)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        return {"noise_error": scores.mean().item()}

    def _drawn(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[tuple[Tensor, ...], Tensor]:
        """Noisy images, time steps and classes; and the noise."""
        assert isinstance(samples, Tensor)
        timesteps = torch.randint(self.schedule.steps, (len(samples),), generator=draws).to(samples.device)
        noise = torch.randn(samples.shape, generator=draws).to(samples.device)
        is_dropped = torch.rand(len(samples), generator=draws).to(samples.device) < self.dropped
        classes = targets[:, 0].long().masked_fill(is_dropped, self.count)
        noisy = self.schedule.noised(samples, noise, timesteps)
        return (noisy, timesteps.float(), one_hot(classes, self.count)), noise


def with_clean_targets(data: Data, preprocessing: Preprocessing) -> Data:
    """Classified images as a denoiser is measured on them: each target is the class, then the clean image's values.

    Args:
        data: images with class numbers; both splits are read into memory.
        preprocessing: of images, the network's own.
    """

    def read(split: Dataset) -> InMemory:
        raw, classes = stacked([split[index] for index in range(size_of(split))])
        assert isinstance(raw, Tensor)
        return InMemory(raw, torch.cat([classes.float().unsqueeze(1), preprocessing.apply(raw).flatten(1)], 1))

    return replace(data, train=read(data.train), test=read(data.test), labels=(), preprocessing=preprocessing)

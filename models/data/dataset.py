"""`Data`: a train and a test split with labels and preprocessing, and the dataset that lies in memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from ...errors import BadInput
from .preprocessing import Preprocessing

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Data:
    """Everything that training and measuring need to know of a data set.

    Attributes:
        name: for example `digits`.
        train: map-style, yields (raw float32 of shape (C, H, W) in 0..255, label). For a network of several inputs
            the raw part is a tuple; where a target is no class it is a float tensor (k,).
        test: the held-out part, of the same form.
        labels: name of each class, in the order of the labels; none where targets are no classes.
        preprocessing: from raw values to the network's input.
    """

    name: str
    train: Dataset
    test: Dataset
    labels: tuple[str, ...]
    preprocessing: Preprocessing


class InMemory(Dataset):
    """Samples in one tensor, rendered to the asked size and channels a batch at a time.

    Args:
        samples: (N, C, H, W) images, uint8 or float in 0..255, or (N, ...) of anything else; of several inputs a tuple.
        labels: (N,) integers, or (N, k) floats where targets are no classes.
        channels: of the images given; None leaves samples as they are.
        size: height and width of the images given; None leaves samples as they are.
    """

    def __init__(
        self,
        samples: Tensor | tuple[Tensor, ...],
        labels: Tensor,
        channels: int | None = None,
        size: int | None = None,
    ):
        self.samples = samples
        self.labels = labels if labels.ndim > 1 else labels.long()
        self.channels, self.size = channels, size

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor | tuple[Tensor, ...], int | Tensor]:
        samples, labels = self.batch([index])
        sample = samples[0] if isinstance(samples, Tensor) else tuple(part[0] for part in samples)
        return sample, labels[0] if labels.ndim > 1 else int(labels[0])

    def batch(self, indices: Sequence[int]) -> tuple[Tensor | tuple[Tensor, ...], Tensor]:
        """Raw float32 samples (B, ...) and targets (B,) or (B, k)."""
        chosen = torch.as_tensor(indices)
        if isinstance(self.samples, tuple):
            return tuple(part[chosen].float() for part in self.samples), self.labels[chosen]
        samples = self.samples[chosen].float()
        if self.channels is not None and self.size is not None:
            samples = render(samples, self.channels, self.size)
        return samples, self.labels[chosen]


def render(images: Tensor, channels: int, size: int) -> Tensor:
    """Float images (N, C, H, W) as (N, channels, size, size).

    Sizes change bilinearly, smoothed when shrinking. Grey is repeated; colour becomes grey by luma.

    Raises:
        BadInput: there is no rule from C to `channels`.
    """
    images = _with_channels(images, channels)
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    shrinks = size < max(height, width)
    return functional.interpolate(images, (size, size), mode="bilinear", align_corners=False, antialias=shrinks)


def _with_channels(images: Tensor, channels: int) -> Tensor:
    given = images.shape[1]
    if given == channels:
        return images
    if given == 1:
        return images.repeat(1, channels, 1, 1)
    if (given, channels) == (3, 1):
        return (images * torch.tensor(_LUMA).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    raise BadInput(f"images have {given} channels and the network wants {channels}; use a network with {given} or 1")

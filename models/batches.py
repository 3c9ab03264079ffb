"""Batches of a data set: sliced from memory, or decoded by worker processes."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from ..errors import BadInput
from .data import InMemory

_MOST_WORKERS = 8

Raw = Tensor | tuple[Tensor, ...]
"""A batch of samples: one tensor, or one for each of several inputs."""


def each(function: Callable[[Tensor], Tensor], raw: Raw) -> Raw:
    """The function of every tensor of a batch."""
    return function(raw) if isinstance(raw, Tensor) else tuple(map(function, raw))


def shuffled(dataset: Dataset, batch_size: int, seed: int, epoch: int, rank: int, world: int) -> list[list[int]]:
    """Indices of this process's batches in an epoch; a last, smaller batch is left out unless it is the only one."""
    # Seeds are spread so that (seed 0, epoch 1) and (seed 1, epoch 0) differ.
    sampler: DistributedSampler = DistributedSampler(dataset, world, rank, shuffle=True, seed=seed * 1_000_003)
    sampler.set_epoch(epoch)
    indices = list(sampler)
    whole = max(1, len(indices) // batch_size)
    return [indices[start * batch_size : (start + 1) * batch_size] for start in range(whole)]


def in_order(dataset: Dataset, batch_size: int, rank: int, world: int) -> list[list[int]]:
    """Indices of this process's batches, every sample once over all processes."""
    indices = list(range(rank, size_of(dataset), world))
    return [indices[start : start + batch_size] for start in range(0, len(indices), batch_size)]


def read_batches(dataset: Dataset, batches: Sequence[list[int]]) -> Iterator[tuple[Raw, Tensor]]:
    """Raw samples (B, ...) and targets (B,) or (B, k) for each list of indices.

    Raises:
        BadInput: a sample cannot be read; the message names its file.
    """
    if isinstance(dataset, InMemory):
        yield from map(dataset.batch, batches)
        return
    workers = min(_MOST_WORKERS, os.cpu_count() or 1, len(batches))
    # A generator of its own, so that starting workers draws nothing from the global one.
    loader = DataLoader(
        _Guarded(dataset),
        batch_sampler=list(batches),
        num_workers=workers,
        collate_fn=_collate,
        generator=torch.Generator().manual_seed(0),
    )
    for batch in loader:
        if isinstance(batch, BadInput):
            raise batch
        yield batch


def size_of(dataset: Dataset) -> int:
    """Number of samples of a map-style data set."""
    return len(dataset)  # type: ignore[arg-type]


class _Guarded(Dataset):
    """Gives a sample's error back as its value: a worker would wrap it in a page of traceback."""

    def __init__(self, dataset: Dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return size_of(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except BadInput as error:
            return error


def _collate(samples: list[Any]) -> Any:
    for sample in samples:
        if isinstance(sample, BadInput):
            return sample
    return stacked(samples)


def stacked(pairs: Sequence[tuple[Any, Any]]) -> tuple[Raw, Tensor]:
    """Samples with their targets as one batch."""
    samples = [sample for sample, _ in pairs]
    raw = torch.stack(samples) if isinstance(samples[0], Tensor) else tuple(map(torch.stack, zip(*samples)))
    return raw, torch.stack([torch.as_tensor(target) for _, target in pairs])

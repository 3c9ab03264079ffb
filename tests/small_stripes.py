"""Small pictures that several files train on, and a training that is cut off."""

import torch
from offramp.models.data import Data, InMemory, Preprocessing


def stripes(count: int = 48, preprocessing: Preprocessing | None = None) -> Data:
    """Bright columns, bright rows or neither, 4 x 4, with noise; from 0 to 1 where nothing else is asked for."""
    labels = torch.arange(count) % 3
    wave = 200.0 * (torch.arange(4) % 2)
    clean = torch.stack([wave.expand(4, 4), wave.reshape(4, 1).expand(4, 4), torch.full((4, 4), 40.0)])
    noise = 55 * torch.rand(count, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    images, half = clean[labels].unsqueeze(1) + noise, count // 2
    parts = InMemory(images[:half], labels[:half]), InMemory(images[half:], labels[half:])
    return Data("stripes", *parts, ("across", "down", "none"), preprocessing or Preprocessing(1 / 255))


class Stopped(Exception):
    """Somebody ended the training."""


class Stops(InMemory):
    """Ends the training when asked for its n-th batch."""

    def __init__(self, dataset: InMemory, at: int):
        super().__init__(dataset.samples, dataset.labels)
        self.left = at

    def batch(self, indices):
        self.left -= 1
        if not self.left:
            self.end()
        return super().batch(indices)

    def end(self) -> None:
        raise Stopped

"""Gradient descent on networks of signs and of tanh, many seeds at once: what searches are held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

from ..models.boolean_network import Sign
from ..models.data import InMemory

_SIGN = Sign()  # in training mode: straight through
LOOKS = 50  # how often a training is looked at
FINAL_RATE = 0.01  # where the cosine ends, as a share of the first rate


@dataclass(frozen=True)
class Descent:
    """How a network is trained by gradients.

    Attributes:
        hidden: `sign`, whose gradient is that of a clip to [-1, 1] (straight through), or `tanh`.
        rate: of Adam at first; it falls by a cosine.
        steps: each of all items.
        penalty: weight of mean (|row|^2 - d)^2, which draws rows to the norm that projections give them.
        decay: of AdamW.
    """

    hidden: str = "sign"
    rate: float = 0.01
    steps: int = 2000
    penalty: float = 0.0
    decay: float = 0.0


@dataclass(frozen=True)
class Descended:
    """What a seed's training came to.

    Attributes:
        fitted: whether all items had the right outputs at any look.
        train_bits: share of right bits of the items, at the end.
        test_bits: likewise of held-out items.
    """

    fitted: bool
    train_bits: float
    test_bits: float


def descend(
    widths: Sequence[int],
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    seeds: Sequence[int],
    how: Descent,
    device: str = "cpu",
) -> list[Descended]:
    """Trains a network for each seed on all items at once, with a logistic loss of the last sums.

    The networks stand in tensors of one more dimension; their losses are added up, so that each is trained as it would
    be alone. Outputs are signs of the last sums.

    Args:
        widths: of inputs and layers.
        train: (M, n) inputs and (M, k) outputs of ±1, the same for all seeds; or (seeds, M, n) and (seeds, M, k).
        test: likewise.
    """
    inputs, outputs = (part.to(device) for part in train)
    layers = [layer.to(device).requires_grad_() for layer in first_layers(widths, seeds)]
    optimizer = torch.optim.AdamW(layers, lr=how.rate, weight_decay=how.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, how.steps, FINAL_RATE * how.rate)
    fitted = torch.zeros(len(seeds), dtype=torch.bool, device=device)
    for number in range(how.steps):
        sums = _sums(layers, inputs, how.hidden)
        if number % max(1, how.steps // LOOKS) == 0:
            fitted |= _right(sums, outputs).flatten(1).all(1)
        loss = functional.softplus(-outputs * sums).mean((1, 2)).sum()
        if how.penalty:
            norms = [(layer.square().sum(1) - layer.shape[1]).square().mean(1).sum() for layer in layers]
            loss = loss + how.penalty * sum(norms) / len(layers)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        right = [
            _right(_sums(layers, given.to(device), how.hidden), wanted.to(device)) for given, wanted in (train, test)
        ]
    fitted |= right[0].flatten(1).all(1)
    shares = (part.double().mean((1, 2)).tolist() for part in right)
    return [Descended(*row) for row in zip(fitted.tolist(), *shares)]


def items(part: object) -> tuple[Tensor, Tensor]:
    """Inputs and outputs of a table."""
    assert isinstance(part, InMemory) and isinstance(part.samples, Tensor)
    return part.samples, part.labels


def first_layers(widths: Sequence[int], seeds: Sequence[int]) -> list[Tensor]:
    """(seeds, in + 1, out) of each layer, uniform within 1 / sqrt(in), as `nn.Linear` draws them; the bias is last."""
    draws = [torch.Generator().manual_seed(seed) for seed in seeds]
    return [
        torch.stack([(2 * torch.rand(before + 1, after, generator=each) - 1) / before**0.5 for each in draws])
        for before, after in pairwise(widths)
    ]


def _sums(layers: Sequence[Tensor], inputs: Tensor, hidden: str) -> Tensor:
    """The last layer's sums, (seeds, M, k)."""
    values = inputs.expand(len(layers[0]), -1, -1)
    for layer in layers[:-1]:
        values = _hidden(_linear(layer, values), hidden)
    return _linear(layers[-1], values)


def _linear(layer: Tensor, values: Tensor) -> Tensor:
    return torch.baddbmm(layer[:, -1:], values, layer[:, :-1])


def _hidden(sums: Tensor, kind: str) -> Tensor:
    return sums.tanh() if kind == "tanh" else _SIGN(sums)


def _right(sums: Tensor, outputs: Tensor) -> Tensor:
    return (sums >= 0) == (outputs >= 0)

"""Networks of two views of a digit, trained side by side: all learning rates, noises and seeds at once.

They are the zoo's `arl_digits`. Factors, gradient scaling and losses are those of its objective, which take stacks of
batches as they take one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.nn import functional

from ..models.batches import size_of, stacked
from ..models.data import load
from ..models.imbalanced_multimodal_arl import Arl
from ..models.late_fusion import Outputs, TwoSensors, perceptrons
from ..models.modality_balance import Pair, inverse_variance, scale_gradient
from ._trainings import seeded

Noise = tuple[float, float]
Part = tuple[Tensor, Tensor, Tensor]  # both views (K, N, 32) and labels (K, N)

TRAIN, CHOOSE = 600, 200  # samples to train on and to choose the rate with; all others measure
RATES = (0.0025, 0.005, 0.02, 0.04)
NOISES = ((0.2, 0.6), (0.6, 0.2))  # settings: standard deviations in both views
_BATCH = 60
_SPLIT_SEED, _TEST_SEED = 0, 1_000


@dataclass(frozen=True)
class Views:
    """What K networks are trained on, chosen with, and measured on."""

    train: Part
    choose: Part
    test: Part

    def repeated(self, times: int) -> "Views":
        """The same again, `times` over."""
        return Views(*(tuple(torch.cat([tensor] * times) for tensor in part) for part in self._parts))  # type: ignore

    @property
    def _parts(self) -> tuple[Part, Part, Part]:
        return self.train, self.choose, self.test


def draw_views(images: Tensor, labels: Tensor, noises: Sequence[Noise], seeds: Sequence[int]) -> Views:
    """For each noise, each seed. Which samples measure, and their noise, is the same for all seeds.

    Args:
        images: (N, 64) in 0..1; upper and lower half are the views.
        labels: (N,).
        noises: standard deviations of both views' Gaussian noise.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    own, test = order[: TRAIN + CHOOSE], order[TRAIN + CHOOSE :]
    parts: list[list[Part]] = [[], [], []]
    for noise in noises:
        for seed in seeds:
            draws = torch.Generator().manual_seed(seed)
            mixed = own[torch.randperm(len(own), generator=draws)]
            for part, indices in zip(parts, (mixed[:TRAIN], mixed[TRAIN:], test)):
                generator = torch.Generator().manual_seed(_TEST_SEED) if indices is test else draws
                part.append((*_noisy(images[indices], noise, generator), labels[indices]))
    return Views(*(tuple(torch.stack(tensors) for tensors in zip(*part)) for part in parts))  # type: ignore[arg-type]


def _noisy(images: Tensor, noise: Noise, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    upper, lower = (
        half + sigma * torch.randn(half.shape, generator=draws) for half, sigma in zip(images.chunk(2, 1), noise)
    )
    return upper, lower


class Stack:
    """K networks with stacked weights; one for each of the seeds given, equal where these are equal."""

    def __init__(self, seeds: Sequence[int]):
        networks = [seeded(perceptrons, seed) for seed in seeds]
        self._modules = {name: getattr(networks[0], name) for name in ("first", "second", "head")}
        self._states = {
            name: stack_module_state([getattr(network, name) for network in networks])[0] for name in self._modules
        }

    def parameters(self) -> list[Tensor]:
        """All weights, (K, ...) each."""
        return [tensor for state in self._states.values() for tensor in state.values()]

    def features(self, part: Part) -> Pair:
        """(K, N, F) of each view."""
        return self._call("first", part[0]), self._call("second", part[1])

    def outputs(self, features: Pair) -> Outputs:
        """Fused logits and those of each view alone, (K, N, C)."""
        return self._call("head", *features)

    def network(self, place: int) -> TwoSensors:
        """One of them, in evaluation mode."""
        network = perceptrons()
        network.load_state_dict(
            {f"{name}.{key}": t[place].detach() for name, state in self._states.items() for key, t in state.items()}
        )
        return network.eval()

    def _call(self, name: str, *inputs: Tensor) -> Any:
        return torch.vmap(partial(functional_call, self._modules[name]))(self._states[name], inputs)


def train_stack(
    stack: Stack, views: Views, mode: Arl, rates: Tensor, epochs: int, judge_held_out: bool = False
) -> Tensor:
    """SGD with momentum 0.9, in place; every seed's batches have the same places in its own order.

    Args:
        rates: learning rate of each network, (K,).
        judge_held_out: factors come from batches of what is not trained on.

    Returns:
        (K, 2), each view's share of the inverse variance, by the entropies of the last epoch's training batches.
    """
    draws = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(stack.parameters(), lr=1.0, momentum=0.9)
    shares: list[Tensor] = []
    for epoch in range(epochs):
        is_warm, shares = epoch >= mode.warmup_epochs, []
        for batch in torch.randperm(TRAIN, generator=draws).split(_BATCH):
            part = _at(views.train, batch)
            judged = _at(views.choose, torch.randperm(CHOOSE, generator=draws)[:_BATCH]) if judge_held_out else None
            outputs = _outputs(stack, part, mode, judged) if is_warm else stack.outputs(stack.features(part))
            shares.append(inverse_variance((outputs[1].detach(), outputs[2].detach())))
            losses = [_cross_entropy(logits, part[2]) for logits in outputs]
            optimizer.zero_grad()
            (losses[0] + mode.gamma_when(is_warm) * (losses[1] + losses[2])).sum().backward()
            _scale(stack.parameters(), rates)
            optimizer.step()
    return torch.stack(shares).mean(0)


def _outputs(stack: Stack, part: Part, mode: Arl, judged: Part | None) -> Outputs:
    """With scaled gradients into the encoders."""
    features = stack.features(part)
    with torch.no_grad():
        seen, labels = (features, part[2]) if judged is None else (stack.features(judged), judged[2])
        factors = mode.factors(stack.outputs(seen)[1:], labels)  # (K, 2)
    first, second = (scale_gradient(f, factors[:, m, None, None]) for m, f in enumerate(features))
    return stack.outputs((first, second))


def _scale(parameters: list[Tensor], rates: Tensor) -> None:
    """A learning rate for each network; with momentum it may as well stand before the gradient."""
    for parameter in parameters:
        assert parameter.grad is not None
        parameter.grad *= rates.reshape(-1, *[1] * (parameter.dim() - 1))


def _at(part: Part, places: Tensor) -> Part:
    return part[0][:, places], part[1][:, places], part[2][:, places]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """(K, N, C) and (K, N) to each network's mean, (K,)."""
    return functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(1)


def accuracies(outputs: Outputs, labels: Tensor) -> Tensor:
    """(K, 3): fused, and of each view alone."""
    return torch.stack([(logits.argmax(-1) == labels).float().mean(-1) for logits in outputs], -1)


@dataclass(frozen=True)
class Found:
    """What one way of training came to, by rate (R), setting (N) and seed (S).

    Attributes:
        stack: the networks.
        test: (R, N, S, 3), held-out accuracy, fused and of each view alone.
        train: likewise, on what was trained on.
        choose: (R, N, S), fused accuracy on the samples that rates are chosen with.
        batch_shares: (R, N, S, 2), each view's share of the inverse variance, by the last epoch's training batches.
        held_out_shares: likewise, by the test samples.
        factors: likewise, what multiplies the gradients, by the test samples.
        seed_shares: (R, N, 2), by the spread of the test samples' probabilities from seed to seed.
    """

    stack: Stack
    test: Tensor
    train: Tensor
    choose: Tensor
    batch_shares: Tensor
    held_out_shares: Tensor
    factors: Tensor
    seed_shares: Tensor

    def rate(self, setting: int) -> int:
        """Place of the best rate."""
        return int(self.choose[:, setting].mean(1).argmax())

    def accuracy(self, setting: int, view: int | None = None) -> list[float]:
        """By seed, at the best rate: fused, or of one view alone."""
        return self.test[self.rate(setting), setting, :, 0 if view is None else 1 + view].tolist()

    def alone(self, setting: int) -> list[float]:
        """By seed, at the best rate: the mean of both views alone."""
        return self.test[self.rate(setting), setting, :, 1:].mean(1).tolist()

    def place(self, setting: int, seed: int) -> int:
        """In the stack, at the best rate."""
        return int(np.ravel_multi_index((self.rate(setting), setting, seed), self.choose.shape))


def read_digits(data: str | None) -> tuple[Tensor, Tensor]:
    """Images (1797, 64) in 0..1 and labels; the first as many of other data."""
    loaded = load(data or "digits", 1, 8)
    parts: list[tuple[Any, Tensor]] = [
        stacked([split[i] for i in range(min(most, size_of(split)))])
        for split, most in ((loaded.train, 1297), (loaded.test, 500))
    ]
    images, labels = map(torch.cat, zip(*parts))
    return images.flatten(1) / 255, labels


def train(mode: Arl, views: Views, seeds: Sequence[int], epochs: int, judge_held_out: bool = False) -> Found:
    """Every rate, setting and seed; see `train_stack`."""
    shape = len(RATES), len(NOISES), len(seeds)
    stack = Stack([*seeds] * (shape[0] * shape[1]))
    rates = torch.tensor(RATES).repeat_interleave(shape[1] * shape[2])
    shares = train_stack(stack, views, mode, rates, epochs, judge_held_out)
    with torch.no_grad():
        test, seen, choose = (stack.outputs(stack.features(p)) for p in (views.test, views.train, views.choose))
    return Found(
        stack,
        accuracies(test, views.test[2]).unflatten(0, shape),
        accuracies(seen, views.train[2]).unflatten(0, shape),
        accuracies(choose, views.choose[2])[:, 0].unflatten(0, shape),
        shares.unflatten(0, shape),
        inverse_variance(test[1:]).unflatten(0, shape),
        mode.factors(test[1:], views.test[2]).unflatten(0, shape),
        _seed_shares(test[1:], shape),
    )


def _seed_shares(alone: Sequence[Tensor], shape: tuple[int, int, int]) -> Tensor:
    """(R, N, 2); one half each where there is one seed."""
    variances = [a.softmax(-1).unflatten(0, shape).var(2, correction=0).sum(-1).mean(-1) for a in alone]
    inverse = 1 / torch.stack(variances, -1).clamp_min(1e-12)
    return inverse / inverse.sum(-1, keepdim=True)

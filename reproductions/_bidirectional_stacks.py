"""Many small perceptrons trained at once, for the study of bidirectional learning: weights of all of them in one stack.

Networks of one stack differ in seed and in way of training, and never read each other: losses are summed over them, so
each one's gradients are its own. Without biases, as the paper's rows "no bias". A test holds a stack to the rules of
`models.learning`, step by step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.attacks import fgsm, gaussian_noise

BACK, BOTH, HALF = "back-propagation", "bidirectional", "half bidirectional"
NOISY, ADVERSARIAL = "noise in training", "FGSM in training"
ADVERSARY, HALF_ADVERSARY = "hybrid adversarial", "half hybrid adversarial"
SPREAD, REACH = 0.5, 0.1  # of the noise and the attacks that networks train on, and are measured by
_BATCH, _FIRST_SPREAD = 100, 0.1
Networks = dict[str, list[nn.Sequential]]


@dataclass(frozen=True)
class Form:
    """A perceptron.

    Attributes:
        widths: of the image, of hidden values, of the classes.
        activation: between its matrices.
    """

    widths: tuple[int, ...]
    activation: type[nn.Module] = nn.Sigmoid


@dataclass(frozen=True)
class Schedule:
    """Batches of 100 in a training, and Adam's rates of classification and generation."""

    steps: int
    rate: float = 3e-3
    generator_rate: float = 3e-3


class Stack:
    """N perceptrons of a form; matrices (N, out, in), leaves that learn."""

    def __init__(self, form: Form, matrices: Sequence[Tensor]):
        self.form, self.matrices = form, [matrix.detach().requires_grad_() for matrix in matrices]
        self._act = form.activation()

    def part(self, place: slice) -> "Stack":
        """Some of the networks, in the same memory."""
        return Stack(self.form, [matrix.detach()[place] for matrix in self.matrices])

    def logits(self, images: Tensor) -> Tensor:
        """(N, B, pixels) to (N, B, classes)."""
        return self._through([matrix.mT for matrix in self.matrices], images)

    def generated(self, code: Tensor) -> Tensor:
        """(N, B, classes) to logits of pixels (N, B, pixels), through the transposed matrices."""
        return self._through(self.matrices[::-1], code)

    def _through(self, matrices: Sequence[Tensor], value: Tensor) -> Tensor:
        for matrix in matrices[:-1]:
            value = self._act(torch.bmm(value, matrix))
        return torch.bmm(value, matrices[-1])

    def networks(self) -> list[nn.Sequential]:
        """Each as a chain of layers that takes (B, ...)."""
        return [self._network(place) for place in range(len(self.matrices[0]))]

    def _network(self, place: int) -> nn.Sequential:
        layers: list[nn.Module] = [nn.Flatten()]
        for matrix in self.matrices:
            linear = nn.Linear(matrix.shape[2], matrix.shape[1], bias=False)
            linear.weight.data = matrix.detach()[place].clone()
            layers += [linear, self.form.activation()]
        return nn.Sequential(*layers[:-1]).eval()


def stack_of(form: Form, seeds: Sequence[int], ways: int) -> Stack:
    """Networks of every seed, as often as there are ways; those of one seed start from the same weights."""
    drawn = [_first_matrices(form, seed) for seed in seeds]
    return Stack(form, [torch.stack(matrices).repeat(ways, 1, 1) for matrices in zip(*drawn)])


def _first_matrices(form: Form, seed: int) -> list[Tensor]:
    draws = torch.Generator().manual_seed(seed)
    return [_FIRST_SPREAD * torch.randn(after, before, generator=draws) for before, after in pairwise(form.widths)]


class Batches:
    """Batches of each seed, the same for every way of training.

    Args:
        images: (N, pixels) from 0 to 1.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: int, seeds: Sequence[int]):
        self._images, self._labels, self._codes = images, labels, torch.eye(classes)
        self.draws = [torch.Generator().manual_seed(seed + 1000) for seed in seeds]

    def next(self) -> tuple[Tensor, Tensor, Tensor]:
        """Images (S, B, pixels), labels (S, B) and codes (S, B, classes)."""
        chosen = torch.stack([torch.randint(len(self._labels), (_BATCH,), generator=draws) for draws in self.draws])
        labels = self._labels[chosen]
        return self._images[chosen], labels, self._codes[labels]

    def noise(self, width: int) -> Tensor:
        """(S, B, width) from -1 to 1."""
        return torch.stack([2 * torch.rand(_BATCH, width, generator=draws) - 1 for draws in self.draws])


class Steps:
    """Steps of some networks by an Adam of their own."""

    def __init__(self, stack: Stack, rate: float, first_moment: float = 0.9):
        self.stack = stack
        self._optimizer = torch.optim.Adam(stack.matrices, rate, (first_moment, 0.999), fused=True)

    def down(self, loss: Tensor) -> None:
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()


def train_two_ways(
    form: Form, images: Tensor, labels: Tensor, seeds: Sequence[int], schedule: Schedule, ways: Sequence[str]
) -> Networks:
    """Networks of every seed, by each of the ways: back-propagation on plain, noisy and attacked samples, and both.

    Args:
        images: (N, pixels) from 0 to 1.
        labels: (N,).
    """
    count, classes = len(seeds), form.widths[-1]
    stack, batches = stack_of(form, seeds, len(ways)), Batches(images, labels, classes, seeds)
    places = {way: slice(place * count, (place + 1) * count) for place, way in enumerate(ways)}
    classify = Steps(stack, schedule.rate)
    generate = {way: Steps(stack.part(places[way]), schedule.generator_rate) for way in (BOTH, HALF)}
    for step in range(schedule.steps):
        seen, wanted, code = batches.next()
        by_way = dict.fromkeys(ways, seen)
        if NOISY in ways:
            by_way[NOISY] = torch.stack([gaussian_noise(x, SPREAD, d) for x, d in zip(seen, batches.draws)])
        if ADVERSARIAL in ways:
            by_way[ADVERSARIAL] = attacked(stack.part(places[ADVERSARIAL]), seen, wanted)
        classify.down(classification(stack.logits(torch.cat(list(by_way.values()))), wanted.repeat(len(ways), 1)))
        for way in (BOTH, HALF) if 2 * step < schedule.steps else (BOTH,):
            generate[way].down(generation(generate[way].stack.generated(code), seen))
    return _by_way(stack, ways, count)


def train_adversaries(form: Form, images: Tensor, labels: Tensor, seeds: Sequence[int], schedule: Schedule) -> Networks:
    """Networks of every seed by back-propagation and by hybrid adversarial learning, throughout and for half of it."""
    ways, count = (ADVERSARY, HALF_ADVERSARY, BACK), len(seeds)
    stack, batches = stack_of(form, seeds, len(ways)), Batches(images, labels, form.widths[-1], seeds)
    judges = Form((*form.widths[:-1], 1), form.activation)
    classify = Steps(stack, schedule.rate)
    pairs = []
    for way in range(2):
        generator = Steps(stack.part(slice(way * count, (way + 1) * count)), schedule.generator_rate, 0.5)
        pairs.append((generator, Steps(stack_of(judges, seeds, 1), schedule.generator_rate, 0.5)))
    for step in range(schedule.steps):
        seen, wanted, _ = batches.next()
        classify.down(classification(stack.logits(seen.repeat(len(ways), 1, 1)), wanted.repeat(len(ways), 1)))
        noise = batches.noise(form.widths[-1])
        for generate, judge in pairs if 2 * step < schedule.steps else pairs[:1]:
            compete(generate, judge, seen, noise)
    return _by_way(stack, ways, count)


def compete(generate: Steps, judge: Steps, seen: Tensor, noise: Tensor) -> None:
    """A step of the discriminator, then one of the generator."""
    with torch.no_grad():
        made = generate.stack.generated(noise).sigmoid()
    judge.down(_taken_for(judge.stack.logits(seen), 1) + _taken_for(judge.stack.logits(made), 0))
    generate.down(_taken_for(judge.stack.logits(generate.stack.generated(noise).sigmoid()), 1))


def classification(logits: Tensor, wanted: Tensor) -> Tensor:
    """Cross-entropy, (N, B, K) and (N, B): mean over samples, summed over networks."""
    return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten()) * len(logits)


def generation(generated: Tensor, images: Tensor) -> Tensor:
    """Sigmoid cross-entropy, (N, B, pixels): mean over pixels and samples, summed over networks."""
    return functional.binary_cross_entropy_with_logits(generated, images) * len(generated)


def attacked(stack: Stack, images: Tensor, labels: Tensor) -> Tensor:
    """FGSM's images, (N, B, pixels)."""

    def scores(flat: Tensor) -> Tensor:
        return stack.logits(flat.reshape(images.shape)).flatten(0, 1)

    return fgsm(scores, images.flatten(0, 1), labels.flatten(), REACH).reshape(images.shape)


def _taken_for(logits: Tensor, wanted: int) -> Tensor:
    target = torch.full_like(logits, wanted)
    return functional.binary_cross_entropy_with_logits(logits, target) * len(logits)


def _by_way(stack: Stack, ways: Sequence[str], count: int) -> Networks:
    networks = stack.networks()
    return {way: networks[place * count : (place + 1) * count] for place, way in enumerate(ways)}

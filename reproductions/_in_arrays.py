"""Stacks of perceptrons trained in arrays, and in software: the common ground of the study's conditions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ..devices.synapse.array_weights import ArrayWeights
from ..devices.synapse.device import SynapseDevice
from ..devices.synapse.draws import Draws
from ..devices.synapse.perceptron import (
    LAYERS_APART,
    ArrayPerceptron,
    Learning,
    Weights,
    descent,
    first_weights,
    forward,
)
from ..devices.synapse.programming import write
from ..errors import BadInput
from ..models.batches import size_of
from ..models.data import load

_PIXELS, _OTHER_PIXELS = 8, 20  # across, of the bundled digits; folders are brought to the published protocol's
_CLASSES = 10


@dataclass(frozen=True)
class Digits:
    """Pixels from 0 to 1 in rows, and labels."""

    inputs: Tensor
    labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor

    def binary(self) -> "Digits":
        """The same with pixels of 0 and 1."""
        return replace(self, inputs=(self.inputs > 0.5).float(), test_inputs=(self.test_inputs > 0.5).float())


@dataclass(frozen=True)
class FloatWeights:
    """The software's weights: what arrays are compared with."""

    values: Tensor

    def forward(self, inputs: Tensor) -> Tensor:
        """(stack, batch, rows) to (stack, batch, columns)."""
        return inputs @ self.values

    def backward(self, errors: Tensor) -> Tensor:
        """(stack, batch, columns) to (stack, batch, rows)."""
        return errors @ self.values.transpose(1, 2)


@dataclass(frozen=True)
class Training:
    """What conditions have in common.

    Attributes:
        learning: how arrays learn; its rates and their fall are the software's too.
        hidden: units.
        epochs: of the training split.
        batch: samples of an update.
        scales: weight of a whole range of conductance, by layer.
    """

    learning: Learning
    hidden: int
    epochs: int
    batch: int
    scales: tuple[float, float]


def read_digits(data: str | None) -> Digits:
    """The bundled digits, or those of a folder."""
    size = _PIXELS if data in (None, "digits") else _OTHER_PIXELS
    loaded = load(data or "digits", 1, size)
    parts = []
    for split in (loaded.train, loaded.test):
        pairs = [split[place] for place in range(size_of(split))]
        parts += [torch.stack([image for image, _ in pairs]).flatten(1) / 255, torch.tensor([int(y) for _, y in pairs])]
    if (classes := int(max(parts[1].max(), parts[3].max())) + 1) > _CLASSES:
        raise BadInput(f"{data}: has {classes} classes; the study takes {_CLASSES}, as of digits")
    return Digits(*parts)


def trained(
    digits: Digits, devices: Sequence[SynapseDevice], seeds: Sequence[int], training: Training
) -> tuple[list[list[float]], ArrayPerceptron]:
    """Trains every device with every seed, all at once.

    Returns:
        For each device its accuracies by seed, and the stack of perceptrons, seeds turning fastest.
    """
    stack = [device for device in devices for _ in seeds]
    numbers = [seed for _ in devices for seed in seeds]
    sizes = (digits.inputs.shape[1], training.hidden, 10)
    steps = training.epochs * (len(digits.inputs) // training.batch)
    perceptrons = ArrayPerceptron(stack, sizes, training.scales, training.learning, numbers, steps)
    for inputs, labels in _batches(digits, numbers, training):
        perceptrons.learn(inputs, labels)
    found = accuracies(perceptrons.layers, digits, training.learning.units)
    return [found[at : at + len(seeds)] for at in range(0, len(found), len(seeds))], perceptrons


def software(digits: Digits, seeds: Sequence[int], training: Training) -> tuple[list[float], list[FloatWeights]]:
    """Plain back-propagation in floating point, from the arrays' first weights, in their order, at their rates."""
    sizes = (digits.inputs.shape[1], training.hidden, 10)
    layers = [
        FloatWeights(first_weights(inputs, outputs, [Draws(seed, place * LAYERS_APART) for seed in seeds]))
        for place, (inputs, outputs) in enumerate(pairwise(sizes))
    ]
    steps = training.epochs * (len(digits.inputs) // training.batch)
    rates, units = training.learning.rates, training.learning.units
    for step, (inputs, labels) in enumerate(_batches(digits, seeds, training)):
        _, changes = descent(layers, inputs, labels, units)
        for place, (layer, change) in enumerate(zip(layers, changes)):
            rate = rates[min(place, len(rates) - 1)] * training.learning.final ** (step / steps)
            layer.values.add_(change, alpha=rate)
    return accuracies(layers, digits, units), layers


def written(
    digits: Digits, layers: Sequence[FloatWeights], device: SynapseDevice, seeds: Sequence[int], training: Training
) -> list[float]:
    """Accuracies of software's weights written once into devices of a pair, as the learning's scheme keeps them."""
    arrays = []
    for place, layer in enumerate(layers):
        draws = [Draws(seed, place * LAYERS_APART) for seed in seeds]
        scales = [training.scales[place]] * len(seeds)
        arrays.append(ArrayWeights([device] * len(seeds), layer.values, scales, training.learning.scheme, draws, write))
    return accuracies(arrays, digits, training.learning.units)


def accuracies(layers: Sequence[Weights], digits: Digits, units: str) -> list[float]:
    """Of each perceptron of the stack, on the held-out digits."""
    logits = forward(layers, digits.test_inputs[None], units)[-1]
    return (logits.argmax(-1) == digits.test_labels).float().mean(1).tolist()


def _batches(digits: Digits, seeds: Sequence[int], training: Training) -> Iterator[tuple[Tensor, Tensor]]:
    """(stack, batch, pixels) and (stack, batch): an order for each seed, a new one each epoch."""
    generators = {seed: torch.Generator().manual_seed(seed) for seed in seeds}
    count = len(digits.inputs) // training.batch * training.batch
    for _ in range(training.epochs):
        orders = {seed: torch.randperm(len(digits.inputs), generator=own) for seed, own in generators.items()}
        order = torch.stack([orders[seed] for seed in seeds])
        for at in range(0, count, training.batch):
            chosen = order[:, at : at + training.batch]
            yield digits.inputs[chosen], digits.labels[chosen]

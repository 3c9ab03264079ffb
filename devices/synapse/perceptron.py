"""Perceptrons whose forward pass, backward pass and updates all go through arrays of devices.

The periphery is digital: activations, the softmax, the product of an input and an error, and the count of pulses. What
the arrays multiply with, in both directions, is what their devices conduct at that moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from ...errors import BadInput
from .array_weights import LAYERS_APART, SCHEMES, ArrayWeights
from .device import SynapseDevice
from .draws import Draws, Purpose
from .pulse_trains import nearest_counts, rounded_counts, single_pulses

COUNTS = ("proportional", "nearest", "adaptive")
UNITS = ("clip", "sigmoid")


@dataclass(frozen=True)
class Learning:
    """How arrays learn.

    Attributes:
        scheme: which devices a pulse goes to, of `array_weights.SCHEMES`.
        counts: how a wanted change becomes pulses. `proportional`: as many as the change is long, the fraction rounded
            at random (plain back-propagation, scaled to pulses). `nearest`: the fraction rounded to the nearest.
            `adaptive`: one pulse where the change exceeds a threshold, which follows the errors so that the same share
            of devices is pulsed while these shrink.
        rates: learning rate of each layer, or of all.
        final: what the rates, or the share, have fallen to at the end.
        refresh_every: updates from one reset of nearly full pairs to the next; 0 for none.
        pulsed_share: of an `adaptive` update, at first.
        jumps: noise of several pulses is drawn once.
        units: `clip` (hidden units clipped to [0, 1], softmax and cross-entropy behind), or `sigmoid` (hidden units and
            outputs, and half the squared error).
    """

    scheme: str = "unidirectional"
    counts: str = "proportional"
    rates: tuple[float, ...] = (0.1,)
    final: float = 0.1
    refresh_every: int = 20
    pulsed_share: float = 0.03
    jumps: bool = False
    units: str = "clip"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("scheme", self.scheme, SCHEMES),
            ("counts", self.counts, COUNTS),
            ("units", self.units, UNITS),
        ):
            if value not in known:
                raise BadInput(f"{name} {value}: unknown; choose from {', '.join(known)}")
        if not all(rate > 0 for rate in self.rates):
            raise BadInput(f"rates must be above 0, got {', '.join(f'{rate:g}' for rate in self.rates)}")
        if self.refresh_every < 0:
            raise BadInput(f"refresh_every must be 0 or more, got {self.refresh_every}")
        if not 0 < self.pulsed_share <= 1:
            raise BadInput(f"pulsed_share must be above 0 and at most 1, got {self.pulsed_share:g}")


def first_weights(inputs: int, outputs: int, draws: Sequence[Draws]) -> Tensor:
    """(stack, inputs + 1, outputs): normal, of variance 1 / inputs; biases, the last row, are 0."""
    count = (inputs + 1) * outputs
    weights = torch.stack([d.normal(Purpose.WEIGHTS, count).reshape(inputs + 1, outputs) for d in draws]) / inputs**0.5
    weights[:, -1] = 0.0
    return weights


class Weights(Protocol):
    """What both passes go through: a stack of matrices."""

    def forward(self, inputs: Tensor) -> Tensor:
        """(stack, batch, rows) to (stack, batch, columns)."""

    def backward(self, errors: Tensor) -> Tensor:
        """(stack, batch, columns) to (stack, batch, rows)."""


def forward(layers: Sequence[Weights], inputs: Tensor, units: str) -> list[Tensor]:
    """What each layer is driven with, the row of ones included, and last the logits."""
    driven, values = [], inputs
    for place, layer in enumerate(layers):
        if place:
            values = torch.sigmoid(values) if units == "sigmoid" else values.clamp(0.0, 1.0)
        driven.append(torch.cat([values, torch.ones_like(values[..., :1])], -1))
        values = layer.forward(driven[-1])
    return [*driven, values]


def descent(layers: Sequence[Weights], inputs: Tensor, labels: Tensor, units: str) -> tuple[Tensor, list[Tensor]]:
    """Mean losses (stack,), and for each layer the direction of steepest descent (stack, rows, columns)."""
    *driven, logits = forward(layers, inputs, units)
    loss, error = _judged(logits, labels, units)
    changes = []
    for place in reversed(range(len(layers))):
        changes.append(-driven[place].transpose(1, 2) @ error)
        if place:
            error = layers[place].backward(error)[..., :-1] * _slope(driven[place][..., :-1], units)
    return loss, changes[::-1]


def _slope(values: Tensor, units: str) -> Tensor:
    """Of hidden units, from what they give."""
    return values * (1 - values) if units == "sigmoid" else ((values > 0) & (values < 1)).to(values.dtype)


def _judged(logits: Tensor, labels: Tensor, units: str) -> tuple[Tensor, Tensor]:
    """Mean loss (stack,), and its gradient at the logits."""
    wanted = functional.one_hot(labels, logits.shape[-1]).to(logits.dtype)
    if units == "sigmoid":
        outputs = torch.sigmoid(logits)
        missed = outputs - wanted
        return missed.square().sum(-1).mean(1) / 2, missed * outputs * (1 - outputs) / labels.shape[1]
    log_shares = torch.log_softmax(logits, -1)
    return -(log_shares * wanted).sum(-1).mean(1), (log_shares.exp() - wanted) / labels.shape[1]


class ArrayPerceptron:
    """A stack of perceptrons of equal sizes, each with devices and draws of its own.

    Hidden units are clipped to [0, 1], as a bounded amplifier does; outputs are logits. A row that is always driven
    with 1 holds each layer's biases.

    Attributes:
        layers: the weights, (stack, inputs + 1, outputs) each.
        updates: done so far.
    """

    def __init__(
        self,
        devices: Sequence[SynapseDevice],
        sizes: Sequence[int],
        scales: Sequence[float],
        learning: Learning,
        seeds: Sequence[int],
        total_updates: int,
        device: str = "cpu",
    ):
        """Draws first weights of variance 1 / inputs and writes them.

        Args:
            devices: one for each perceptron of the stack.
            sizes: inputs, hidden units, ..., outputs.
            scales: for each layer, the weight of a whole range of conductance.
            seeds: one for each perceptron.
            total_updates: that the training will have.
        """
        self.learning, self._total = learning, total_updates
        self.updates = 0
        self.layers: list[ArrayWeights] = []
        self._draws: list[list[Draws]] = []
        for place, (inputs, outputs, scale) in enumerate(zip(sizes, sizes[1:], scales)):
            draws = [Draws(seed, place * LAYERS_APART, device) for seed in seeds]
            weights = first_weights(inputs, outputs, draws)
            self.layers.append(ArrayWeights(devices, weights, [scale] * len(draws), learning.scheme, draws))
            self._draws.append(draws)
        self._thresholds: list[Tensor | None] = [None] * len(self.layers)

    def logits(self, inputs: Tensor) -> Tensor:
        """(stack, batch, outputs) from (stack, batch, inputs)."""
        return forward(self.layers, inputs, self.learning.units)[-1]

    def learn(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """One update from one batch; returns each perceptron's mean loss before it, (stack,).

        Args:
            inputs: float32 (stack, batch, inputs).
            labels: int64 (stack, batch).
        """
        loss, changes = descent(self.layers, inputs, labels, self.learning.units)
        for place, change in enumerate(changes):
            self.layers[place].pulse(self._counts(place, change), self.updates, self.learning.jumps)
        self.updates += 1
        if self.learning.refresh_every and self.updates % self.learning.refresh_every == 0:
            for layer in self.layers:
                layer.refresh(self.updates)
        return loss

    def tensors(self) -> dict[str, Tensor]:
        """All that going on takes: states of devices, thresholds, the count of updates."""
        found = {"updates": torch.tensor(self.updates)}
        for place, (layer, threshold) in enumerate(zip(self.layers, self._thresholds)):
            found |= {f"layers.{place}.{name}": tensor for name, tensor in layer.tensors().items()}
            if threshold is not None:
                found[f"thresholds.{place}"] = threshold
        return found

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts back what `tensors` gave."""
        self.updates = int(tensors["updates"])
        for place, layer in enumerate(self.layers):
            layer.restore({name: tensors[f"layers.{place}.{name}"] for name in layer.tensors()})
            self._thresholds[place] = tensors.get(f"thresholds.{place}")

    def _counts(self, place: int, change: Tensor) -> Tensor:
        """Pulses for the changes that plain gradient descent would make."""
        learning, layer = self.learning, self.layers[place]
        if learning.counts == "adaptive":
            return single_pulses(change, self._threshold(place, change.abs()))
        rate = learning.rates[min(place, len(learning.rates) - 1)] * self._fallen()
        pulses = change * (rate / layer.step_sizes)
        if learning.counts == "nearest":
            return nearest_counts(pulses)
        draws = self._draws[place]
        return torch.stack([rounded_counts(part, d, self.updates) for part, d in zip(pulses, draws)])

    def _fallen(self) -> float:
        """1 at first, `final` at the end, exponentially between."""
        return self.learning.final ** (self.updates / self._total)

    def _threshold(self, place: int, sizes: Tensor) -> Tensor:
        """(stack, 1, 1): follows the sizes so that the wanted share exceeds it, by a tenth of its own size at most."""
        share = self.learning.pulsed_share * self._fallen()
        found = torch.quantile(sizes.flatten(1), 1 - share, dim=1)[:, None, None]
        before = self._thresholds[place]
        moved = found
        if before is not None:  # a threshold of 0 would stay there
            moved = torch.where(before > 0, before * (found / before.clamp(min=1e-12)).clamp(0.9, 1.1), found)
        self._thresholds[place] = moved
        return moved

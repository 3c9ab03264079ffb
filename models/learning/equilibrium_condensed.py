"""Relaxations of dense layers as of one layer with one matrix, in a third of the time; of others as they are."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor, nn

from ..relaxation import DenseLink, Dynamics, Relaxing, States, settle
from .equilibrium_response import Rest


@torch.no_grad()
def at_rest(network: Relaxing, rest: Rest, steps: int) -> Rest:
    """The batch after so many further steps of the free relaxation."""
    return replace(rest, states=answer_of(network, rest, lambda view, at: settle(view, at.states, at.given, steps)))


@torch.no_grad()
def answer_of(network: Relaxing, rest: Rest, call: Callable[[Dynamics, Rest], States]) -> States:
    """What a function of a network and a batch gives for every layer; it may be asked about the condensed network."""
    links = network.links()
    if rest.given.ndim != 2 or not all(isinstance(link, DenseLink) for link in links):
        return call(network, rest)
    view = _Condensed(network, rest.given.shape[1])
    (found,) = call(view, Rest([torch.cat(rest.states, 1)], view.padded(rest.given), rest.wanted))
    return list(found.split(view.widths, 1))


class _Condensed:
    """`Dynamics`: all layers' units side by side in one, (B, units), of which the readout reads the last layer's.

    What is given holds the biases as well.
    """

    def __init__(self, network: Relaxing, first: int):
        links = [link for link in network.links() if isinstance(link, DenseLink)]
        self.widths = [first, *(link.above[0] for link in links)]
        edges = [0, *accumulate(self.widths)]
        self.damping, self._network = network.damping, network
        like = network.readout.weight
        matrix, self._biases = like.new_zeros(edges[-1], edges[-1]), like.new_zeros(edges[-1])
        for link, low, middle, high in zip(links, edges, edges[1:], edges[2:]):
            forward, back = link.weights()
            matrix[middle:high, low:middle] = forward
            matrix[low:middle, middle:high] = back.T
            self._biases[middle:high] = link.bias()
        self._matrix = matrix
        self.readout = nn.Linear(edges[-1], network.readout.out_features).to(like)
        self.readout.weight.zero_()[:, edges[-2] :] = network.readout.weight
        self.readout.bias.copy_(network.readout.bias)

    def activity(self, state: Tensor) -> Tensor:
        return self._network.activity(state)

    def padded(self, given: Tensor) -> Tensor:
        return nn.functional.pad(given, (0, sum(self.widths[1:]))) + self._biases

    def drives(self, activities: Sequence[Tensor], given: Tensor) -> States:
        return [self._moved(activities[0]) + given]

    def step(self, states: Sequence[Tensor], given: Tensor, push: Tensor | None = None) -> States:
        activity, stay = self.activity(states[0]), 1 - self.damping
        drive = given if push is None else given + push
        if activity.is_complex():
            return [stay * states[0] + self.damping * (self._moved(activity) + drive)]
        moved = torch.addmm(states[0], activity, self._matrix.T, beta=stay, alpha=self.damping)
        return [moved.add_(drive, alpha=self.damping)]

    def _moved(self, activity: Tensor) -> Tensor:
        return activity @ self._matrix.T.to(activity.dtype)

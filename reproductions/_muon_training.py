"""Trainings of many copies of a network at once, each with an optimizer of its own for each of its matrices.

Copies of one seed start from the same weights and see the same batches, so that what differs is the optimizer.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional

from ._muon_steps import StackedMuon

MUON, ADAM, SGD = "muon", "adam", "sgd"
BETAS, SGD_MOMENTUM = (0.9, 0.99), 0.9


@dataclass(frozen=True)
class Rule:
    """An optimizer and its rate."""

    optimizer: str
    rate: float


@dataclass(frozen=True)
class Choice:
    """Which rule changes which parameter: `named` by name, `others` whatever is not named."""

    others: Rule
    named: Mapping[str, Rule] = field(default_factory=dict)


# Of a step: inputs (seeds, U, ...), classes (seeds, U), and each one's share of the batch (seeds, U).
Batches = Callable[[int], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Copies:
    """Trained copies of networks.

    Attributes:
        states: parameters and buffers by name, (choices, seeds, ...).
        network: whose forward pass it is.
    """

    states: dict[str, Tensor]
    network: nn.Module

    def scores(self, inputs: Tensor) -> Tensor:
        """(choices, seeds, N, K) for inputs (seeds, N, ...)."""
        with torch.no_grad():
            return vmap(vmap(self.one), in_dims=(0, None))(self.states, inputs)

    def network_of(self, choice: int, seed: int) -> nn.Module:
        """One copy as a network of its own, in evaluation mode."""
        network = copy.deepcopy(self.network)
        network.load_state_dict({name: stack[choice, seed] for name, stack in self.states.items()})
        return network.eval()

    def one(self, state: dict[str, Tensor], inputs: Tensor) -> Tensor:
        """(N, K) of one copy, for inputs (N, ...)."""
        return functional_call(self.network, state, (inputs,))


def train_copies(networks: Sequence[nn.Module], choices: Sequence[Choice], batches: Batches, steps: int) -> Copies:
    """One copy of each network for each choice; rates are constant, then fall in a line in the second half.

    Args:
        networks: one a seed, of one architecture.
        choices: what changes which parameter of a copy.
    """
    parameters, buffers = stack_module_state(list(networks))
    stacks = {name: _Stack(name, first.detach(), choices) for name, first in parameters.items()}
    optimizers = _Optimizers(stacks.values())
    fixed = {name: buffer.expand(len(choices), *buffer.shape) for name, buffer in buffers.items()}
    copies = Copies({}, networks[0])

    def loss(states: dict[str, Tensor], inputs: Tensor, classes: Tensor, shares: Tensor) -> Tensor:
        return (functional.cross_entropy(copies.one(states, inputs), classes, reduction="none") * shares).sum()

    every = vmap(vmap(loss), in_dims=(0, None, None, None))
    for step in range(steps):
        states = {name: stack.whole() for name, stack in stacks.items()} | fixed
        every(states, *batches(step)).sum().backward()
        optimizers.step(min(1.0, 2 * (1 - step / steps)))
    return Copies({name: stack.whole().detach() for name, stack in stacks.items()} | fixed, networks[0])


def distinct(draws: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Numbers (seeds, U) that a batch (seeds, B) holds, the most frequent first, and their shares of it (seeds, U).

    Frequent facts come many times in a batch: with its share as weight, each needs to be computed once. Rows with fewer
    different numbers than others end with some of share 0.
    """
    times = torch.zeros(len(draws), count).scatter_add_(1, draws, torch.ones(draws.shape))
    most = int((times > 0).sum(1).max())
    found = times.topk(most)
    return found.indices, found.values / draws.shape[1]


class _Stack:
    """One parameter of all copies, (choices, seeds, ...), in a leaf for each rule."""

    def __init__(self, name: str, first: Tensor, choices: Sequence[Choice]):
        rules = [choice.named.get(name, choice.others) for choice in choices]
        places = {rule: [i for i, own in enumerate(rules) if own == rule] for rule in dict.fromkeys(rules)}
        self.leaves = {
            rule: first.expand(len(own), *first.shape).clone().requires_grad_() for rule, own in places.items()
        }
        self._order = torch.tensor([i for own in places.values() for i in own]).argsort()

    def whole(self) -> Tensor:
        return torch.cat(list(self.leaves.values()))[self._order]


class _Optimizers:
    """Each rule with the leaves that are its own; Adam and SGD go weight by weight and need not know of stacks."""

    def __init__(self, stacks: Iterable[_Stack]):
        leaves: dict[Rule, list[Tensor]] = {}
        for stack in stacks:
            for rule, leaf in stack.leaves.items():
                leaves.setdefault(rule, []).append(leaf)
        self._parts = {rule: _optimizer(rule.optimizer, own) for rule, own in leaves.items()}

    def step(self, share: float) -> None:
        """With this share of each rule's rate."""
        for rule, part in self._parts.items():
            for group in part.param_groups:
                group["lr"] = share * rule.rate
            part.step()
            part.zero_grad()


def _optimizer(name: str, leaves: list[Tensor]) -> torch.optim.Optimizer:
    if name == MUON:
        return StackedMuon(leaves)
    if name == ADAM:
        return torch.optim.Adam(leaves, betas=BETAS)
    return torch.optim.SGD(leaves, lr=1.0, momentum=SGD_MOMENTUM)

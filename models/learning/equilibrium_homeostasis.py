"""Jacobian homeostasis: how far a relaxing network's layers are from driving each other symmetrically, and its slope.

Laborieux and Zenke, ICLR 2024, arXiv 2309.02214: E [|J e|^2 - e^T J^2 e] over standard normal e is 2 |A|^2, A the
antisymmetric part of J. J is the Jacobian of the drives H in the activities, which has the same A as that of H - u.
Divided by the number of units, as the authors' code does and their formula does not.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.func import jvp

from ..relaxation import DenseLink, Link, Relaxing, States


def penalty(network: Relaxing, activities: States, given: Tensor, probes: int, draws: torch.Generator) -> Tensor:
    """2 |A|^2 / units, a scalar with gradients for weights alone; exact where all links are dense, else by probes."""
    links = network.links()
    if all(isinstance(link, DenseLink) for link in links):
        return dense_penalty(links, sum(activity[0].numel() for activity in activities))
    return probed_penalty(network, activities, given, probes, draws)


def dense_penalty(links: Sequence[Link], units: int) -> Tensor:
    """|W_f - W_b^T|^2 summed over links, divided by the number of units."""
    gaps = [forward - back for forward, back in (link.weights() for link in links)]
    return torch.stack([gap.square().sum() for gap in gaps]).sum() / units


def probed_penalty(network: Relaxing, activities: States, given: Tensor, probes: int, draws: torch.Generator) -> Tensor:
    """The mean over the batch and `probes` draws for each sample, from two Jacobian-vector products a draw."""
    units = sum(activity[0].numel() for activity in activities)
    found = []
    for _ in range(probes):
        probe = tuple(torch.randn(a.shape, generator=draws).to(a) for a in activities)
        once = _pushed(network, activities, given, probe)
        twice = _pushed(network, activities, given, once)
        sums = [(o * o - p * t).sum() for o, p, t in zip(once, probe, twice)]
        found.append(torch.stack(sums).sum() / (len(given) * units))
    return torch.stack(found).mean()


def _pushed(network: Relaxing, at: States, given: Tensor, along: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """J times a vector."""
    return jvp(lambda *a: tuple(network.drives(a, given)), tuple(at), tuple(along))[1]

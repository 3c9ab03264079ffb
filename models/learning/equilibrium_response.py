"""How a relaxing network's activities answer to a nudge: by few nudges, real or complex, and exactly.

Laborieux and Zenke, ICLR 2024, arXiv 2309.02214. A nudge of strength b adds b dL/da to the last layer's drive, L the
loss that is read out. Where phi is differentiable in complex numbers, the derivative of the resting activities a(b) at
b = 0 is an integral over a circle (Cauchy), of which N nudges b exp(2 pi i k / N) are the sum; two opposite real ones
cancel even orders, one leaves them all.
"""

from cmath import exp, pi
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import jvp, vjp

from ..relaxation import Dynamics, States


@dataclass(frozen=True)
class Rest:
    """A batch at rest.

    Attributes:
        states: of the free relaxation.
        given: what drives the first layer.
        wanted: (B, classes), the probabilities that the readout is to give.
    """

    states: States
    given: Tensor
    wanted: Tensor


def pull(network: Dynamics, activity: Tensor, wanted: Tensor) -> Tensor:
    """dL/da of the last layer's activity (B, ...), real or complex, L the cross-entropy of each sample."""
    weight, bias = network.readout.weight.detach(), network.readout.bias.detach()
    logits = activity.flatten(1) @ weight.T.to(activity.dtype) + bias
    return ((_softmax(logits) - wanted) @ weight.to(activity.dtype)).reshape(activity.shape)


def _softmax(logits: Tensor) -> Tensor:
    """Of complex logits as it continues the real one."""
    raised = torch.exp(logits - logits.real.amax(1, keepdim=True))
    return raised / raised.sum(1, keepdim=True)


@torch.no_grad()
def nudged_response(network: Dynamics, rest: Rest, nudge: float, points: int, steps: int) -> States:
    """An estimate of da/db for every layer, from relaxations under `points` nudges that begin at rest.

    Nudges that mirror each other in the real axis give conjugate activities, so one of the two is relaxed. All run as
    one batch.

    Args:
        nudge: b, above 0.
        points: N, at least 1.
        steps: of each relaxation.
    """
    turns, shares = _circle(points, rest.given)
    runs = len(turns)
    each_turn = turns.repeat_interleave(len(rest.wanted))
    states = [_times(state, runs).to(turns.dtype) for state in rest.states]
    given, wanted = _times(rest.given, runs), _times(rest.wanted, runs)
    for _ in range(steps):
        last = network.activity(states[-1])
        strength = (nudge * each_turn).reshape(-1, *[1] * (last.ndim - 1))
        states = network.step(states, given, strength * pull(network, last, wanted))
    responses = []
    for state, free in zip(states, rest.states):
        moved = network.activity(state).unflatten(0, (runs, -1)) - network.activity(free)  # no power of b is as large
        responses.append(torch.tensordot(shares, moved, 1).real / (points * nudge))
    return responses


def _circle(points: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The turns exp(2 pi i k / N) on and above the real axis, and what each counts for; real ones where all are."""
    half = range(points // 2 + 1)
    turns = torch.tensor([exp(2j * pi * k / points) for k in half], dtype=torch.complex128)
    counts = torch.tensor([1 if 2 * k % points == 0 else 2 for k in half])
    kind = like.dtype.to_complex()
    if points <= 2:
        return turns.real.to(like), (counts / turns).real.to(like)
    return turns.to(like.device, kind), (counts / turns).to(like.device, kind)


def _times(value: Tensor, runs: int) -> Tensor:
    return value.repeat(runs, *[1] * (value.ndim - 1))


@torch.no_grad()
def exact_response(network: Dynamics, rest: Rest, steps: int) -> States:
    """da/db itself at b = 0, in forward mode: the linearised relaxation, after so many steps."""
    states, share = tuple(rest.states), network.damping
    push = pull(network, network.activity(states[-1]), rest.wanted)
    moved = tuple(torch.zeros_like(state) for state in states)
    for _ in range(steps):
        drives = jvp(lambda *u: tuple(_drives(network, u, rest.given)), states, moved)[1]
        drives = (*drives[:-1], drives[-1] + push)
        moved = tuple((1 - share) * m + share * drive for m, drive in zip(moved, drives))
    return [jvp(network.activity, (state,), (m,))[1] for state, m in zip(states, moved)]


@torch.no_grad()
def adjoint_response(network: Dynamics, rest: Rest, steps: int) -> States:
    """dL/dH of every layer at rest, after so many steps of recurrent back-propagation, which reads weights transposed.

    Equal to `exact_response` where the weights of both ways are each other's transposes.
    """
    states, share = tuple(rest.states), network.damping
    push = pull(network, network.activity(states[-1]), rest.wanted)
    through = vjp(network.activity, states[-1])[1]
    (push,) = through(push)
    back = vjp(lambda *u: tuple(_drives(network, u, rest.given)), *states)[1]
    slopes = tuple(torch.zeros_like(state) for state in states)
    for _ in range(steps):
        arriving = back(slopes)
        arriving = (*arriving[:-1], arriving[-1] + push)
        slopes = tuple((1 - share) * s + share * a for s, a in zip(slopes, arriving))
    return list(slopes)


def _drives(network: Dynamics, states: Sequence[Tensor], given: Tensor) -> States:
    return network.drives([network.activity(state) for state in states], given)

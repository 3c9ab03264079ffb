"""The two projections between which Boolean threshold networks are found, and the step that goes between them.

Elser and Lal, "Learning with Boolean threshold functions", arXiv 2602.17493: a network fits its items where two things
hold at once. A: every neuron is consistent on every item, `y (w·x) >= delta` with y of ±1, on weights and inputs of
that item's own. B: all copies agree, and every row of weights has norm sqrt(d). Reflect-reflect-relax seeks a point of
both: `v + beta (P_B(2 P_A(v) - v) - P_A(v))`.

Every edge of every item has a weight w and an input x. They are kept as w + x and w - x, in which A only scales, so
that a step passes over the large tensors few times. Layers are padded to one width N and stand in one tensor.

Shapes: R restarts, L layers, N neurons, N + 1 inputs, M items. The last input is the constant node, which is -1.
"""

from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from torch import Tensor

NEWTON_STEPS = 5
LARGEST_ROOT = 1 - 1e-6
_TINY = 1e-300


@dataclass(frozen=True)
class Table:
    """What a network of given widths is to fit.

    Attributes:
        widths: of the inputs and each layer.
        inputs: (N, M) float64 of ±1, padded with 0.
        outputs: (N, M) likewise.
        neurons: (L, N, 1), 1 where there is a neuron and 0 where there is padding.
        edges: (L, N, N + 1, 1) likewise.
        margins: (L, 1, 1), delta = sqrt(d / sigma).
        norms: (L, 1, 1), sqrt(d), of a row of weights.
    """

    widths: tuple[int, ...]
    inputs: Tensor
    outputs: Tensor
    neurons: Tensor
    edges: Tensor
    margins: Tensor
    norms: Tensor

    @property
    def padded(self) -> int:
        """N, the width that all layers are padded to."""
        return self.inputs.shape[0]

    @property
    def items(self) -> int:
        """M."""
        return self.inputs.shape[1]

    def to(self, device: torch.device | str) -> "Table":
        """The same on a device."""
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)[1:]})


def table_of(inputs: Tensor, outputs: Tensor, hidden: tuple[int, ...], support: float) -> Table:
    """A table for a network, from (M, n) inputs and (M, k) outputs of ±1.

    Args:
        hidden: widths between.
        support: sigma; a neuron keeps about so many weights, 3 for majorities, ANDs and ORs.
    """
    widths = (inputs.shape[1], *hidden, outputs.shape[1])
    width, layers = max(widths), len(widths) - 1
    neurons = torch.zeros(layers, width, 1, dtype=torch.float64)
    edges = torch.zeros(layers, width, width + 1, 1, dtype=torch.float64)
    for layer, (before, after) in enumerate(pairwise(widths)):
        neurons[layer, :after] = 1
        edges[layer, :after, :before] = edges[layer, :after, -1] = 1
    fan_in = torch.tensor([before + 1 for before in widths[:-1]], dtype=torch.float64).reshape(-1, 1, 1)
    first, last = (torch.zeros(width, len(inputs), dtype=torch.float64) for _ in range(2))
    first[: widths[0]], last[: widths[-1]] = inputs.T, outputs.T
    return Table(widths, first, last, neurons, edges, (fan_in / support).sqrt(), fan_in.sqrt())


@dataclass(frozen=True)
class Iterate:
    """Where a search stands; a step changes its tensors in place.

    Attributes:
        sums: (R, L, N, N + 1, M), w + x of every edge and item.
        differences: likewise, w - x.
        values: (R, L + 1, N, M), y of input nodes and of each layer's neurons.
        constant: (R, M), y of the constant node.
        metric: (R, L, N, M), how stiff a neuron is on an item; 0 where there is padding.
        best: (R,), the smallest gap so far, squared.
        rows: (R, L, N, N + 1), weights from B's side where the gap was smallest, of norm sqrt(d).
        taken: (R,), steps taken.
    """

    sums: Tensor
    differences: Tensor
    values: Tensor
    constant: Tensor
    metric: Tensor
    best: Tensor
    rows: Tensor
    taken: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def only(self, restarts: Tensor) -> "Iterate":
        """A copy of those restarts, by number."""
        return replace(self, **{name: tensor[restarts].contiguous() for name, tensor in self.tensors().items()})


def start(table: Table, draws: list[torch.Generator]) -> Iterate:
    """Where searches begin, one for each generator (on the CPU): weights, inputs and hidden values uniform in [-1, 1].

    A restart's start depends on its own generator alone.
    """
    size = (len(draws), len(table.widths) - 1, table.padded, table.padded + 1, table.items)
    weights, inputs = (torch.zeros(size, dtype=torch.float64) for _ in range(2))
    values = torch.zeros(size[0], size[1] + 1, table.padded, table.items, dtype=torch.float64)
    edges, neurons = table.edges.cpu().bool(), table.neurons.cpu().bool()
    for restart, generator in enumerate(draws):
        for tensor, mask in ((weights, edges), (inputs, edges), (values[:, 1:], neurons)):
            drawn = torch.rand(int(mask.sum()), table.items, dtype=torch.float64, generator=generator)
            tensor[restart][mask[..., 0]] = 2 * drawn - 1
    values[:, 0], values[:, -1] = table.inputs.cpu(), table.outputs.cpu()
    metric = neurons.to(torch.float64).expand(size[0], -1, -1, table.items).clone()
    best = torch.full(size[:1], torch.inf, dtype=torch.float64)
    rows, taken = torch.zeros(size[:-1], dtype=torch.float64), torch.zeros(size[:1], dtype=torch.int64)
    constant = torch.full((size[0], table.items), -1.0, dtype=torch.float64)
    parts = (weights + inputs, weights - inputs, values, constant, metric, best, rows, taken)
    return Iterate(*(part.to(table.inputs.device) for part in parts))


def bilinear_roots(larger: Tensor, smaller: Tensor, margin: Tensor) -> Tensor:
    """u of the nearest pair with w·x = c > w·x now: `w' = (w + u x) / (1 - u^2)` and `x' = (x + u w) / (1 - u^2)`.

    u in [0, 1) solves `S / (1 - u)^2 - D / (1 + u)^2 = 4 c`. Newton's steps from 0 on the convex and falling
    `(1 - u) sqrt(4 c + D / (1 + u)^2) - sqrt(S)` climb to it without brackets. Where w·x is already above c, what is
    returned means nothing; where w = -x, which has no single nearest pair, it stays below 1.

    Args:
        larger: S = |w + x|^2, 0 or more.
        smaller: D = |w - x|^2, 0 or more.
        margin: c, above 0.
    """
    quadruple, root = 4.0 * margin, larger.sqrt()
    square = smaller + quadruple
    length = square.sqrt()
    above = (length - root).mul_(length).div_(square.add_(smaller)).add_(1.0)  # 1 + u
    inverse, term, below, miss = (torch.empty_like(above) for _ in range(4))
    for _ in range(NEWTON_STEPS - 1):
        torch.reciprocal(above, out=inverse)
        torch.mul(smaller, inverse, out=term).mul_(inverse)
        torch.sqrt(torch.add(term, quadruple, out=square), out=length)
        torch.sub(above, 2.0, out=below)  # -(1 - u)
        torch.addcmul(root, below, length, out=miss)
        square.addcmul_(term.mul_(inverse), below, value=-1.0)
        above.addcdiv_(miss.mul_(length), square, value=-1.0)
    return above.sub_(1.0).clamp_(0.0, LARGEST_ROOT)


def consistent(larger: Tensor, smaller: Tensor, values: Tensor, margins: Tensor) -> tuple[Tensor, Tensor]:
    """Projection A of neurons: their nearest sign, and u of their nearest weights and inputs, negative for sign -1.

    Args:
        larger: S = |w + x|^2 of each neuron and item.
        smaller: D = |w - x|^2.
        values: y.
        margins: delta.
    """
    # Of sign -1 the margin is on -w·x, which swaps S and D and turns u around.
    first, second = torch.stack((larger, smaller)), torch.stack((smaller, larger))
    kept = torch.sub(first, second) >= 4.0 * margins
    u = bilinear_roots(first, second, margins).masked_fill_(kept, 0.0)
    moved = first.mul_((u / (u - 1.0)).square_()).add_(second.mul_((u / (u + 1.0)).square_()))
    # That is twice how far weights and inputs move; (y - 1)^2 and (y + 1)^2 differ by 4 y.
    positive = torch.sub(moved[0], moved[1]) <= 8.0 * values
    signs = positive.to(u.dtype).mul_(2.0).sub_(1.0)
    return signs, torch.where(positive, u[0], u[1].neg_())


def agreed_values(table: Table, metric: Tensor, values: Tensor, constant: Tensor, inputs: Tensor) -> tuple[Tensor, ...]:
    """Projection B of values: one for each node and item, the mean of its own and of what its readers have.

    Args:
        metric: (R, L, N, M).
        values: (R, L + 1, N, M), of nodes.
        constant: (R, M).
        inputs: (R, L, N + 1, M), over the readers, sums of metric times their copies.

    Returns:
        Values (R, L + 1, N, M), where outputs are the labels; the constant's (R, M).
    """
    readers = metric.sum(2, keepdim=True)
    own = torch.cat([torch.ones_like(metric[:, :1]), metric[:, :-1]], 1)
    agreed = (own * values[:, :-1] + inputs[:, :, :-1]) / (own + readers)
    fixed = table.outputs.expand_as(values[:, :1])
    one = (constant + inputs[:, :, -1].sum(1)) / (1.0 + readers[:, :, 0].sum(1))
    return torch.cat([agreed, fixed], 1) * _nodes(table), one


def _nodes(table: Table) -> Tensor:
    """(L + 1, N, 1), 1 where there is a node."""
    return torch.cat([table.inputs[:, :1].abs()[None], table.neurons])


def agreed_rows(table: Table, weights: Tensor) -> Tensor:
    """Projection B of weights: (R, L, N, N + 1) sums over items as rows of norm sqrt(d)."""
    return weights * (table.norms / weights.norm(dim=3, keepdim=True).clamp_min(_TINY))


@torch.no_grad()
def step(table: Table, at: Iterate, relaxation: float, stiffening: float, buffers: tuple[Tensor, Tensor]) -> Tensor:
    """One step of reflect-reflect-relax, and of the metric after it.

    Args:
        relaxation: beta.
        stiffening: gamma.
        buffers: two tensors of the shape of `at.sums`, overwritten.

    Returns:
        (R,), the gap squared: the mean over neurons and items of how far apart the projections are.
    """
    one, other = buffers
    # Projection A.
    larger = torch.mul(at.sums, at.sums, out=one).sum(3)
    smaller = torch.mul(at.differences, at.differences, out=other).sum(3)
    signs, u = consistent(larger, smaller, at.values[:, 1:], table.margins)
    low, high = (u - 1.0).reciprocal_().neg_(), (u + 1.0).reciprocal_()
    found = torch.cat([table.inputs.expand_as(signs[:, :1]), signs.mul_(table.neurons)], 1)
    # Reflected, times the metric, and projection B of that.
    torch.mul(at.sums, ((low * 2.0).sub_(1.0).mul_(at.metric))[:, :, :, None], out=one)
    torch.mul(at.differences, ((high * 2.0).sub_(1.0).mul_(at.metric))[:, :, :, None], out=other)
    rows = agreed_rows(table, one.sum(4) + other.sum(4))
    copies = (one.sum(2) - other.sum(2)) / 2.0
    values, constant = agreed_values(table, at.metric, 2.0 * found - at.values, -2.0 - at.constant, copies)
    # From A to B.
    inputs = torch.cat([values[:, :-1], constant[:, None, None].expand_as(copies[:, :, -1:])], 2)
    torch.addcmul(rows[..., None], inputs[:, :, None], table.edges, out=one)
    torch.addcmul(rows[..., None], inputs[:, :, None], table.edges, value=-1, out=other)
    one.addcmul_(at.sums, low[:, :, :, None], value=-1.0)
    other.addcmul_(at.differences, high[:, :, :, None], value=-1.0)
    change = values - found
    at.sums.add_(one, alpha=relaxation)
    at.differences.add_(other, alpha=relaxation)
    apart = (
        one.mul_(one).sum(3).add_(other.mul_(other).sum(3)).div_(2.0).add_(change[:, 1:].square()).mul_(table.neurons)
    )
    at.values.add_(change, alpha=relaxation)
    at.constant.add_(constant + 1.0, alpha=relaxation)
    gap = apart.sum((1, 2, 3)) / (sum(table.widths[1:]) * table.items)
    scale = stiffening / gap.clamp_min(_TINY)
    at.metric.mul_(1.0 - stiffening).add_(apart * scale[:, None, None, None])
    better = gap < at.best
    at.rows.copy_(torch.where(better[:, None, None, None], rows, at.rows))
    at.best.copy_(torch.minimum(gap, at.best))
    at.taken.add_(1)
    return gap

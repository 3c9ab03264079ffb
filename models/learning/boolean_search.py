"""A search by reflect-reflect-relax, many starts at once, and what its rows of weights come to as whole numbers."""

from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from .boolean_projections import Iterate, Table, step

LARGEST_WEIGHT = 7
_GRAPH_STEPS = 10

Layers = list[Tensor]
"""Weights of each layer, (out, in + 1) float64, the last column for the constant node, which is -1."""


class Search:
    """Steps from a start; on a GPU ten at a time as one recorded graph, and nothing is waited for in between.

    Args:
        table: what to fit, on the search's device.
        at: where to begin; its tensors are changed.
        relaxation: beta, above 0 and below 2.
        stiffening: gamma, 0 or more.
    """

    def __init__(self, table: Table, at: Iterate, relaxation: float, stiffening: float):
        self.table, self.at = table, at
        buffers = (torch.empty_like(at.sums), torch.empty_like(at.sums))
        self._step = partial(step, table, at, relaxation, stiffening, buffers)
        self._graph: torch.cuda.CUDAGraph | None = None

    def advance(self, count: int) -> None:
        """Takes so many steps."""
        if self.at.sums.is_cuda and count >= 3 * _GRAPH_STEPS:
            count = self._replay(count)
        for _ in range(count):
            self._step()

    def _replay(self, count: int) -> int:
        """Takes all but a few of the steps; returns how many are left."""
        if self._graph is None:
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):  # first calls allocate, which a graph must not hold
                for _ in range(3):
                    self._step()
            torch.cuda.current_stream().wait_stream(aside)
            count -= 3
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # records, and takes no step
                for _ in range(_GRAPH_STEPS):
                    self._step()
        for _ in range(count // _GRAPH_STEPS):
            self._graph.replay()
        return count % _GRAPH_STEPS

    def gaps(self) -> Tensor:
        """(R,), the smallest gap of each restart so far, on the CPU."""
        return self.at.best.sqrt().cpu()

    def fits(self) -> Tensor:
        """(R,), whether the rows of each restart give every item's outputs, on the CPU."""
        values = self.table.inputs.T.expand(len(self.at.rows), -1, -1)
        for rows in self.at.rows.unbind(1):
            values = signs(torch.baddbmm(-rows[:, None, :, -1], values, rows[:, :, :-1].mT))
        count = self.table.widths[-1]
        return (values[:, :, :count] == self.table.outputs.T[:, :count]).flatten(1).all(1).cpu()

    def layers(self, restart: int) -> Layers:
        """Weights of a restart, from B's side where its gap was smallest, without padding, on the CPU."""
        rows, widths = self.at.rows[restart].cpu(), self.table.widths
        return [
            torch.cat([rows[layer, :after, :before], rows[layer, :after, -1:]], 1)
            for layer, (before, after) in enumerate(pairwise(widths))
        ]


def signs(sums: Tensor) -> Tensor:
    """±1 of the same type; of 0 it is +1."""
    return torch.where(sums >= 0, 1.0, -1.0).to(sums.dtype)


def evaluate_layers(layers: Layers, inputs: Tensor) -> Tensor:
    """(M, k) float64 of ±1 from (M, n) of ±1."""
    values = inputs.double()
    for rows in layers:
        values = signs(values @ rows[:, :-1].T - rows[:, -1])
    return values


def whole_layers(layers: Layers, inputs: Tensor, largest: int = LARGEST_WEIGHT) -> tuple[Layers, int]:
    """Each row as the smallest whole numbers of the same signs on these inputs, and how many rows have none.

    A row is divided by its largest weight and rounded, which leaves -1, 0 and +1 of three equal ones; where that
    changes a sign, or makes a sum of 0, it is tried times 2, 3, ... A row that none fits stays as it is.

    Args:
        layers: of the network.
        inputs: (M, n) of ±1.
        largest: size of a weight.
    """
    values, found, failed = inputs.double(), [], 0
    for rows in layers:
        sums = values @ rows[:, :-1].T - rows[:, -1]
        whole, kept = rows.clone(), torch.zeros(len(rows), dtype=torch.bool)
        scaled = rows / rows.abs().amax(1, keepdim=True).clamp_min(1e-300)
        for size in range(1, largest + 1):
            tried = (scaled * size).round() + 0.0  # no -0
            fits = ((values @ tried[:, :-1].T - tried[:, -1]) * signs(sums) > 0).all(0) & ~kept
            whole[fits], kept = tried[fits], kept | fits
        found.append(whole)
        failed += int((~kept).sum())
        values = signs(sums)
    return found, failed

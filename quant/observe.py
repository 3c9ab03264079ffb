"""Watches a captured network over calibration samples with constant memory: ranges first, then histograms."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ..errors import BadInput

BINS = 2048
_HELD_BYTES = 64 << 20  # activations kept between two updates of the statistics


@dataclass
class Observed:
    """What was seen of one value: its range over all samples and a histogram of `BINS` equal bins over that range."""

    low: float = float("inf")
    high: float = float("-inf")
    histogram: np.ndarray = field(default_factory=lambda: np.zeros(BINS, dtype=np.int64))

    @property
    def centres(self) -> np.ndarray:
        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[:-1] + edges[1:]) / 2


def observe(
    module: GraphModule, samples: Sequence[tuple[Tensor, ...]], names: set[str], histograms: bool = True
) -> dict[str, Observed]:
    """Ranges, and histograms where asked, of the named values over all samples.

    Args:
        samples: tuples of inputs, one sample each, shaped as the network's example inputs.

    Raises:
        BadInput: no samples, a sample of the wrong shape, or a value that is NaN or infinite (named).
    """
    check_samples(module, samples)
    ordered = [node.name for node in module.graph.nodes if node.name in names]  # so that the first fault is named
    watching = _returning(module, ordered)
    seen = {name: Observed() for name in ordered}
    for update in (_widen, _count) if histograms else (_widen,):
        for name, values in _gathered(watching, samples, ordered):
            update(name, values, seen[name])
    return seen


def channel_means(
    module: GraphModule, samples: Sequence[tuple[Tensor, ...]], axes: dict[str, int]
) -> dict[str, Tensor]:
    """The mean of each channel, (channels,), of the named values over all samples.

    Args:
        axes: name of a value -> which of its dimensions holds the channels.
    """
    if not axes:
        return {}
    watching = _returning(module, list(axes))
    sums = {name: torch.zeros(()) for name in axes}
    with torch.no_grad():
        for sample in samples:
            for (name, axis), value in zip(axes.items(), watching(*sample)):
                sums[name] = sums[name] + value.movedim(axis, 0).flatten(1).mean(1)
    return {name: total / len(samples) for name, total in sums.items()}


def channel_peaks(
    module: GraphModule, samples: Sequence[tuple[Tensor, ...]], axes: dict[str, int]
) -> dict[str, Tensor]:
    """The largest magnitude of each channel, (channels,), of the named values over all samples; `axes` as above."""
    if not axes:
        return {}
    check_samples(module, samples)
    watching = _returning(module, list(axes))
    peaks = {name: torch.zeros(()) for name in axes}
    with torch.no_grad():
        for sample in samples:
            for (name, axis), value in zip(axes.items(), watching(*sample)):
                peaks[name] = torch.maximum(peaks[name], value.movedim(axis, 0).flatten(1).abs().amax(1))
    return peaks


def _widen(name: str, values: Tensor, spot: Observed) -> None:
    low, high = (float(v) for v in torch.aminmax(values))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise BadInput(f"{name}: NaN or infinite during calibration; check the calibration samples and the weights")
    spot.low, spot.high = min(spot.low, low), max(spot.high, high)


def _count(_: str, values: Tensor, spot: Observed) -> None:
    if spot.high > spot.low:
        spot.histogram += torch.histc(values.float(), BINS, spot.low, spot.high).long().numpy()


def _returning(module: GraphModule, names: list[str]) -> GraphModule:
    """A copy of the network that returns the named values in place of its outputs."""
    graph = torch.fx.Graph()
    copied: dict[Node, Node] = {}
    for node in module.graph.nodes:
        if node.op != "output":
            copied[node] = graph.node_copy(node, lambda old: copied[old])
    by_name = {node.name: copied[node] for node in copied}
    graph.output(tuple(by_name[name] for name in names))
    return GraphModule(module, graph)


def _gathered(
    watching: GraphModule, samples: Sequence[tuple[Tensor, ...]], names: list[str]
) -> Iterator[tuple[str, Tensor]]:
    """(name, values of several samples, flat): one call of a statistic costs as much for one sample as for several."""
    held: list[list[Tensor]] = [[] for _ in names]
    size = 0
    with torch.no_grad():
        for index, sample in enumerate(samples):
            for values, value in zip(held, watching(*sample)):
                values.append(value.flatten())
                size += value.numel() * value.element_size()
            if size > _HELD_BYTES or index == len(samples) - 1:
                yield from ((name, torch.cat(values)) for name, values in zip(names, held))
                held, size = [[] for _ in names], 0


def check_samples(module: GraphModule, samples: Sequence[tuple[Tensor, ...]]) -> None:
    """Raises BadInput when there is no sample, one does not fit the network's inputs, or one is not finite."""
    wanted = [tuple(node.meta["val"].shape) for node in module.graph.nodes if node.op == "placeholder"]
    if not samples:
        raise BadInput("calibration: no samples; give at least one with --data")
    for index, sample in enumerate(samples):
        shapes = [tuple(tensor.shape) for tensor in sample]
        if shapes != wanted:
            raise BadInput(f"calibration sample {index}: shapes {shapes} do not fit the inputs {wanted}")
        if not all(torch.isfinite(tensor).all() for tensor in sample):
            raise BadInput(f"calibration sample {index}: holds NaN or infinite values; mend the data")

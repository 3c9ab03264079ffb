"""Watches a captured network over calibration samples with constant memory: ranges first, then histograms."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from ..errors import BadInput

BINS = 2048


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


class _Watcher(Interpreter):
    """Runs the graph and shows every watched value to a callback."""

    def __init__(self, module: GraphModule, watched: set[str], see):  # type: ignore[no-untyped-def]
        super().__init__(module)
        self.watched, self.see = watched, see

    def run_node(self, node: Node) -> object:
        value = super().run_node(node)
        if node.name in self.watched and isinstance(value, Tensor):
            self.see(node.name, value)
        return value


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
    seen = {name: Observed() for name in names}

    def widen(name: str, value: Tensor) -> None:
        low, high = (float(v) for v in torch.aminmax(value))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise BadInput(f"{name}: NaN or infinite during calibration; check the calibration samples and the weights")
        seen[name].low, seen[name].high = min(seen[name].low, low), max(seen[name].high, high)

    def count(name: str, value: Tensor) -> None:
        spot = seen[name]
        if spot.high > spot.low:
            spot.histogram += torch.histc(value.float(), BINS, spot.low, spot.high).long().numpy()

    with torch.no_grad():
        for see in (widen, count) if histograms else (widen,):
            watcher = _Watcher(module, names, see)
            for sample in samples:
                watcher.run(*sample)
    return seen


def check_samples(module: GraphModule, samples: Sequence[tuple[Tensor, ...]]) -> None:
    """Raises BadInput when there is no sample, or one does not fit the network's inputs (got, wanted)."""
    wanted = [tuple(node.meta["val"].shape) for node in module.graph.nodes if node.op == "placeholder"]
    if not samples:
        raise BadInput("calibration: no samples; give at least one with --data")
    for index, sample in enumerate(samples):
        shapes = [tuple(tensor.shape) for tensor in sample]
        if shapes != wanted:
            raise BadInput(f"calibration sample {index}: shapes {shapes} do not fit the inputs {wanted}")

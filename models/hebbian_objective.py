"""What networks of spins are measured by: how much of the cue's archetype is recalled, and how many others with it."""

import torch
from torch import Tensor, nn

from .batches import Raw
from .diluted_patterns import filled
from .objectives import Batch, Objective, Outcome, in_tuple


class Retrieval(Objective):
    """Targets (B, 1 + N) are the label of each cue's archetype and its entries of -1, 0 and +1.

    `accuracy` is the share of an archetype's entries, blanks left out, that the state has right; `loss` is 1 minus the
    overlap normalised by the entries. Where the network gives its overlaps with all patterns, `overlap_1`,
    `overlap_2`, ... are the largest, second largest, ... magnitude as a share of the spins, on average.
    """

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        """Cues: blanks of a sample become random signs."""
        return (filled(in_tuple(samples)[0].cpu(), draws).to(targets.device),)

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs = self.inputs(batch.samples, batch.targets, batch.draws)
        outputs = in_tuple(network(*inputs))
        return Outcome(1 - _normalised(outputs[0], batch.targets).mean(), inputs, outputs[0])

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 2 + K): share right, loss, and ranked magnitudes of the overlaps."""
        signs = torch.where(outputs[0] < 0, -1.0, 1.0)  # of int8 states, whose ±1 may be off by rounding
        overlap = _normalised(signs, targets)
        ranked = [(other.abs() / targets[:, 1:].shape[1]).sort(1, descending=True)[0] for other in outputs[1:]]
        return torch.cat([(1 + overlap[:, None]) / 2, 1 - overlap[:, None], *ranked], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        accuracy, loss, *overlaps = scores.mean(0).tolist()
        ranked = {f"overlap_{rank}": value for rank, value in enumerate(overlaps, 1)}
        return {"accuracy": accuracy, "loss": loss} | ranked


def _normalised(state: Tensor, targets: Tensor) -> Tensor:
    """(B,): overlap of each state with its own archetype, from -1 to 1."""
    archetypes = targets[:, 1:]
    return (state * archetypes).sum(1) / archetypes.abs().sum(1).clamp(min=1)

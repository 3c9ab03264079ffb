"""`--scheme auto`: the bits of each layer within budgets, and what the manifest and the report show of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .quant.capture import Captured
from .quant.mixed.budget import Budget, size_of
from .quant.mixed.codings import Codings
from .quant.mixed.layers import Bits
from .quant.mixed.search import Search, Tried, choices_for, front_of
from .quant.scheme import Scheme
from .runtime.samples import Samples
from .runtime.verify import accuracy_of
from .sources import SampleSets, Source


@dataclass(frozen=True)
class Wanted:
    """What `auto` is asked for.

    Attributes:
        budgets: all of them are kept.
        bits: that layers may have; none leaves it to the budgets.
    """

    budgets: tuple[Budget, ...]
    bits: tuple[Bits, ...] = ()


def find_scheme(
    source: Source, captured: Captured, samples: SampleSets, scheme: Scheme, wanted: Wanted
) -> tuple[Scheme, dict[str, Any]]:
    """The scheme with bits for every layer, and how they were found.

    Args:
        captured: the network for one sample.
        samples: those for calibration choose; those held out only measure what was chosen.
        scheme: how numbers are chosen, and what keeps float or 8 bits.

    Returns:
        The document is `{"budgets", "samples", "judge", "layers": [{"module", "weights", "macs", "weight",
        "activation", "choices": [{"weight", "activation", "sqnr_db", "divergence", "loss"}]}], "points": [{"name",
        "bytes", "share", "error", "sqnr_db", "accuracy", "front", "chosen"}]}`: `judge` is what errors are, divergence
        (nats) or noise (power over that of the signal); `accuracy` is on held-out samples.

    Raises:
        BadInput: the budgets cannot be met.
    """
    inputs = tensors_of(samples.calibration, captured)
    choices = wanted.bits or choices_for(wanted.budgets)
    search = Search(source.network, captured, inputs, samples.calibration.labels, scheme, choices)
    chosen = search.find(wanted.budgets)
    _sweep(search)
    whole = Codings(source.network, captured, inputs, scheme, choices)
    document = {
        "budgets": [str(budget) for budget in wanted.budgets],
        "samples": len(search.samples),
        "judge": search.table.kinds[0],
        "layers": _layer_rows(search, chosen),
        "points": _points(search, chosen, whole, tensors_of(samples.held_out, captured), samples.held_out.labels),
    }
    return replace(scheme, layers=chosen.assignment), document


def tensors_of(samples: Samples, captured: Captured) -> list[tuple[Tensor, ...]]:
    """Samples as the captured network takes them."""
    return [tuple(torch.from_numpy(sample[name]) for name in captured.input_names) for sample in samples]


def _sweep(search: Search) -> None:
    """Tries uniform precision, and at each of its sizes what the integer program proposes."""
    for assignment, name in search.uniforms():
        if name.endswith(" all"):
            continue
        search.attempt(assignment, name)
        budget = Budget("size", size_of(assignment, search.layers), is_bytes=True)
        for proposal in search.proposals([budget])[:1]:
            search.attempt(proposal)


def _layer_rows(search: Search, chosen: Tried) -> list[dict[str, Any]]:
    rows = []
    for layer, (_, weight, activation) in zip(search.layers, chosen.assignment):
        outcomes = [(bits, search.table.single[layer.module, bits]) for bits in layer.choices]
        rows.append(
            {
                "module": layer.module,
                "weights": layer.weights,
                "macs": layer.macs,
                "weight": weight,
                "activation": activation,
                "choices": [
                    {
                        "weight": bits[0],
                        "activation": bits[1],
                        "sqnr_db": outcome.sqnr_db,
                        "divergence": outcome.divergence,
                        "loss": outcome.loss,
                    }
                    for bits, outcome in outcomes
                ],
            }
        )
    return rows


def _points(
    search: Search, chosen: Tried, whole: Codings, inputs: Sequence[tuple[Tensor, ...]], labels: np.ndarray | None
) -> list[dict[str, Any]]:
    """The front, uniform precision and what was chosen, smallest first.

    Args:
        whole: made from all calibration samples, as what ships is.
    """
    front = front_of(list(search.tried.values()))
    shown = {one.assignment: one for one in (*front, chosen)}
    shown |= {one.assignment: one for one in search.tried.values() if one.name != "auto"}
    float_bytes = sum(4 * layer.weights for layer in search.layers)
    return [
        {
            "name": one.name,
            "bytes": one.size,
            "share": one.size / float_bytes,
            "error": one.outcome.error,
            "sqnr_db": one.outcome.sqnr_db,
            "accuracy": accuracy_on(whole, one, inputs, labels),
            "front": one in front,
            "chosen": one.assignment == chosen.assignment,
        }
        for one in sorted(shown.values(), key=lambda one: one.size)
    ]


def accuracy_on(
    codings: Codings, one: Tried, inputs: Sequence[tuple[Tensor, ...]], labels: np.ndarray | None
) -> float | None:
    """Share of samples whose top class is the label's; None without labels."""
    if labels is None:
        return None
    outputs = codings.emulation.outputs(inputs, codings.operands(one.assignment))
    return accuracy_of(outputs[0].numpy(), labels)

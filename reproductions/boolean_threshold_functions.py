"""Learning with Boolean threshold functions (Elser and Lal, arXiv 2602.17493), on tables that two cores can search.

Networks of signs are found by projections, or trained by gradients straight through their signs, or with tanh in their
place. Every way by gradients is tried with several rates and has the result of the best, chosen over all seeds by the
very figure that it is measured by. The steps of the search for random majorities were doubled after seeds 0 to 4 had
been seen with half as many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import nn

from ..estimate import exactly, number_cell, percent_cell, share_of
from ..models.boolean_network import ThresholdNetwork
from ..models.boolean_tasks import TASKS, gates_data
from ..models.data import Data
from ..models.learning.boolean_search import Layers, evaluate_layers
from ..models.learning.boolean_solving import Limits, Outcome, solve
from ..models.learning.boolean_threshold import BooleanThreshold
from ..quant.threads import one_thread
from . import Claim, Study, Table
from ._artifacts import run_on, ship
from ._boolean_networks import Descent, descend, items
from ._paired import above

STARTS = 3  # of each seed
RATES = (0.003, 0.01, 0.03)
DESCENT_STEPS = 1000
ADDER, MULTIPLIER, LOGIC = (3, 3, 3, 2), (4, 4, 4, 4), (16, 16, 16)
ADDER_STEPS, MULTIPLIER_STEPS, LOGIC_STEPS = 3000, 5000, 4000
RULE = BooleanThreshold()
ITEMS = 128
PENALTY = 0.01
SOLVED, BITS = "share of starts", "held-out bits"
_ABOVE = "(the 95 % interval of the paired differences over the seeds is above 0)"


@dataclass(frozen=True)
class Searched:
    """A table's starts by both ways, seed by seed.

    Attributes:
        starts: outcomes of the search.
        found: share of each seed's starts that were found.
        fitted: likewise by gradients, at the best rate.
        rate: that.
    """

    starts: list[list[Outcome]]
    found: list[float]
    fitted: list[float]
    rate: float


@one_thread()
def reproduce(study: Study) -> list[Claim]:
    """All comparisons.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws tables whose circuits are known")
    study.say("full adder")
    adder = _searched(study, "full-adder", ADDER, ADDER_STEPS, lambda each: each.solved)
    study.say("2-bit multiplier")
    multiplier = _searched(study, "multiplier-2", MULTIPLIER, MULTIPLIER_STEPS, lambda each: each.exact)
    claims = [*_circuits(adder, multiplier), _ternary(adder), _in_integers(adder)]
    study.say("random majorities")
    return [*claims, *_logic(study)]


def _searched(
    study: Study, name: str, widths: tuple[int, ...], steps: int, counts: Callable[[Outcome], bool]
) -> Searched:
    """Starts of all seeds at once; a seed's are numbered on from its own."""
    starts = [STARTS * seed + number for seed in study.seeds for number in range(STARTS)]
    table = items(TASKS[name](0).train)
    limits = Limits(study.epochs(steps), until_exact=counts(_FITTING))
    outcomes = solve(*table, widths[1:-1], RULE, starts, limits)
    steps_down = study.epochs(DESCENT_STEPS)
    ways = [Descent(rate=rate, steps=steps_down) for rate in RATES]
    tried = {way.rate: [float(row.fitted) for row in descend(widths, table, table, starts, way)] for way in ways}
    rate = max(tried, key=lambda rate: fmean(tried[rate]))
    found = [float(counts(each)) for each in outcomes]
    return Searched(_by_seed(outcomes), _means(found), _means(tried[rate]), rate)


_FITTING = Outcome(0, False, 0, 0, 1.0, [], 0.0)  # rows fit, and projections are apart


def _by_seed(values: Sequence[Outcome]) -> list[list[Outcome]]:
    return [list(values[place : place + STARTS]) for place in range(0, len(values), STARTS)]


def _means(values: Sequence[float]) -> list[float]:
    return [fmean(values[place : place + STARTS]) for place in range(0, len(values), STARTS)]


def _circuits(adder: Searched, multiplier: Searched) -> list[Claim]:
    return [
        above(
            f"of {STARTS} starts a seed, more find a full adder {_sizes(ADDER)} in at most {ADDER_STEPS:,} steps (gap "
            f"below {RULE.gap_stop:g}, whole-number rows right on all 8 items) than gradients straight through signs "
            f"fit at any time {_ABOVE}",
            SOLVED,
            adder.fitted,
            adder.found,
            note=_effort(adder),
            table=_steps_table(adder, multiplier),
        ),
        above(
            f"of {STARTS} starts a seed, more find whole-number rows of a 2-bit multiplier {_sizes(MULTIPLIER)} that "
            f"are right on all 16 items in at most {MULTIPLIER_STEPS:,} steps than gradients straight through signs "
            f"fit at any time {_ABOVE}",
            SOLVED,
            multiplier.fitted,
            multiplier.found,
            note=_effort(multiplier),
        ),
    ]


def _effort(searched: Searched) -> str:
    return (
        f"gradients: Adam, {DESCENT_STEPS:,} steps of all items, the best of rates {', '.join(f'{r:g}' for r in RATES)}"
        f" is {searched.rate:g}; the weights stay real"
    )


def _sizes(widths: Sequence[int]) -> str:
    return "-".join(map(str, widths))


def _steps_table(adder: Searched, multiplier: Searched) -> Table:
    rows = []
    for name, searched, until in (("full adder", adder, "gap"), ("2-bit multiplier", multiplier, "exact")):
        flat = [each for starts in searched.starts for each in starts]
        found = [each for each in flat if _is(each, until)]
        steps = [float(each.steps) for each in found]
        weights = [float(_most_weights(each.layers)) for each in found]
        largest = [max(float(layer.abs().max()) for layer in each.layers) for each in found]
        rows.append(
            [name, until, f"{len(found)} of {len(flat)}", *(number_cell(v, 1) for v in (steps, weights, largest))]
        )
    columns = ["table", "until", "starts", "steps", "most weights of a neuron", "largest weight"]
    return {"title": "What searches find", "columns": columns, "rows": rows}


def _is(each: Outcome, until: str) -> bool:
    return each.solved if until == "gap" else each.exact


def _most_weights(layers: Layers) -> int:
    return max(int((layer != 0).sum(1).max()) for layer in layers)


def ternary_layers(layers: Layers) -> Layers:
    """Each row divided by its largest weight and rounded: -1, 0 and 1."""
    return [(layer / layer.abs().amax(1, keepdim=True)).round() for layer in layers]


def _ternary(adder: Searched) -> Claim:
    inputs, outputs = items(TASKS["full-adder"](0).train)

    def is_exact(each: Outcome) -> float:
        return float(torch.equal(evaluate_layers(ternary_layers(each.layers), inputs), outputs.double()))

    shares = [fmean(map(is_exact, solved)) for solved in _solved(adder)]
    return Claim(
        "every full adder that was found keeps its table when all its rows are rounded to -1, 0 and 1 (all do)",
        "share of those found",
        exactly(1.0),
        share_of(shares or [0.0]),
        bool(shares) and min(shares) == 1.0,
        "rows are divided by their largest weight before rounding",
    )


def _solved(searched: Searched) -> list[list[Outcome]]:
    """Of each seed that has any."""
    return [found for starts in searched.starts if (found := [each for each in starts if each.solved])]


def network_of(layers: Layers) -> ThresholdNetwork:
    """The network with these rows."""
    widths = [layers[0].shape[1] - 1, *(len(layer) for layer in layers)]
    network = ThresholdNetwork(widths).eval()
    linears = [module for module in network.modules() if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for linear, rows in zip(linears, layers):
            linear.weight.copy_(rows[:, :-1])
            linear.bias.copy_(-rows[:, -1])
    return network


def _in_integers(adder: Searched) -> Claim:
    """Each seed's first adder as an int8 ONNX file, executed on the whole table."""
    inputs, outputs = items(TASKS["full-adder"](0).train)
    given = {"bits": inputs.numpy()}
    right = []
    with TemporaryDirectory() as folder:
        for place, solved in enumerate(_solved(adder)):
            network = network_of(solved[0].layers)
            files = ship(f"adder_{place}", network, {"bits": inputs[:1]}, given, Path(folder), ("onnx",), ("int8",))
            (found,) = run_on(files["onnx", "int8"], given).values()
            right.append(float(np.mean(np.sign(found) == outputs.numpy())))
    return Claim(
        "the int8 ONNX file of each seed's first full adder gives every bit of its table (all are right)",
        "share of bits",
        exactly(1.0),
        share_of(right or [0.0]),
        bool(right) and min(right) == 1.0,
    )


def _logic(study: Study) -> list[Claim]:
    tasks = {seed: gates_data(seed, LOGIC, items=ITEMS) for seed in study.seeds}
    limits = Limits(study.epochs(LOGIC_STEPS))
    rule = replace(RULE, gap_stop=0.1)
    found = []
    for seed, data in tasks.items():
        study.say(f"random majorities, seed {seed}")
        (outcome,) = solve(*items(data.train), LOGIC[1:-1], rule, [seed], limits)
        inputs, outputs = items(data.test)
        found.append(float((evaluate_layers(outcome.layers, inputs) == outputs).double().mean()))
    ways = {
        "tanh": Descent("tanh"),
        "straight through": Descent("sign"),
        "tanh with row norms": Descent("tanh", penalty=PENALTY),
    }
    others = {name: _best_descent(study, tasks, way) for name, way in ways.items()}
    rows = [["projections", percent_cell(found)], *([name, percent_cell(bits)] for name, bits in others.items())]
    table: Table = {"title": f"Held-out bits, {ITEMS} items, {_sizes(LOGIC)}", "columns": ["way", "%"], "rows": rows}
    words = {
        "tanh": "a tanh network of the same widths",
        "straight through": "gradients straight through signs",
        "tanh with row norms": f"a tanh network with a penalty of {PENALTY:g} on row norms, a prior for sparse rows",
    }
    return [
        above(
            f"from {ITEMS} items of a network of random majorities {_sizes(LOGIC)}, {LOGIC_STEPS:,} steps of search "
            f"generalise better than {words[name]} {_ABOVE}",
            BITS,
            others[name],
            found,
            table=table if name == "tanh" else None,
        )
        for name in ways
    ]


def _best_descent(study: Study, tasks: dict[int, Data], way: Descent) -> list[float]:
    """Held-out bits by seed, at the rate that is best for them."""
    parts = ([items(part) for part in split] for split in zip(*((d.train, d.test) for d in tasks.values())))
    train, test = ((torch.stack([x for x, _ in part]), torch.stack([y for _, y in part])) for part in parts)
    ways = [replace(way, rate=rate, steps=study.epochs(DESCENT_STEPS)) for rate in RATES]
    tried = ([row.test_bits for row in descend(LOGIC, train, test, list(tasks), how)] for how in ways)
    return max(tried, key=fmean)

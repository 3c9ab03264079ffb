"""Parallel Learning by Multitasking Neural Networks (Agliari et al., arXiv 2308.04106), by Monte Carlo at finite size.

Theory of many spins against asynchronous dynamics of 1,000 and 2,000 spins, all seeds at a time; and the network that
ships, whose spins move by quarters, as an int8 ONNX file that is called step by step.
"""

from collections.abc import Sequence

import numpy as np

from ..estimate import exactly, number_cell, share_of
from ..quant.threads import one_thread
from . import Claim, Study, Table
from ._exported_spins import CUES, QUALITIES, STEPS, exported_step
from ._paired import above, below
from ._spins import (
    Spins,
    archetypes,
    examples_of,
    hierarchy,
    learnt_overlap,
    noise_of,
    noisy_overlap,
    overlaps_of,
    random_states,
    ranked,
    relax,
    thermal_overlaps,
)

SPINS, MANY_SPINS, SWEEPS = 1000, 2000, 20
FEW, MANY = 3, 6  # patterns
DILUTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
BELOW_CRITICAL = (0.1, 0.3, 0.5)  # of 3 patterns; the leader is outvoted above 0.618
LEARNT = ((0.2, 5), (0.2, 20), (0.2, 80), (0.5, 5), (0.5, 20))  # quality and examples
TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
NOISY_DILUTION, NOISY_SWEEPS, SETTLE = 0.3, 45, 15
OVERLAP, ERROR, SHARE = "overlap", "error of overlap", "share of states"
_ABOVE = "(the 95 % interval of the paired differences over the seeds is above {:g})"
_BELOW = "(the 95 % interval of the paired differences over the seeds is below {:g})"


@one_thread()
def reproduce(study: Study) -> list[Claim]:
    """All comparisons.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws patterns whose overlaps are known")
    study.say("recall at rest")
    claims = _recall(study.seeds)
    study.say("learning from examples")
    claims += _learning(study.seeds)
    study.say("noise")
    claims += _noise(study.seeds)
    study.say("the int8 step")
    return [*claims, *_exported(study.seeds)]


def at_rest(
    seeds: Sequence[int], patterns: int, spins: int, dilutions: Sequence[float], cued: bool = False
) -> np.ndarray:
    """(dilutions, seeds, patterns): ranked overlaps with the patterns, normalised by 1 - d.

    Args:
        cued: from states that recall the first pattern, with chance where it is blank; else from random ones.
    """
    rng = _rng(seeds, patterns)
    drawn = np.concatenate([archetypes(len(seeds), patterns, spins, d, rng) for d in dilutions])
    network = Spins(drawn, np.ones(len(drawn)))
    state = random_states((len(drawn), spins), rng)
    if cued:
        state = np.where(drawn[:, 0] == 0, state, drawn[:, 0])
    state = relax(network, state, SWEEPS, rng)
    found = ranked(overlaps_of(drawn, state)).reshape(len(dilutions), len(seeds), patterns)
    return found / (1 - np.array(dilutions))[:, None, None]


def _recall(seeds: Sequence[int]) -> list[Claim]:
    few, led = (at_rest(seeds, FEW, SPINS, DILUTIONS, cued) for cued in (False, True))
    many = at_rest(seeds, MANY, MANY_SPINS, DILUTIONS)
    half, mild, strong = (DILUTIONS.index(d) for d in (0.5, 0.3, 0.7))
    chosen = [DILUTIONS.index(d) for d in BELOW_CRITICAL]
    alone = np.eye(FEW)[0]
    return [
        above(
            f"with half of the entries blank, a state at rest recalls a second of {FEW} patterns, which a network of "
            f"patterns without blanks does not {_ABOVE.format(0.3)}",
            OVERLAP,
            few[0, :, 1].tolist(),
            few[half, :, 1].tolist(),
            0.3,
            "from random states, of which some without blanks end in a mixture of all three; baseline: no blanks",
        ),
        above(
            f"a state that recalls the first of {FEW} patterns at the start comes to rest with a second where half of "
            f"the entries are blank, and where none is does not {_ABOVE.format(0.3)}",
            OVERLAP,
            led[0, :, 1].tolist(),
            led[half, :, 1].tolist(),
            0.3,
            "the second largest overlap as a share of the pattern's entries; baseline: no blanks",
            _recall_table(led, "states that recall the first"),
        ),
        below(
            f"overlaps with {FEW} patterns follow the hierarchy (1 - d) d^(k - 1) at dilutions of 0.1, 0.3 and 0.5, "
            f"more closely than that of one pattern at a time {_BELOW.format(0)}",
            ERROR,
            np.abs(few[chosen] - alone).mean((0, 2)).tolist(),
            np.abs(few[chosen] - _law(BELOW_CRITICAL, FEW)).mean((0, 2)).tolist(),
            table=_recall_table(few),
        ),
        above(
            f"the hierarchy of {MANY} patterns breaks where the others outvote the first: errors are larger at a "
            f"dilution of 0.7, above the critical 0.51, than at 0.3 {_ABOVE.format(0.05)}",
            ERROR,
            _departures(many, mild),
            _departures(many, strong),
            0.05,
            f"the first overlap at 0.7 is {many[strong, :, 0].mean():.2f}, where the hierarchy has 1",
            _recall_table(many),
        ),
    ]


def _law(dilutions: Sequence[float], patterns: int) -> np.ndarray:
    """(dilutions, 1, patterns): the hierarchy, normalised."""
    return np.stack([hierarchy(d, patterns) / (1 - d) for d in dilutions])[:, None]


def _departures(found: np.ndarray, place: int) -> list[float]:
    patterns = found.shape[2]
    return np.abs(found[place] - _law(DILUTIONS[place : place + 1], patterns)[0]).mean(1).tolist()


def _recall_table(found: np.ndarray, start: str = "random states") -> Table:
    patterns = found.shape[2]
    rows = []
    for d, by_seed in zip(DILUTIONS, found):
        law = ", ".join(f"{value:.2f}" for value in hierarchy(d, patterns) / (1 - d))
        rows.append([f"{d:g}", *(number_cell(by_seed[:, rank].tolist(), 2) for rank in range(patterns)), law])
    columns = ["dilution", *(f"overlap {rank}" for rank in range(1, patterns + 1)), "d^(k - 1)"]
    title = f"Overlaps with {patterns} patterns over 1 - d, from {start}"
    return {"title": title, "columns": columns, "rows": rows}


def one_step(seed: int, quality: float, examples: int, spins: int = MANY_SPINS) -> tuple[float, float]:
    """Overlaps with an archetype after one step from it, by couplings learnt with and without labels."""
    rng = np.random.default_rng([seed, round(100 * quality), examples])
    patterns = archetypes(1, 2, spins, NOISY_DILUTION, rng)[0]
    seen = examples_of(patterns, examples, quality, rng)
    found = []
    for rows in (seen.sum(1), seen.reshape(-1, spins)):
        state = np.where(patterns[0] == 0, random_states((spins,), rng), patterns[0])
        field = Spins(rows[None], np.ones(1)).fields(state[None])[0]
        moved = np.where(field == 0, state, np.sign(field))
        found.append(float(moved @ patterns[0] / np.abs(patterns[0]).sum()))
    return found[0], found[1]


def _learning(seeds: Sequence[int]) -> list[Claim]:
    found = np.array([[one_step(seed, *point) for point in LEARNT] for seed in seeds])  # (seeds, points, 2)
    law = np.array([learnt_overlap(noise_of(*point)) for point in LEARNT])
    errors, full = np.abs(found - law[:, None]).mean(1), np.abs(found - 1).mean(1)
    columns = ["quality", "examples", "with labels", "without", "erf(1 / sqrt(2 rho))"]
    rows = [
        [f"{r:g}", f"{m}", *(number_cell(found[:, place, way].tolist(), 3) for way in (0, 1)), f"{law[place]:.3f}"]
        for place, (r, m) in enumerate(LEARNT)
    ]
    title = "Overlap with an archetype, one step from it"
    claims = [
        below(
            f"one step recalls erf(1 / sqrt(2 rho)) of an archetype that was learnt {words} labels: closer to the law "
            f"than full recall is {_BELOW.format(0)}",
            ERROR,
            full[:, way].tolist(),
            errors[:, way].tolist(),
            table={"title": title, "columns": columns, "rows": rows} if way == 0 else None,
        )
        for way, words in enumerate(("with", "without"))
    ]
    return [
        *claims,
        above(
            f"learning without labels costs less than 0.02 of the overlap, with two archetypes {_ABOVE.format(-0.02)}",
            OVERLAP,
            found[:, :, 0].mean(1).tolist(),
            found[:, :, 1].mean(1).tolist(),
            -0.02,
            "mean over the points of the table",
        ),
    ]


def heated(seeds: Sequence[int], patterns: int) -> np.ndarray:
    """(temperatures, seeds): the first pattern's overlap over 1 - d, from a state that recalls it."""
    rng = _rng(seeds, patterns + 100)
    drawn = archetypes(len(TEMPERATURES) * len(seeds), patterns, SPINS, NOISY_DILUTION, rng)
    state = np.where(drawn[:, 0] == 0, random_states(drawn[:, 0].shape, rng), drawn[:, 0])
    scale = np.full(len(drawn), SPINS * (1 - NOISY_DILUTION))
    network = Spins(drawn, scale)
    found = thermal_overlaps(network, state, np.repeat(TEMPERATURES, len(seeds)), NOISY_SWEEPS, SETTLE, rng)
    return found[:, 0].reshape(len(TEMPERATURES), len(seeds)) / (1 - NOISY_DILUTION)


def _noise(seeds: Sequence[int]) -> list[Claim]:
    by_patterns = {patterns: heated(seeds, patterns) for patterns in (1, FEW)}
    cold, hot = TEMPERATURES.index(0.8), TEMPERATURES.index(1.2)
    rows = []
    for place, t in enumerate(TEMPERATURES):
        seen = [number_cell(found[place].tolist(), 2) for found in by_patterns.values()]
        rows.append([f"{t:g}", *seen, f"{noisy_overlap(t):.2f}"])
    single = by_patterns[1]
    law = np.array([noisy_overlap(t) for t in TEMPERATURES])[:, None]
    return [
        above(
            f"a pattern is recalled at a temperature of 0.8, below the threshold of 1, and lost at 1.2 "
            f"{_ABOVE.format(0.3)}",
            OVERLAP,
            single[hot].tolist(),
            single[cold].tolist(),
            0.3,
            f"n = tanh(n / T) is met within {np.abs(single - law).max():.2f} at all temperatures of the table; chance "
            f"leaves some {np.sqrt(2 / np.pi / SPINS / (1 - NOISY_DILUTION)):.2f}",
            {
                "title": f"Overlap with the first pattern over 1 - d, dilution {NOISY_DILUTION:g}",
                "columns": ["temperature", "1 pattern", f"{FEW} patterns", "n = tanh(n / T)"],
                "rows": rows,
            },
        )
    ]


def _exported(seeds: Sequence[int]) -> list[Claim]:
    found = [exported_step(seed) for seed in seeds]
    rests = [each.resting for each in found]
    return [
        Claim(
            f"the int8 ONNX step, called {STEPS} times, comes to rest where asynchronous dynamics with its couplings "
            "turns over no spin (in every state of every seed)",
            SHARE,
            exactly(1.0),
            share_of(rests),
            min(rests) == 1.0,
            f"{len(QUALITIES)} times {CUES} cues a seed; its couplings join spins of different quarters only",
        ),
        *(
            above(
                f"from cues of quality {quality:g}, the int8 ONNX step recalls as much of an archetype as asynchronous "
                f"dynamics with all couplings does, but for 0.02 {_ABOVE.format(-0.02)}",
                OVERLAP,
                [each.asynchronous[place] for each in found],
                [each.step[place] for each in found],
                -0.02,
                "baseline: asynchronous dynamics from the same cues",
            )
            for place, quality in enumerate(QUALITIES)
        ),
    ]


def _rng(seeds: Sequence[int], use: int) -> np.random.Generator:
    return np.random.default_rng([*seeds, use])

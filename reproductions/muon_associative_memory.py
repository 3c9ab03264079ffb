"""Muon and rare facts (Wang et al., ICLR 2026, arXiv 2509.26030): against Adam, sign, SGD and gradient descent.

The theory's one-layer memory, a two-layer one and a small transformer learn facts whose frequencies follow a power law;
all optimizers of a network start from the same weights and see the same draws. Then what the choice changes for
devices: how far rounded weights move the scores, and what int8 files still know of rare facts.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import stdev
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ..diagnostics.spectra import Spectrum, centred, peak_to_rms, spectrum_of
from ..estimate import estimate_of, number_cell, percent_cell
from ..models.associative_memory import GROUPS, RELATIONS, SUBJECT_EDGES
from ..quant.threads import one_thread
from . import Claim, Study, Table
from ._muon_facts import BLOCKS, STEPS, train_transformers
from ._muon_memory import (
    OPTIMIZERS,
    RATES,
    Memories,
    artifact_hits,
    by_group,
    rounded,
    score_errors,
    train_memories,
)
from ._muon_theory import ADAM as THEORY_ADAM
from ._muon_theory import DESCENT, EXACT, ITERATED, SIGN, evenness, orthonormal
from ._muon_theory import OPTIMIZERS as THEORIES
from ._muon_training import ADAM, MUON, SGD
from ._paired import above, below

KNOWN, ALPHA = 64, 1.0  # facts of the theory's memory, and their power law
SMALLEST, ACCURACY, ENTROPY = "smallest probability", "accuracy", "entropy"
WHOLE = "smallest probability when the first fact reaches 0.95"
SHIPPED = 200  # steps of the memories that are rounded and exported
FEW_BITS = 4
_ABOVE = "(the 95 % interval of the paired differences over the seeds lies above {})"
_BELOW = "(the 95 % interval of the paired differences over the seeds lies below {})"
Evenness = Mapping[str, tuple[list[float], list[float]]]  # of random and of one-hot embeddings
Figures = Mapping[str, list[float]]


@one_thread()
def reproduce(study: Study) -> list[Claim]:
    """All comparisons.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws facts whose frequencies it must know")
    study.say("the theory's memory")
    theory = _theory(study)
    memories = {}
    for length in RATES:
        study.say(f"two-layer memories, {length} steps")
        memories[length] = train_memories(study.seeds, length, study.epochs(length))
    study.say("transformers")
    answered = train_transformers(study.seeds, study.epochs(STEPS))
    study.say("artifacts")
    with TemporaryDirectory() as folder:
        executed = {name: artifact_hits(memories[SHIPPED], name, Path(folder)) for name in (ADAM, MUON)}
    return [
        *_even(theory),
        *_tails(memories),
        *_isotropic(memories),
        *_blocks(answered),
        *_shipped(memories[SHIPPED], executed),
    ]


def _theory(study: Study) -> Evenness:
    generators = [torch.Generator().manual_seed(seed) for seed in study.seeds]
    pairs = [(orthonormal(KNOWN, generator), orthonormal(KNOWN, generator)) for generator in generators]
    keys, values = (torch.stack(list(parts)) for parts in zip(*pairs))
    one_hot = torch.eye(KNOWN, dtype=keys.dtype)[None]
    return {
        name: (evenness(name, keys, values, ALPHA), evenness(name, one_hot, one_hot, ALPHA) * len(keys))
        for name in THEORIES
    }


def _even(found: Evenness) -> list[Claim]:
    random = {name: pair[0] for name, pair in found.items()}
    turned = {name: [abs(a - b) for a, b in zip(*pair)] for name, pair in found.items()}
    exact, much = random[EXACT], _ABOVE.format("0.5")
    return [
        above(f"with random embeddings, exact Muon learns {KNOWN} facts more evenly than gradient descent, in their "
              f"{WHOLE} {much}", SMALLEST, random[DESCENT], exact, 0.5, table=_evenness_table(found)),
        above(f"with random embeddings, more evenly than sign descent {much}", SMALLEST, random[SIGN], exact, 0.5),
        above(f"with random embeddings, more evenly than Adam {much}", SMALLEST, random[THEORY_ADAM], exact, 0.5),
        Claim("exact Muon learns as evenly with random embeddings as with one-hot ones (a difference below 0.01 in "
              "every seed)", "difference", estimate_of(turned[SIGN]), estimate_of(turned[EXACT]),
              max(turned[EXACT]) < 0.01, "baseline: sign descent"),
        above(f"sign descent is more even with one-hot embeddings than with random ones {much}", SMALLEST, random[SIGN],
              found[SIGN][1], 0.5, "its evenness is of the embeddings; Adam's likewise"),
        above(f"five Newton-Schulz steps with momentum are less even than the exact factor {_ABOVE.format('0.1')}",
              SMALLEST, random[ITERATED], exact, 0.1, "singular values end up to a third apart, alike in every step"),
        above(f"they are more even than sign descent all the same {much}", SMALLEST, random[SIGN], random[ITERATED],
              0.5),
    ]  # fmt: skip


def _evenness_table(found: Evenness) -> Table:
    rows = [[name, number_cell(random, 3), f"{one_hot[0]:.3f}"] for name, (random, one_hot) in found.items()]
    title = f"{WHOLE[0].upper()}{WHOLE[1:]}, {KNOWN} facts, power law of exponent {ALPHA:g}"
    return {"title": title, "columns": ["optimizer", "random embeddings", "one-hot embeddings"], "rows": rows}


def _tails(memories: Mapping[int, Memories]) -> list[Claim]:
    tails = {length: _tail_of(found) for length, found in memories.items()}
    few, middle, many = tails
    gaps = {length: [b - a for a, b in zip(tail[ADAM], tail[MUON])] for length, tail in tails.items()}
    heads_lost = int((by_group(memories[middle].hits())["head"][OPTIMIZERS.index(SGD)] < 0.5).sum())
    claims = [
        above(f"after {length} steps a two-layer memory knows more of the tail with Muon than with Adam "
              f"{_ABOVE.format('0')}", ACCURACY, tail[ADAM], tail[MUON])
        for length, tail in tails.items()
    ]  # fmt: skip
    return [
        *claims,
        above(f"after {middle} steps it knows more of the tail with Muon than with SGD with momentum "
              f"{_ABOVE.format('10 points')}", ACCURACY, tails[middle][SGD], tails[middle][MUON], 0.1,
              f"trainings by SGD that lost the head (below a half): {heads_lost}", _tail_table(memories)),
        below(f"Muon is ahead of Adam by less after {many} steps than after {few} {_BELOW.format('0')}", ACCURACY,
              gaps[few], gaps[many], note="figures are leads"),
    ]  # fmt: skip


def _tail_of(found: Memories) -> Figures:
    return dict(zip(OPTIMIZERS, by_group(found.hits())["tail"].tolist(), strict=True))


def _tail_table(memories: Mapping[int, Memories]) -> Table:
    rows = []
    for length, found in memories.items():
        groups = by_group(found.hits())
        drawn = percent_cell(by_group(found.seen)["tail"].tolist())
        for place, name in enumerate(OPTIMIZERS):
            cells = [percent_cell(groups[group][place].tolist()) for group in GROUPS]
            rows.append([str(length), name, *cells, drawn])
    columns = ["steps", "optimizer", *GROUPS, "tail drawn at least once"]
    return {"title": "Facts a two-layer memory knows, percent", "columns": columns, "rows": rows}


def _isotropic(memories: Mapping[int, Memories]) -> list[Claim]:
    length = sorted(memories)[1]
    spectra = {name: [spectrum_of(matrix) for matrix in memories[length].second(name)] for name in (ADAM, MUON)}
    ranks = {name: [each.effective_rank for each in found] for name, found in spectra.items()}
    entropies = {name: [each.entropy for each in found] for name, found in spectra.items()}
    note = ""
    if len(ranks[ADAM]) > 1:
        note = "standard deviation of the effective rank over the seeds: " + ", ".join(
            f"{name} {stdev(ranks[name]):.2f}" for name in (ADAM, MUON)
        )
    return [
        above(f"after {length} steps the second matrix uses its directions more evenly with Muon than with Adam, in "
              f"normalised entropy of its spectrum {_ABOVE.format('0.02')}", ENTROPY, entropies[ADAM], entropies[MUON],
              0.02, note, _spectra_table(memories[length])),
    ]  # fmt: skip


def _spectra_table(found: Memories) -> Table:
    forms: dict[str, Callable[[Tensor], Tensor]] = {"as it is": lambda matrix: matrix, "centred": centred}
    rows = []
    for name in (ADAM, MUON):
        for form, change in forms.items():
            spectra = [spectrum_of(change(matrix)) for matrix in found.second(name)]
            rows.append([name, form, *(number_cell(_column(spectra, field), 3) for field in _FIELDS)])
    columns = ["optimizer", "matrix", "entropy", "effective rank", "energy of the top 10", "75 % to 25 % quantile"]
    return {"title": "Spectra of the second matrix", "columns": columns, "rows": rows}


_FIELDS = ("entropy", "effective_rank", "top_energy", "quantile_ratio")


def _column(spectra: list[Spectrum], field: str) -> list[float]:
    return [getattr(spectrum, field) for spectrum in spectra]


def _blocks(answered: Tensor) -> list[Claim]:
    edges = (SUBJECT_EDGES[0] * RELATIONS, SUBJECT_EDGES[1] * RELATIONS)
    groups = by_group(answered, edges)
    tail = dict(zip(BLOCKS, groups["tail"].tolist(), strict=True))
    none, whole = tail["none"], tail["all"]

    def between(share: float) -> list[float]:
        return [low + share * (high - low) for low, high in zip(none, whole)]

    rows = [
        [name, *(percent_cell(groups[group][place].tolist()) for group in GROUPS)] for place, name in enumerate(BLOCKS)
    ]
    table = {"title": "Prompts a transformer answers, percent", "columns": ["Muon on", *GROUPS], "rows": rows}
    lost = ", ".join(f"{name} {sum(shares < 0.5)}" for name, shares in zip(BLOCKS, groups["head"]))
    return [
        above(f"a transformer with Muon on all hidden matrices answers more of the tail than with Adam "
              f"{_ABOVE.format('10 points')}", ACCURACY, none, whole, 0.1,
              f"trainings that lost the head (below a half): {lost}", table),
        above(f"Muon on value, output and feed-forward matrices alone has three quarters of that gain or more "
              f"{_ABOVE.format('0')}", ACCURACY, between(0.75), tail["VO and FFN"],
              note="baseline: Adam's accuracy and three quarters of the gain"),
        below(f"Muon on query and key matrices alone has less than a quarter of it {_BELOW.format('0')}", ACCURACY,
              between(0.25), tail["QK"], note="baseline: Adam's accuracy and a quarter of the gain"),
        above(f"Muon on the feed-forward matrices alone gains more than on queries and keys {_ABOVE.format('0')}",
              ACCURACY, tail["QK"], tail["FFN"]),
        above(f"so does Muon on values and outputs alone {_ABOVE.format('0')}", ACCURACY, tail["QK"], tail["VO"]),
    ]  # fmt: skip


def _shipped(memories: Memories, executed: Mapping[str, Tensor]) -> list[Claim]:
    peaks = {name: [peak_to_rms(matrix) for matrix in memories.second(name)] for name in (ADAM, MUON)}
    errors = dict(zip(OPTIMIZERS, score_errors(memories, 8).tolist(), strict=True))
    exact, few = by_group(memories.hits()), by_group(memories.hits(rounded(memories.copies, FEW_BITS)))
    lost = {group: (exact[group] - few[group])[OPTIMIZERS.index(MUON)].tolist() for group in GROUPS}
    shipped = {name: by_group(hits)["tail"].tolist() for name, hits in executed.items()}
    tail = _tail_of(memories)
    return [
        below(f"Muon leaves the second matrix with a smaller largest weight over the root mean square than Adam "
              f"{_BELOW.format('0')}", "ratio", peaks[ADAM], peaks[MUON]),
        below(f"so that rounding to 8 bits with one scale a matrix changes scores less {_BELOW.format('0')}",
              "relative error", errors[ADAM], errors[MUON], table=_rounding_table(memories, executed)),
        above(f"an int8 ONNX file of a memory trained by Muon knows at most one point less of the tail than the "
              f"network {_ABOVE.format('-1 point')}", ACCURACY, tail[MUON], shipped[MUON], -0.01),
        above(f"it knows as much of it as the file of a memory trained by Adam, within one point "
              f"{_ABOVE.format('-1 point')}", ACCURACY, shipped[ADAM], shipped[MUON], -0.01),
        above(f"rounding to {FEW_BITS} bits with one scale a matrix loses more of the tail than of the head "
              f"{_ABOVE.format('0')}", ACCURACY, lost["head"], lost["tail"],
              note="figures are what is lost; trained by Muon"),
    ]  # fmt: skip


def _rounding_table(memories: Memories, executed: Mapping[str, Tensor]) -> Table:
    versions = {"float32": memories.hits(), "8 bits": memories.hits(rounded(memories.copies, 8))}
    versions[f"{FEW_BITS} bits"] = memories.hits(rounded(memories.copies, FEW_BITS))
    rows = []
    for name in (ADAM, MUON):
        forms = {form: hits[OPTIMIZERS.index(name)] for form, hits in versions.items()} | {"int8 ONNX": executed[name]}
        for form, hits in forms.items():
            groups = by_group(hits)
            rows.append([name, form, *(percent_cell(groups[group].tolist()) for group in GROUPS)])
    title = f"Facts known after {SHIPPED} steps, percent; bits: of weights, with one scale a matrix"
    return {"title": title, "columns": ["optimizer", "weights", *GROUPS], "rows": rows}

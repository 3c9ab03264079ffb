"""Kernels of several orientation bandwidths (Ladret et al., arXiv 2312.14685), on two bundled photographs.

The paper codes 256x256 outdoor photographs; here crops of 32x32 of two, one crop a seed, all seeds solved together.
Counts of coefficients that are exactly 0 depend on when a solver stops, so that each is given at the paper's number of
iterations and near the optimum.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from ..estimate import estimate_of, exactly
from ..models.kernel_heterogeneity import XS, Strided, UnrolledCoder
from ..models.log_gabor import HETEROGENEOUS, HOMOGENEOUS, coherence, effective_rank, orientations_of
from ..models.objectives import evaluate
from ..models.run import restore
from ..models.sparse_coding import fista, learn_dictionary
from ..models.system import find_system
from ..models.training import train
from . import Claim, Study, Table
from ._sparse_codes import COLUMNS, CUTOFF, Coded, Crops, closely, coded, read_crops, weight_for

SIZE = 32
WEIGHTS = (0.01, 0.03, 0.1, 0.3)
BUDGET = 100  # iterations of the paper's statistics
FEWER = 1.3
HET, HOM = "5 to 30 degrees", "12 degrees"
COUNT = "coefficients per pixel"


def reproduce(study: Study) -> list[Claim]:
    """All comparisons."""
    study.say("reading photographs")
    crops = read_crops(study.data, study.seeds, SIZE)
    banks = {HET: HETEROGENEOUS.kernels().float(), HOM: HOMOGENEOUS.kernels().float()}
    curves: dict[str, list[Coded]] = {}
    for name, kernels in banks.items():
        study.say(f"coding with {name}, {len(WEIGHTS)} weights")
        curves[name] = [coded(name, kernels, crops.held_out, weight, study.epochs(BUDGET)) for weight in WEIGHTS]
    return [
        *_sparseness(banks, crops, curves, study),
        *_near_optimum(banks, crops, curves, study),
        *_learning(banks, crops, curves, study),
        *_binary(banks, crops, curves, study),
        *_encoder(study),
    ]


def _sparseness(banks: dict[str, Tensor], crops: Crops, curves: dict[str, list[Coded]], study: Study) -> list[Claim]:
    """At the paper's number of iterations: equal weights, equal quality, and with small coefficients dropped."""
    iterations = study.epochs(BUDGET)
    coarse, fine = _at(curves, 0.1), _at(curves, 0.01)
    equal_at = weight_for(fmean(coarse[HET].decibels), curves[HOM])
    equal = coded(HOM, banks[HOM], crops.held_out, equal_at, iterations)
    rows = [each.row() for each in (*curves[HET], *curves[HOM], equal)]
    table: Table = {"title": "Sparseness against quality", "columns": COLUMNS, "rows": rows}
    return [
        replace(_fewer("after as many iterations as in the paper, at weight 0.01", fine[HOM], fine[HET]), table=table),
        _fewer("after as many iterations as in the paper, at weight 0.1", coarse[HOM], coarse[HET]),
        _fewer(f"after as many iterations as in the paper, at equal quality ({HET} at weight 0.1)", equal, coarse[HET]),
        _damaged(0.01, fine, 2.0),
        _damaged(0.1, coarse, 0.5),
    ]


def _damaged(weight: float, by_name: dict[str, Coded], more: float) -> Claim:
    """What is left without small coefficients."""
    hom, het = by_name[HOM], by_name[HET]
    return _more(
        f"without coefficients below {CUTOFF:g}, codes with {HET} are at least {more:g} dB better than with {HOM} "
        f"(weight {weight:g})",
        hom.dropped,
        het.dropped,
        more,
        note=f"dropping costs {fmean(het.decibels) - fmean(het.dropped):.2f} dB, and with {HOM} "
        f"{fmean(hom.decibels) - fmean(hom.dropped):.2f}",
    )


def _near_optimum(banks: dict[str, Tensor], crops: Crops, curves: dict[str, list[Coded]], study: Study) -> list[Claim]:
    weight, iterations, held_out = 0.3, study.epochs(400), crops.held_out
    study.say(f"coding nearly to the optimum, weight {weight:g}")
    het, hom = (coded(name, banks[name], held_out, weight, iterations, closely) for name in (HET, HOM))
    equal_at = weight_for(fmean(het.decibels), curves[HOM])
    equal = coded(HOM, banks[HOM], held_out, equal_at, iterations, closely)
    plain = coded(f"{HET}, by FISTA", banks[HET], held_out, weight, study.epochs(200), fista)
    rows = [each.row() for each in (het, hom, equal, plain)]
    table: Table = {"title": "Near the optimum", "columns": COLUMNS, "rows": rows}
    why = (
        "no more than one coefficient a pixel is needed at the optimum (a lasso needs at most as many as there are "
        "data), so that both dictionaries come close; what iterations still take away, they take from the homogeneous"
    )
    first = _fewer(f"near the optimum, at weight {weight:g}", hom, het)
    return [
        replace(first, note=f"{first.note}; {why}", table=table),
        _fewer(f"near the optimum, at equal quality ({HET} at weight {weight:g})", equal, het),
        Claim(
            f"near the optimum, at weight {weight:g}, {HET} have the lower objective",
            "objective per pixel",
            estimate_of(hom.objectives),
            estimate_of(het.objectives),
            fmean(het.objectives) < fmean(hom.objectives),
        ),
    ]


def _learning(banks: dict[str, Tensor], crops: Crops, curves: dict[str, list[Coded]], study: Study) -> list[Claim]:
    """One dictionary a start, learned with the first seed; measured on the held-out crops of all."""
    weight, iterations, steps = 0.1, study.epochs(BUDGET), study.epochs(30)
    claims, rows, spreads = [], [], {}
    for name, kernels in banks.items():
        study.say(f"learning from {name}")
        draws = torch.Generator().manual_seed(study.seeds[0])
        learned = learn_dictionary(kernels, crops.training, weight, steps, draws)
        before = _at(curves, weight)[name]
        after = coded(f"learned from {name}", learned, crops.held_out, weight, iterations)
        flat = coded(f"{name}, and a constant", _with_constant(kernels), crops.held_out, weight, iterations)
        rows += [each.row() for each in (before, flat, after)]
        spreads[name] = [_bandwidths(each) for each in (kernels, learned)]
        claims.append(
            _more(
                f"learning from {name} improves quality (weight {weight:g})",
                before.decibels,
                after.decibels,
                0.0,
                note=f"a constant kernel added, and nothing learned, gives {fmean(flat.decibels):.2f} dB: kernels of "
                "zero mean round 0.4 cycles a pixel hardly make slow changes",
            )
        )
        claims.append(
            Claim(
                f"learning from {name} takes fewer coefficients (weight {weight:g})",
                COUNT,
                estimate_of(before.counts),
                estimate_of(after.counts),
                fmean(after.counts) < fmean(before.counts),
            )
        )
    claims[0] = replace(claims[0], table={"title": "Learned dictionaries", "columns": COLUMNS, "rows": rows})
    first, last = (float(torch.rad2deg(each.std())) for each in spreads[HOM])
    return [
        *claims,
        Claim(
            "learning makes a dictionary of one bandwidth heterogeneous: the deviation of bandwidths at least doubles",
            "degrees",
            exactly(first),
            exactly(last),
            last >= 2 * first,
            f"mean bandwidth from {torch.rad2deg(spreads[HOM][0].mean()):.1f} to "
            f"{torch.rad2deg(spreads[HOM][1].mean()):.1f} degrees",
        ),
    ]


def _binary(banks: dict[str, Tensor], crops: Crops, curves: dict[str, list[Coded]], study: Study) -> list[Claim]:
    """What is left of a dictionary of signs."""
    study.say("kernels of two values")
    weight, rows, found = 0.1, [], {}
    for name, kernels in banks.items():
        signs = torch.where(kernels >= 0, 1.0, -1.0) / kernels.shape[-1]
        whole = _at(curves, weight)[name]
        found[name] = coded(f"{name}, ±1", signs, crops.held_out, weight, study.epochs(BUDGET))
        for each, made in ((whole, kernels), (found[name], signs)):
            rows.append([*each.row(), f"{coherence(made):.3f}", f"{effective_rank(made):.1f}"])
    table: Table = {"title": "Kernels of ±1", "columns": [*COLUMNS, "coherence", "effective rank"], "rows": rows}
    whole, signed = _at(curves, weight)[HET], found[HET]
    return [
        _more(
            f"±1 kernels of {HET} code within 3 dB of real ones (weight {weight:g})",
            whole.decibels,
            signed.decibels,
            -3.0,
            note=f"with {_times(signed, whole)} times as many coefficients; signs have no zero mean, so that they make "
            "slow changes too",
            table=table,
        )
    ]


def _encoder(study: Study) -> list[Claim]:
    """The shipped coder after one epoch, against FISTA on the same operator."""
    system, steps = find_system("sparse_coder_xs"), XS.steps
    assert system.read is not None
    data = system.read(study.data or str(system.dataset), 0)
    recipe = replace(system.recipe, epochs=study.epochs(1), threads=0)
    learned = []
    for seed in study.seeds:
        study.say(f"learning {steps} steps, seed {seed}")
        with tempfile.TemporaryDirectory() as folder:
            run = train(system, data, recipe, Path(folder) / "run", seed, progress=False)
        network = restore(run, UnrolledCoder(XS))
        learned.append(evaluate(network, data.test, data.preprocessing, system.objective))
    images = data.test.samples  # type: ignore[attr-defined]
    operator = Strided(XS.bank.kernels().float(), XS.stride)
    solved = {}
    for count in (steps, 2 * steps, 3 * steps, 20 * steps):
        found = fista(operator, images, XS.weight, count)
        assert system.objective is not None
        scores = system.objective.scores((found.code, found.reconstruction), (images,), torch.zeros(len(images)))
        solved[count] = system.objective.metrics(scores.double())
    rows = [[f"FISTA, {count} steps", *_shown(figures)] for count, figures in solved.items()]
    mean = {name: fmean(each[name] for each in learned) for name in learned[0]}
    rows.insert(1, [f"learned, {steps} steps", *_shown(mean)])
    columns = ["coder", "objective per pixel", "dB", "zeros"]
    table: Table = {"title": "Learned steps", "columns": columns, "rows": rows}
    ours = estimate_of([each["objective"] for each in learned])
    return [
        Claim(
            f"{steps} learned steps have a lower objective than {count} steps of FISTA",
            "objective per pixel",
            exactly(solved[count]["objective"]),
            ours,
            ours.mean < solved[count]["objective"],
            table=table if count == steps else None,
        )
        for count in (steps, 2 * steps, 3 * steps)
    ]


def _at(curves: dict[str, list[Coded]], weight: float) -> dict[str, Coded]:
    """Each dictionary's code at that weight."""
    return {name: curve[WEIGHTS.index(weight)] for name, curve in curves.items()}


def _fewer(where: str, baseline: Coded, ours: Coded) -> Claim:
    """Holds where the heterogeneous code has at least `FEWER` times fewer coefficients."""
    before, now = estimate_of(baseline.counts), estimate_of(ours.counts)
    return Claim(
        f"{where}, {HET} take at least {FEWER:g} times fewer coefficients than {HOM}",
        COUNT,
        before,
        now,
        before.mean >= FEWER * now.mean > 0,
        f"{_times(baseline, ours)} times fewer; {fmean(ours.decibels):.2f} dB, against {fmean(baseline.decibels):.2f}",
    )


def _more(
    claim: str, baseline: list[float], ours: list[float], margin: float, note: str = "", table: Table | None = None
) -> Claim:
    """Holds where our mean is at least the baseline's and `margin` decibels."""
    before, now = estimate_of(baseline), estimate_of(ours)
    return Claim(claim, "dB", before, now, now.mean >= before.mean + margin, note, table)


def _times(many: Coded, few: Coded) -> str:
    """How many times as many coefficients; after too few iterations there are none."""
    return f"{fmean(many.counts) / fmean(few.counts):.2f}" if any(few.counts) else "–"


def _with_constant(kernels: Tensor) -> Tensor:
    """One kernel more, the same everywhere."""
    return torch.cat([kernels, torch.ones_like(kernels[:1]) / kernels.shape[-1]])


def _bandwidths(kernels: Tensor) -> Tensor:
    """Deviation of each kernel's orientations, in radians."""
    return orientations_of(kernels)[1]


def _shown(figures: dict[str, float]) -> list[str]:
    return [f"{figures['objective']:.4f}", f"{figures['psnr']:.2f}", f"{figures['sparseness']:.1%}"]

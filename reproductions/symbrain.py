"""Symbrain (Gucciardi et al., arXiv 2401.11814) on generated slices: finding the midline, and what it is good for.

The paper gives annotated slices, which cannot be bundled, and no network; its aim is that networks learn the axis of
symmetry, and that asymmetry tells of illness. What is held here is what that rests on. Midlines, asymmetry and lesions
of generated slices are known exactly, and all ways see the same slices.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ..estimate import number_cell, share_of
from ..models.brain_midline import Lines
from ..models.brain_phantoms import Phantoms, draw_slices
from ..models.recipe import Recipe
from ..models.symbrain import PREPROCESSING, XS, Concatenation, Difference
from ..models.symbrain_objectives import to_lines
from . import Claim, Study, Table
from ._artifacts import Key, run_on, ship, side_by_side
from ._brain_symmetry import (
    CLEAN,
    HARD,
    MIDLINES,
    TEST,
    Errors,
    errors_of,
    found_by,
    generator,
    learned_auc,
    midline_network,
    midlines,
    misaligned_aucs,
    pair_task,
    raw_auc,
)
from ._paired import above, below
from ._trainings import two_at_a_time

ANGLE, AUC = "angle error in degrees", "auc"
AXIS_ERRORS, ASYMMETRIES = (0.0, 2.0, 5.0), (0.25, 0.5, 1.0)
FEW, MANY = 100, 700  # pairs to train on
PAIRS = Recipe(learning_rate=4e-3, weight_decay=0.01, epochs=8, batch_size=32, warmup_epochs=1.0)
FEW_EPOCHS = 16
MOST_LOSS = 0.1  # degrees that int8 may cost
AXIS, NETWORK, SEARCH = "principal axis", "network", "mirror search"
_BELOW = "(the 95 % interval of the paired differences over the seeds is below 0)"
_ABOVE = "(the 95 % interval of the paired differences over the seeds is above 0)"


@dataclass(frozen=True)
class Seen:
    """A seed's network, what it takes for calibration, clean slices, and errors by condition and way."""

    network: nn.Module
    calibration: Tensor
    clean: Phantoms
    errors: dict[str, dict[str, Errors]]


def reproduce(study: Study) -> list[Claim]:
    """All comparisons.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws slices whose midlines are known")
    recipe = replace(MIDLINES, epochs=study.epochs(MIDLINES.epochs))

    def seen_by(seed: int) -> Seen:
        study.say(f"midlines, seed {seed}")
        return _seen(seed, recipe)

    seen = two_at_a_time(seen_by, study.seeds)
    study.say("axis errors")
    claims = [*_midlines(seen), *_alignment(study.seeds)]
    study.say("pairs of halves")
    claims += _pairs(study)
    study.say("int8")
    return [*claims, _in_integers(seen)]


def _seen(seed: int, recipe: Recipe) -> Seen:
    network, calibration = midline_network(seed, recipe)
    draws = generator(seed, 4)
    slices = {name: draw_slices(TEST, kind, draws) for name, kind in (("clean", CLEAN), ("hard", HARD))}
    errors = {name: midlines(network, part) for name, part in slices.items()}
    return Seen(network, calibration, slices["clean"], errors)


def _midlines(seen: Sequence[Seen]) -> list[Claim]:
    def of(condition: str, way: str, figure: str = "angle") -> list[float]:
        return [getattr(each.errors[condition][way], figure) for each in seen]

    clean = "on slices with a fissure and a natural asymmetry of 0.25"
    hard = "without a fissure and with a natural asymmetry of 1"
    return [
        _lower(
            f"{clean}, a regressing network finds the angle better than the principal axis does",
            of("clean", AXIS),
            of("clean", NETWORK),
            table=_midline_table(seen),
        ),
        _lower(
            f"{clean}, the network is better than the principal axis by the median error too, where few misses count",
            of("clean", AXIS, "angle_median"),
            of("clean", NETWORK, "angle_median"),
        ),
        _lower(
            f"{clean}, a search for the best mirror image finds the angle better than the network does",
            of("clean", NETWORK),
            of("clean", SEARCH),
        ),
        _lower(f"the search is worse {hard} than it is on clean slices", of("hard", SEARCH), of("clean", SEARCH)),
        _lower(
            f"{hard}, the network finds the angle better than the search does",
            of("hard", SEARCH),
            of("hard", NETWORK),
            "one network is trained on slices of all kinds",
        ),
        _lower(
            f"{hard}, the network finds the angle better than the principal axis does",
            of("hard", AXIS),
            of("hard", NETWORK),
        ),
    ]


def _alignment(seeds: Sequence[int]) -> list[Claim]:
    found: dict[tuple[float, float], list[float]] = {}
    for asymmetry in ASYMMETRIES:
        by_seed = [misaligned_aucs(seed, asymmetry, AXIS_ERRORS) for seed in seeds]
        found |= {(asymmetry, off): [row[place] for row in by_seed] for place, off in enumerate(AXIS_ERRORS)}
    table: Table = {
        "title": "AUC of max |L - R|, smoothed, by error of the axis",
        "columns": ["natural asymmetry", *(f"{off:g} degrees off" for off in AXIS_ERRORS)],
        "rows": [[f"{a:g}", *(number_cell(found[a, off], 3) for off in AXIS_ERRORS)] for a in ASYMMETRIES],
    }
    exact = found[ASYMMETRIES[0], 0.0]
    return [
        below(
            f"an axis {off:g} degrees off lowers the AUC of the largest smoothed difference of halves, at a natural "
            f"asymmetry of {ASYMMETRIES[0]:g} {_BELOW}",
            AUC,
            exact,
            found[ASYMMETRIES[0], off],
            table=table if off == AXIS_ERRORS[1] else None,
            estimate=share_of,
        )
        for off in AXIS_ERRORS[1:]
    ]


def _pairs(study: Study) -> list[Claim]:
    many = replace(PAIRS, epochs=study.epochs(PAIRS.epochs))
    few = replace(PAIRS, epochs=study.epochs(FEW_EPOCHS))

    def of_seed(seed: int) -> tuple[float, ...]:
        task, small = pair_task(seed, ASYMMETRIES[-1], MANY), pair_task(seed, ASYMMETRIES[0], FEW)
        return (
            raw_auc(task),
            learned_auc(task, Difference, many, seed),
            raw_auc(small),
            learned_auc(small, Concatenation, few, seed),
            learned_auc(small, Difference, few, seed),
        )

    raw, learned, few_raw, joined, compared = map(list, zip(*two_at_a_time(of_seed, study.seeds)))
    return [
        above(
            f"at a natural asymmetry of {ASYMMETRIES[-1]:g}, a learned encoder's difference tells lesions better than "
            f"the raw difference does {_ABOVE}",
            AUC,
            raw,
            learned,
            note=f"{MANY} pairs to train on; the raw difference is as smooth as is best on these",
        ),
        above(
            f"with {FEW} pairs to train on, a difference of features tells lesions better than their concatenation "
            f"does {_ABOVE}",
            AUC,
            joined,
            compared,
            note=f"natural asymmetry {ASYMMETRIES[0]:g}, where the raw difference has {fmean(few_raw):.3f}",
        ),
    ]


def _in_integers(seen: Sequence[Seen]) -> Claim:
    """Every seed's network as an int8 ONNX file, executed on the clean slices that the network was measured on."""
    coarse, changes = [], []
    whole = [each.errors["clean"][NETWORK] for each in seen]
    with TemporaryDirectory() as folder:
        writings = [_writing(f"midline_{place}", each, Path(folder)) for place, each in enumerate(seen)]
        for each, files in zip(seen, side_by_side(writings)):
            rounded = _executed(each, files["onnx", "int8"])
            coarse.append(errors_of(rounded, each.clean.lines))
            changes.append(errors_of(rounded, found_by(each.network, each.clean)))
    return below(
        f"the int8 ONNX file costs at most {MOST_LOSS:g} degrees of angle error against the float network (the 95 % "
        f"interval of the paired differences over the seeds is below {MOST_LOSS:g})",
        ANGLE,
        [each.angle for each in whole],
        [each.angle for each in coarse],
        MOST_LOSS,
        f"int8 turns a line by {fmean(each.angle for each in changes):.3f} degrees and moves it by "
        f"{fmean(each.offset for each in changes):.3f} pixels on average; the offset errors are "
        f"{fmean(each.offset for each in whole):.3f} and {fmean(each.offset for each in coarse):.3f} pixels",
    )


def _writing(name: str, each: Seen, folder: Path) -> partial[dict[Key, Path]]:
    """The call that writes a network's int8 ONNX file."""
    example = {"image": PREPROCESSING.apply(each.clean.images[:1])}
    return partial(ship, name, each.network, example, {"image": each.calibration.numpy()}, folder, ("onnx",), ("int8",))


def _executed(each: Seen, path: Path) -> Lines:
    """What the int8 file finds."""
    (outputs,) = run_on(path, {"image": PREPROCESSING.apply(each.clean.images).numpy()}).values()
    return to_lines(torch.from_numpy(outputs), XS.size)


def _lower(claim: str, baseline: list[float], ours: list[float], note: str = "", table: Table | None = None) -> Claim:
    """Of angle errors: holds where ours is clearly smaller."""
    return below(f"{claim} {_BELOW}", ANGLE, baseline, ours, note=note, table=table)


def _midline_table(seen: Sequence[Seen]) -> Table:
    rows = []
    for condition, words in (("clean", "fissure, asymmetry 0.25"), ("hard", "no fissure, asymmetry 1")):
        for way in (AXIS, NETWORK, SEARCH):
            found = [each.errors[condition][way] for each in seen]
            values = ([getattr(e, name) for e in found] for name in ("angle", "angle_median", "offset"))
            rows.append([words, way, *(number_cell(each, 3) for each in values)])
    columns = ["slices", "found by", "angle error, mean", "angle error, median", "offset error, pixels"]
    return {
        "title": f"Midlines of slices of {XS.size} x {XS.size} pixels, half with a lesion",
        "columns": columns,
        "rows": rows,
    }

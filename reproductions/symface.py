"""SymFace (Prakash et al., arXiv 2409.11816) on generated faces: what the symmetry loss adds to a margin loss.

Of the paper only its abstract and summaries were at hand, and its accuracies on photographs need data that cannot be
bundled. Here the persons verified are none of those trained on, and every condition has the same faces, first weights
and batches. The control is what the loss is about: halves that are simply more labelled pictures.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import torch

from ..estimate import number_cell, share_of
from ..models.data.faces import FaceRecipe
from ..models.facial_symmetry import Symmetry
from . import Claim, Study, Table
from ._artifacts import run_on, ship
from ._faces import AUC, TAR, Faces, Setting, Stack, draw_faces, measured
from ._paired import above
from ._trainings import two_at_a_time

STEPS = 600
PLAIN = 6**-0.5  # gain of PyTorch's own first weights of a linear layer
SETTINGS = {
    "nuisance 0.8": Setting(FaceRecipe(nuisance=0.8)),
    "nuisance 1.5": Setting(FaceRecipe(nuisance=1.5)),
    "nuisance 0.8, small first weights": Setting(FaceRecipe(nuisance=0.8), PLAIN),
}
MODERATE, STRONG, SMALL = SETTINGS
CONDITIONS: dict[str, Symmetry | None] = {
    "margin loss": None,
    "+ symmetry loss, blank": Symmetry(0.2),
    "+ symmetry loss, mirror": Symmetry(0.2, "mirror"),
    "+ labelled halves": Symmetry(0.0, labelled=0.5),
    "+ labelled halves and symmetry loss": Symmetry(0.2, labelled=0.5),
    "+ mirrored faces, labelled and consistent": Symmetry(1.0, "flip", labelled=0.5),
}
MARGIN, BLANK, MIRROR, LABELLED, BOTH, FLIP = CONDITIONS
GATES = {"margin loss": None, "frontal faces only": Symmetry(0.2), "all faces": Symmetry(0.2, threshold=0.0)}
_INTERVAL = "(the 95 % interval of the gain over the seeds is above 0)"
_COLLAPSE, _LOSS = 0.05, 0.01  # of TAR

Figures = list[dict[str, float]]  # of each seed


@dataclass(frozen=True)
class Trained:
    """Figures of a condition by setting, and of its halves alone at moderate nuisance."""

    by_setting: dict[str, Figures]
    halves: list[float]
    stack: Stack


def reproduce(study: Study) -> list[Claim]:
    """All comparisons.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("draws faces whose symmetry is known")
    faces = draw_faces(tuple(SETTINGS.values()), study.seeds)

    def trained(name: str) -> Trained:
        study.say(name)
        return _trained(faces, CONDITIONS[name], study)

    found = dict(zip(CONDITIONS, two_at_a_time(trained, CONDITIONS)))
    return [*_against_margin(found), *_against_labels(found), _gate(study), _in_integers(found[BLANK], faces, study)]


def _trained(faces: Faces, symmetry: Symmetry | None, study: Study) -> Trained:
    count = len(study.seeds)
    stack = Stack(tuple(SETTINGS.values()), study.seeds, SETTINGS[MODERATE].faces.train[0])
    stack.learn(faces, symmetry, study.epochs(STEPS))
    rows = stack.figures(faces)
    by_setting = {name: rows[place * count : (place + 1) * count] for place, name in enumerate(SETTINGS)}
    presentation = "blank" if symmetry is None else symmetry.presentation
    halves = [fmean(row[AUC] for row in view[:count]) for view in stack.figures_of_views(faces, presentation)]
    return Trained(by_setting, halves, stack)


def _against_margin(found: dict[str, Trained]) -> list[Claim]:
    margin, blank = found[MARGIN].by_setting, found[BLANK].by_setting
    at, over = "halves drawn together, at nuisance", "over the margin loss alone"
    small = f"halves drawn together, from small first weights, raise TAR {over}"
    less = "at nuisance 0.8, with a sixth of the variance of He's weights, as PyTorch's linear layers begin"
    return [
        _gain(f"{at} 0.8, raise TAR at 1 % FAR {over}", TAR, margin[MODERATE], blank[MODERATE], table=_table(found)),
        _gain(f"{at} 0.8, raise the AUC {over}", AUC, margin[MODERATE], blank[MODERATE]),
        _gain(f"{at} 1.5, raise TAR {over}", TAR, margin[STRONG], blank[STRONG]),
        _gain(small, TAR, margin[SMALL], blank[SMALL], less),
        _collapse(margin[MODERATE], found[MIRROR]),
    ]


def _against_labels(found: dict[str, Trained]) -> list[Claim]:
    blank, labelled, both, flip = (found[name].by_setting[MODERATE] for name in (BLANK, LABELLED, BOTH, FLIP))
    same = "the control: each half has a margin loss of its own at half weight, and no symmetry loss"
    whole = "the baseline: a mirrored face with its own margin loss at half weight, drawn to the face with lambda 1"
    mirrored = "labelled halves drawn together are better than mirrored faces used the same way"
    return [
        _gain("drawing halves together is better than labelling them as pictures", TAR, labelled, blank, same),
        _gain("with labelled halves, drawing them together still adds to TAR", TAR, labelled, both),
        _gain(mirrored, TAR, flip, both, whole),
    ]


def _collapse(margin: Figures, mirror: Trained) -> Claim:
    """Both halves lie in one place, and a network that reads little of that place draws them together at no cost."""
    before, now = _of(margin, TAR), _of(mirror.by_setting[MODERATE], TAR)
    return Claim(
        "laid over one another (`mirror`) and not labelled, halves collapse: TAR at nuisance 0.8 falls by 5 points",
        TAR,
        share_of(before),
        share_of(now),
        fmean(now) <= fmean(before) - _COLLAPSE,
        f"from one half alone the AUC is {' and '.join(f'{value:.3f}' for value in mirror.halves)}",
    )


def _gate(study: Study) -> Claim:
    settings = (Setting(FaceRecipe(turned=True)),)
    faces = draw_faces(settings, study.seeds)

    def figures(name: str) -> Figures:
        study.say(f"turned faces, {name}")
        stack = Stack(settings, study.seeds, settings[0].faces.train[0])
        return stack.learn(faces, GATES[name], study.epochs(STEPS)).figures(faces)

    found = dict(zip(GATES, two_at_a_time(figures, GATES)))
    rows = [[name, *(number_cell(_of(rows, figure), 4) for figure in (TAR, AUC))] for name, rows in found.items()]
    return _gain(
        "of turned faces, halves of those that look ahead (rho of 0.8) do better than halves of all",
        TAR,
        found["all faces"],
        found["frontal faces only"],
        table={"title": "Turned faces, nuisance 0.8", "columns": ["halves of", "TAR at 1 % FAR", "AUC"], "rows": rows},
    )


def _in_integers(trained: Trained, faces: Faces, study: Study) -> Claim:
    """The first seed's network as an int8 ONNX file, executed on every held-out face."""
    study.say("int8")
    network, (images, targets) = trained.stack.alone(0), faces.test
    with TemporaryDirectory() as folder:
        paths = ship(
            "face", network, {"image": images[0, :1]}, {"image": faces.train[0][0].numpy()}, Path(folder), ("onnx",)
        )
        found = {}
        for precision in ("float32", "int8"):
            (embeddings,) = run_on(paths["onnx", precision], {"image": images[0].numpy()}).values()
            found[precision] = _of(measured(torch.from_numpy(embeddings)[None], targets[:1]), TAR)
    return Claim(
        "the int8 ONNX file of an embedder so trained loses at most 1 point of TAR to its float32 file (one seed)",
        TAR,
        share_of(found["float32"]),
        share_of(found["int8"]),
        found["int8"][0] >= found["float32"][0] - _LOSS,
    )


def _gain(
    claim: str, figure: str, baseline: Figures, ours: Figures, note: str = "", table: Table | None = None
) -> Claim:
    """One that holds where the interval of the paired differences is above 0."""
    return above(f"{claim} {_INTERVAL}", figure, _of(baseline, figure), _of(ours, figure), note=note, table=table)


def _table(found: dict[str, Trained]) -> Table:
    columns = ["trained on", *(f"{figure}, {name}" for name in SETTINGS for figure in ("TAR", "AUC"))]
    rows = []
    for condition, trained in found.items():
        cells = [number_cell(_of(figures, which), 4) for figures in trained.by_setting.values() for which in (TAR, AUC)]
        rows.append([condition, *cells, ", ".join(f"{value:.3f}" for value in trained.halves)])
    return {
        "title": "Generated faces; TAR at 1 % FAR",
        "columns": [*columns, "AUC of one view alone, nuisance 0.8"],
        "rows": rows,
    }


def _of(rows: Figures, figure: str) -> list[float]:
    return [row[figure] for row in rows]

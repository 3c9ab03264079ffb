"""Counter-current learning (Kao and Hariharan, NeurIPS 2024, arXiv 2409.19841) on digits: against other rules.

The paper's claim is an accuracy comparable to other rules that need no transposed weights, on perceptrons,
convolutional networks and an autoencoder. Every rule trains the same network from the same first weights, on samples
in the same order. A network of which only the last layer learns tells what random features are worth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean

from torch import Tensor, nn
from torch.nn import functional

from ..estimate import estimate_of, number_cell, percent_cell
from ..models.counter_current import SYSTEMS, Autoencoder, Perceptron, PooledNetwork
from ..models.data import Data, load
from ..models.learning import LearningRule, Setup
from ..models.learning.back_propagation import BackPropagation
from ..models.learning.counter_current import CounterCurrent, CounterCurrentLearner
from ..models.learning.feedback_alignment import FeedbackAlignment
from ..models.learning.target_propagation import TargetPropagation
from ..models.objectives import objective_of
from ..models.recipe import Recipe
from ..models.system import System, find_system
from . import Claim, Study, Table
from ._learning_rules import readout_of, trained
from ._paired import above, below
from ._trainings import in_two_processes, seeded

MLP, CNN, AUTOENCODER = SYSTEMS
DEEP = replace(MLP.recipe, epochs=12)
CONVOLUTIONAL = replace(CNN.recipe, epochs=8)
ENCODING = replace(AUTOENCODER.recipe, epochs=8)
SIDE = 16  # of the digits that convolutions see, in pixels
BACK, COUNTER, FIXED, TARGETS, READOUT = (
    "back-propagation",
    "counter-current",
    "feedback alignment",
    "targets",
    "readout",
)
RULES: Mapping[str, LearningRule] = {
    BACK: BackPropagation(),
    COUNTER: CounterCurrent(),
    FIXED: FeedbackAlignment(),
    TARGETS: TargetPropagation(),
    READOUT: BackPropagation(),
}
# The best of 0.05, 0.1, 0.3, 0.6 and 1 for each on a seed that is none of the study's.
RATES = {BACK: 0.3, COUNTER: 0.6, FIXED: 0.3, TARGETS: 0.1, READOUT: 0.3}
ACCURACY, ERROR, COSINE = "accuracy", "mean squared error", "cosine"
_ABOVE = "(the 95 % interval of the paired differences over the seeds lies above {})"
Runs = dict[str, list["Outcome"]]


def reproduce(study: Study) -> list[Claim]:
    """All comparisons."""
    perceptrons = _compared(study, MLP, Perceptron, 8, DEEP, tuple(RULES))
    pooled = partial(PooledNetwork, (16, 16, 32, 32))
    filters = _compared(study, CNN, pooled, SIDE, CONVOLUTIONAL, (BACK, COUNTER, FIXED, TARGETS))
    encoders = _compared(study, AUTOENCODER, partial(Autoencoder, (16, 32)), SIDE, ENCODING, (BACK, COUNTER))
    return [*_classifying(perceptrons, filters), _aligned(perceptrons[COUNTER], study), _encoding(encoders)]


@dataclass(frozen=True)
class Case:
    """One training: a network of the zoo, its form, digits of a size, and a rule by its name here."""

    system: str
    build: Callable[[], nn.Module]
    data: str
    side: int
    recipe: Recipe
    rule: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Figures after each epoch, and of counter-current learning how far matrices and their opposites agree."""

    history: tuple[dict[str, float], ...]
    alignments: list[float]


def outcome_of(case: Case) -> Outcome:
    """Trains."""
    build = readout_of(case.build) if case.rule == READOUT else case.build
    system = replace(find_system(case.system), build=build)
    run, learner = trained(system, load(case.data, 1, case.side), case.recipe, case.seed, RULES[case.rule])
    if isinstance(learner, CounterCurrentLearner) and case.system == MLP.name:
        return Outcome(run.history, alignments(learner))
    return Outcome(run.history, [])


def _compared(
    study: Study, system: System, build: Callable[[], nn.Module], side: int, recipe: Recipe, names: Sequence[str]
) -> Runs:
    """What each rule makes of each seed."""
    study.say(f"{system.name}: {', '.join(names)}")
    recipe = replace(recipe, epochs=study.epochs(recipe.epochs))
    if system is MLP:
        recipes = {name: replace(recipe, learning_rate=RATES[name]) for name in names}
    else:
        recipes = dict.fromkeys(names, recipe)
    data = study.data or "digits"
    cases = [Case(system.name, build, data, side, recipes[name], name, seed) for name in names for seed in study.seeds]
    found, count = in_two_processes(outcome_of, cases), len(study.seeds)
    return {name: found[place * count : (place + 1) * count] for place, name in enumerate(names)}


def _figures(runs: Sequence[Outcome], name: str = "accuracy") -> list[float]:
    return [one.history[-1][name] for one in runs]


def _classifying(perceptrons: Runs, filters: Runs) -> list[Claim]:
    mlp = {name: _figures(runs) for name, runs in perceptrons.items()}
    cnn = {name: _figures(runs) for name, runs in filters.items()}
    table = _table(perceptrons, filters)
    near = "is at most one point less accurate than"
    deep, flat = "a perceptron of five matrices", "a convolutional network"
    return [
        above(f"counter-current learning of {deep} {near} back-propagation {_ABOVE.format('-1 point')}", ACCURACY,
              mlp[BACK], mlp[COUNTER], -0.01, table=table),
        above(f"it is at least 5 points more accurate than training the last matrix alone {_ABOVE.format('5 points')}",
              ACCURACY, mlp[READOUT], mlp[COUNTER], 0.05),
        above(f"it {near} feedback alignment {_ABOVE.format('-1 point')}", ACCURACY, mlp[FIXED], mlp[COUNTER], -0.01),
        above(f"it {near} difference target propagation {_ABOVE.format('-1 point')}", ACCURACY, mlp[TARGETS],
              mlp[COUNTER], -0.01),
        above(f"counter-current learning of {flat} {near} back-propagation {_ABOVE.format('-1 point')}", ACCURACY,
              cnn[BACK], cnn[COUNTER], -0.01, note=_shorter(filters[COUNTER], CNN)),
        above(f"of {flat} it is more accurate than feedback alignment {_ABOVE.format('0')}", ACCURACY, cnn[FIXED],
              cnn[COUNTER]),
        above(f"of {flat} it {near} difference target propagation {_ABOVE.format('-1 point')}", ACCURACY, cnn[TARGETS],
              cnn[COUNTER], -0.01),
    ]  # fmt: skip


def _shorter(runs: Sequence[Outcome], system: System) -> str:
    return f"{len(runs[0].history)} epochs in place of the {system.recipe.epochs} that {system.name} is trained for"


def _table(perceptrons: Runs, filters: Runs) -> Table:
    rows = [
        [
            name,
            percent_cell(_figures(perceptrons[name])),
            percent_cell([one.history[0]["accuracy"] for one in perceptrons[name]]),
            percent_cell(_figures(filters[name])) if name in filters else "–",
        ]
        for name in perceptrons
    ]
    columns = ["rule", "perceptron", "after one epoch", "convolutional"]
    return {"title": "Accuracy on held-out digits by rule, percent", "columns": columns, "rows": rows}


def _aligned(runs: Sequence[Outcome], study: Study) -> Claim:
    """How far the opposite's matrices point along the transposed ones of the network, before and after."""
    data, after = load(study.data or "digits", 1, 8), [one.alignments for one in runs]
    before = [alignments(seeded(partial(_untrained, data), seed)) for seed in study.seeds]
    rows = [
        [str(place + 1), number_cell(list(cosines), 3), number_cell(list(starts), 3)]
        for place, (cosines, starts) in enumerate(zip(zip(*after), zip(*before)))
    ]
    table = {
        "title": "Cosine of each matrix and its opposite's transpose",
        "columns": ["matrix", "after", "before"],
        "rows": rows,
    }
    return above(
        "training turns the opposite's matrices towards the network's transposed ones, which it never reads (mean "
        f"cosine of all matrices; {_ABOVE.format('0.05')[1:-1]})",
        COSINE,
        [fmean(cosines) for cosines in before],
        [fmean(cosines) for cosines in after],
        0.05,
        table=table,
    )


def _untrained(data: Data) -> CounterCurrentLearner:
    """As a training with the same seed starts."""
    setup = Setup(MLP.name, MLP.task, Perceptron(), objective_of(MLP.task), data, DEEP)
    return CounterCurrent().learner(setup)


def alignments(learner: CounterCurrentLearner) -> list[float]:
    """Cosine of each block's matrix and its opposite's transpose, the first block's first."""
    pairs = zip(learner.blocks, learner.opposite.blocks)
    return [_cosine(_matrix(block.module), _matrix(against).T) for block, against in pairs]


def _matrix(module: nn.Module) -> Tensor:
    return next(parameter for parameter in module.parameters() if parameter.ndim == 2).detach()


def _cosine(first: Tensor, second: Tensor) -> float:
    return functional.cosine_similarity(first.flatten(), second.flatten(), dim=0).item()


def _encoding(runs: Runs) -> Claim:
    errors = {name: _figures(found, "mean_squared_error") for name, found in runs.items()}
    twice = [2 * error for error in errors[BACK]]
    return below(
        "a convolutional autoencoder trained by counter-current learning reconstructs with at most twice the error of "
        "back-propagation (the 95 % interval of the paired differences from twice that error lies below 0)",
        ERROR,
        twice,
        errors[COUNTER],
        note=f"back-propagation itself: {estimate_of(errors[BACK]).mean:.4f}; {_shorter(runs[COUNTER], AUTOENCODER)}",
    )

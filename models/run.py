"""`Run`: trained weights with all that made them, and its folder `runs/NAME/`.

config.json           system, task, recipe, seed, data set, labels, preprocessing
weights.safetensors   the network's state by its PyTorch names
metrics.json          the last epoch's figures
metrics.jsonl         one line per epoch
trace.svg             of a training that searches or relaxes: what was left after each epoch
training/             only while training goes on, or after it was cut off: the checkpoint
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..errors import BadInput, OfframpError
from ..storage import atomic_folder, atomic_path, read_json, write_json
from .data import Preprocessing
from .learning.trace_plot import trace_svg
from .recipe import Recipe
from .system import find_system
from .weights import first_nonfinite, read_tensors, write_tensors

WEIGHTS = "weights.safetensors"
TRAINING = "training"
TRACE = "trace.svg"
_OWN = {"config.json", WEIGHTS, "metrics.json", "metrics.jsonl", TRACE, TRAINING}
_LEFT = ("gap", "residual")  # what a search or a relaxation says is left


@dataclass(frozen=True)
class Run:
    """Trained weights, how they came about and how good they are.

    Attributes:
        system: name of the architecture.
        task: the system's task, for example `image-classification`.
        dataset: name of the data it was trained on.
        recipe: how it was trained.
        seed: of initial weights, order and augmentation.
        labels: name of each class.
        preprocessing: from raw values to the network's input.
        metrics: figures of the last epoch on the held-out split, for example `accuracy`.
        weights: the network's state dict.
        history: one row per epoch.
        rule: the learning rule with its settings; None for gradients and an optimizer.
    """

    system: str
    task: str
    dataset: str
    recipe: Recipe
    seed: int
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    metrics: dict[str, float]
    weights: dict[str, Tensor]
    history: tuple[dict[str, float], ...] = field(default=(), repr=False)
    rule: dict[str, Any] | None = None

    @property
    def converged(self) -> bool:
        """False where the training searched or relaxed, and did not arrive; `metrics` says how far off it was."""
        return self.metrics.get("converged", 1.0) == 1.0

    @property
    def left(self) -> dict[str, float]:
        """What is left of a search or a relaxation at the end; nothing of other trainings."""
        return {name: self.metrics[name] for name in _LEFT if name in self.metrics}

    def config(self) -> dict[str, Any]:
        """Everything but weights and figures, as plain values."""
        rule = {} if self.rule is None else {"rule": self.rule}
        return {
            "system": self.system,
            "task": self.task,
            "dataset": self.dataset,
            "recipe": asdict(self.recipe),
            "seed": self.seed,
            "labels": list(self.labels),
            "preprocessing": self.preprocessing.to_json(),
            **rule,
        }


def save_run(run: Run, folder: Path) -> None:
    """Writes the run; a previous run in `folder` stays until the new one is complete.

    Raises:
        OfframpError: a weight is NaN or infinite; nothing is written.
        BadInput: `folder` holds files that are not a run's, or cannot be written.
    """
    folder = Path(folder)
    check_folder(folder)
    spoiled = first_nonfinite(run.weights)
    if spoiled:
        raise OfframpError(f"{run.system}: {spoiled} holds NaN or infinity; nothing was saved, lower the learning rate")
    with atomic_folder(folder) as beside:
        write_json(beside / "config.json", run.config())
        write_tensors(beside / WEIGHTS, run.weights)
        write_json(beside / "metrics.json", run.metrics)
        write_history(beside / "metrics.jsonl", run.history)
        column = next((name for name in _LEFT if any(row.get(name, 0) > 0 for row in run.history)), None)
        if column is not None:
            svg = trace_svg(run.history, column, f"{run.system}: {column}")
            (beside / TRACE).write_text(svg, encoding="utf-8")


def load_run(folder: Path) -> Run:
    """Reads a run.

    Raises:
        BadInput: a file is missing or damaged, or a tensor holds NaN or infinity; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such run; train it first")
    config, metrics = read_json(folder / "config.json"), read_json(folder / "metrics.json")
    weights, _ = read_tensors(folder / WEIGHTS)
    spoiled = first_nonfinite(weights)
    if spoiled:
        raise BadInput(f"{folder / WEIGHTS}: {spoiled} holds NaN or infinity; train again")
    try:
        return Run(
            **{name: config[name] for name in ("system", "task", "dataset", "seed")},
            recipe=Recipe(**config["recipe"]),
            labels=tuple(config["labels"]),
            preprocessing=Preprocessing.from_json(config["preprocessing"]),
            metrics=metrics,
            weights=weights,
            history=_read_history(folder / "metrics.jsonl"),
            rule=config.get("rule"),
        )
    except (KeyError, TypeError) as error:
        raise BadInput(f"{folder / 'config.json'}: not a run's configuration ({error}); train again") from error


def restore(run: Run, module: nn.Module | None = None) -> nn.Module:
    """The trained network in evaluation mode; `module` is filled in place, or else the run's system is built.

    Raises:
        BadInput: the weights are not this architecture's; the message names the first that differs.
    """
    module = find_system(run.system).build() if module is None else module
    wanted = module.state_dict()
    for name in sorted(wanted.keys() | run.weights.keys()):
        have = tuple(run.weights[name].shape) if name in run.weights else "nothing"
        want = tuple(wanted[name].shape) if name in wanted else "nothing"
        if have != want:
            raise BadInput(f"{run.system}: {name} is {have} in the run, the network has {want}; train again")
    module.load_state_dict(run.weights)
    return module.eval()


def check_folder(folder: Path) -> None:
    """Refuses a folder whose files are not a run's: saving a run replaces the whole folder.

    Raises:
        BadInput: naming what does not belong.
    """
    if folder.is_file():
        raise BadInput(f"{folder}: is a file; give a folder for the run")
    foreign = sorted({p.name for p in folder.iterdir()} - _OWN) if folder.is_dir() else []
    if foreign:
        raise BadInput(f"{folder}: holds {foreign[0]}, which is no part of a run; choose another folder for the run")


def write_history(path: Path, history: tuple[dict[str, float], ...]) -> None:
    """One JSON line per epoch, the whole file atomically."""
    lines = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in history)
    with atomic_path(path) as beside:
        beside.write_text(lines, encoding="utf-8")


def _read_history(path: Path) -> tuple[dict[str, float], ...]:
    try:
        return tuple(json.loads(line) for line in path.read_text().splitlines())
    except FileNotFoundError:
        return ()
    except ValueError as error:
        raise BadInput(f"{path}: not one JSON document a line ({error}); it can be removed") from error

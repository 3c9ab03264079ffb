"""`train`: a network, data and a recipe in, a saved `Run` out; alone or under `torchrun`.

Equal seeds give equal bits on one kind of machine with one number of threads, also when the training was cut off and
resumed: each epoch draws from generators of its own, seeded by (seed, epoch, rank). The figures are the last epoch's,
never the best one's.
"""

import copy
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import BadInput, OfframpError
from .augment import augment
from .batches import Raw, each, read_batches, shuffled
from .checkpoint import FILE, load_checkpoint, save_checkpoint
from .data import Data
from .distributed import Ranks, joined
from .learning import LearningRule, Setup
from .learning.back_propagation import BackPropagation
from .objectives import Batch, evaluate, objective_of
from .perturbation import Perturbation
from .recipe import Recipe
from .run import TRAINING, Run, check_folder, load_run, save_run, write_history
from .schedule import learning_rate_at
from .system import System


def train(
    system: System | nn.Module,
    data: Data,
    recipe: Recipe | None,
    folder: Path,
    seed: int = 0,
    resume: bool = False,
    device: str = "cpu",
    progress: bool | None = None,
    teacher: nn.Module | None = None,
    rule: LearningRule | None = None,
    perturbation: Perturbation | None = None,
) -> Run:
    """Trains and saves to `folder`; a previous run there stays as it was until the new one is complete.

    Args:
        system: what to train; a bare module is copied, and named after its class.
        data: the splits and their preprocessing.
        recipe: None for the system's own.
        folder: for example `runs/care_xxs`. A checkpoint lies in its `training/` while the training goes on.
        seed: of initial weights, order and augmentation.
        resume: go on from the last complete epoch of a training that was cut off; a finished one is returned.
        device: `cpu`, `cuda` or `mps`.
        progress: a bar on standard error; None shows it on a terminal only.
        teacher: whose outputs the recipe's `distillation` draws the network's to; it is left in evaluation mode.
        rule: what changes the network; None for the system's own, or back-propagation where that has none.
        perturbation: what both passes see in place of the weights, as hardware will give them.

    Raises:
        OfframpError: the loss became NaN or infinite.
        BadInput: the rule cannot train the network, a sample cannot be read, the device is not there, the folder cannot
            be used, or the checkpoint is damaged or another training's.
    """
    folder = Path(folder)
    if isinstance(system, nn.Module):
        module = system
        system = System(type(module).__name__, "", "image-classification", lambda: copy.deepcopy(module), {})
    recipe = recipe or system.recipe
    data = replace(data, preprocessing=system.preprocessing or data.preprocessing)
    with joined(device) as ranks, _threads(recipe.threads), _forked_rng(ranks.device):
        rule = rule or system.rule or BackPropagation()
        if not isinstance(rule, BackPropagation):
            _check_alone(rule, ranks, teacher, perturbation)
        torch.manual_seed(seed)
        training = _Training(system, data, recipe, seed, ranks, teacher, rule, perturbation)
        check_folder(folder)
        if resume and not (folder / TRAINING / FILE).is_file() and training.is_finished(folder):
            return load_run(folder)
        return training.run(folder, resume, progress)


class _Training:
    """One training in one process."""

    def __init__(
        self,
        system: System,
        data: Data,
        recipe: Recipe,
        seed: int,
        ranks: Ranks,
        teacher: nn.Module | None,
        rule: LearningRule,
        perturbation: Perturbation | None,
    ):
        self.system, self.data, self.recipe, self.seed, self.ranks = system, data, recipe, seed, ranks
        self.objective = system.objective or objective_of(system.task)
        self.module = system.build().to(ranks.device).train()
        self.batch_size = max(1, recipe.batch_size // ranks.world)
        self.steps_per_epoch = len(self._order(0))
        # What a run says of how it was trained; nothing where it was the plain way.
        self.method = perturbation if isinstance(rule, BackPropagation) else rule
        steps = recipe.epochs * self.steps_per_epoch
        self.learner = rule.learner(
            Setup(
                system.name,
                system.task,
                self.module,
                self.objective,
                data,
                recipe,
                seed,
                steps,
                ranks,
                teacher,
                perturbation,
            )
        )
        self.history: list[dict[str, float]] = []

    def run(self, folder: Path, resume: bool, progress: bool | None) -> Run:
        checkpoint = folder / TRAINING / FILE
        if resume and checkpoint.is_file():
            self.history = load_checkpoint(checkpoint, self.module, self.learner, self._config())["history"]
        elif self.ranks.first:
            shutil.rmtree(folder / TRAINING, ignore_errors=True)
        self.ranks.wait()
        with _bar(self.recipe.epochs * self.steps_per_epoch, progress, self.ranks) as advance:
            advance(len(self.history) * self.steps_per_epoch, "")
            while len(self.history) < self.recipe.epochs and not self.learner.finished():
                self._epoch(advance)
                self._keep(checkpoint)
        if self.ranks.first:
            save_run(self._result(), folder)
        self.ranks.wait()
        return self._result()

    def is_finished(self, folder: Path) -> bool:
        return (folder / "config.json").is_file() and load_run(folder).config() == self._result().config()

    def _epoch(self, advance: Callable[[int, str], None]) -> None:
        epoch, began = len(self.history), time.perf_counter()
        draws = torch.Generator().manual_seed(_mixed(self.seed, epoch, self.ranks.rank))
        torch.manual_seed(_mixed(self.seed, epoch, self.ranks.rank))  # for dropout inside the network
        losses = 0.0
        for number, (raw, labels) in enumerate(read_batches(self.data.train, self._order(epoch))):
            rate = learning_rate_at(epoch * self.steps_per_epoch + number, self.steps_per_epoch, self.recipe)
            raw = each(lambda tensor: tensor.to(self.ranks.device), raw)
            loss = self.learner.learn(self._batch(raw, labels.to(self.ranks.device), draws), rate)
            if not math.isfinite(loss):
                raise OfframpError(
                    f"{self.system.name}: the loss became {loss} in epoch {epoch + 1}, step {number + 1}; lower "
                    f"learning_rate (now {self.recipe.learning_rate:g}); nothing was saved over the previous result"
                )
            losses += loss
            advance(1, f"epoch {epoch + 1}/{self.recipe.epochs} loss {loss:.3f}")
        self.ranks.share_buffers(self.module)
        row = {"epoch": epoch + 1, "learning_rate": rate, "train_loss": losses / self.steps_per_epoch}
        row |= evaluate(self._kept(), self.data.test, self.data.preprocessing, self.objective, ranks=self.ranks)
        row |= self.learner.figures()
        self.history.append({**row, "seconds": time.perf_counter() - began})

    def _batch(self, raw: Raw, targets: Tensor, draws: torch.Generator) -> Batch:
        raw = augment(raw, self.recipe, draws) if isinstance(raw, Tensor) else raw
        return Batch(each(self.data.preprocessing.apply, raw), targets, self.recipe, draws)

    def _keep(self, checkpoint: Path) -> None:
        if self.ranks.first:
            write_history(checkpoint.parent / "metrics.jsonl", tuple(self.history))
            state = {"config": self._config(), "history": self.history}
            save_checkpoint(checkpoint, self.module, self.learner, state)

    def _kept(self) -> nn.Module:
        return self.learner.average() or self.module

    def _order(self, epoch: int) -> list[list[int]]:
        return shuffled(self.data.train, self.batch_size, self.seed, epoch, self.ranks.rank, self.ranks.world)

    def _config(self) -> dict[str, object]:
        return {**self._result().config(), "processes": self.ranks.world}

    def _result(self) -> Run:
        last = self.history[-1] if self.history else {}
        metrics = {name: value for name, value in last.items() if name not in ("learning_rate", "seconds")}
        metrics["seconds"] = sum(row["seconds"] for row in self.history)
        return Run(
            system=self.system.name,
            task=self.system.task,
            dataset=self.data.name,
            recipe=self.recipe,
            seed=self.seed,
            labels=self.data.labels,
            preprocessing=self.data.preprocessing,
            metrics=metrics,
            weights={name: tensor.detach().cpu().clone() for name, tensor in self._kept().state_dict().items()},
            history=tuple(self.history),
            rule=None if self.method is None else self.method.to_json(),
        )


def _check_alone(
    rule: LearningRule, ranks: Ranks, teacher: nn.Module | None, perturbation: Perturbation | None
) -> None:
    if ranks.world > 1:
        raise BadInput(f"{ranks.world} processes: --rule {rule.name} trains in one; start it without torchrun")
    if teacher is not None or perturbation is not None:
        raise BadInput(f"--rule {rule.name}: knows no teacher and no perturbed weights; use back-propagation")


def _mixed(seed: int, epoch: int, rank: int) -> int:
    """A seed of its own for every epoch of every process."""
    return (seed * 1_000_003 + epoch) * 4099 + rank


def _forked_rng(device: torch.device) -> AbstractContextManager[None]:
    """Leaves the caller's global generators as they were."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """As many CPU threads inside; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _bar(steps: int, show: bool | None, ranks: Ranks) -> Iterator[Callable[[int, str], None]]:
    """A progress bar on standard error, rank 0 only."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    visible = ranks.first and (console.is_terminal if show is None else show)
    with Progress(console=console, disable=not visible, transient=console.is_terminal) as bar:
        task = bar.add_task("training", total=steps)
        yield lambda advance, text: bar.update(task, advance=advance, description=text or "training")

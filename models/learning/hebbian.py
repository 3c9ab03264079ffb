"""`hebbian`: couplings that count, example by example, how often two entries agree; one pass and nothing is left.

Agliari, Alessandrelli, Barra and Ricci-Tersenghi, "Parallel Learning by Multitasking Neural Networks", J. Stat. Mech.
2023, arXiv 2308.04106. With a teacher, examples are summed by label first; without one, each adds the products of its
entries. Every update is local and of whole numbers, and the order of the examples changes nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadInput
from ..batches import each, in_order, read_batches, size_of
from ..evaluation_mode import in_evaluation
from ..objectives import Batch, in_tuple
from . import Learner, LearningRule, Setup

PROTOCOLS = ("supervised", "unsupervised", "storage")
_RELAXED_ON = 256  # examples that the figures are of
_STEPS_OF_A_CALLER = 20  # that a network of one step is given to come to rest


@dataclass(frozen=True)
class Hebbian(LearningRule):
    """Trains modules with a parameter `patterns` (K, N), or `couplings` (N, N), and a number of `steps`.

    Of `patterns` each row becomes the sign of the sum of its label's examples, and 0 where they cancel out or are
    blank. `couplings` become the whole-number sums of products; what a module leaves out of them, as its diagonal, is
    its own affair. Samples are (B, N) of -1, 0 and +1; targets (B, 1 + N) are the label and its archetype.

    Attributes:
        supervision: `supervised` sums examples by label, `unsupervised` pools them, `storage` takes the archetypes.
    """

    name = "hebbian"
    source = "Agliari et al., Parallel Learning by Multitasking Neural Networks, J. Stat. Mech. 2023, arXiv 2308.04106"
    trains = "networks of spins with patterns or couplings"
    heeds = frozenset()

    supervision: str = "supervised"

    def __post_init__(self) -> None:
        if self.supervision not in PROTOCOLS:
            raise BadInput(f"--rule hebbian: supervision must be {', '.join(PROTOCOLS)}, got {self.supervision}")

    def learner(self, setup: Setup) -> "HebbianLearner":
        """Takes on a network of spins.

        Raises:
            BadInput: the module has no patterns or couplings; it has patterns, and there is no teacher to sort by.
        """
        held = dict(setup.module.named_parameters(recurse=False))
        if not ({"patterns", "couplings"} & held.keys()) or not hasattr(setup.module, "steps"):
            raise BadInput(
                f"--rule hebbian: {type(setup.module).__name__} has no parameter `patterns` or `couplings` beside "
                "`steps`, as networks of spins have; train it by back-propagation"
            )
        if self.supervision == "unsupervised" and "couplings" not in held:
            raise BadInput(
                f"--rule hebbian: {type(setup.module).__name__} holds one row for each label, unsupervised examples "
                "have none; train it with supervision=supervised, or a network with couplings, as hopfield_unsupervised"
            )
        return HebbianLearner(setup, self.supervision)


class HebbianLearner(Learner):
    """Sums of what was seen, and the network that always has the couplings which follow from them."""

    def __init__(self, setup: Setup, supervision: str):
        self._setup, self._supervision = setup, supervision
        held = dict(setup.module.named_parameters(recurse=False))
        self._target = held["couplings"] if "couplings" in held else held["patterns"]
        self._has_rows = "couplings" not in held
        spins = self._target.shape[1]
        rows = _labels_of(setup) if supervision != "unsupervised" else spins
        if self._has_rows and rows > len(self._target):
            raise BadInput(f"{rows} labels: {setup.name} has room for {len(self._target)} patterns; learn as many")
        self._counts = torch.zeros(max(rows, len(self._target)), spins, dtype=torch.int64)
        self._seen, self._wanted = 0, size_of(setup.data.train) // setup.recipe.batch_size * setup.recipe.batch_size
        self._show()

    def learn(self, batch: Batch, rate: float) -> float:
        """Adds a batch; the rate is none of its business. The loss is the objective's own, before."""
        examples, archetypes, labels = check_examples(batch, self._target.shape[1])
        with torch.no_grad():
            loss = self._setup.objective.loss(self._setup.module, None, batch).loss.item()
        if self._supervision == "unsupervised":
            self._counts += examples.T @ examples
        elif self._supervision == "supervised":
            self._counts.index_add_(0, labels, examples)
        else:
            self._counts[labels] = archetypes
        self._seen += len(examples)
        self._show()
        return loss

    def tensors(self) -> dict[str, Tensor]:
        """The sums, (labels or N, N) of int64, and how many examples they are of."""
        return {"counts": self._counts, "seen": torch.tensor(self._seen)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        self._counts.copy_(tensors["counts"])
        self._seen = int(tensors["seen"])
        self._show()

    def finished(self) -> bool:
        """After one pass: a second would count every example twice, which changes no sign."""
        return self._seen >= self._wanted

    def figures(self) -> dict[str, float]:
        """`residual`: the share of spins that the next call still turns over; `converged` where that is none."""
        cues = self._cues()
        module = self._setup.module
        with in_evaluation(module), torch.inference_mode():
            state = cues
            for _ in range(1 if int(module.steps) > 1 else _STEPS_OF_A_CALLER):  # type: ignore[arg-type]
                state = in_tuple(module(state))[0]
            residual = (in_tuple(module(state))[0] != state).float().mean().item()
        return {"residual": residual, "converged": float(residual == 0)}

    def _cues(self) -> Tensor:
        data, objective = self._setup.data, self._setup.objective
        raw, targets = next(iter(read_batches(data.train, in_order(data.train, _RELAXED_ON, 0, 1))))
        samples = each(data.preprocessing.apply, raw)
        cues = objective.inputs(samples, targets, torch.Generator().manual_seed(self._setup.seed))[0]
        return cues.to(self._target.device)

    @torch.no_grad()
    def _show(self) -> None:
        if self._has_rows:
            shown = self._counts.sign()
        elif self._supervision == "unsupervised":
            shown = self._counts
        else:
            shown = self._counts.T @ self._counts
        self._target.copy_(shown)


def check_examples(batch: Batch, spins: int) -> tuple[Tensor, Tensor, Tensor]:
    """Examples (B, N), archetypes (B, N) and labels (B,) of a batch, as int64.

    Raises:
        BadInput: they are not of -1, 0 and +1, one is all blank, or there are no archetypes.
    """
    samples, targets = in_tuple(batch.samples)[0].flatten(1).cpu(), batch.targets.cpu()
    if targets.ndim != 2 or targets.shape[1] != 1 + spins or samples.shape[1] != spins:
        raise BadInput(
            f"--rule hebbian: samples {tuple(samples.shape)} and targets {tuple(targets.shape)} are no examples of "
            f"patterns of {spins} entries; give diluted-patterns, or an .npz with patterns"
        )
    wrong = (samples != 0) & (samples.abs() != 1)
    if wrong.any():
        raise BadInput(f"--rule hebbian: an example holds {samples[wrong][0]:g}; expected -1, 0, +1: take signs first")
    if not samples.any(1).all():
        raise BadInput("--rule hebbian: an example is all blank (dilution 1) and teaches nothing; leave it out")
    return samples.long(), targets[:, 1:].long(), targets[:, 0].long()


def _labels_of(setup: Setup) -> int:
    """How many labels the data have, from their targets."""
    train = setup.data.train
    labels = [
        targets[:, 0].max() if targets.ndim == 2 else targets.max()
        for _, targets in read_batches(train, in_order(train, 4096, 0, 1))
    ]
    return int(torch.stack(labels).max()) + 1


RULES = (Hebbian,)

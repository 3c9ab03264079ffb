"""`reflect-reflect-relax`: networks of signs, found by projections and without a gradient.

Elser and Lal, "Learning with Boolean threshold functions", arXiv 2602.17493. The projections are in
`boolean_projections`. An epoch is one batch, the whole training split, and as many steps as `iterations` says.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...errors import BadInput
from ..batches import each, in_order, read_batches, size_of
from ..boolean_network import Sign
from ..leaf_calls import leaf_calls
from ..objectives import Batch
from . import Learner, LearningRule, Setup
from .boolean_projections import start, table_of
from .boolean_search import Layers, Search, whole_layers

_MEND = "reflect-reflect-relax trains chains of Linear layers with biases, each followed by a Sign"


@dataclass(frozen=True)
class BooleanThreshold(LearningRule):
    """A search for weights that fit every item with a margin.

    Attributes:
        support: sigma; the margin sqrt(d / sigma) leaves a neuron about so many weights.
        relaxation: beta, the share of a step that is taken, above 0 and below 2.
        stiffening: gamma, how fast neurons that stay apart become stiff; about 1 / the most steps.
        gap_stop: the search ends where projections are closer than this, and the rows fit every item.
        iterations: steps in an epoch.
        restarts: searches at once, from starts of their own; the best is shown.
    """

    name = "reflect-reflect-relax"
    source = "Elser and Lal, Learning with Boolean threshold functions, arXiv 2602.17493"
    trains = "chains of Linear layers and signs, on data of ±1"
    heeds = frozenset()

    support: float = 3.0
    relaxation: float = 0.2
    stiffening: float = 1e-3
    gap_stop: float = 0.01
    iterations: int = 100
    restarts: int = 1

    def __post_init__(self) -> None:
        faults = []
        if not self.support >= 1:
            faults.append(f"support must be 1 or more, got {self.support:g}")
        if not 0 < self.relaxation < 2:
            faults.append(f"relaxation must be above 0 and below 2, got {self.relaxation:g}")
        if not 0 <= self.stiffening < 1:
            faults.append(f"stiffening must be in [0, 1), got {self.stiffening:g}")
        for name in ("gap_stop", "iterations", "restarts"):
            if not getattr(self, name) > 0:
                faults.append(f"{name} must be above 0, got {getattr(self, name):g}")
        if faults:
            raise BadInput(f"--rule {self.name}: {'; '.join(faults)}")

    def learner(self, setup: Setup) -> "BooleanLearner":
        """Takes on a chain of linear layers and signs.

        Raises:
            BadInput: the network is another, or the data are not ±1, contradict themselves or have other sizes.
        """
        linears = _chain(setup.module)
        samples, outputs = _items(setup)
        inputs = samples.flatten(1)
        sizes = (linears[0].in_features, linears[-1].out_features)
        if (inputs.shape[1], outputs.shape[1]) != sizes:
            raise BadInput(
                f"{setup.data.name}: {inputs.shape[1]} inputs and {outputs.shape[1]} outputs, the network has "
                f"{sizes[0]} and {sizes[1]}; give a network of the table's sizes"
            )
        _check_wiring(setup.module, samples)
        return BooleanLearner(self, setup, linears, inputs, outputs)


class BooleanLearner(Learner):
    """The searches' whole iterate, and the module, which has the best rows so far as whole numbers where they exist."""

    def __init__(self, rule: BooleanThreshold, setup: Setup, linears: list[nn.Linear], inputs: Tensor, outputs: Tensor):
        self._rule, self._setup, self._linears = rule, setup, linears
        self._inputs, self._items = inputs.cpu(), len(inputs)
        hidden = tuple(linear.out_features for linear in linears[:-1])
        table = table_of(self._inputs, outputs.cpu(), hidden, rule.support).to(linears[0].weight.device)
        draws = [torch.Generator().manual_seed(setup.seed * 4099 + number) for number in range(rule.restarts)]
        self._search = Search(table, start(table, draws), rule.relaxation, rule.stiffening)
        self._solved: list[int] = []
        self._layers: Layers = []

    def learn(self, batch: Batch, rate: float) -> float:
        """So many steps on all items; they were read from the data at first, and their order here does not matter.

        Raises:
            BadInput: the batch is not the whole training split.
        """
        if len(batch.targets) != self._items:
            raise BadInput(
                f"a batch of {len(batch.targets)} of {self._items} items: reflect-reflect-relax takes all at "
                f"once; set batch_size to {self._items} or more"
            )
        with torch.no_grad():
            loss = self._setup.objective.loss(self._setup.module, None, batch).loss.item()
        self._search.advance(self._rule.iterations)
        self._look()
        return loss

    def _look(self) -> None:
        """Which restarts have solved it, and the best one's rows into the module."""
        gaps = self._search.gaps()
        ranked = gaps.argsort().tolist()
        fits = self._search.fits()
        self._solved = [restart for restart in ranked if gaps[restart] < self._rule.gap_stop and fits[restart]]
        layers, _ = whole_layers(self._search.layers((self._solved or ranked)[0]), self._inputs)
        self._layers = layers
        with torch.no_grad():
            for linear, rows in zip(self._linears, layers):
                linear.weight.copy_(rows[:, :-1])
                linear.bias.copy_(-rows[:, -1])

    def tensors(self) -> dict[str, Tensor]:
        """The iterate of every restart: two numbers for each edge and item, and more."""
        return self._search.at.tensors()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        for name, tensor in self._search.at.tensors().items():
            tensor.copy_(tensors[name])
        self._look()

    def figures(self) -> dict[str, float]:
        """The smallest gap, steps, restarts that solved it, and shares of rows of whole numbers and of -1, 0, 1."""
        rows = [row for layer in self._layers for row in layer]
        return {
            "gap": float(self._search.gaps().min()),
            "iterations": float(self._search.at.taken[0]),
            "converged": float(self.finished()),
            "solved_restarts": float(len(self._solved)),
            "whole_rows": sum(bool((row == row.round()).all()) for row in rows) / max(1, len(rows)),
            "ternary_rows": sum(bool(torch.isin(row, _TERNARY).all()) for row in rows) / max(1, len(rows)),
        }

    def finished(self) -> bool:
        return bool(self._solved)


_TERNARY = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)


def _chain(module: nn.Module) -> list[nn.Linear]:
    """The layers of a network that projections can find.

    Raises:
        BadInput: something else is in it.
    """
    linears: list[nn.Linear] = []
    is_signed = True
    for name, leaf in ((name, leaf) for name, leaf in module.named_modules() if not list(leaf.children())):
        if isinstance(leaf, nn.Linear) and leaf.bias is not None and is_signed:
            linears.append(leaf)
            is_signed = False
        elif isinstance(leaf, Sign) and not is_signed:
            is_signed = True
        elif not isinstance(leaf, nn.Flatten | nn.Identity):
            without = " without a bias" if isinstance(leaf, nn.Linear) and leaf.bias is None else ""
            raise BadInput(
                f"{name or 'the network'} is a {type(leaf).__name__}{without}: {_MEND}; train this network by "
                "back-propagation"
            )
    if not linears or not is_signed:
        raise BadInput(f"the network has no Sign at its end: {_MEND}; end it in one, or train it by back-propagation")
    return linears


def _check_wiring(module: nn.Module, samples: Tensor) -> None:
    """Raises BadInput where a layer takes anything but what the one before it gave, or is called again."""
    given = samples[:64].float()
    calls, last = leaf_calls(module, given)
    passed, taken = [given, *(call.made for call in calls)], [*(call.given for call in calls), last]
    in_turn = all(isinstance(x, Tensor) and torch.equal(y.flatten(1), x.flatten(1)) for x, y in zip(taken, passed))
    if not in_turn or [call.layer for call in calls] != [
        leaf for leaf in module.modules() if not list(leaf.children())
    ]:
        raise BadInput(
            f"{type(module).__name__} is wired otherwise than its layers follow one another: {_MEND}; train it by "
            "back-propagation"
        )


def _items(setup: Setup) -> tuple[Tensor, Tensor]:
    """(M, ...) inputs and (M, k) outputs of the training split, on the module's device."""
    data, name = setup.data, setup.data.name
    ((raw, targets),) = read_batches(data.train, in_order(data.train, max(1, size_of(data.train)), 0, 1))
    samples = each(data.preprocessing.apply, raw)
    if not isinstance(samples, Tensor):
        raise BadInput(f"{name}: {len(samples)} inputs; reflect-reflect-relax trains networks of one")
    if targets.ndim != 2:
        raise BadInput(f"{name}: targets are class numbers; expected -1 or 1 for each output; give a table of bits")
    for what, values in (("input", samples.flatten(1)), ("output", targets)):
        strange = (values.abs() != 1).nonzero()
        if len(strange):
            item, place = strange[0].tolist()
            raise BadInput(
                f"{name}: {what} {place} of item {item} is {values[item, place]:g}; expected -1 or 1; turn other "
                "values into bits first"
            )
    _check_agreement(name, samples.flatten(1), targets)
    device = next(setup.module.parameters()).device
    return samples.to(device), targets.to(device)


def _check_agreement(name: str, inputs: Tensor, outputs: Tensor) -> None:
    """Raises BadInput where equal inputs have other outputs."""
    _, groups = torch.unique(inputs, dim=0, return_inverse=True)
    first: dict[int, int] = {}
    for item, group in enumerate(groups.tolist()):
        other = first.setdefault(group, item)
        if not torch.equal(outputs[item], outputs[other]):
            raise BadInput(
                f"{name}: items {other} and {item} have the same inputs and other outputs; no network gives both; "
                "leave one out"
            )


RULES = (BooleanThreshold,)

"""Finds each layer's bits within budgets: the table, the integer program, and the true errors of what it proposes.

Errors of single layers do not add up exactly, and how well they do depends on which error is meant. So the integer
program is solved for each of them, its answers and their neighbours (one layer up, another down) are tried on the whole
network, and uniform precision is a candidate like any other. A mixed choice replaces the best uniform one only where
its error is lower beyond chance. Half of the calibration samples make the integers, the other half judges them.

The method is that of HAWQ-V3 (Yao et al., ICML 2021, arXiv 2011.10680, section 3.4: integer program over a table of
sensitivities), with measured errors in place of their second-order estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from torch import Tensor, nn

from ...errors import BadInput
from ..capture import Captured
from ..scheme import Scheme
from .budget import Budget, meets, size_of
from .choice import choose
from .codings import Codings
from .emulation import Operands
from .layers import WIDE, Assignment, Bits, Layer, uniform
from .outcome import Outcome, outcome_of
from .sensitivity import sensitivities

WEIGHT_BITS = (2, 3, 4, 6, 8)
_FEWEST_TO_HALVE = 16  # samples; fewer both make and judge
_TIE = 1e-3
_NEIGHBOURS = 24  # tried on the whole network for one set of budgets


@dataclass(frozen=True)
class Tried:
    """A choice of bits and what the whole network makes of it.

    Attributes:
        name: `w4a8` and so on of a uniform one, with ` all` where first and last layer have the same bits; else `auto`.
        size: packed bytes of weights.
    """

    name: str
    assignment: Assignment
    size: int
    outcome: Outcome


class Search:
    """A network measured once, from which choices for any budgets follow.

    Args:
        network: the float network, weights in place.
        captured: the same for one sample.
        samples: calibration inputs, one sample each.
        labels: (N,) of the samples, or None.
        scheme: how numbers are chosen, and what keeps float or 8 bits.
        choices: bits that layers may have.

    Raises:
        BadInput: the samples do not fit the network, or it has no layer to quantize.
    """

    def __init__(
        self,
        network: nn.Module,
        captured: Captured,
        samples: Sequence[tuple[Tensor, ...]],
        labels: np.ndarray | None,
        scheme: Scheme,
        choices: Sequence[Bits],
    ):
        samples = samples[: scheme.samples]
        halves = (slice(0, None, 2), slice(1, None, 2)) if len(samples) >= _FEWEST_TO_HALVE else (slice(None),) * 2
        self.codings = Codings(network, captured, samples[halves[0]], scheme, choices)
        self.samples = samples[halves[1]]
        self.labels = None if labels is None else labels[: len(samples)][halves[1]]
        self.floats = self.codings.emulation.outputs(self.samples, None)
        self._others = self.codings.alternatives(uniform(self.layers, WIDE))
        self.table = sensitivities(self.codings, self._others, self.samples, self.floats, self.labels)
        self.tried: dict[Assignment, Tried] = {}
        self._screened: dict[Assignment, float] = {}

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.codings.layers

    def find(self, budgets: Sequence[Budget]) -> Tried:
        """The best choice within budgets.

        Raises:
            BadInput: none keeps to them.
        """
        self.check(budgets)
        proposals = self.proposals(budgets)
        proposals.append(self._improved(min(proposals, key=self._screen), budgets))
        mixed = [self.attempt(assignment) for assignment in dict.fromkeys(proposals)]
        best = min(mixed, key=lambda tried: tried.outcome.error)
        rivals = [self.attempt(*rival) for rival in self._rivals(budgets)]
        if not rivals:
            return best
        rival = min(rivals, key=lambda tried: tried.outcome.error)
        return best if best.outcome.surely_better(rival.outcome) else rival

    def check(self, budgets: Sequence[Budget]) -> None:
        """Raises BadInput with the least that can be reached where budgets cannot be met."""
        for budget in budgets:
            least = sum(min(budget.spend(layer, bits) for bits in layer.choices) for layer in self.layers)
            if least > budget.most(self.layers):
                raise BadInput(
                    f"budget {budget}: cannot be met, the least is {budget.told(np.ceil(least), self.layers)} with the "
                    "bits that layers may have here; allow more, or name fewer bits with --bits"
                )
        if self._solve("noise", budgets) is None:
            raise BadInput(f"budgets {', '.join(map(str, budgets))}: cannot be met together; allow more of one of them")

    def proposals(self, budgets: Sequence[Budget]) -> list[Assignment]:
        """The integer program's answers, one for each kind of error; budgets that can be met."""
        found = [self._solve(kind, budgets) for kind in self.table.kinds]
        return list(dict.fromkeys(assignment for assignment in found if assignment is not None))

    def attempt(self, assignment: Assignment, name: str = "auto") -> Tried:
        """Integers made for the whole choice, and its true error."""
        known = self.tried.get(assignment)
        if known is None or known.name == "auto" != name:
            outcome = known.outcome if known else self._outcome(self.codings.operands(assignment))
            self.tried[assignment] = Tried(name, assignment, size_of(assignment, self.layers), outcome)
        return self.tried[assignment]

    def uniforms(self) -> list[tuple[Assignment, str]]:
        """Every choice in all layers, and in all but the first and the last."""
        choices = sorted({bits for layer in self.layers for bits in layer.choices}, reverse=True)
        found: dict[Assignment, str] = {}
        for bits in choices:
            for border, suffix in ((WIDE, ""), (None, " all")):
                name = "int8" if bits == WIDE else f"w{bits[0]}a{bits[1]}{suffix}"
                found.setdefault(uniform(self.layers, bits, border), name)
        return list(found.items())

    def _rivals(self, budgets: Sequence[Budget]) -> list[tuple[Assignment, str]]:
        """Uniform choices within the budgets, but for those that another of them has at least as many bits as."""
        within = [entry for entry in self.uniforms() if meets(entry[0], budgets, self.layers)]

        def is_beaten(assignment: Assignment) -> bool:
            return any(
                other != assignment and all(w <= v and a <= b for (_, w, a), (_, v, b) in zip(assignment, other))
                for other, _ in within
            )

        return [entry for entry in within if not is_beaten(entry[0])]

    def _solve(self, kind: str, budgets: Sequence[Budget]) -> Assignment | None:
        # An error that did not grow says nothing; there a little of the noise, which always does, decides.
        costs = [
            [
                self.table.cost(kind, layer.module, bits) + _TIE * self.table.cost("noise", layer.module, bits)
                for bits in layer.choices
            ]
            for layer in self.layers
        ]
        spends = [
            [[budget.spend(layer, bits) for bits in layer.choices] for layer in self.layers] for budget in budgets
        ]
        found = choose(costs, spends, [budget.most(self.layers) for budget in budgets])
        if found is None:
            return None
        return tuple((layer.module, *layer.choices[index]) for layer, index in zip(self.layers, found))

    def _improved(self, start: Assignment, budgets: Sequence[Budget]) -> Assignment:
        """Neighbours of a choice, best first by the table, tried on the whole network with the table's integers."""
        best, left = start, _NEIGHBOURS
        while left > 0:
            ranked = sorted(self._neighbours(best, budgets), key=self._predicted)
            fresh = [assignment for assignment in ranked if assignment not in self._screened][: min(8, left)]
            if not fresh:
                break
            left -= len(fresh)
            found = min(fresh, key=self._screen)
            if self._screen(found) >= self._screen(best):
                break
            best = found
        return best

    def _neighbours(self, assignment: Assignment, budgets: Sequence[Budget]) -> list[Assignment]:
        """One layer a step up, and where that breaks a budget, another a step down."""
        ups = [self._stepped(assignment, place, 1) for place in range(len(assignment))]
        found = []
        for place, raised in enumerate(ups):
            if raised is None:
                continue
            if meets(raised, budgets, self.layers):
                found.append(raised)
                continue
            lowered = (self._stepped(raised, other, -1) for other in range(len(assignment)) if other != place)
            found += [pair for pair in lowered if pair is not None and meets(pair, budgets, self.layers)]
        return found

    def _stepped(self, assignment: Assignment, place: int, step: int) -> Assignment | None:
        path, weight, activation = assignment[place]
        choices = self.layers[place].choices
        at = choices.index((weight, activation)) + step
        if not 0 <= at < len(choices):
            return None
        return (*assignment[:place], (path, *choices[at]), *assignment[place + 1 :])

    def _predicted(self, assignment: Assignment) -> float:
        kind = self.table.kinds[0]
        return sum(self.table.cost(kind, path, (weight, activation)) for path, weight, activation in assignment)

    def _screen(self, assignment: Assignment) -> float:
        """The error with every layer's integers as they were made among layers of 8 bits: quick, and nearly true."""
        if assignment not in self._screened:
            operands = {
                name: own for path, *bits in assignment for name, own in self._others[path, (bits[0], bits[1])].items()
            }
            self._screened[assignment] = self._outcome(operands).error
        return self._screened[assignment]

    def _outcome(self, operands: dict[str, Operands]) -> Outcome:
        return outcome_of(self.codings.emulation.outputs(self.samples, operands), self.floats, self.labels)


def choices_for(budgets: Sequence[Budget], weights: Sequence[int] = WEIGHT_BITS) -> tuple[Bits, ...]:
    """Bits to choose from where the user names none: activations of 4 bits too where MACs are counted by bits."""
    activations = (4, 8) if any(budget.kind == "macbits" for budget in budgets) else (8,)
    return tuple(product(weights, activations))


def front_of(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other beats in both size and error, the smallest first."""
    found: list[Tried] = []
    for one in sorted(tried, key=lambda one: (one.size, one.outcome.error)):
        if not found or one.outcome.error < found[-1].outcome.error:
            found.append(one)
    return found

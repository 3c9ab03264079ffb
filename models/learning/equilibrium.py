"""`equilibrium-propagation`: a network relaxes freely, then nudged to its targets; synapses learn from the difference.

Laborieux and Zenke, "Improving equilibrium propagation without weight symmetry through Jacobian homeostasis", ICLR
2024, arXiv 2309.02214. A weight i -> j, forward or feedback, follows the mean of a_i at rest times the response of a_j
to the nudge. That is the loss's gradient where forward and feedback weights are transposes of each other;
homeostasis, a penalty on the difference, brings them there without tying them.
"""

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...errors import BadInput, OfframpError
from ..augment import draw_mixture
from ..objectives import Batch
from ..relaxation import Relaxing, States, residual
from . import LearningRule, Setup
from .descent import Descent, DescentLearner
from .equilibrium_condensed import answer_of, at_rest
from .equilibrium_homeostasis import penalty
from .equilibrium_response import Rest, adjoint_response, nudged_response

_FURTHER = 100  # steps to rest beyond the rule's own, before the exact gradient is taken there


@dataclass(frozen=True)
class Equilibrium(LearningRule):
    """Nudged relaxations of networks with states.

    Attributes:
        nudge: strength b.
        points: nudges N: 1, or 2 of opposite sign, or more on a complex circle.
        free_steps: of the free relaxation.
        nudged_steps: of each nudged one, from where the free one came to rest.
        homeostasis: weight of the penalty on asymmetry; 0 leaves it out.
        probes: that estimate the penalty, for each sample, where links are convolutions.
        tolerance: largest residual of a free relaxation that counts as come to rest.
    """

    name = "equilibrium-propagation"
    source = "Laborieux, Zenke, Equilibrium propagation and Jacobian homeostasis, ICLR 2024, arXiv 2309.02214"
    trains = "classifiers whose states relax"

    nudge: float = 0.5
    points: int = 2
    free_steps: int = 50
    nudged_steps: int = 25
    homeostasis: float = 1.0
    probes: int = 1
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        for name in ("nudge", "tolerance"):
            if not getattr(self, name) > 0:
                raise BadInput(f"--rule {self.name}: {name} must be above 0, got {getattr(self, name):g}")
        for name in ("points", "free_steps", "nudged_steps", "probes"):
            if getattr(self, name) < 1:
                raise BadInput(f"--rule {self.name}: {name} must be 1 or more, got {getattr(self, name)}")
        if not self.homeostasis >= 0:
            raise BadInput(f"--rule {self.name}: homeostasis must be 0 or more, got {self.homeostasis:g}")

    def learner(self, setup: Setup) -> "EquilibriumLearner":
        """Takes on a module that is `Relaxing`.

        Raises:
            BadInput: it is not, or it is no classifier.
        """
        if not isinstance(setup.module, Relaxing):
            raise BadInput(
                f"--rule {self.name}: {setup.name} is a {type(setup.module).__name__}, no network whose layers relax "
                "towards each other, as equilibrium_mlp; train it by back-propagation"
            )
        if not setup.objective.classes or setup.objective.companion(setup.module, setup.data) is not None:
            raise BadInput(
                f"--rule {self.name}: {setup.name} is trained on more than scores for classes, which a nudge draws to "
                "the right one; train it by back-propagation"
            )
        labels, scores = len(setup.data.labels), setup.module.readout.out_features
        if labels not in (0, scores):
            raise BadInput(
                f"--rule {self.name}: {setup.name} reads out {scores} scores, the data have {labels} classes; give a "
                "network with a score for each"
            )
        return EquilibriumLearner(setup, self, setup.module)


class EquilibriumLearner(DescentLearner):
    """A relaxing network, its descent, and how far from rest its free relaxations ended lately."""

    def __init__(self, setup: Setup, rule: Equilibrium, network: Relaxing):
        assert isinstance(network, nn.Module)
        self.network: Relaxing = network
        self._module, self._rule, self._name, self._recipe = network, rule, setup.name, setup.recipe
        super().__init__(Descent({"network": network}, setup.recipe, network), {})
        self._residuals: deque[float] = deque(maxlen=max(1, setup.steps // setup.recipe.epochs))
        self._last: tuple[Tensor, Tensor] | None = None

    def learn(self, batch: Batch, rate: float) -> float:
        self.descent.begin(rate)
        samples, wanted = self._wanted(batch)
        rest = self.rest(samples, wanted)
        self._residuals.append(residual(self.network, rest.states, rest.given).item())
        loss = self._readout_loss(rest)
        total = loss + local_loss(self.network, samples, rest, self.response(rest))
        if self._rule.homeostasis:
            total = total + self._rule.homeostasis * self._penalty(rest, batch.draws)
        total.backward()
        self.descent.step()
        self._last = samples, wanted
        return loss.item()

    def _wanted(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Samples, and the probabilities that are wanted of them, (B, classes)."""
        samples, recipe = batch.samples, batch.recipe
        assert isinstance(samples, Tensor)
        classes = self.network.readout.out_features
        wanted = functional.one_hot(batch.targets, classes).to(samples.dtype)
        wanted = (1 - recipe.label_smoothing) * wanted + recipe.label_smoothing / classes
        if recipe.mixup:
            mixture = draw_mixture(len(wanted), recipe.mixup, batch.draws)
            samples, wanted = mixture(samples), mixture(wanted)
        return samples, wanted

    @torch.no_grad()
    def rest(self, samples: Tensor, wanted: Tensor) -> Rest:
        """Where the free relaxation of samples (B, ...) ends.

        Raises:
            OfframpError: it is not finite.
        """
        given = self.network.given(samples)
        found = at_rest(self.network, Rest(self.network.start(given), given, wanted), self._rule.free_steps)
        self._check_finite(found.states, "free relaxation")
        return found

    def response(self, rest: Rest) -> States:
        """Of every layer's activity to the nudge, by the rule's nudges.

        Raises:
            OfframpError: a nudged relaxation is not finite.
        """
        rule = self._rule
        found = answer_of(
            self.network,
            rest,
            lambda network, at: nudged_response(network, at, rule.nudge, rule.points, rule.nudged_steps),
        )
        self._check_finite(found, f"relaxation nudged by {self._rule.nudge:g}")
        return found

    def _readout_loss(self, rest: Rest) -> Tensor:
        last = self.network.activity(rest.states[-1])
        return functional.cross_entropy(self.network.readout(last.flatten(1)), rest.wanted)

    def _penalty(self, rest: Rest, draws: torch.Generator) -> Tensor:
        activities = [self.network.activity(state) for state in rest.states]
        return penalty(self.network, activities, rest.given, self._rule.probes, draws)

    def _check_finite(self, states: States, what: str) -> None:
        if not all(bool(torch.isfinite(state).all()) for state in states):
            raise OfframpError(
                f"{self._name}: states of the {what} became infinite or NaN; lower learning_rate (now "
                f"{self._recipe.learning_rate:g}) or nudge (now {self._rule.nudge:g})"
            )

    def figures(self) -> dict[str, float]:
        """After a batch: how far from rest, and two angles in degrees, both 0 where each way is the other's transpose.

        `residual` is the mean over the last epoch's batches, and `converged` whether it is within the tolerance.
        `gradient_degrees` lies between the rule's gradient of all relaxing weights and the exact one, by the adjoint,
        on the last batch; `weights_degrees` between forward and transposed feedback weights, the mean over links.
        """
        if self._last is None:
            return {}
        away = sum(self._residuals) / len(self._residuals)
        return {
            "residual": away,
            "converged": float(away <= self._rule.tolerance),
            "gradient_degrees": self.gradient_degrees(*self._last),
            "weights_degrees": weights_degrees(self.network),
        }

    def gradient_degrees(self, samples: Tensor, wanted: Tensor) -> float:
        """Angle between the rule's and the exact gradient on samples (B, ...) with wanted (B, classes).

        The exact one is taken nearer to rest, and follows influences for as many steps as the rule's nudge does.
        """
        ours = self.rest(samples, wanted)
        settled = at_rest(self.network, ours, _FURTHER)
        steps = self._rule.nudged_steps
        exact = answer_of(self.network, settled, lambda network, at: adjoint_response(network, at, steps))
        return degrees_between(
            gradient_of(self.network, samples, ours, self.response(ours)),
            gradient_of(self.network, samples, settled, exact),
        )


def local_loss(network: Relaxing, samples: Tensor, rest: Rest, response: States) -> Tensor:
    """A scalar whose gradient of a weight i -> j is the mean of a_i times the response of j, of a bias that of j.

    Activities and responses are constants, so nothing passes from one layer to another.
    """
    activities = [network.activity(state) for state in rest.states]
    drives = network.drives(activities, network.given(samples))
    products = [(drive * answer).sum() for drive, answer in zip(drives, response)]
    return torch.stack(products).sum() / len(samples)


def gradient_of(network: Relaxing, samples: Tensor, rest: Rest, response: States) -> Tensor:
    """Of all weights that relax, in one vector, as responses of every layer give it."""
    assert isinstance(network, nn.Module)
    outside = {id(parameter) for parameter in network.readout.parameters()}
    inside = [p for p in network.parameters() if p.requires_grad and id(p) not in outside]
    found = torch.autograd.grad(local_loss(network, samples, rest, response), inside)
    return torch.cat([gradient.flatten() for gradient in found])


@torch.no_grad()
def weights_degrees(network: Relaxing) -> float:
    """Angle between forward and transposed feedback weights, the mean over links."""
    angles = [degrees_between(*link.weights()) for link in network.links()]
    return sum(angles) / len(angles)


def degrees_between(first: Tensor, second: Tensor) -> float:
    """Angle between two tensors as vectors."""
    one, other = (value.detach().double().flatten() for value in (first, second))
    one, other = one / one.norm(), other / other.norm()
    return torch.rad2deg(2 * torch.atan2((one - other).norm(), (one + other).norm())).item()  # exact near 0 too


RULES = (Equilibrium,)

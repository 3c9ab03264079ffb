"""Ensembles that learn a permutation of bits from the standard basis and decode every nonzero input.

Giapitzakis, Back de Luca and Fountoulakis, "Exact Learning of Permutations for Nonzero Binary Inputs with Logarithmic
Training Size and Quadratic Ensemble Complexity", arXiv 2502.16763. All networks of an ensemble are one: their hidden
units side by side, two matrix products and one ReLU; each trains on its own error. An output counts as a one above a
threshold that the number of ones in the input tells (`ntk`); more hidden units compute that, `sum_j c_j relu(m - j)`,
which at whole numbers of ones is any table. As the map is linear, linear least squares learns it from the same
examples at once; what is shown is that these networks do, and how many it takes.
"""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import BadInput
from .batches import Raw
from .ntk import networks_needed, thresholds
from .objectives import Batch, Objective, Outcome, in_tuple
from .permuted_bits import BITS, every_input, read_eight
from .recipe import Recipe
from .system import System

GAIN = 256.0  # of a margin before it is cut to a bit: more than a step of 8 bits tells


class Ensemble(nn.Module):
    """Bits (B, k) to decoded bits (B, k), 0 or 1, and margins (B, k): the networks' mean output over its threshold.

    Attributes:
        first, second: (networks * width, k) and (k, networks * width), standard normal at first; the scales of the
            tangent-kernel parametrisation, 1 / sqrt(k) and 1 / sqrt(width), are in the forward pass.
        table: (k + 1,) thresholds by the number of ones.
    """

    table: Tensor

    def __init__(self, k: int, networks: int, width: int, rule: str = "midpoint"):
        super().__init__()
        self.k, self.networks, self.width = k, networks, width
        self.first = nn.Parameter(torch.randn(networks * width, k))
        self.second = nn.Parameter(torch.randn(k, networks * width))
        self.register_buffer("table", torch.from_numpy(thresholds(k, rule)).float())

    def members(self, bits: Tensor) -> Tensor:
        """(networks, B, k): every network's own outputs."""
        hidden = functional.relu(functional.linear(bits, self.first) / sqrt(self.k))
        by_network = hidden.reshape(len(bits), self.networks, self.width).transpose(0, 1)
        weights = self.second.reshape(self.k, self.networks, self.width).permute(1, 2, 0)
        return torch.bmm(by_network, weights) / sqrt(self.width)

    def forward(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        hidden = functional.relu(functional.linear(bits, self.first) / sqrt(self.k))
        mean = functional.linear(hidden, self.second) / (self.networks * sqrt(self.width))
        steps = torch.arange(self.k, dtype=bits.dtype, device=bits.device)
        hinges = functional.relu(bits.sum(1, keepdim=True) - steps)
        margins = mean - (hinges * _bends(self.table)).sum(1, keepdim=True)
        return _decoded(margins), margins

    def permutation(self) -> list[int]:
        """For each output, the input that answers it most: read off the responses to the basis.

        Raises:
            BadInput: two outputs answer to the same input.
        """
        with torch.no_grad():
            responses = self.forward(torch.eye(self.k))[1]
        found: list[int] = responses.argmax(0).tolist()
        check_permutation(found, "the responses to the basis")
        return found


class ShippedEnsemble(nn.Module):
    """The network of an `Ensemble` as it goes to devices, of the same outputs: thresholds are hidden units of it."""

    def __init__(self, trained: Ensemble):
        super().__init__()
        k, count = trained.k, len(trained.first)
        self.hidden = nn.Linear(k, count + k)
        self.output = nn.Linear(count + k, k, bias=False)
        bends = _bends(trained.table)
        scale = trained.networks * sqrt(trained.width)
        with torch.no_grad():
            self.hidden.weight.copy_(torch.cat([trained.first / sqrt(k), torch.ones(k, k)]))
            self.hidden.bias.copy_(torch.cat([torch.zeros(count), -torch.arange(float(k))]))
            self.output.weight.copy_(torch.cat([trained.second / scale, -bends.expand(k, k)], 1))

    def forward(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        margins = self.output(functional.relu(self.hidden(bits)))
        return _decoded(margins), margins


class Rearrangement(nn.Module):
    """The very function: bits (B, k) to their permutation (B, k), without arithmetic, and margins of 1/2 (B, k)."""

    def __init__(self, permutation: list[int]):
        super().__init__()
        check_permutation(permutation, "the rearrangement")
        self.order = tuple(permutation)

    def forward(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        permuted = torch.cat([bits[:, place : place + 1] for place in self.order], 1)
        return permuted, permuted - 0.5


def distil(trained: Ensemble, inputs: Tensor) -> Rearrangement:
    """The rearrangement that an ensemble has learnt, held against it on every input given (B, k).

    Raises:
        BadInput: it has learnt none, or decodes one of the inputs otherwise.
    """
    exact = Rearrangement(trained.permutation())
    with torch.no_grad():
        wrong = (trained(inputs)[0].round() != exact(inputs)[0]).any(1)
    if wrong.any():
        raise BadInput(
            f"{int(wrong.sum())} of {len(inputs)} inputs are decoded otherwise than by a permutation, as "
            f"{''.join(str(int(bit)) for bit in inputs[wrong][0])}; train more networks, or wider ones"
        )
    return exact


def check_permutation(order: list[int], what: str) -> None:
    """Raises BadInput unless each of 0 to k - 1 stands once in the order."""
    if sorted(order) != list(range(len(order))):
        raise BadInput(f"{what}: {order} is no permutation; each of 0 to {len(order) - 1} must stand in it once")


class Permuting(Objective):
    """Each network's own squared error on the labelled inputs; targets (B, k) are bits, or -1 of inputs without labels.

    `accuracy` is the share of inputs whose bits are all right, `bit_accuracy` that of bits, `least_margin` the smallest
    distance of an output from its threshold, below 0 where it is on the wrong side.
    """

    def loss(self, network: nn.Module, companion: nn.Module | None, batch: Batch) -> Outcome:
        inputs = self.inputs(batch.samples, batch.targets, batch.draws)
        known = (batch.targets >= 0).all(1)
        if not known.any():
            raise BadInput("permuted bits: no input of the batch has a label; give the basis vectors")
        targets = batch.targets[known]
        outputs = in_tuple(network(*inputs))[0]  # of every input, as a teacher's
        answers = network.members(inputs[0][known]) if isinstance(network, Ensemble) else outputs[known]
        return Outcome((answers - targets).square().sum() / 2, inputs, outputs)

    def inputs(self, samples: Raw, targets: Tensor, draws: torch.Generator) -> tuple[Tensor, ...]:
        return in_tuple(samples)

    def scores(self, outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """(B, 3): all right, share right, least margin."""
        found = outputs[0] > 0.5
        right = found == (targets > 0.5)
        signed = torch.where(targets > 0.5, outputs[1], -outputs[1]).amin(1) if len(outputs) > 1 else right.all(1)
        return torch.stack([right.all(1).float(), right.float().mean(1), signed.float()], 1)

    def metrics(self, scores: Tensor) -> dict[str, float]:
        exact, share, margins = scores.unbind(1)
        return {
            "accuracy": exact.mean().item(),
            "bit_accuracy": share.mean().item(),
            "least_margin": margins.min().item(),
        }


def ship(trained: nn.Module) -> nn.Module:
    """A trained ensemble as it goes to devices."""
    assert isinstance(trained, Ensemble)
    return ShippedEnsemble(trained).train(trained.training)


def ship_exact(trained: nn.Module) -> nn.Module:
    """The rearrangement that a trained ensemble has learnt, held against it on all inputs.

    An ensemble that decodes any input otherwise, as before it has learnt, ships as it is.
    """
    assert isinstance(trained, Ensemble)
    try:
        return distil(trained, every_input(trained.k)).train(trained.training)
    except BadInput:
        return ship(trained)


def _bends(table: Tensor) -> Tensor:
    """(k,): c with table[m] = sum_j c_j relu(m - j) at m from 1 to k; table[0] is 0, where nothing is decoded."""
    slopes = table.diff()
    return torch.cat([slopes[:1], slopes.diff()])


def _decoded(margins: Tensor) -> Tensor:
    return (GAIN * margins + 0.5).clamp(0, 1)


EIGHT, WIDTH = 8, 128
NETWORKS = networks_needed(EIGHT)
# Momentum and schedule change the way to the interpolating weights next to the first ones, not these themselves.
_GRADIENT_DESCENT = Recipe(
    optimizer="sgd",
    learning_rate=2.0,
    weight_decay=0.0,
    epochs=60,
    batch_size=4096,
    warmup_epochs=0.0,
    final_learning_rate=1.0,
    label_smoothing=0.0,
    gradient_clip=0.0,
    threads=1,
)


def _system(name: str, ship_as: Callable[[nn.Module], nn.Module]) -> System:
    return System(
        name=name,
        paper="exact-permutation-learning",
        task="bit-permutation",
        build=lambda: Ensemble(EIGHT, NETWORKS, WIDTH),
        input_shapes={"bits": (1, EIGHT)},
        output_names=("permuted", "margins"),
        dataset=BITS,
        recipe=_GRADIENT_DESCENT,
        objective=Permuting(),
        read=read_eight,
        ship=ship_as,
        source="Giapitzakis et al., Exact Learning of Permutations for Nonzero Binary Inputs, arXiv 2502.16763",
    )


SYSTEMS = (_system("permutation_8", ship), _system("permutation_8_distilled", ship_exact))

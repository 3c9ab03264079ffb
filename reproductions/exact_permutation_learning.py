"""Exact Learning of Permutations (Giapitzakis et al., arXiv 2502.16763): ensembles of finite networks against theory.

Every network trains by plain gradient descent on the basis vectors alone and is measured on all nonzero inputs; those
of all ensembles of a seed train at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..estimate import estimate_of, exactly, number_cell, share_of
from ..models.exact_permutation import Ensemble, distil
from ..models.ntk import APART, networks_needed, predict, share_decoded, thresholds
from ..models.permuted_bits import every_input
from ..quant.threads import one_thread
from . import Claim, Study, Table
from ._paired import above, below
from ._trainings import seeded

BITS, WIDTH, NARROW = (6, 8), 1000, 20
SIZES = (1, 2, 5, 10, 25, 50)  # networks of an ensemble
STEPS, TOLERANCE = 60, 1e-5
SHARE, ERROR = "share of inputs decoded", "error"
_ABOVE = "(the 95 % interval of the paired differences over the seeds is above {:g})"
_BELOW = "(the 95 % interval of the paired differences over the seeds is below {:g})"


@dataclass(frozen=True)
class Outputs:
    """What the networks of a seed say.

    Attributes:
        inputs, targets: all nonzero ones, (M, k).
        members: (networks, M, k).
    """

    inputs: Tensor
    targets: Tensor
    members: Tensor

    def decoded(self, networks: int, rule: str = "midpoint") -> float:
        """The share of inputs that the mean of the first so many decodes without a fault."""
        table = torch.from_numpy(thresholds(self.inputs.shape[1], rule)).float()
        limits = table[self.inputs.sum(1).long()][:, None]
        bits = self.members[:networks].mean(0) > limits
        return float((bits == (self.targets > 0.5)).all(1).float().mean())

    def bias(self) -> float:
        """Mean distance of the networks' mean output from theory at inputs of k / 2 ones, ones and zeros alike."""
        k = self.inputs.shape[1]
        half = self.inputs.sum(1) == k // 2
        found, ones = self.members[:, half].mean(0), self.targets[half] > 0.5
        theory = predict(k, k // 2)
        return (abs(found[ones].mean().item() - theory.one) + abs(found[~ones].mean().item() - theory.zero)) / 2


def outputs_of(seed: int, k: int, networks: int, width: int) -> tuple[Outputs, Ensemble]:
    """Trains networks on the basis of a permutation of the seed's and asks for all inputs."""
    permutation = torch.randperm(k, generator=torch.Generator().manual_seed(seed))
    ensemble = seeded(lambda: Ensemble(k, networks, width), 1000 * seed + k)
    descend(ensemble, torch.eye(k), torch.eye(k)[:, permutation])
    inputs = every_input(k)
    with torch.no_grad():
        return Outputs(inputs, inputs[:, permutation], ensemble.members(inputs)), ensemble


def descend(ensemble: Ensemble, inputs: Tensor, targets: Tensor) -> float:
    """Full-batch gradient descent until no output is off by more than the tolerance; returns how far one is.

    The rate is 2 over the sum of the kernel's extreme eigenvalues, (1 - a) / k and (1 - a + k a) / k.
    """
    k = ensemble.k
    rate = 2 * k / (2 * (1 - APART) + k * APART)
    off = float("inf")
    for _ in range(STEPS):
        outputs = ensemble.members(inputs)
        errors = outputs - targets
        off = errors.abs().max().item()
        if off < TOLERANCE:
            break
        slopes = torch.autograd.grad(errors.square().sum() / 2, (ensemble.first, ensemble.second))
        with torch.no_grad():
            for weights, slope in zip((ensemble.first, ensemble.second), slopes):
                weights.sub_(rate * slope)
    return off


@one_thread()
def reproduce(study: Study) -> list[Claim]:
    """All comparisons.

    Raises:
        BadInput: the study has data of its own.
    """
    study.refuse_data("checks all inputs of its own permutations")
    small, large = BITS
    by_bits: dict[int, list[Outputs]] = {}
    for k in BITS:
        study.say(f"ensembles for {k} bits")
        by_bits[k] = [outputs_of(seed, k, max(SIZES), WIDTH)[0] for seed in study.seeds]
    study.say("one network as large as an ensemble, narrow networks")
    wide = [outputs_of(seed, large, 1, max(SIZES) * WIDTH)[0].decoded(1) for seed in study.seeds]
    narrow = [outputs_of(seed, large, max(SIZES), NARROW)[0].bias() for seed in study.seeds]
    return [*_sizes(by_bits, wide), *_theory(by_bits, narrow), _distilled(study.seeds), _linear(by_bits[small])]


def _sizes(by_bits: dict[int, list[Outputs]], wide: list[float]) -> list[Claim]:
    k = max(by_bits)
    seen, most = by_bits[k], max(SIZES)
    together = [each.decoded(most) for each in seen]
    needed = networks_needed(k)
    enough = [each.decoded(needed) for each in seen]
    return [
        above(
            f"the mean of {most} networks that saw {k} of {2**k - 1} inputs decodes more of them than one network does "
            f"{_ABOVE.format(0)}",
            SHARE,
            [each.decoded(1) for each in seen],
            together,
            table=_table(by_bits),
        ),
        above(
            f"the mean of {most} networks decodes more inputs than one network of as many parameters does "
            f"{_ABOVE.format(0)}",
            SHARE,
            wide,
            together,
            note="a network's spread over first weights does not fall with its width",
        ),
        above(
            f"a threshold between the two means decodes more inputs with {most} networks than the sign does "
            f"{_ABOVE.format(0)}",
            SHARE,
            [each.decoded(most, "sign") for each in seen],
            together,
            note=f"theory wants {networks_needed(k, 'sign'):,} networks for the sign rule, {needed} for the midpoint",
        ),
        Claim(
            f"{needed} networks, as many as the union bound wants for a failure of 0.05, decode all {2**k - 1} inputs "
            "(in every seed)",
            SHARE,
            share_of([each.decoded(1) for each in seen]),
            share_of(enough),
            min(enough) == 1.0,
            f"{sum(share == 1.0 for share in enough)} of {len(enough)} seeds decode all; baseline: one network",
        ),
    ]


def _theory(by_bits: dict[int, list[Outputs]], narrow: list[float]) -> list[Claim]:
    k = max(by_bits)
    seeds = range(len(narrow))
    gaps = [
        float(np.mean([abs(by_bits[b][i].decoded(n) - share_decoded(b, n)) for b in by_bits for n in SIZES]))
        for i in seeds
    ]
    return [
        below(
            f"ensembles of networks of {WIDTH:,} hidden units decode as many inputs as those of infinite width should, "
            f"within 0.05 on average over the sizes of the table {_BELOW.format(0)}",
            "error of the share",
            [0.05] * len(gaps),
            gaps,
            note="baseline: 0.05; theory takes the outputs of an input as independent",
        ),
        below(
            f"outputs of networks of {WIDTH:,} hidden units lie closer to the means of infinite width than those of "
            f"{NARROW} {_BELOW.format(0)}",
            ERROR,
            narrow,
            [each.bias() for each in by_bits[k]],
            note=f"mean over {max(SIZES)} networks, inputs of {k // 2} ones",
        ),
    ]


def _distilled(seeds: Sequence[int]) -> Claim:
    k = BITS[0]
    shares = []
    for seed in seeds:
        outputs, ensemble = outputs_of(seed, k, networks_needed(k), WIDTH)
        function = distil(ensemble, every_input(k)[outputs.inputs.sum(1) == 1])
        shares.append(float((function(outputs.inputs)[0] == outputs.targets).all(1).float().mean()))
    return Claim(
        f"the permutation read off the responses to the basis is the one that was taught, on all {2**k - 1} inputs (in "
        "every seed)",
        SHARE,
        exactly(1.0),
        share_of(shares),
        min(shares) == 1.0,
        "it ships as a rearrangement without arithmetic",
    )


def _linear(seen: Sequence[Outputs]) -> Claim:
    """What must be said: the map is linear."""
    shares = []
    for each in seen:
        basis = each.inputs.sum(1) == 1
        weights = np.linalg.lstsq(each.inputs[basis].numpy(), each.targets[basis].numpy(), rcond=None)[0]
        found = torch.from_numpy(each.inputs.numpy() @ weights) > 0.5
        shares.append(float((found == (each.targets > 0.5)).all(1).float().mean()))
    k = seen[0].inputs.shape[1]
    return Claim(
        f"linear least squares learns the permutation from the same {k} examples at once, without an ensemble (all "
        "inputs in every seed): what the networks show is that they can, not that they must",
        SHARE,
        estimate_of([each.decoded(1) for each in seen]),
        share_of(shares),
        min(shares) == 1.0,
        "baseline: one network",
    )


def _table(by_bits: dict[int, list[Outputs]]) -> Table:
    rows = []
    for n in SIZES:
        row = [f"{n}"]
        for k, seen in by_bits.items():
            row += [number_cell([each.decoded(n) for each in seen], 3), f"{share_decoded(k, n):.3f}"]
            row += [number_cell([each.decoded(n, "sign") for each in seen], 3), f"{share_decoded(k, n, 'sign'):.3f}"]
        rows.append(row)
    heads = [f"{k} bits, {rule}{of}" for k in by_bits for rule in ("midpoint", "sign") for of in ("", ", theory")]
    return {"title": "Share of all nonzero inputs decoded exactly", "columns": ["networks", *heads], "rows": rows}

"""Bidirectional learning (Pontes-Filho and Liwicki, IJCNN 2019, arXiv 1805.08006) on digits: does it make robust?

The paper says that one set of weights, trained forwards to classify and backwards to generate, is more accurate on
attacked images and less confident on noise. It attacks by FGSM alone and compares at unequal rates. Here every way of
training starts from the same weights, at the same rates, on the same batches; PGD joins FGSM; and training on noise or
on attacked images stands beside it. Files in int8 meet the attacks that were found on the float network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ..errors import BadInput
from ..estimate import percent_cell
from ..models.attacks import fgsm, gaussian_noise, pgd, uniform_noise, zero_slope_share
from ..models.batches import size_of
from ..models.data import load
from ..quant.threads import one_thread
from . import Claim, Study, Table
from ._artifacts import run_on, ship, side_by_side
from ._bidirectional_stacks import (
    ADVERSARIAL,
    ADVERSARY,
    BACK,
    BOTH,
    HALF,
    HALF_ADVERSARY,
    NOISY,
    REACH,
    SPREAD,
    Form,
    Networks,
    Schedule,
    train_adversaries,
    train_two_ways,
)
from ._paired import above, below
from ._trainings import in_two_processes

HIDDEN, FLAT, COMPETING = Form((64, 64, 10)), Form((64, 10)), Form((64, 128, 10), nn.ReLU)
STEPS, STEPS_COMPETING = 2000, 1000
CALIBRATION = 128
CLEAN, BRIGHT, NOISE, FGSM, PGD = "clean", "brighter noise", "noise", "FGSM", "PGD"
SLOPES, SURE, SIGNS = "zero slopes", "sure of noise", "±1"
ACCURACY, CONFIDENCE, LOSS = "accuracy", "mean largest probability", "accuracy lost"
_ABOVE = "(the 95 % interval of the paired differences over the seeds lies above {})"
_BELOW = "(the 95 % interval of the paired differences over the seeds lies below 0)"
Figures = dict[str, dict[str, list[float]]]  # by way of training, by figure, by seed


@dataclass(frozen=True)
class Digits:
    """Images (N, 64) from 0 to 1 and labels (N,): to train on, and held out."""

    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Case:
    """One stack to train."""

    form: Form
    ways: tuple[str, ...]
    schedule: Schedule


@one_thread()
def reproduce(study: Study) -> list[Claim]:
    """All comparisons."""
    digits = digits_of(study.data or "digits")
    study.say("perceptrons by bidirectional and hybrid adversarial learning, and by what they are held against")
    hidden, flat, competing = in_two_processes(partial(trained, digits, study.seeds), cases(study))
    figures = [figures_of(networks, digits, study.seeds) for networks in (hidden, flat, competing)]
    study.say("int8 files under the float networks' attacks")
    shipped = on_files({way: hidden[way] for way in (BACK, BOTH)}, digits)
    return [*_hidden(figures[0]), *_honest(figures[0]), *_shipped(shipped, figures[0]), *_flat(figures[1]),
            *_competing(figures[2])]  # fmt: skip


def cases(study: Study) -> list[Case]:
    """The three stacks, at the study's effort."""
    equal = Schedule(study.epochs(STEPS), 3e-3, 3e-3)
    competing = Schedule(study.epochs(STEPS_COMPETING), 1e-3, 1e-3)
    return [
        Case(HIDDEN, (BACK, BOTH, HALF, NOISY, ADVERSARIAL), equal),
        Case(FLAT, (BACK, BOTH, HALF), equal),
        Case(COMPETING, (BACK, ADVERSARY, HALF_ADVERSARY), competing),
    ]


def digits_of(name: str) -> Digits:
    """8 x 8 images of a data set, in grey from 0 to 1.

    Raises:
        BadInput: it has not ten classes.
    """
    data = load(name, 1, 8)
    if len(data.labels) != HIDDEN.widths[-1]:
        raise BadInput(f"{name}: this study's networks tell 10 classes, the data have {len(data.labels)}; give others")
    (images, labels), (test_images, test_labels) = (
        split.batch(range(size_of(split)))  # type: ignore[attr-defined]
        for split in (data.train, data.test)
    )
    return Digits(images.flatten(1) / 255, labels, test_images.flatten(1) / 255, test_labels)


def trained(digits: Digits, seeds: Sequence[int], case: Case) -> Networks:
    """What a case comes to."""
    if ADVERSARY in case.ways:
        return train_adversaries(case.form, digits.images, digits.labels, seeds, case.schedule)
    return train_two_ways(case.form, digits.images, digits.labels, seeds, case.schedule, case.ways)


def figures_of(networks: Networks, digits: Digits, seeds: Sequence[int]) -> Figures:
    """Every figure of every network."""
    found: Figures = {}
    for way, of_seeds in networks.items():
        rows = [measured(network, digits, seed) for network, seed in zip(of_seeds, seeds)]
        found[way] = {name: [row[name] for row in rows] for name in rows[0]}
    return found


def measured(network: nn.Module, digits: Digits, seed: int) -> dict[str, float]:
    """Accuracies on the held-out images as they are, noisy and attacked; confidence on noise; ±1 weights; slopes."""
    draws = torch.Generator().manual_seed(seed)
    row = {name: accuracy(network, images, digits) for name, images in seen(network, digits, draws).items()}
    with torch.no_grad():
        sure = network(torch.rand(digits.test_images.shape, generator=draws)).softmax(1).amax(1).mean().item()
        row[SIGNS] = accuracy(in_signs(network), digits.test_images, digits)
    return row | {SURE: sure, SLOPES: zero_slope_share(network, digits.test_images, digits.test_labels)}


def seen(network: nn.Module, digits: Digits, draws: torch.Generator) -> dict[str, Tensor]:
    """The held-out images by condition; attacks know the network and the true class."""
    images, labels = digits.test_images, digits.test_labels
    return {
        CLEAN: images,
        BRIGHT: uniform_noise(images, REACH, draws),
        NOISE: gaussian_noise(images, SPREAD, draws),
        FGSM: fgsm(network, images, labels, REACH),
        PGD: pgd(network, images, labels, REACH),
    }


def accuracy(network: Callable[[Tensor], Tensor], images: Tensor, digits: Digits) -> float:
    with torch.no_grad():
        return (network(images).argmax(1) == digits.test_labels).float().mean().item()


@torch.no_grad()
def in_signs(network: nn.Module) -> nn.Module:
    """A copy whose matrices are signs times their mean size, one for each matrix, so that both directions have it."""
    return nn.Sequential(*map(_in_signs, network.children())).eval()


def _in_signs(layer: nn.Module) -> nn.Module:
    if not isinstance(layer, nn.Linear):
        return layer
    signed = nn.Linear(layer.in_features, layer.out_features, bias=False)
    weight = layer.weight
    signed.weight = nn.Parameter(torch.where(weight >= 0, 1.0, -1.0) * weight.abs().mean())
    return signed


def on_files(networks: Networks, digits: Digits) -> Figures:
    """Accuracies of int8 files in ONNX Runtime, on images as they are and as attacked on the float network."""
    calibration = {"image": digits.images[:CALIBRATION].numpy()}
    example = {"image": digits.images[:1]}
    with TemporaryDirectory() as folder:
        flat = [(way, place, network) for way, of_seeds in networks.items() for place, network in enumerate(of_seeds)]
        files = side_by_side([
            partial(ship, f"{way}-{place}", network, example, calibration, Path(folder), ("onnx",), ("int8",))
            for way, place, network in flat
        ])  # fmt: skip
        rows = [(way, _on_file(file["onnx", "int8"], network, digits)) for (way, _, network), file in zip(flat, files)]
    names = (CLEAN, FGSM, PGD)
    return {way: {name: [row[name] for found, row in rows if found == way] for name in names} for way in networks}


def _on_file(path: Path, network: nn.Module, digits: Digits) -> dict[str, float]:
    def scores(images: Tensor) -> Tensor:
        (logits,) = run_on(path, {"image": images.numpy()}).values()
        return torch.from_numpy(logits)

    by_condition = seen(network, digits, torch.Generator().manual_seed(0))
    return {name: accuracy(scores, by_condition[name], digits) for name in (CLEAN, FGSM, PGD)}


def _hidden(found: Figures) -> list[Claim]:
    back, both, half = (found[way] for way in (BACK, BOTH, HALF))
    subject = "bidirectional learning of a perceptron with 64 hidden units"
    table = _table("64-64-10 with sigmoids", found)
    lost = {way: [a - b for a, b in zip(found[way][CLEAN], found[way][SIGNS])] for way in (BACK, BOTH)}
    return [
        above(f"{subject} is at least 5 points more accurate than back-propagation under FGSM of {REACH:g} "
              f"{_ABOVE.format('5 points')}", ACCURACY, back[FGSM], both[FGSM], 0.05, table=table),
        above(f"it is at most one point less accurate on clean images {_ABOVE.format('-1 point')}", ACCURACY,
              back[CLEAN], both[CLEAN], -0.01),
        above(f"it is at least 5 points more accurate under PGD of {REACH:g}, 20 steps {_ABOVE.format('5 points')}",
              ACCURACY, back[PGD], both[PGD], 0.05),
        above(f"with generation in the first half of the batches only, it is at least 5 points more accurate under "
              f"FGSM {_ABOVE.format('5 points')}", ACCURACY, back[FGSM], half[FGSM], 0.05),
        above(f"it is more accurate under Gaussian noise of {SPREAD:g} {_ABOVE.format('0')}", ACCURACY, back[NOISE],
              both[NOISE]),
        below(f"it is less sure of images of pure noise {_BELOW}", CONFIDENCE, back[SURE], both[SURE]),
        below(f"it loses less accuracy where its matrices become ±1 after training {_BELOW}", LOSS, lost[BACK],
              lost[BOTH]),
    ]  # fmt: skip


def _honest(found: Figures) -> list[Claim]:
    both = found[BOTH]
    return [
        above(f"bidirectional learning is at least as accurate under PGD as back-propagation on FGSM's images "
              f"{_ABOVE.format('0')}", ACCURACY, found[ADVERSARIAL][PGD], both[PGD]),
        above(f"bidirectional learning is at least as accurate under PGD as back-propagation on noisy images "
              f"{_ABOVE.format('0')}", ACCURACY, found[NOISY][PGD], both[PGD]),
    ]  # fmt: skip


def _shipped(files: Figures, floats: Figures) -> list[Claim]:
    kept = "on int8 files in ONNX Runtime, attacked by what FGSM found on the float network,"
    return [
        above(f"{kept} bidirectional learning is at least 5 points more accurate than back-propagation "
              f"{_ABOVE.format('5 points')}", ACCURACY, files[BACK][FGSM], files[BOTH][FGSM], 0.05),
        above(f"{kept} it is at most one point less accurate than its float network {_ABOVE.format('-1 point')}",
              ACCURACY, floats[BOTH][FGSM], files[BOTH][FGSM], -0.01),
    ]  # fmt: skip


def _flat(found: Figures) -> list[Claim]:
    back, both = found[BACK], found[BOTH]
    return [
        above(f"without a hidden layer bidirectional learning is at least 8 points more accurate under FGSM "
              f"{_ABOVE.format('8 points')}", ACCURACY, back[FGSM], both[FGSM], 0.08,
              table=_table("64-10, without a hidden layer", found)),
        above(f"without a hidden layer it is at most one point less accurate on clean images "
              f"{_ABOVE.format('-1 point')}", ACCURACY, back[CLEAN], both[CLEAN], -0.01),
    ]  # fmt: skip


def _competing(found: Figures) -> list[Claim]:
    back, ours, half = (found[way] for way in (BACK, ADVERSARY, HALF_ADVERSARY))
    subject = "hybrid adversarial learning of a perceptron with 128 hidden ReLUs"
    return [
        above(f"{subject} is more accurate than back-propagation under PGD {_ABOVE.format('0')}", ACCURACY, back[PGD],
              ours[PGD], table=_table("64-128-10 with ReLUs", found)),
        above(f"for the first half of the batches it is more accurate under PGD {_ABOVE.format('0')}", ACCURACY,
              back[PGD], half[PGD]),
    ]  # fmt: skip


def _table(title: str, found: Mapping[str, Mapping[str, Sequence[float]]]) -> Table:
    names = (CLEAN, BRIGHT, NOISE, FGSM, PGD, SIGNS, SURE, SLOPES)
    rows = [[way, *(percent_cell(list(figures[name])) for name in names)] for way, figures in found.items()]
    return {"title": f"{title}: accuracy by condition, and further shares, percent", "columns": ["trained by", *names],
            "rows": rows}  # fmt: skip

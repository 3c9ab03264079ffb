"""Crops of photographs coded with dictionaries, and what the codes are worth: what conditions of a study share."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import Tensor

from ..models.data.photographs import NAME, load_photographs
from ..models.sparse_coding import (
    Circular,
    Solution,
    admm,
    code_bits,
    psnr,
    without_small,
)

Solve = Callable[[Circular, Tensor, float, int], Solution]

CUTOFF = 0.1  # coefficients below it are dropped
CONVERGED = 0.01  # the largest duality gap of a code that is called so


@dataclass(frozen=True)
class Coded:
    """Figures of codes, crop by crop.

    Attributes:
        dictionary: its name.
        weight: of the sum of absolute coefficients.
        iterations: that were done.
        counts: coefficients that are not 0, per pixel.
        decibels: signal-to-noise ratio of the reconstruction.
        dropped: the same without coefficients below `CUTOFF`.
        bits: of the code, per pixel.
        objectives: per pixel.
        gaps: duality gaps, as shares of the objective.
    """

    dictionary: str
    weight: float
    iterations: int
    counts: list[float]
    decibels: list[float]
    dropped: list[float]
    bits: list[float]
    objectives: list[float]
    gaps: list[float]

    def row(self) -> list[str]:
        """A row of a table, of means; columns are `COLUMNS`."""
        ended = "yes" if max(self.gaps) <= CONVERGED else "no"
        figures = [self.counts, self.decibels, self.dropped, self.bits, self.objectives]
        shown = [f"{fmean(values):.{digits}f}" for values, digits in zip(figures, (3, 2, 2, 1, 4))]
        return [self.dictionary, f"{self.weight:.3g}", str(self.iterations), *shown, f"{max(self.gaps):.2%}", ended]


COLUMNS = [
    "dictionary",
    "weight",
    "iterations",
    "coefficients per pixel",
    "dB",
    f"dB without those below {CUTOFF:g}",
    "bits per pixel",
    "objective per pixel",
    "largest duality gap",
    f"converged to {CONVERGED:.0%}",
]


@dataclass(frozen=True)
class Crops:
    """What a study codes.

    Attributes:
        held_out: (S, 1, H, W), one for each seed, none overlapping another.
        training: (N, 1, H, W), from other parts of the photographs.
    """

    held_out: Tensor
    training: Tensor


def read_crops(data: str | None, seeds: Sequence[int], size: int) -> Crops:
    """Of the photographs named, or the bundled ones; as many seeds in a row as there are crops have different ones."""
    found = load_photographs(data or NAME, size)
    held_out, training = (part.samples for part in (found.test, found.train))  # type: ignore[attr-defined]
    order = torch.randperm(len(held_out), generator=torch.Generator().manual_seed(0))
    return Crops(held_out[order[torch.tensor(seeds) % len(held_out)]], training)


def coded(name: str, kernels: Tensor, crops: Tensor, weight: float, iterations: int, solve: Solve = admm) -> Coded:
    """Codes crops (S, 1, H, W) with kernels (K, h, w) on a torus."""
    operator = Circular(kernels, *crops.shape[-2:])
    found = solve(operator, crops, weight, iterations)
    pixels = crops[0].numel()
    left = operator.synthesise(without_small(found.code, CUTOFF))
    return Coded(
        name,
        weight,
        found.iterations,
        ((found.code != 0).flatten(1).sum(1) / pixels).tolist(),
        psnr(crops, found.reconstruction).tolist(),
        psnr(crops, left).tolist(),
        (code_bits(found.code) / pixels).tolist(),
        (found.objective / pixels).tolist(),
        found.gap.tolist(),
    )


def closely(operator: Circular, crops: Tensor, weight: float, iterations: int) -> Solution:
    """ADMM that starts slowly and ends near the optimum: its two codes are held together less."""
    return admm(operator, crops, weight, iterations, stiffness=1.5 * weight)


def weight_for(decibels: float, curve: Sequence[Coded]) -> float:
    """The weight at which codes reach a mean signal-to-noise ratio, between those of `curve`."""
    points = sorted((fmean(each.decibels), each.weight) for each in curve)
    quality, logarithms = [each[0] for each in points], [math.log(each[1]) for each in points]
    return math.exp(float(np.interp(decibels, quality, logarithms)))

"""Published nonlinearity labels and the curvature of the exponential pulse response that they name.

A device whose conductance follows y(x) = B (1 - exp(-x / A)), B = 1 / (1 - exp(-1 / A)), from 0 to 1 while x, the share
of its pulses, goes from 0 to 1, is said to have a nonlinearity: a label from 0 (a straight line) to about 10. The label
is the largest distance of the curve from the diagonal over 0.07, and has a closed form:

    label(A) = (B - A - A ln(B / A)) / (0.07 √2)

Positive labels are concave curves (large steps first), negative ones convex. It reproduces the table that simulators
print (MLP+NeuroSim's, Chen, Peng and Yu, IEEE TCAD 37, 2018) to all its digits.
"""

import math

import torch
from torch import Tensor

from ...errors import BadInput
from .device import LARGEST

STRAIGHT = 0.005  # below, a device counts as linear
_LOW, _HIGH, _HALVINGS = math.log(1e-3), math.log(1e5), 60


def label_of(curvature: Tensor) -> Tensor:
    """The label of curvatures A, of either sign; float64, same shape."""
    a = curvature.abs().double()
    b = -1.0 / torch.expm1(-1.0 / a)
    # Where the curve is all but straight both forms lose digits: there the distance is 1 / (8 A), its first term.
    exact = b - a - a * torch.log(b / a)
    distance = torch.where(a > 1e3, 0.125 / a, exact)
    return torch.copysign(distance / (0.07 * math.sqrt(2.0)), curvature.double())


def curvature_of(label: Tensor) -> Tensor:
    """The curvature A of labels, by bisection on its logarithm; infinite for labels that count as straight.

    Args:
        label: any shape, from -9 to 9.

    Raises:
        BadInput: a label is beyond what a curve can have, or no number.
    """
    wanted = label.double()
    if not bool((wanted.abs() <= LARGEST).all()):
        raise BadInput(
            f"nonlinearity {wanted.flatten()[wanted.abs().argmax()]:g}: must be from -{LARGEST:g} to {LARGEST:g}"
        )
    low, high = torch.full_like(wanted, _LOW), torch.full_like(wanted, _HIGH)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        is_flatter = label_of(middle.exp()) < wanted.abs()
        low, high = torch.where(is_flatter, low, middle), torch.where(is_flatter, middle, high)
    found = torch.copysign(((low + high) / 2).exp(), wanted)
    return torch.where(wanted.abs() < STRAIGHT, torch.inf, found)

"""Learned rounding: weight steps and codes of least output error, each code within one of the nearest.

Nagel et al., Up or Down? Adaptive Rounding for Post-Training Quantization, ICML 2020: rounding every weight to its
nearest code is not what disturbs a layer's outputs least, because the errors of one kernel add up. Their objective is
kept (eq. 13, layer by layer, on the quantized inputs against the float outputs); it is minimised by exact coordinate
descent on the codes themselves in place of their relaxation with Adam. It ends by itself; nothing is drawn at random.
"""

import torch
from torch import Tensor

from .moments import Moments

_SWEEPS = 6  # over all taps, at most; later ones change next to nothing
_SHARES = [share / 20 for share in range(5, 21)]  # of the step that clips no weight
_FULL = 1024  # taps up to which products of errors count too, not only their squares
_BLOCK = 128  # taps whose effect on the others is added at once, as in GPTQ (Frantar et al., ICLR 2023)


def best_steps(weight: Tensor, steps: Tensor, most: int, moments: Moments) -> Tensor:
    """For each output the weight step whose nearest codes disturb its outputs least.

    A step of least squared error in the weights themselves, as `steps` are, serves large weights of inputs that hardly
    vary as well as those that matter. That is what folding a norm into the layer behind it makes.

    Args:
        weight: (g, o, k) float weights.
        steps: (g, o), tried too, so that the result is never worse.
        most: codes are within ± this.
    """
    square, weight = _around_mean(moments)[0].float(), weight.float()
    widest = weight.abs().amax(2) / most
    best, least = steps.float(), torch.full(steps.shape, torch.inf)
    for candidate in (steps.float(), *(widest * share for share in _SHARES)):
        step = candidate.clamp(min=1e-12).unsqueeze(2)
        change = torch.round(weight / step).clamp(-most, most) * step - weight
        if square.shape[1] <= _FULL:
            error = ((change @ square) * change).sum(2)
        else:
            error = (change.square() @ torch.diagonal(square, dim1=1, dim2=2).unsqueeze(2)).squeeze(2)
        best, least = torch.where(error < least, candidate, best), torch.minimum(error, least)
    return best


def _around_mean(moments: Moments) -> tuple[Tensor, Tensor]:
    """Second moments around the means of inputs and outputs: the bias, chosen last, is taken to be free."""
    square = moments.square - moments.inputs.unsqueeze(2) * moments.inputs.unsqueeze(1)  # (g, k, k)
    return square, moments.cross - moments.wanted.unsqueeze(2) * moments.inputs.unsqueeze(1)  # (g, o, k)


def learned_codes(nearest: Tensor, scale: Tensor, most: int, moments: Moments) -> Tensor:
    """Codes within ±1 of `nearest` and within ±`most`.

    Args:
        nearest: (g, o, k) codes to begin with.
        scale: (g, o) weight scales.
        moments: of the layer's inputs and wanted outputs.

    Returns:
        (g, o, k) codes, float32.
    """
    square, cross = _around_mean(moments)
    # Taps first, so that one tap of all outputs lies together in memory.
    square, cross = square.float().movedim(0, 2), cross.float().movedim(2, 0)  # (k, k, g), (k, g, o)
    codes, step = nearest.float().movedim(2, 0).contiguous(), scale.float()  # (k, g, o), (g, o)
    low, high = (codes - 1).clamp(min=-most), (codes + 1).clamp(max=most)
    for _ in range(_SWEEPS):
        before = codes.clone()
        slope = torch.einsum("jkg,kgo->jgo", square, codes * step) - cross  # half the error's gradient by the weights
        for first in range(0, len(codes), _BLOCK):
            _descend(codes, slope, square, step, low, high, slice(first, first + _BLOCK))
        if torch.equal(before, codes):
            break
    return codes.movedim(0, 2)


def _descend(
    codes: Tensor, slope: Tensor, square: Tensor, step: Tensor, low: Tensor, high: Tensor, block: slice
) -> None:
    """Sets each tap of a block to the best code while all others stay, for all outputs at once."""
    inner, mine, before = square[block, block], slope[block], codes[block].clone()
    for place in range(len(inner)):
        tap = block.start + place
        curvature = inner[place, place].unsqueeze(1) * step
        # A tap that never varies says nothing; its code stays.
        move = torch.where(curvature > 1e-30, -mine[place] / curvature.clamp(min=1e-30), 0.0).round()
        code = torch.minimum(torch.maximum(codes[tap] + move, low[tap]), high[tap])
        change = (code - codes[tap]) * step
        codes[tap] = code
        mine[place + 1 :] += inner[place + 1 :, place].unsqueeze(2) * change
    later = slice(block.stop, None)
    slope[later] += torch.einsum("jkg,kgo->jgo", square[later, block], (codes[block] - before) * step)

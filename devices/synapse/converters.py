"""Digital-to-analog and analog-to-digital converters at the edges of a crossbar: uniform levels within a range.

A converter of b bits has 2^b levels from `low` to `high`, both ends among them. On a range that is symmetric about 0 it
has one less, so that 0 is a level and conversion is odd: convert(-x) = -convert(x). That is how codes of b bits are
used where they carry a sign. One bit is the exception, as it has no middle: a comparator, whose outcome at 0 is `high`.

Not modelled: offset, gain error, noise, and levels that are not evenly spread.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadInput

MOST_BITS = 16  # of a converter; more would also be finer than float32 tells apart
# Joules per conversion step. An assumption, to be replaced by the figure of the converter in question: B. Murmann, "ADC
# Performance Survey 1997-", lists it for published ones.
FIGURE_OF_MERIT = 10e-15


@dataclass(frozen=True)
class Converter:
    """A converter in either direction.

    Attributes:
        bits: 1 to 16, or 0 for an ideal one, which has no levels and no range.

    Raises:
        BadInput: `bits` is beyond these.
    """

    bits: int

    def __post_init__(self) -> None:
        if not 0 <= self.bits <= MOST_BITS:
            raise BadInput(f"bits {self.bits}: a converter must have 1 to {MOST_BITS}, or 0 for an ideal one")

    def convert(self, values: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
        """The nearest level of each value: at most half a step away within the range, an end outside of it.

        The ends come out exactly where `low` is 0 or -`high`, and to rounding elsewhere. Values midway between two
        levels go to either; with one bit to `high`.

        Args:
            values: floating point, any shape and unit; NaN stays NaN.
            low, high: ends of the range in the same unit, low <= high; tensors are broadcast against `values`.

        Returns:
            As `values`, in its dtype; with 0 bits `values` itself, whatever the range.

        Raises:
            BadInput: `low` is above `high`, or one of them is not finite.
        """
        if self.bits == 0:
            return values
        low, high = _ends(low, high, values)
        middle, half = (low + high) / 2, (high - low) / 2
        # Levels are counted from the middle, in whole steps or, where their number is even, in odd half steps.
        most = self._steps(low, high) / 2
        # Where the range is empty every value is its middle.
        place = (_clamped(values, low, high) - middle) / (half + (half == 0))
        if self.bits == 1:
            place = torch.where(place.isnan(), place, torch.where(place >= 0, 1.0, -1.0).to(place.dtype))
        else:
            place = ((place * most - most % 1).round() + most % 1) / most
        return _clamped(middle + half * place, low, high)

    def around_zero(self, values: Tensor, low: float, high: float) -> Tensor:
        """As `convert`, with a level on 0: what drives nothing drives nothing. Ends may lie up to a step inside.

        Args:
            low, high: ends of the range, low <= 0 <= high.
        """
        if self.bits == 0 or low == high:
            return values
        step = (high - low) / ((1 << self.bits) - 1)
        least, most = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        return torch.clamp(torch.round(values / step), least, most) * step

    def step(self, low: float, high: float) -> float:
        """The distance between levels, what is called one LSB; 0 for an ideal converter."""
        return float((high - low) / self._steps(low, high)) if self.bits else 0.0

    def _steps(self, low: float | Tensor, high: float | Tensor) -> float | Tensor:
        """How many steps there are from `low` to `high`: one less than levels."""
        return 1 if self.bits == 1 else (1 << self.bits) - 1 - (low == -high) * 1


def adc_range(sums: Tensor, share: float = 1.0) -> Tensor:
    """The end `high` of a symmetric range [-high, high] that holds this share of observed partial sums.

    Args:
        sums: any shape, at least one; all of one tensor get one range.
        share: above 0 to 1; 1 takes the largest absolute value, 0.999 leaves one in a thousand to be clamped.

    Returns:
        A tensor of no dimension, one of the absolute values; dtype and device of `sums`.

    Raises:
        BadInput: there are no sums, one is not finite, or `share` is out of bounds.
    """
    if not 0 < share <= 1:
        raise BadInput(f"share {share:g}: must be above 0 and at most 1")
    if sums.numel() == 0:
        raise BadInput("partial sums: none were observed; run samples through the crossbar first")
    sizes = sums.detach().abs().flatten()
    if not bool(sizes.isfinite().all()):
        raise BadInput(f"partial sum {float(sizes[~sizes.isfinite()][0]):g}: must be finite")
    if share == 1:
        return sizes.max()
    # An order statistic: `torch.quantile` takes at most 16 million values.
    return sizes.kthvalue(math.ceil(share * sizes.numel())).values


def adc_joules(bits: int, figure_of_merit: float = FIGURE_OF_MERIT) -> float:
    """Energy of one conversion, estimated as figure_of_merit 2^bits (R. H. Walden, IEEE JSAC 17, 1999).

    The figure is defined by the effective number of bits; with nominal ones the estimate is on the high side.

    Args:
        bits: of the converter; 0, an ideal one, costs nothing.
        figure_of_merit: joules per conversion step, 0 or more. The default is an assumption, see `FIGURE_OF_MERIT`.

    Raises:
        BadInput: `bits` is not from 0 to 16, or the figure is negative or not finite.
    """
    if not 0 <= figure_of_merit < math.inf:
        raise BadInput(f"figure_of_merit {figure_of_merit:g}: must be a finite number of joules, 0 or more")
    return figure_of_merit * 2.0**bits if Converter(bits).bits else 0.0


def _ends(low: float | Tensor, high: float | Tensor, values: Tensor) -> tuple[float, float] | tuple[Tensor, Tensor]:
    """Both ends as numbers, which is faster, or both as tensors like `values`."""
    if not isinstance(low, Tensor) and not isinstance(high, Tensor):
        if not -math.inf < low <= high < math.inf:
            raise _bad_range(low, high)
        return low, high
    first, last = (torch.as_tensor(end, dtype=values.dtype, device=values.device) for end in (low, high))
    wrong = ~((first <= last) & first.isfinite() & last.isfinite())
    if bool(wrong.any()):
        raise _bad_range(*(float(end.expand_as(wrong)[wrong][0]) for end in (first, last)))
    return first, last


def _bad_range(low: float, high: float) -> BadInput:
    return BadInput(f"range {low:g} to {high:g}: must be finite, and low at most high")


def _clamped(values: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    if isinstance(low, Tensor) and isinstance(high, Tensor):
        return values.clamp(low, high)
    return values.clamp(float(low), float(high))

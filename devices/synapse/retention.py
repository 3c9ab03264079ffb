"""What time and reads do to a programmed conductance.

Functions are pure: where chance has a part, the caller draws standard normal numbers and passes them in. The same
numbers at two times tell two moments of one device's life. `g` is a conductance as a share of the largest nominal one,
0 to 1; where siemens are meant, the name says so. Constants are those of the statistical models in IBM's aihwkit.

Not modelled anywhere here: temperature, disturbance by reads and by writes to neighbours, and devices that fail.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...errors import BadInput

DAY = 86400.0  # seconds
TEN_YEARS = 3652.5 * DAY  # as far as anyone extrapolates


def drifted(conductance: Tensor, seconds: float, start: float, exponent: float | Tensor) -> Tensor:
    """Power-law drift G(t) = G (t / t0)^-nu (structural relaxation; Le Gallo et al., Adv. Electron. Mater. 4, 2018).

    Args:
        conductance: at `start`, any unit and shape.
        seconds: t, since programming. Up to `start` the conductance is returned as it is.
        start: t0 in seconds, above 0.
        exponent: nu, broadcast against `conductance`; positive ones lose conductance.

    Raises:
        BadInput: `start` is not above 0, or `seconds` is negative or not finite.
    """
    if not 0 < start < math.inf:
        raise BadInput(f"start {start:g}: must be above 0 seconds and finite")
    _check_seconds(seconds, 0.0, math.inf)
    if seconds <= start:
        return conductance
    decay = -math.log(seconds / start)
    return conductance * (torch.exp(exponent * decay) if isinstance(exponent, Tensor) else math.exp(exponent * decay))


@dataclass(frozen=True)
class PhaseChange:
    """Phase-change memory, programmed iteratively; fitted to an array of a million cells with g = 1 at 25 µS.

    S. R. Nandakumar et al., "Phase-change memory models for deep learning training and inference", ICECS 2019; V. Joshi
    et al., "Accurate deep neural network inference using computational phase-change memory", Nat. Commun. 11, 2473,
    2020. Holds for g from 0 to 1; times up to ten years are taken, though most of that is extrapolation. Not modelled:
    random telegraph noise, dependence of drift on the number of writes, and correlation between neighbours.

    Attributes:
        start_seconds: t0, when the conductance was first read.
        read_seconds: width of a read pulse, which bounds the bandwidth of noise.
    """

    start_seconds: float = 20.0
    read_seconds: float = 250e-9

    def program_sigma(self, g: Tensor) -> Tensor:
        """Standard deviation of what programming leaves, as a share of the largest conductance: about 1 to 4.3%.

        Raises:
            BadInput: a target is not from 0 to 1.
        """
        _check_within("conductance", g, 0.0, 1.0)
        return _polynomial((0.26348, 1.9650, -1.1731), g).clamp(min=0.0) / 25.0  # microsiemens / microsiemens

    def programmed(self, g: Tensor, normal: Tensor) -> Tensor:
        """Conductance after programming the target `g`, 0 or more; at the top it may exceed 1."""
        return (g + self.program_sigma(g) * normal).clamp(min=0.0)

    def exponent_figures(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the drift exponent of targets `g`, before its sign is taken away.

        Raises:
            BadInput: a target is not from 0 to 1.
        """
        _check_within("conductance", g, 0.0, 1.0)
        log = g.clamp(min=1e-7).log()  # both figures have met their bounds before
        return (0.0244 - 0.0155 * log).clamp(0.049, 0.1), (-0.0059 - 0.0125 * log).clamp(0.008, 0.045)

    def exponents(self, g: Tensor, normal: Tensor) -> Tensor:
        """A drift exponent for each device with target `g`, 0 or more."""
        mean, deviation = self.exponent_figures(g)
        return (mean + deviation * normal).abs()

    def read_sigma(self, programmed: Tensor, seconds: float) -> Tensor:
        """Standard deviation of 1/f noise that has built up after so many seconds, as a share of the conductance then.

        Args:
            programmed: conductance after programming, as a share, 0 or more.
            seconds: since programming, from the width of a read pulse on.

        Raises:
            BadInput: a bound is left.
        """
        _check_within("conductance", programmed, 0.0, math.inf)
        _check_seconds(seconds, self.read_seconds, TEN_YEARS)
        growth = math.log((seconds + self.read_seconds) / (2 * self.read_seconds))
        return (0.0088 * programmed.clamp(min=1e-7) ** -0.65).clamp(max=0.2) * math.sqrt(growth)

    def aged(self, g: Tensor, seconds: float, program: Tensor, exponent: Tensor, read: Tensor) -> Tensor:
        """What is read of targets `g` so many seconds after programming: programmed, drifted, and with read noise.

        Args:
            g: (...) targets, 0 to 1.
            seconds: since programming, from the width of a read pulse to ten years.
            program, exponent, read: (...) standard normal numbers, the last ones new for each read.

        Raises:
            BadInput: a bound is left.
        """
        programmed = self.programmed(g, program)
        now = drifted(programmed, seconds, self.start_seconds, self.exponents(g, exponent))
        return (now * (1 + self.read_sigma(programmed, seconds) * read)).clamp(min=0.0)


@dataclass(frozen=True)
class FilamentSpread:
    """Filamentary resistive memory that relaxes at random about its target, with g = 1 at 40 µS.

    Fitted to the figures of W. Wan et al., "A compute-in-memory chip based on resistive random-access memory", Nature
    608, 2022, that show conductances after 1 second, 1 day and 2 days. Between these the deviation is interpolated
    linearly in the logarithm of time, which is this file's assumption; beyond them nothing is known. The middle of the
    range spreads most, both ends least. Not modelled: read noise (about 1%), and a shift of the mean.
    """

    def sigma(self, g: Tensor, seconds: float) -> Tensor:
        """Standard deviation about targets `g`, as a share of the largest conductance: 0.9 to 10%.

        Args:
            g: targets, 0 to 1.
            seconds: since programming, 1 to 172,800.

        Raises:
            BadInput: a bound is left.
        """
        _check_within("conductance", g, 0.0, 1.0)
        times = tuple(_FILAMENT)
        _check_seconds(seconds, times[0], times[-1])
        before, after = times[:2] if seconds <= times[1] else times[1:]
        share = math.log(seconds / before) / math.log(after / before)
        first, last = (_polynomial(_FILAMENT[time], g) for time in (before, after))
        return (first * (1 - share) + last * share) / 40.0  # microsiemens / microsiemens

    def aged(self, g: Tensor, seconds: float, normal: Tensor) -> Tensor:
        """Conductance of targets `g` so many seconds after programming, 0 or more; at the top it may exceed 1."""
        return (g + self.sigma(g, seconds) * normal).clamp(min=0.0)


# Microsiemens: coefficients of 1, g, g^2, g^3 and g^4, by seconds since programming.
_FILAMENT = {
    1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
    DAY: (0.701, 22.086, -50.773, 47.095, -16.458),
    2 * DAY: (0.782, 20.274, -43.507, 37.062, -11.934),
}


@dataclass(frozen=True)
class OxideRelaxation:
    """Conductive metal oxide on HfOx, whose conductance sinks slowly and alike in all states.

    D. F. Falcone et al., "All-in-One Analog AI Hardware: On-Chip Training and Inference with Conductive-Metal-
    Oxide/HfOx ReRAM Devices", arXiv 2502.04524, 2025. Mean and deviation of the shift are linear in the logarithm of
    time, from 1 second to ten years, most of which the authors extrapolate. Not modelled: read noise, and the error of
    programming, which is next to nothing (10 nS).

    Attributes:
        low_siemens, high_siemens: between which devices were programmed.
    """

    low_siemens: float = 8e-6
    high_siemens: float = 90e-6

    def shift_figures(self, seconds: float) -> tuple[float, float]:
        """Mean and standard deviation of the shift, siemens.

        Raises:
            BadInput: `seconds` is not from 1 to ten years.
        """
        _check_seconds(seconds, 1.0, TEN_YEARS)
        return -0.08900206e-6 * math.log(seconds), 0.04201137e-6 * math.log(seconds) + 0.41183342e-6

    def aged(self, siemens: Tensor, seconds: float, normal: Tensor) -> Tensor:
        """Conductance in siemens of devices so many seconds after they were programmed to `siemens`, 0 or more.

        Raises:
            BadInput: a conductance is outside `low_siemens` to `high_siemens`, or `seconds` not from 1 to ten years.
        """
        _check_within("siemens", siemens, self.low_siemens, self.high_siemens)
        mean, deviation = self.shift_figures(seconds)
        return (siemens + mean + deviation * normal).clamp(min=0.0)


def compensation(before: Tensor, after: Tensor) -> Tensor:
    """Global drift compensation: the one factor by which a layer's outputs are multiplied in digital.

    Both arguments are a layer's outputs for inputs that are all 1, (..., outputs), in any unit; the factor is the ratio
    of their summed sizes (Le Gallo et al., 2018; Joshi et al., 2020). It undoes what all devices have in common.

    Args:
        before: right after programming.
        after: now.

    Returns:
        A tensor of no dimension.

    Raises:
        BadInput: the present outputs are all 0, or an output is not finite.
    """
    then, now = before.abs().sum(), after.abs().sum()
    if not bool(then.isfinite() & now.isfinite()):
        raise BadInput("outputs to compensate: must be finite")
    if not bool(now > 0):
        raise BadInput("outputs to compensate: all are 0 now, which no factor can undo")
    return then / now


def _polynomial(coefficients: tuple[float, ...], g: Tensor) -> Tensor:
    value = torch.full_like(g, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * g + coefficient
    return value


def _check_within(name: str, values: Tensor, low: float, high: float) -> None:
    wrong = ~((values >= low) & (values <= high) & values.isfinite())
    if bool(wrong.any()):
        bound = f"from {low:g} to {high:g}" if high < math.inf else f"finite and {low:g} or more"
        raise BadInput(f"{name} {float(values[wrong][0]):g}: must be {bound}")


def _check_seconds(seconds: float, low: float, high: float) -> None:
    if not low <= seconds <= high or seconds == math.inf:
        bound = f"from {low:g} to {high:g}" if high < math.inf else f"finite and {low:g} or more"
        raise BadInput(f"seconds {seconds:g}: must be {bound}")

"""`Scheme`: how a network is to be quantized, as one flat value kept with the program."""

import re
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import BadInput

CALIBRATIONS = ("minmax", "percentile", "mse", "entropy")
ROUNDINGS = ("nearest", "learned")

# What a scheme is called -> (weight bits, activation bits).
NAMED_BITS = {"int8": (8, 8), "ternary": (2, 8), "binary-weights": (1, 8), "binary": (1, 1)}


@dataclass(frozen=True)
class Scheme:
    """How many bits, and how their numbers are chosen.

    Weights are symmetric with one scale per output channel: codes of 3 to 8 bits span ±(2^(bits-1) - 1), codes of 2
    bits are -1, 0 and +1, codes of 1 bit -1 and +1. Activations are affine with one scale per tensor. Fewer than 8
    activation bits apply to what convolutions and linear layers read; every other value (sums, attention, outputs)
    keeps 8 bits.

    Attributes:
        weight_bits: bits of weight codes, 1 to 8.
        activation_bits: bits of what a convolution or linear layer reads: 1, or 3 to 8.
        border_bits: bits of weights and inputs of the first and the last layer.
        layers: (module path, weight bits, activation bits) of layers that differ, as mixed precision needs it.
        calibration: how an activation's range is chosen: `minmax`, `percentile`, `mse` or `entropy`.
        percentile: share of the values kept by `percentile`, in percent.
        samples: how many calibration samples are read at most.
        keep_float: module paths (or prefixes of them) that stay in float32.
        keep_int8: module paths (or prefixes of them) whose layers keep 8 bits.
        rounding: of weights, `nearest` or `learned` on the calibration samples.
        correct_bias: put each channel's mean error on the calibration samples into the bias.
        equalize: even out the channels of neighbouring layers before anything is quantized.
        smooth: share (0 to 1) of a norm's uneven channels that moves into the linear layers behind it; None for none.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    border_bits: int = 8
    layers: tuple[tuple[str, int, int], ...] = ()
    calibration: str = "mse"
    percentile: float = 99.99
    samples: int = 256
    keep_float: tuple[str, ...] = ()
    keep_int8: tuple[str, ...] = ()
    rounding: str = "learned"
    correct_bias: bool = True
    equalize: bool = False
    smooth: float | None = None

    def __post_init__(self) -> None:
        faults = []
        pairs = [(self.weight_bits, self.activation_bits), *((w, a) for _, w, a in self.layers)]
        for weight, activation in pairs:
            if not 1 <= weight <= 8:
                faults.append(f"weight bits must be 1 to 8, got {weight}")
            if activation not in (1, 3, 4, 5, 6, 7, 8):
                faults.append(f"activation bits must be 1 or 3 to 8, got {activation}")
        if not 3 <= self.border_bits <= 8:
            faults.append(f"bits of the first and last layer must be 3 to 8, got {self.border_bits}")
        if self.calibration not in CALIBRATIONS:
            faults.append(f"calibration must be one of {', '.join(CALIBRATIONS)}, got {self.calibration}")
        if not 50 < self.percentile <= 100:
            faults.append(f"percentile must be in (50, 100], got {self.percentile}")
        if self.samples < 1:
            faults.append(f"samples must be 1 or more, got {self.samples}")
        if self.rounding not in ROUNDINGS:
            faults.append(f"rounding must be one of {', '.join(ROUNDINGS)}, got {self.rounding}")
        if self.smooth is not None and not 0 <= self.smooth <= 1:
            faults.append(f"smooth must be in [0, 1], got {self.smooth}")
        if faults:
            raise BadInput("scheme: " + "; ".join(faults))

    @property
    def name(self) -> str:
        """`int8`, `w4a8`, `ternary`, `binary-weights`, `binary`, or `mixed` where layers differ."""
        if self.layers:
            return "mixed"
        bits = self.weight_bits, self.activation_bits
        named = {pair: name for name, pair in NAMED_BITS.items()}
        return named.get(bits, f"w{bits[0]}a{bits[1]}")

    def to_json(self) -> dict[str, Any]:
        value = asdict(self)
        return value | {name: list(value[name]) for name in ("layers", "keep_float", "keep_int8")}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Scheme":
        lists: dict[str, Any] = {name: tuple(value.get(name, ())) for name in ("keep_float", "keep_int8")}
        layers = tuple(
            (str(path), int(weight), int(activation)) for path, weight, activation in value.get("layers", ())
        )
        # What a scheme meant that does not name these.
        before: dict[str, Any] = {"rounding": "nearest", "correct_bias": False}
        return cls(**before | value | lists | {"layers": layers})


def bits_named(name: str) -> tuple[int, int]:
    """(weight bits, activation bits) of `int8`, `w4a8`, `ternary`, `binary-weights`, `binary`, ...

    Raises:
        BadInput: the name says no bits.
    """
    match = re.fullmatch(r"w([1-8])a([1-8])", name)
    if match:
        return int(match[1]), int(match[2])
    if name in NAMED_BITS:
        return NAMED_BITS[name]
    raise BadInput(f"scheme {name}: unknown; say w4a8 (weight and activation bits), {', '.join(NAMED_BITS)} or auto")

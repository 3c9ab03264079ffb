"""`Scheme`: how a network is to be quantized, as one flat value kept with the program."""

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import BadInput

CALIBRATIONS = ("minmax", "percentile", "mse", "entropy")


@dataclass(frozen=True)
class Scheme:
    """Post-training int8 quantization.

    Attributes:
        weight_bits: bits of weight codes, symmetric, one scale per output channel.
        activation_bits: bits of activation codes, affine, one scale per tensor.
        calibration: how an activation's range is chosen: `minmax`, `percentile`, `mse` or `entropy`.
        percentile: share of the values kept by `percentile`, in percent.
        samples: how many calibration samples are read at most.
        keep_float: module paths (or prefixes of them) that stay in float32.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    calibration: str = "mse"
    percentile: float = 99.99
    samples: int = 256
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults = []
        if self.weight_bits != 8 or self.activation_bits != 8:
            faults.append(f"bits must be 8 and 8, got {self.weight_bits} and {self.activation_bits}")
        if self.calibration not in CALIBRATIONS:
            faults.append(f"calibration must be one of {', '.join(CALIBRATIONS)}, got {self.calibration}")
        if not 50 < self.percentile <= 100:
            faults.append(f"percentile must be in (50, 100], got {self.percentile}")
        if self.samples < 1:
            faults.append(f"samples must be 1 or more, got {self.samples}")
        if faults:
            raise BadInput("scheme: " + "; ".join(faults))

    @property
    def name(self) -> str:
        return f"int{self.weight_bits}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"keep_float": list(self.keep_float)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Scheme":
        return cls(**value | {"keep_float": tuple(value.get("keep_float", ()))})

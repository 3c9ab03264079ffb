"""`Budget`: what a choice of bits may cost, in bytes of weights or in multiply-accumulates by their bits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import BadInput
from .layers import Assignment, Bits, Layer

_UNITS = {"b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2}
_NO_LATENCY = (
    "the engines here compute layers of 2 to 8 bits with the same int8 kernels, so that fewer bits save no time; give "
    "size or macbits instead"
)


@dataclass(frozen=True)
class Budget:
    """A limit on the sum over all layers.

    Attributes:
        kind: `size`, bytes of the weights' packed codes, or `macbits`, MACs times weight bits times activation bits.
        limit: bytes where `is_bytes`; else a share of float32 weights (size) or of MACs with 8 bits on both sides.
    """

    kind: str
    limit: float
    is_bytes: bool = False

    def __str__(self) -> str:
        return f"{self.kind}={self.limit:.0f}B" if self.is_bytes else f"{self.kind}={self.limit:.4g}"

    def spend(self, layer: Layer, bits: Bits) -> int:
        """What a layer costs at so many bits: bytes, or MACs times bits times bits."""
        return packed_bytes(layer, bits[0]) if self.kind == "size" else layer.macs * bits[0] * bits[1]

    def most(self, layers: Sequence[Layer]) -> float:
        """The limit in the unit of `spend`."""
        return self.limit if self.is_bytes else self.limit * self._whole(layers)

    def told(self, spent: float, layers: Sequence[Layer]) -> str:
        """What was spent, as a budget would say it."""
        return str(Budget(self.kind, spent if self.is_bytes else spent / self._whole(layers), self.is_bytes))

    def _whole(self, layers: Sequence[Layer]) -> int:
        if self.kind == "size":
            return sum(4 * layer.weights for layer in layers)
        return sum(64 * layer.macs for layer in layers)


def packed_bytes(layer: Layer, weight_bits: int) -> int:
    """Bytes of a layer's weight codes without a gap between them; scales and biases come on top, whatever the bits."""
    return -(-layer.weights * weight_bits // 8)


def size_of(assignment: Assignment, layers: Sequence[Layer]) -> int:
    """Packed bytes of all weights."""
    return sum(packed_bytes(layer, weight) for layer, (_, weight, _) in zip(layers, assignment))


def meets(assignment: Assignment, budgets: Sequence[Budget], layers: Sequence[Layer]) -> bool:
    """Whether a choice of bits keeps to every budget."""
    return all(
        sum(budget.spend(layer, (weight, activation)) for layer, (_, weight, activation) in zip(layers, assignment))
        <= budget.most(layers)
        for budget in budgets
    )


def parse_budget(text: str) -> Budget:
    """A budget as the command line says it: `size=0.25`, `size=40KB`, `macbits=0.5`.

    Raises:
        BadInput: an unknown budget, or no value of the kind that it takes.
    """
    kind, _, value = text.partition("=")
    if kind == "latency":
        raise BadInput(f"budget {text}: {_NO_LATENCY}")
    if kind not in ("size", "macbits"):
        raise BadInput(f"budget {text}: unknown; say size=0.25, size=40KB or macbits=0.5")
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([A-Za-z]*)", value.strip())
    unit = found[2].lower() if found else ""
    if found and unit in _UNITS and kind == "size":
        return Budget(kind, float(found[1]) * _UNITS[unit], is_bytes=True)
    share = float(found[1]) if found and not unit else 0.0
    if not 0 < share <= 1:
        what = "float32 weights, or bytes as in 40KB" if kind == "size" else "the MACs of 8 by 8 bits"
        raise BadInput(f"budget {text}: {kind} takes a share above 0 and up to 1 of {what}")
    return Budget(kind, share)

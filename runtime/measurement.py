"""`Measurement`: one figure with what it is of, where and how it was taken, and its spread. A row of a manifest."""

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import BadInput


@dataclass(frozen=True)
class Measurement:
    """One measured figure.

    Attributes:
        what: the quantity, for example `latency`, `load time`, `peak activations`.
        where: the board's name, for example `host`.
        how: engine, threads and protocol in words, so that the figure can be taken again.
        value: the headline number, finite.
        unit: of `value` and of `spread`, for example `ms`.
        spread: what surrounds the headline, by name, for example `p90`, `mad`, `count`; empty for a single count.
    """

    what: str
    where: str
    how: str
    value: float
    unit: str
    spread: dict[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, number in {"value": self.value, **self.spread}.items():
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{self.what} on {self.where}: {name} must be finite, got {number}")

    def to_json(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Measurement":
        """Reads a row written by `to_json`.

        Raises:
            BadInput: a field is missing or unknown, or the number is none.
        """
        known = {f.name for f in fields(cls)}
        missing, unknown = sorted(known - {"spread"} - set(row)), sorted(set(row) - known)
        if missing or unknown:
            raise BadInput(
                f"measurement: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}; write it again"
            )
        try:
            return cls(**row)
        except (TypeError, ValueError) as error:
            raise BadInput(f"measurement: {error}") from error

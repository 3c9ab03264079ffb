"""`Programs`: one network as it was captured, in float, and quantized where that was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.export import ExportedProgram

from .capture import Captured
from .program import QuantizedProgram


@dataclass(frozen=True)
class Programs:
    """The programs that a deployment starts from.

    Attributes:
        captured: the flat graph that both come from.
        floating: in float32, batch norms folded.
        quantized: with integer codes, or None.
        training: how the network was trained for its precision; None where calibration alone chose the codes.
        mixed: how each layer's bits were found; None where the scheme was given.
    """

    captured: Captured
    floating: ExportedProgram
    quantized: QuantizedProgram | None
    training: Mapping[str, Any] | None = None
    mixed: Mapping[str, Any] | None = None

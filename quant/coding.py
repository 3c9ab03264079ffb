"""`Coding`: every number that quantization chose, by the names of the graph, wherever it comes from.

Calibration makes one, and so does quantization-aware training; lowering turns either into the same program.
"""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from .affine import Affine
from .codes import IntegerTensor


@dataclass(frozen=True)
class Edge:
    """What a layer of few activation bits reads in place of the 8-bit value: the same value in fewer codes.

    Attributes:
        affine: the codes. Those of 1 bit are -1 and +1, whose scale is half of the 8-bit value's own.
        shift: for 1 bit, added before the sign is taken: odd int8 codes at the scale of `affine`, broadcast against
            the value. An odd shift of a whole number of steps is never zero, so the sign is always defined.
    """

    affine: Affine
    shift: np.ndarray | None = None


@dataclass
class Coding:
    """The numbers of a quantization.

    Attributes:
        values: quantized value -> meaning of its 8-bit codes.
        edges: (value, bits) -> what layers of that many activation bits read of it.
        weights, biases: weighted layer -> its integers; None for no bias.
        constants: parameter or buffer -> its trained value, where training changed it.
    """

    values: dict[str, Affine]
    edges: dict[tuple[str, int], Edge] = field(default_factory=dict)
    weights: dict[str, IntegerTensor] = field(default_factory=dict)
    biases: dict[str, IntegerTensor | None] = field(default_factory=dict)
    constants: dict[str, Tensor] = field(default_factory=dict)

    def input_scale(self, source: str, bits: int) -> float:
        """The scale of what a layer reads."""
        return self.values[source].scale if bits == 8 else self.edges[source, bits].affine.scale

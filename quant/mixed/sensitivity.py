"""The table: what the network loses when one layer alone has fewer bits.

All other layers keep 8 bits. They could have stayed in float, but the network will ship with 8 bits or fewer in each of
them, so this is the error that the choice adds to one that is there anyway, and a layer at 8 bits costs nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .codings import Codings
from .emulation import Operands
from .layers import WIDE, Bits
from .outcome import Outcome, outcome_of


@dataclass(frozen=True)
class Sensitivities:
    """Outcomes of the network with 8 bits everywhere, and with one module at other bits."""

    base: Outcome
    single: Mapping[tuple[str, Bits], Outcome]

    def cost(self, kind: str, module: str, bits: Bits) -> float:
        """How much worse the network gets, 0 and up; `kind` is `noise`, `divergence` or `loss`."""
        before, after = getattr(self.base, kind), getattr(self.single[module, bits], kind)
        return max(float(after - before), 0.0)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What there are figures of."""
        return ("noise",) if self.base.divergence is None else ("divergence", "noise", "loss")


def sensitivities(
    codings: Codings,
    others: Mapping[tuple[str, Bits], Mapping[str, Operands]],
    samples: Sequence[tuple[Tensor, ...]],
    floats: Sequence[Tensor],
    labels: np.ndarray | None,
) -> Sensitivities:
    """Measures every module at each of its choices.

    Args:
        others: the codings' `alternatives` to 8 bits in every layer.
        samples: to measure on, best others than `codings` was calibrated on.
        floats: outputs of the float network on them.
        labels: of them, or None.
    """
    mine = {name: ops for layer in codings.layers for name, ops in others[layer.module, WIDE].items()}
    found = codings.emulation.one_by_one(samples, mine, {key: ops for key, ops in others.items() if key[1] != WIDE})
    plain = outcome_of(codings.emulation.outputs(samples, mine), floats, labels)
    single = {key: outcome_of(outputs, floats, labels) for key, outputs in found.items()}
    return Sensitivities(plain, single | {(layer.module, WIDE): plain for layer in codings.layers})

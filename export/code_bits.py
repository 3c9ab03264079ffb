"""How many bits the codes of a quantized program have, and in which form a file keeps them.

Codes lie in int8 buffers, whatever their bits; the limits in the dequantize node behind a buffer say how many levels
they have. A buffer within ±1 without any zero holds signs: 1 bit.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.export import ExportedProgram

from ..quant.program import DEQUANTIZE_CHANNELS


def bits_of_limits(low: int, high: int) -> int:
    """Bits that codes within [low, high] need."""
    return (high - low).bit_length()


def bits_of_codes(codes: np.ndarray, low: int, high: int) -> int:
    """Bits of stored codes within [low, high]; 1 where they are -1 and +1 only."""
    signs_only = (low, high) == (-1, 1) and codes.size > 0 and bool(codes.all())
    return 1 if signs_only else bits_of_limits(low, high)


def weight_bits(program: ExportedProgram) -> dict[str, int]:
    """Bits of the codes of each weight with a scale per channel, by the name of its buffer, in the program's order."""
    buffers = program.graph_signature.inputs_to_buffers
    found = {}
    for node in program.graph.nodes:
        if node.target is DEQUANTIZE_CHANNELS and node.args[0].name in buffers:
            name = buffers[node.args[0].name]
            codes = program.state_dict[name] if name in program.state_dict else program.constants[name]
            if codes.dtype == torch.int8:
                found[name] = bits_of_codes(codes.numpy(), *node.args[4:6])
    return found


@dataclass(frozen=True)
class Form:
    """How a file keeps codes: the bits that each takes, and its words for it."""

    bits: int
    wording: str


def describe_weights(bits: Mapping[str, int], forms: Mapping[int, Form]) -> str:
    """`3 of 4 bits as INT4; 1 of 8 bits as int8`; `forms` gives the form of fewer bits, others are int8."""
    counts = Counter(bits.values())
    parts = [
        f"{count} of {_bits(b)} as {forms[b].wording if b in forms else 'int8'}" for b, count in sorted(counts.items())
    ]
    return "; ".join(parts)


def _bits(bits: int) -> str:
    return "1 bit" if bits == 1 else f"{bits} bits"

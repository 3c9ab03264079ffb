"""`prove`: that two netlists compute the same, on every input there is.

Up to 20 inputs all are computed, 64 to a word. Beyond that a SAT solver looks for an input that tells them apart.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import BadInput
from .miter import Miter
from .netlist import Netlist, evaluate, evaluate_planes, unpack

MOST_INPUTS = 20  # of which all combinations are tried
CONFLICTS = 100_000  # of the solver: seconds to a few minutes
_BYTES = 1 << 25  # of signals at a time
# Input i of sample s is bit i of s: of the first six inputs, the word of every 64 samples.
_IN_WORD = (
    0xAAAAAAAAAAAAAAAA,
    0xCCCCCCCCCCCCCCCC,
    0xF0F0F0F0F0F0F0F0,
    0xFF00FF00FF00FF00,
    0xFFFF0000FFFF0000,
    0xFFFFFFFF00000000,
)


@dataclass(frozen=True)
class Proof:
    """What was found out of two netlists, or of a netlist and something else that computes.

    Attributes:
        method: `all inputs` or `SAT`; anything else, as `random inputs`, is no proof but a trial.
        equal: None where it was not decided; of a trial, that no difference was found.
        inputs: of each.
        tried: how many inputs were computed; None of a SAT solver, whose answer holds for all.
        counterexample: (inputs,) of ±1, for which an output differs; both were evaluated on it.
        conflicts: of the SAT solver, a measure of its work.
    """

    method: str
    equal: bool | None
    inputs: int
    tried: int | None = None
    counterexample: tuple[int, ...] | None = None
    conflicts: int | None = None

    @property
    def proved(self) -> bool:
        """Whether they are equal on every input."""
        return bool(self.equal) and self.method in ("all inputs", "SAT")

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "equal": self.equal,
            "proved": self.proved,
            "inputs": self.inputs,
            "tried": self.tried,
            "counterexample": None if self.counterexample is None else list(self.counterexample),
            "conflicts": self.conflicts,
        }


def prove(first: Netlist, second: Netlist, conflicts: int = CONFLICTS, most_inputs: int = MOST_INPUTS) -> Proof:
    """Whether two netlists give the same outputs for the same inputs.

    Args:
        conflicts: that the SAT solver may spend; with all spent, `equal` is None.
        most_inputs: up to so many, all combinations are computed instead.

    Raises:
        BadInput: they have other numbers of inputs or outputs.
    """
    ports = [(netlist.inputs, len(netlist.outputs)) for netlist in (first, second)]
    if ports[0] != ports[1]:
        texts = [f"{inputs} inputs and {outputs} outputs" for inputs, outputs in ports]
        raise BadInput(f"netlists of {texts[0]} and of {texts[1]} cannot be equal; compare such as take the same")
    if first.inputs <= most_inputs:
        return _by_trying(first, second)
    with Miter(first, second, conflicts) as miter:
        equal, bits = miter.difference()
        spent = miter.spent
    return Proof("SAT", equal, first.inputs, None, _counterexample(first, second, bits), spent)


def every_input(inputs: int, first_word: int = 0, words: int | None = None) -> np.ndarray:
    """(inputs, words) uint64: all inputs from 64 `first_word` on; input i of sample s is bit i of s.

    Of fewer than six inputs the word holds all several times.
    """
    count = max(1 << inputs >> 6, 1) if words is None else words
    numbers = np.arange(first_word, first_word + count, dtype=np.uint64)
    planes = np.empty((inputs, count), np.uint64)
    for place in range(inputs):
        bits = numbers >> np.uint64(max(place - 6, 0)) & np.uint64(1)
        planes[place] = _IN_WORD[place] if place < 6 else bits * ~np.uint64(0)
    return planes


def _by_trying(first: Netlist, second: Netlist) -> Proof:
    words = max(1 << first.inputs >> 6, 1)
    step = max(_BYTES // 8 // max(first.signals, second.signals), 1)
    for start in range(0, words, step):
        planes = every_input(first.inputs, start, min(step, words - start))
        differ = np.bitwise_or.reduce(evaluate_planes(first, planes) ^ evaluate_planes(second, planes), axis=0)
        if differ.any():
            samples = 64 * planes.shape[1]
            place = np.flatnonzero(unpack(differ[None], samples))[0]
            found = _counterexample(first, second, unpack(planes, samples)[place])
            tried = min(64 * start + samples, 1 << first.inputs)
            return Proof("all inputs", False, first.inputs, tried, found)
    return Proof("all inputs", True, first.inputs, 1 << first.inputs)


def _counterexample(first: Netlist, second: Netlist, bits: np.ndarray | None) -> tuple[int, ...] | None:
    """An input as ±1, once both netlists were seen to differ on it."""
    if bits is None:
        return None
    results = [evaluate(netlist, bits[None]) for netlist in (first, second)]
    assert (results[0] != results[1]).any(), "an input that was to tell two netlists apart does not"
    return tuple(np.where(bits, 1, -1).tolist())

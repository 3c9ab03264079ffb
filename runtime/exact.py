"""Holds a C artifact to the program's arithmetic in whole numbers, bit for bit."""

from dataclasses import dataclass

import numpy as np
from torch.export import ExportedProgram

from ..quant.integer.evaluate import evaluate
from ..quant.integer.lowering import integer_program
from ..quant.integer.operations import FloatOperation
from .samples import Samples


@dataclass(frozen=True)
class ExactCheck:
    """How many samples give the same outputs to the last bit.

    Attributes:
        samples, equal: compared, and equal in every output.
        is_owed: whether every one must be equal: no operator computes real numbers on the way.
    """

    samples: int
    equal: int
    is_owed: bool

    @property
    def fault(self) -> str:
        """What does not hold, in words; empty where all holds."""
        if self.equal == self.samples or not self.is_owed:
            return ""
        return f"{self.samples - self.equal} of {self.samples} samples differ from the whole-number arithmetic"


def compare_exactly(
    program: ExportedProgram,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    samples: Samples,
    outputs: dict[str, np.ndarray],
) -> ExactCheck:
    """Computes every sample in whole numbers and compares.

    Args:
        program: quantized, its border's names beside it.
        outputs: of the artifact, by name, (N, ...).
    """
    integers = integer_program(program, input_names, output_names)
    equal = 0
    for place, sample in enumerate(samples):
        wanted = evaluate(integers, [sample[name] for name in input_names])
        found = (outputs[name].reshape(len(samples), -1)[place] for name in output_names)
        equal += all(np.array_equal(ours.ravel(), theirs) for ours, theirs in zip(wanted, found))
    is_owed = not any(isinstance(operation, FloatOperation) for operation in integers.operations)
    return ExactCheck(len(samples), equal, is_owed)

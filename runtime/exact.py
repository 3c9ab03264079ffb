"""Holds a C artifact to the program's arithmetic in whole numbers, bit for bit."""

from collections.abc import Sequence
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
        program_equal: samples on which PyTorch's float32 run of the program is equal; None where it was not compared.
        is_owed: whether every one must be equal: no operator computes real numbers on the way.
    """

    samples: int
    equal: int
    is_owed: bool
    program_equal: int | None = None

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
    program_outputs: dict[str, np.ndarray] | None = None,
) -> ExactCheck:
    """Computes every sample in whole numbers and compares.

    Args:
        program: quantized, its border's names beside it.
        outputs: of the artifact, by name, (N, ...).
        program_outputs: of PyTorch's run of the program.
    """
    integers = integer_program(program, input_names, output_names)
    wanted = [evaluate(integers, [sample[name] for name in input_names]) for sample in samples]
    is_owed = not any(isinstance(operation, FloatOperation) for operation in integers.operations)
    equal = _equal_samples(wanted, [outputs[name] for name in output_names])
    others = None if program_outputs is None else [program_outputs[name] for name in output_names]
    return ExactCheck(len(samples), equal, is_owed, None if others is None else _equal_samples(wanted, others))


def _equal_samples(wanted: Sequence[tuple[np.ndarray, ...]], found: Sequence[np.ndarray]) -> int:
    """Samples that are the same in every output; `wanted` by sample and output, `found` by output, (N, ...)."""
    return sum(
        all(np.array_equal(ours.ravel(), theirs[place].ravel()) for ours, theirs in zip(outputs, found))
        for place, outputs in enumerate(wanted)
    )

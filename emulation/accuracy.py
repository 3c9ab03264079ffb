"""How well a program does on sampled chips: the mean, and an interval for the mean over all chips."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..devices.synapse.design import ArrayDesign
from ..devices.synapse.device import SynapseDevice
from ..estimate import Estimate, share_of
from ..quant.integer.evaluate import evaluate_many
from ..quant.integer.operations import IntegerProgram
from ..runtime.samples import Samples
from ..runtime.verify import accuracy_of, agreement_of
from .chip import Chip, Cost

_BATCH = 16  # samples that the digital program computes at once


@dataclass(frozen=True)
class Emulated:
    """A program on several chips of one design.

    Attributes:
        accuracy: against labels; None where samples have none.
        agreement: with the digital program's class, or its values where it gives no class.
        accuracies: of each chip, where there are labels.
        cost: of one chip.
    """

    accuracy: Estimate | None
    agreement: Estimate
    accuracies: tuple[float, ...]
    cost: Cost

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        cost = asdict(self.cost)
        return {
            "accuracy": None if self.accuracy is None else asdict(self.accuracy),
            "agreement": asdict(self.agreement),
            "accuracies": list(self.accuracies),
            "arrays": cost.pop("arrays"),
            "energy_joules": self.cost.joules,
            **cost,
        }


@dataclass(frozen=True)
class Task:
    """What chips are measured on.

    Attributes:
        program: with real numbers at its border.
        calibration, held_out: samples for ranges, and for measuring.
        digital: the digital program's first output for the held-out samples, (samples, ...).
    """

    program: IntegerProgram
    calibration: Samples
    held_out: Samples
    digital: np.ndarray

    @property
    def digital_accuracy(self) -> float | None:
        """Of the digital program; None where samples have no labels."""
        return accuracy_of(self.digital, self.held_out.labels)


def task_of(program: IntegerProgram, calibration: Samples, held_out: Samples) -> Task:
    """Runs the digital program on the held-out samples."""
    inputs = inputs_of(program, held_out)
    parts = [
        evaluate_many(program, [values[at : at + _BATCH] for values in inputs])[0]
        for at in range(0, len(held_out), _BATCH)
    ]
    return Task(program, calibration, held_out, _first_output(parts))


def emulate(
    task: Task,
    device: SynapseDevice,
    design: ArrayDesign,
    seeds: Sequence[int],
    tell: Callable[[str], None] = lambda _: None,
) -> Emulated:
    """Samples one chip for each seed and runs the held-out samples on it.

    Args:
        tell: told of each chip.
    """
    accuracies, agreements, cost = [], [], None
    for place, seed in enumerate(seeds):
        chip = Chip(task.program, device, design, seed)
        chip.calibrate(inputs_of(task.program, task.calibration))
        outputs = _first_output([chip.run(inputs_of(task.program, task.held_out))[0]])
        agreements.append(agreement_of(outputs, task.digital, task.held_out.by_value))
        found = accuracy_of(outputs, task.held_out.labels)
        accuracies += [] if found is None else [found]
        cost = cost or chip.cost
        said = f"accuracy {found:.1%}" if found is not None else f"agreement {agreements[-1]:.1%}"
        tell(f"chip {place + 1} of {len(seeds)}: {said}")
    assert cost is not None
    return Emulated(share_of(accuracies) if accuracies else None, share_of(agreements), tuple(accuracies), cost)


def inputs_of(program: IntegerProgram, samples: Samples) -> list[np.ndarray]:
    """The samples as `evaluate_many` takes them: each with a batch dimension of its own."""
    return [samples.inputs[name][:, None] for name in program.input_names]


def _first_output(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(samples, ...) without the batch dimension of each sample."""
    return np.concatenate(parts)[:, 0]

"""Evaluates an ML program operator by operator.

At load every operation is bound once: constants become tensors, settings become Python values, and what depends on
constants alone is computed. A run is then one loop over the rest, which drops each value after its last use.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import OfframpError, UnsupportedOperator
from .operators import OPERATORS
from .program import MilOperation, MilProgram, MilValue
from .types import HELD, hold, release, settle

TARGET = "the ML program evaluator"


@dataclass
class _Step:
    """One bound operation: which slots it reads and writes.

    Attributes:
        values: parameter -> slot, or slots for a sequence of values.
        settings: parameter -> Python value.
        open_settings: parameter -> slot, for a setting that the program computes.
        dying: slots that no later step reads.
    """

    operation: MilOperation
    function: Callable[..., Any]
    values: dict[str, int | tuple[int, ...]]
    settings: dict[str, Any]
    open_settings: dict[str, int]
    writes: list[int] = field(default_factory=list)
    dying: list[int] = field(default_factory=list)

    def reads(self) -> list[int]:
        slots: list[int] = list(self.open_settings.values())
        for slot in self.values.values():
            slots += [slot] if isinstance(slot, int) else slot
        return slots

    def compute(self, memory: list[Any]) -> list[Any]:
        """The operation's results, in the form in which values are held."""
        arguments = {
            name: memory[slot] if isinstance(slot, int) else [memory[s] for s in slot]
            for name, slot in self.values.items()
        }
        for name, slot in self.open_settings.items():
            arguments[name] = _plain(memory[slot])
        results = self.function(**arguments, **self.settings)
        outputs = self.operation.outputs
        if not isinstance(results, tuple):
            results = (results,)
        return [_checked(result, value) for result, value in zip(results, outputs, strict=True)]


class Evaluator:
    """A program ready to run on `threads` threads.

    Raises:
        UnsupportedOperator: the program uses an operator or a setting that is not evaluated; it names the output.
    """

    def __init__(self, program: MilProgram, threads: int = 1):
        self.program = program
        self.threads = threads
        self._slots: dict[str, int] = {}
        self._constants: list[Any] = []  # by slot; None where a value is computed in a run
        self._steps: list[_Step] = []
        for value in program.inputs:
            self._new_slot(value.name, None)
        self._known: set[int] = set()
        computed = [value for operation in program.operations for value in operation.outputs]
        self._types = {value.name: value for value in [*program.inputs, *computed]}
        with torch.inference_mode():
            for operation in program.operations:
                self._add(operation)
        self._mark_dying()

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
        """Outputs by name, each an array of its own element type (or a label, or a dictionary of probabilities)."""
        memory = self._memory(inputs)
        with torch.inference_mode(), _threads(self.threads):
            for step in self._steps:
                for slot, result in zip(step.writes, step.compute(memory)):
                    memory[slot] = result
                for slot in step.dying:
                    memory[slot] = None
        return {name: self._output(name, memory[self._slots[name]]) for name in self.program.outputs}

    def intermediates(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every tensor computed in a run, by its name."""
        memory = self._memory(inputs)
        found: dict[str, np.ndarray] = {}
        with torch.inference_mode(), _threads(self.threads):
            for step in self._steps:
                for slot, result, value in zip(step.writes, step.compute(memory), step.operation.outputs):
                    memory[slot] = result
                    if isinstance(result, Tensor):
                        found[value.name] = release(result, value.dtype)
        return found

    def _memory(self, inputs: dict[str, np.ndarray]) -> list[Any]:
        memory = list(self._constants)
        for value in self.program.inputs:
            memory[self._slots[value.name]] = hold(np.asarray(inputs[value.name]), value.dtype)
        return memory

    def _output(self, name: str, result: Any) -> Any:
        return release(result, self._types[name].dtype) if isinstance(result, Tensor) else result

    def _new_slot(self, name: str, constant: Any) -> int:
        self._constants.append(constant)
        slot = len(self._constants) - 1
        if name:
            self._slots[name] = slot
        return slot

    def _add_constant(self, name: str, constant: Any) -> int:
        slot = self._new_slot(name, constant)
        self._known.add(slot)
        return slot

    def _add(self, operation: MilOperation) -> None:
        """Binds an operation; one that reads constants alone is computed here."""
        if operation.type == "const":
            output = operation.outputs[0]
            self._add_constant(output.name, _held_constant(operation.inputs["val"], output.dtype))
            return
        step = self._bound(operation)
        if all(slot in self._known for slot in step.reads()):
            for value, result in zip(operation.outputs, step.compute(self._constants)):
                self._add_constant(value.name, result)
            return
        step.writes = [self._new_slot(value.name, None) for value in operation.outputs]
        self._steps.append(step)

    def _bound(self, operation: MilOperation) -> _Step:
        function = OPERATORS.get(operation.type)
        where = operation.outputs[0].name if operation.outputs else operation.name
        if function is None:
            raise UnsupportedOperator(operation.type, where, TARGET, "check this artifact on macOS")
        parameters = inspect.signature(function).parameters
        unknown = sorted(set(operation.inputs) - set(parameters))
        if unknown:
            what = f"{operation.type} with {', '.join(unknown)}"
            raise UnsupportedOperator(what, where, TARGET, "check this artifact on macOS")
        step = _Step(operation, function, {}, {}, {})
        for name, argument in operation.inputs.items():
            slots = self._argument_slots(argument)
            if parameters[name].kind is inspect.Parameter.KEYWORD_ONLY:
                (slot,) = slots
                if slot in self._known:
                    step.settings[name] = _plain(self._constants[slot])
                else:
                    step.open_settings[name] = slot
            else:
                step.values[name] = slots if name == "values" else slots[0]
        return step

    def _argument_slots(self, argument: Any) -> tuple[int, ...]:
        if isinstance(argument, tuple):
            return tuple(self._slots[name] for name in argument)
        dtype = _dtype_of(argument) if isinstance(argument, np.ndarray) else "list"
        return (self._add_constant("", _held_constant(argument, dtype)),)

    def _mark_dying(self) -> None:
        kept = {self._slots[name] for name in self.program.outputs}
        seen = set(kept)
        for step in reversed(self._steps):
            step.dying = sorted({slot for slot in [*step.reads(), *step.writes] if slot not in seen})
            seen.update(step.dying)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Lends torch `count` threads. One is fastest for small networks, and leaves timings alone on a shared machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _dtype_of(array: np.ndarray) -> str:
    """The MIL name of an array's element type."""
    return {"float16": "fp16", "float32": "fp32", "float64": "fp64", "object": "string"}.get(
        array.dtype.name, array.dtype.name
    )


def _held_constant(value: Any, dtype: str) -> Any:
    return hold(value, dtype) if dtype in HELD else value


def _plain(constant: Any) -> Any:
    """A number, string or list from a held constant."""
    return constant if isinstance(constant, list) else constant.tolist()


def _checked(result: Any, value: MilValue) -> Any:
    """The result as held, of the shape that the program declares."""
    if not isinstance(result, Tensor):
        return result
    declared = value.shape
    if declared is not None and (
        len(declared) != result.dim() or any(d is not None and d != s for d, s in zip(declared, result.shape))
    ):
        raise OfframpError(
            f"{value.name}: evaluated to shape {tuple(result.shape)}, the program declares {declared}; "
            "feed inputs of the shapes that the artifact was made for"
        )
    return settle(result, value.dtype)

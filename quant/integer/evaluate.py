"""Runs operations in PyTorch, exactly: the reference for artifacts that compute in whole numbers.

Codes are int32 tensors, signs int32 of -1 and +1.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from . import moves, sums  # noqa: F401, each says how some operations run
from .operations import IntegerProgram, Operation
from .running import run
from .values import Kind, Value

Watch = Callable[[Operation, Tensor], None]


def evaluate(
    program: IntegerProgram, inputs: Sequence[np.ndarray], watch: Watch = lambda operation, result: None
) -> tuple[np.ndarray, ...]:
    """One sample through every operation.

    Args:
        inputs: in the program's order and shapes; float32, or int8 codes where the border is in integers.
        watch: told of each operation's result.

    Returns:
        The outputs in order, float32 or int8.
    """
    values = {value.name: _entering(value, array) for value, array in zip(program.inputs, inputs)}
    with torch.no_grad():
        for operation in program.operations:
            read = [_constant(v) if v.constant is not None else values[v.name] for v in operation.inputs]
            result = run(operation, *read)
            values[operation.output.name] = result
            watch(operation, result)
    return tuple(_leaving(value, values) for value in program.outputs)


def _entering(value: Value, array: np.ndarray) -> Tensor:
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.to(torch.int32) if value.kind is Kind.CODES else tensor


def _leaving(value: Value, values: dict[str, Tensor]) -> np.ndarray:
    if value.constant is not None:
        return value.constant
    tensor = values[value.name]
    return tensor.to(torch.int8).numpy() if value.kind is Kind.CODES else tensor.numpy()


def _constant(value: Value) -> Tensor:
    assert value.constant is not None
    tensor = torch.from_numpy(value.constant)
    return tensor.to(torch.int32) if value.kind is Kind.CODES else tensor

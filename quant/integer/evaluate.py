"""Runs operations in PyTorch, exactly: the reference for artifacts that compute in whole numbers.

Codes are int32 tensors, signs int32 of -1 and +1.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from . import moves, sums  # noqa: F401, each says how some operations run
from .operations import Dequantize, IntegerProgram, Operation, Quantize
from .running import run
from .values import Kind, Value

Watch = Callable[[Operation, Tensor], None]
Compute = Callable[..., Tensor]


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


def run_many(operation: Operation, *inputs: Tensor) -> Tensor:
    """What an operation makes of many samples: inputs and result are (samples, *shape), but for constants."""
    if isinstance(operation, Quantize | Dequantize):  # element by element; these operators do not know `vmap`
        return run(operation, *inputs)
    axes = tuple(None if value.constant is not None else 0 for value in operation.inputs)
    return torch.vmap(lambda *sample: run(operation, *sample), in_dims=axes)(*inputs)


def evaluate_many(
    program: IntegerProgram, inputs: Sequence[np.ndarray], compute: Compute = run_many
) -> tuple[np.ndarray, ...]:
    """Many samples at once; the bits of `evaluate`.

    Args:
        inputs: in the program's order, (samples, *shape) with the shape of one sample, its own batch of 1 included.
        compute: an operation and its inputs to its result, as `run_many`; what emulates a device takes its place.

    Returns:
        The outputs in order, (samples, *shape).
    """
    values = {value.name: _entering(value, array) for value, array in zip(program.inputs, inputs)}
    count = len(inputs[0])
    with torch.no_grad():
        for operation in program.operations:
            read = [_constant(v) if v.constant is not None else values[v.name] for v in operation.inputs]
            values[operation.output.name] = compute(operation, *read)
    outputs = [_leaving(value, values) for value in program.outputs]
    return tuple(
        np.broadcast_to(array, (count, *value.shape)) if value.constant is not None else array
        for value, array in zip(program.outputs, outputs)
    )


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

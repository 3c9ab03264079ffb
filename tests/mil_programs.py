"""Builds ML programs of many small cases for the tests of the evaluator: each case is one output of one program."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from offramp.export.quiet import quiet
from offramp.runtime.mil import Evaluator, load_program
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One operator under test: `build(mb, *values)` makes it, `expected(*tensors)` computes it with torch."""

    name: str
    inputs: tuple[str, ...]
    build: Callable[..., Any]
    expected: Callable[..., Any]


def like(x: Any, value: float) -> np.generic:
    """A number of the element type of the value `x`."""
    from coremltools.converters.mil.mil import types

    return np.float16(value) if x.dtype == types.fp16 else np.float32(value)


def save(
    cases: Sequence[Case], inputs: dict[str, np.ndarray], path: Path, half: bool = False, target: str = "iOS17"
) -> Path:
    """Writes one program with the output of every case, untouched by optimization passes."""
    with quiet():
        import coremltools as ct
        from coremltools.converters.mil.mil import Builder as mb
        from coremltools.converters.mil.mil import Function, Program, types

        kinds = {"float32": types.fp16 if half else types.fp32, "int32": types.int32}
        placeholders = {name: mb.placeholder(a.shape, kinds[a.dtype.name]) for name, a in inputs.items()}
        opset = getattr(ct.target, target)
        outputs = []
        with Function(placeholders, opset_version=opset) as function:
            for case in cases:
                value = case.build(mb, *(function.inputs[name] for name in case.inputs))
                if value.dtype not in (types.fp16, types.fp32, types.int32):
                    value = mb.cast(x=value, dtype="int32")
                outputs.append(mb.identity(x=value, name=f"out_{case.name}"))
            function.set_outputs(outputs)
        program = Program()
        program.add_function("main", function)
        model = ct.convert(
            program,
            convert_to="mlprogram",
            pass_pipeline=ct.PassPipeline.EMPTY,
            minimum_deployment_target=opset,
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
        )
        model.save(str(path))
    return path


def compare(cases: Sequence[Case], inputs: dict[str, np.ndarray], path: Path, half: bool = False) -> None:
    """Holds every case against torch: float32 to 1e-5, float16 to one step of float16."""
    results = Evaluator(load_program(save(cases, inputs, path, half))).run(inputs)
    kept = {
        name: np.float16(a).astype(np.float32) if half and a.dtype == np.float32 else a for name, a in inputs.items()
    }
    wrong = []
    for case in cases:
        expected = case.expected(*(torch.from_numpy(kept[name]) for name in case.inputs))
        expected = expected.numpy() if isinstance(expected, Tensor) else np.asarray(expected)
        got = results[f"out_{case.name}"]
        if got.shape != expected.shape:
            wrong.append(f"{case.name}: shape {got.shape}, expected {expected.shape}")
            continue
        if half:
            expected = expected.astype(np.float16).astype(np.float32)
        step = 2.0**-10 if half else 1e-5
        error = np.abs(got.astype(np.float64) - expected.astype(np.float64)) - step * np.abs(expected)
        limit = 2.0**-14 if half else 2e-6
        if not (error <= limit).all():
            wrong.append(f"{case.name}: off by {np.nanmax(error):.3g}")
    assert not wrong, "\n".join(wrong)

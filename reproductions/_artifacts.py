"""Artifacts of a study's networks: written, executed and timed as `offramp deploy` does it, for claims about those."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from operator import call
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..devices.boards.host import measure_on_host
from ..export.artifact import SUFFIX, is_quantized
from ..export.write import write_artifact
from ..quant.capture import capture, to_program
from ..quant.quantize import quantize
from ..quant.scheme import Scheme
from ..runtime.session import open_session
from ._trainings import in_two_processes

Run = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
Key = tuple[str, str]  # target and precision


def ship(
    name: str,
    network: nn.Module,
    example_inputs: Mapping[str, Tensor],
    calibration: Mapping[str, np.ndarray],
    folder: Path,
    targets: Sequence[str] = ("onnx", "tflite"),
    precisions: Sequence[str] = ("float32", "int8"),
    scheme: Scheme | None = None,
) -> dict[Key, Path]:
    """Quantizes a network once and writes its artifacts into `folder`.

    Args:
        name: of the files.
        example_inputs: one sample of each input by name, batch dimension of 1 included.
        calibration: inputs by name, (N, ...), that ranges are chosen on; all of them are read.
        scheme: None for what `deploy` takes.

    Returns:
        The file of each target and precision.
    """
    captured = capture(network, tuple(example_inputs.values()), tuple(example_inputs))
    programs = {"float32": to_program(captured.module, captured.example_inputs)}
    if any(map(is_quantized, precisions)):
        count = len(next(iter(calibration.values())))
        samples = [
            tuple(torch.from_numpy(calibration[name][i : i + 1]) for name in captured.input_names) for i in range(count)
        ]
        programs["int8"] = quantize(captured, samples, replace(scheme or Scheme(), samples=count)).program
    paths = {}
    for target in targets:
        for precision in precisions:
            path = folder / f"{name}-{precision}{SUFFIX[target]}"
            write_artifact(
                target,
                programs[precision],
                path,
                input_names=captured.input_names,
                output_names=captured.output_names,
                precision=precision,
            )
            paths[target, precision] = path
    return paths


def side_by_side(writings: Sequence[partial[dict[Key, Path]]]) -> list[dict[Key, Path]]:
    """What calls of `ship` return, two at a time in processes of their own: writing holds the interpreter."""
    return in_two_processes(call, writings)


def run_file(path: Path) -> Run:
    """Executes an artifact on one sample, batch dimension of 1 included."""
    return open_session(path).run


def run_on(path: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """An artifact's outputs by name, (N, ...), for inputs by name, (N, ...), one sample at a time."""
    run, count = run_file(path), len(next(iter(inputs.values())))
    rows = [run({name: values[i : i + 1] for name, values in inputs.items()}) for i in range(count)]
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def latencies(paths: Mapping[str, Path], seconds: float = 0.3) -> dict[str, float]:
    """Median milliseconds of each artifact on this host, one thread, all in one interleaved run."""
    return {name: latency.value for name, (latency, _) in measure_on_host(paths, runs=30, seconds=seconds).items()}

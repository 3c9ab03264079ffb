"""Runs a `.tflite` file in `tflite-runtime` 2.14, the last of the older runtimes, as a compatibility check.

Many devices still carry it. It needs NumPy 1 and so an environment of its own, made on demand in a cache folder; it is
driven as a child process that reads one `.npz` of inputs and writes one of outputs. Whoever cannot make the environment
(no wheel for the platform, no network) gets `CompatibilityUnavailable`, to be reported as not run, never as passed.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from math import prod
from pathlib import Path

import numpy as np

from ..errors import BadInput, OfframpError
from ..storage import atomic_path, cache_folder
from .tflite_graph import TfliteGraph, read_tflite
from .tflite_session import dequantized, quantized

VERSION = "2.14.0"
_REQUIREMENTS = (f"tflite-runtime=={VERSION}", "numpy<2")
_INSTALL_SECONDS = 600
_RUN_SECONDS = 600


class CompatibilityUnavailable(OfframpError):
    """The older runtime cannot be had here; what it would say is not known."""


def run_in_tflite_runtime(path: Path, inputs: dict[str, np.ndarray], xnnpack: bool = True) -> dict[str, np.ndarray]:
    """Runs samples one after another in the older runtime.

    Args:
        path: the `.tflite` file.
        inputs: name -> (N, ...), each sample with as many values as the input's shape; real values where the file
            keeps integers.
        xnnpack: with the XNNPACK delegate as far as 2.14 takes it (float operators), or plain kernels only.

    Returns:
        output name -> (N, *shape of the output), real values.

    Raises:
        BadInput: the older runtime refuses the file, or inputs do not fit.
        CompatibilityUnavailable: the environment cannot be made, or the runtime itself does not start.
    """
    path = Path(path)
    graph = read_tflite(path)
    codes = _codes(path, graph, inputs)
    python = ensure_environment()
    with tempfile.TemporaryDirectory(prefix="offramp-tflite-") as folder:
        given, found = Path(folder, "inputs.npz"), Path(folder, "outputs.npz")
        np.savez(given, allow_pickle=False, **{str(graph.inputs[name]): value for name, value in codes.items()})
        wanted = ",".join(str(index) for index in graph.outputs.values())
        _run_child(python, [str(path), str(given), str(found), wanted, "xnnpack" if xnnpack else "plain"], path)
        with np.load(found, allow_pickle=False) as stored:
            return {
                name: dequantized(stored[str(index)], graph.tensors[index]) for name, index in graph.outputs.items()
            }


def ensure_environment() -> Path:
    """The Python of the environment, made if it is not there yet.

    Raises:
        CompatibilityUnavailable: it cannot be made.
    """
    pointer = _environments() / "environment.txt"
    python = Path(pointer.read_text(encoding="utf-8").strip()) if pointer.exists() else None
    if python is None or not python.exists():
        python = _make_environment(_environments())
        # Written last, and whole: an interrupted or a second, simultaneous making leaves no half environment in use.
        with atomic_path(pointer) as beside:
            beside.write_text(f"{python}\n", encoding="utf-8")
    return python


def _environments() -> Path:
    """A folder in the cache for this runtime, Python and platform."""
    tag = f"cp{sys.version_info.major}{sys.version_info.minor}-{sysconfig.get_platform()}"
    return cache_folder() / f"tflite-runtime-{VERSION}-{tag}"


def _make_environment(parent: Path) -> Path:
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="env-", dir=parent))
    except OSError as error:
        raise CompatibilityUnavailable(f"{parent}: cannot write ({error.strerror}); set OFFRAMP_CACHE") from error
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    try:
        _install([sys.executable, "-m", "venv", str(folder)])
        # Wheels only: building TFLite from source takes an hour and a toolchain.
        _install([str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *_REQUIREMENTS])
        _install([str(python), "-c", "import tflite_runtime.interpreter"])
    except CompatibilityUnavailable:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return python


def _install(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise CompatibilityUnavailable(f"tflite-runtime {VERSION}: no answer in {error.timeout:.0f} s") from error
    if done.returncode:
        reason = _last_line(done.stderr) or f"exit code {done.returncode}"
        raise CompatibilityUnavailable(f"tflite-runtime {VERSION} cannot be installed here ({reason})")


def _run_child(python: Path, arguments: list[str], path: Path) -> None:
    command = [str(python), "-I", "-c", _CHILD, *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise BadInput(f"{path}: tflite-runtime {VERSION} did not finish in {error.timeout:.0f} s") from error
    reason = _last_line(done.stderr) or f"exit code {done.returncode}"
    if done.returncode == _REFUSED:
        raise BadInput(f"{path}: tflite-runtime {VERSION} refuses it ({reason})")
    if done.returncode < 0:
        raise BadInput(f"{path}: tflite-runtime {VERSION} crashes on it (signal {-done.returncode})")
    if done.returncode:
        raise CompatibilityUnavailable(f"tflite-runtime {VERSION} does not run here ({reason})")


def _codes(path: Path, graph: TfliteGraph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every input as the file stores it, (N, *shape)."""
    if set(inputs) != set(graph.inputs):
        raise BadInput(f"{path}: inputs must be {', '.join(graph.inputs)}, got {', '.join(inputs) or 'none'}")
    if len({len(value) for value in inputs.values()}) != 1:
        raise BadInput(f"{path}: inputs must hold equally many samples, got {[len(v) for v in inputs.values()]}")
    codes = {}
    for name, value in inputs.items():
        tensor = graph.tensors[graph.inputs[name]]
        if value[0].size != prod(tensor.shape):
            raise BadInput(f"{path}: a sample of {name} must have shape {tensor.shape}, got {value.shape[1:]}")
        codes[name] = quantized(value.reshape(len(value), *tensor.shape), tensor)
    return codes


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip()[:200] if lines else ""


_REFUSED = 3
# What the child runs. It knows NumPy and the old runtime only; tensors go by their index in the file.
_CHILD = f"""
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

path, given, found, wanted, kernels = sys.argv[1:]
resolver = OpResolverType.AUTO if kernels == "xnnpack" else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
inputs = dict(np.load(given, allow_pickle=False))
outputs = {{index: [] for index in wanted.split(",")}}
try:
    interpreter = Interpreter(model_path=path, num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    for sample in range(len(next(iter(inputs.values())))):
        for index, values in inputs.items():
            interpreter.set_tensor(int(index), values[sample])
        interpreter.invoke()
        for index in outputs:
            outputs[index].append(interpreter.get_tensor(int(index)))
except (ValueError, RuntimeError) as error:
    print(" ".join(str(error).split()), file=sys.stderr)
    sys.exit({_REFUSED})
np.savez(found, **{{index: np.stack(values) for index, values in outputs.items()}})
"""

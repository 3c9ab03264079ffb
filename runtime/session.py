"""`Session`: an artifact ready to run, with one signature for every target."""

from pathlib import Path
from typing import Protocol

import numpy as np

from ..errors import BadInput
from ..export.artifact import SUFFIX, TensorSpec


class Session(Protocol):
    """A loaded artifact.

    Attributes:
        target: `onnx`, `coreml`, `tflite` or `c`.
        engine: what executes it, with its version, for example `onnxruntime 1.32.0`.
        inputs, outputs: names, shapes and dtypes, in order.
    """

    target: str
    engine: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name; shapes as in `inputs`, real values where the artifact is quantized."""
        ...

    def intermediates(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every value computed on the way, by its name inside the artifact (slow; for locating differences)."""
        ...


def open_session(path: Path, threads: int = 1) -> Session:
    """Loads an artifact by its suffix.

    Raises:
        BadInput: the file is missing, damaged or of an unknown kind.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file; export it first with `offramp export`")
    if path.suffix == SUFFIX["onnx"]:
        from .onnx_session import OnnxSession

        return OnnxSession(path, threads)
    if path.suffix == SUFFIX["tflite"]:
        from .tflite_session import TfliteSession

        return TfliteSession(path, threads)
    if path.suffix == SUFFIX["c"]:
        from .c_session import CSession

        return CSession(path, threads)
    if path.suffix == SUFFIX["coreml"]:
        from .coreml_session import CoremlSession

        return CoremlSession(path)
    known = ", ".join(sorted(SUFFIX.values()))
    raise BadInput(f"{path}: unknown kind of artifact {path.suffix or '(no suffix)'}; expected one of {known}")

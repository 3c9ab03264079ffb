"""Counts and memory of an artifact's own graph, whatever its target."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import BadInput
from ..export.artifact import SUFFIX
from .macs import MacCount
from .memory import peak_of_onnx, peak_of_tflite


def count_file(path: Path, modules: Mapping[str, str] | None = None) -> MacCount:
    """Multiply-accumulates and parameters of an `.onnx`, `.tflite` or `.mlpackage`.

    Raises:
        BadInput: another kind of file.
    """
    from . import macs

    if path.suffix == SUFFIX["onnx"]:
        return macs.count_onnx(path, modules)
    if path.suffix == SUFFIX["tflite"]:
        return macs.count_tflite(path, modules)
    if path.suffix == SUFFIX["coreml"]:
        return macs.count_coreml(path, modules)
    raise BadInput(f"{path}: not an artifact; expected one of {', '.join(sorted(SUFFIX.values()))}")


def peak_bytes(path: Path) -> int:
    """Peak bytes of activations alive at once.

    Raises:
        BadInput: another kind of file.
    """
    if path.suffix == SUFFIX["onnx"]:
        return peak_of_onnx(path).size_bytes
    if path.suffix == SUFFIX["tflite"]:
        return peak_of_tflite(path).size_bytes
    if path.suffix == SUFFIX["coreml"]:
        from .memory import peak_of_coreml

        return peak_of_coreml(path).size_bytes
    raise BadInput(f"{path}: not an artifact; expected one of {', '.join(sorted(SUFFIX.values()))}")

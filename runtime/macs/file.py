"""Counts on an artifact of any kind."""

from collections.abc import Mapping
from pathlib import Path

from ...errors import BadInput
from .c_file import count_c
from .count import MacCount
from .mil_file import count_coreml
from .onnx_file import count_onnx
from .tflite_file import count_tflite

_COUNTERS = {".c": count_c, ".mlpackage": count_coreml, ".onnx": count_onnx, ".tflite": count_tflite}


def count_file(path: Path, modules: Mapping[str, str] | None = None) -> MacCount:
    """MACs of one run of an artifact.

    Args:
        path: an `.onnx`, `.tflite` or `.c` file, or an `.mlpackage`.
        modules: value name -> PyTorch module path, for `by_module`.

    Raises:
        BadInput: it is damaged, or of another kind.
    """
    path = Path(path)
    counter = _COUNTERS.get(path.suffix)
    if counter is None:
        kind = path.suffix or "without a suffix"
        raise BadInput(f"{path}: counted are .c, .mlpackage, .onnx and .tflite artifacts, not one {kind}")
    return counter(path, modules)

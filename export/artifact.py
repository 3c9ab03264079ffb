"""`Artifact`: one file for one target, with what a session needs to feed it and what a report needs to say of it."""

from dataclasses import dataclass, field
from pathlib import Path

from ..storage import sha256_of, size_bytes_of

TARGETS = ("onnx", "coreml", "tflite", "c")
SUFFIX = {"onnx": ".onnx", "coreml": ".mlpackage", "tflite": ".tflite", "c": ".c"}
FLOAT_PRECISIONS = ("float32", "float16")


def is_quantized(precision: str) -> bool:
    """Whether a precision means the quantized program: every name but `float32` and `float16` is a scheme's."""
    return precision not in FLOAT_PRECISIONS


def offers(target: str, precision: str) -> bool:
    """Whether a target has a form of a precision: C99 has no half precision."""
    return (target, precision) != ("c", "float16")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output: the user's own name, its shape (None where it may vary) and its NumPy dtype name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class Artifact:
    """A network written for one target.

    Attributes:
        target: `onnx`, `coreml`, `tflite` or `c`.
        precision: `float32`, `float16`, or the scheme's name of a quantized program (`int8`, `w4a8`, `binary`, ...).
        path: the file, the folder of an `.mlpackage`, or the `.c` file that has its `.h` beside it.
        inputs, outputs: what goes in and comes out, in order.
        modules: value name inside the artifact -> path of the PyTorch module that computes it.
        details: target-specific facts kept in the manifest (opset, minimum target, runtime version, ...).
    """

    target: str
    precision: str
    path: Path
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    modules: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        return size_bytes_of(self.path)

    @property
    def sha256(self) -> str:
        return sha256_of(self.path)

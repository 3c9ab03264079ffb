"""Reads the integers back out of an artifact and holds them against the program, code by code."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..export.artifact import Artifact
from ..quant.codes import IntegerTensor
from ..quant.program import QuantizedProgram

_NHWC = (0, 3, 1, 2)


@dataclass(frozen=True)
class ConstantsCheck:
    """What came of reading an artifact's integers back.

    Attributes:
        compared: weights, biases, constants and activation maps found in both under one name.
        identical: how many of them are equal to the last code, scale and zero point.
        differing: names of the others.
        missing: int8 weights of the program that the artifact does not hold as integers.
    """

    compared: int
    identical: int
    differing: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.compared == self.identical and not self.missing


def compare_constants(quantized: QuantizedProgram, artifact: Artifact) -> ConstantsCheck:
    """Compares every weight, bias and constant, and every activation's scale and zero point."""
    read_weights, read_scales = _READERS[artifact.target]()
    stored, scales = read_weights(artifact.path), read_scales(artifact.path)
    ours, affines = quantized.constants(), quantized.activations()
    differing = [name for name in ours if name in stored and not _same(ours[name], stored[name])]
    compared = sum(name in stored for name in ours)
    for name, affine in affines.items():
        if name in scales:
            compared += 1
            scale, zero_point = scales[name][:2]
            if np.float32(scale) != np.float32(affine.scale) or zero_point != affine.zero_point:
                differing.append(name)
    missing = [name for name, tensor in ours.items() if name not in stored and tensor.codes.dtype == np.int8]
    return ConstantsCheck(compared, compared - len(differing), tuple(differing), tuple(missing))


def _same(ours: IntegerTensor, theirs: IntegerTensor) -> bool:
    """Equal, up to the target's layout of a constant that broadcasts: channels last, or leading ones added."""
    if ours == theirs:
        return True
    if ours.axis is not None or theirs.axis is not None:
        return False
    codes = theirs.codes
    if codes.ndim == ours.codes.ndim == 4:
        codes = codes.transpose(_NHWC)
    if sorted(s for s in codes.shape if s > 1) != sorted(s for s in ours.codes.shape if s > 1):
        return False
    return ours == IntegerTensor(codes.reshape(ours.codes.shape), theirs.scale, theirs.zero_point, None)


def _onnx() -> tuple[Callable[[Path], dict], Callable[[Path], dict]]:
    from .onnx_session import read_activation_scales, read_weights

    return read_weights, read_activation_scales


def _tflite() -> tuple[Callable[[Path], dict], Callable[[Path], dict]]:
    from .tflite_session import read_activation_scales, read_weights

    return read_weights, read_activation_scales


def _coreml() -> tuple[Callable[[Path], dict], Callable[[Path], dict]]:
    from .coreml_session import read_activation_scales, read_weights

    return read_weights, read_activation_scales


_READERS = {"onnx": _onnx, "tflite": _tflite, "coreml": _coreml}

"""Reads the integers back out of an artifact and holds them against the program, code by code."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..export.artifact import Artifact
from ..quant.codes import IntegerTensor
from ..quant.program import QuantizedProgram
from .reference import output_values

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


@dataclass(frozen=True)
class _Stored:
    """What an artifact holds: integers and activations' (scale, zero point, ...) by name; real constants likewise."""

    integers: dict[str, IntegerTensor]
    scales: dict[str, tuple]
    reals: dict[str, np.ndarray]


def compare_constants(quantized: QuantizedProgram, artifact: Artifact) -> ConstantsCheck:
    """Compares every weight, bias and constant, and every activation's scale and zero point.

    A constant that a target cannot store in integers (Core ML's biases) is compared by the real numbers it stands for.
    """
    stored = _READERS[artifact.target](artifact.path)
    ours = quantized.constants()
    placeholders = {buffer: name for name, buffer in quantized.program.graph_signature.inputs_to_buffers.items()}
    verdicts, missing = {}, []
    for name, tensor in ours.items():
        real = stored.reals.get(placeholders.get(name, name))
        if name in stored.integers:
            verdicts[name] = _same(tensor, stored.integers[name])
        elif real is not None:
            verdicts[name] = np.array_equal(tensor.dequantize(), real)
        elif tensor.codes.dtype == np.int8:
            missing.append(name)
    outputs = output_values(quantized.program, quantized.output_names)
    for name, affine in quantized.activations().items():
        # Codes behind a float border have a name of their own, and those of an output carry the output's.
        border = outputs.get(name, name)
        known = next((n for n in (name, f"{border}_codes", border) if n in stored.scales), None)
        if known is not None:
            scale, zero_point = stored.scales[known][:2]
            verdicts[name] = np.float32(scale) == np.float32(affine.scale) and zero_point == affine.zero_point
    differing = tuple(name for name, holds in verdicts.items() if not holds)
    return ConstantsCheck(len(verdicts), len(verdicts) - len(differing), differing, tuple(missing))


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


def _onnx(path: Path) -> _Stored:
    from .onnx_session import read_activation_scales, read_weights

    return _Stored(read_weights(path), dict(read_activation_scales(path)), {})


def _tflite(path: Path) -> _Stored:
    from .tflite_session import read_activation_scales, read_weights

    return _Stored(read_weights(path), dict(read_activation_scales(path)), {})


def _coreml(path: Path) -> _Stored:
    from .coreml_session import read_activation_scales, read_reals, read_weights

    return _Stored(read_weights(path), dict(read_activation_scales(path)), read_reals(path))


_READERS = {"onnx": _onnx, "tflite": _tflite, "coreml": _coreml}

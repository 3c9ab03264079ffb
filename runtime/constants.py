"""Reads the integers back out of an artifact and holds them against the program, code by code."""

import re
from dataclasses import dataclass, replace
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
        compared: weights, biases, constants and activation maps found in both.
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
    Of equal computations a converter may keep one, and its constants stand for those of the others.
    """
    if artifact.target == "c":
        return _compare_arrays(quantized, artifact)
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
        elif any(_same(tensor, kept) for kept in stored.integers.values()):
            verdicts[name] = True
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


def _compare_arrays(quantized: QuantizedProgram, artifact: Artifact) -> ConstantsCheck:
    """Holds every constant array of a C file against the program's, packed as C has it."""
    from ..export.c.program import source_of_program
    from .c_source import arrays_in, read_c_source

    names = quantized.input_names, quantized.output_names
    integer_border = artifact.details.get("border") == "int8"
    wanted = arrays_in(source_of_program(quantized.program, artifact.path.stem, *names, integer_border).source)
    found = read_c_source(artifact.path).arrays
    present = [name for name in wanted if name in found]
    differing = [name for name in present if found[name] != wanted[name]]
    missing = [name for name in wanted if name not in found]
    values = [node.name for node in quantized.program.graph.nodes]

    def value_of(array: str) -> str:
        """The value that an array belongs to, by the longest name that it begins with."""
        return max((name for name in values if array.startswith(name)), key=len, default=array)

    return ConstantsCheck(
        len(present), len(present) - len(differing), tuple(map(value_of, differing)), tuple(map(value_of, missing))
    )


def _same(ours: IntegerTensor, theirs: IntegerTensor) -> bool:
    """Equal, up to the target's layout: sizes of one more or less, and constants that broadcast channels last.

    Codes in steps finer by a power of two (see `export.tflite_steps`) are the same numbers to the last bit.
    """
    ours, theirs = _coarsest(_per_tensor(ours)), _coarsest(_per_tensor(theirs))
    layouts = [theirs.codes]
    if ours.axis is None and theirs.axis is None and theirs.codes.ndim == 4:
        layouts.append(theirs.codes.transpose(_NHWC))
    shape = ours.codes.shape
    fitting = [codes.reshape(shape) for codes in layouts if _wide(codes.shape) == _wide(shape)]
    return any(ours == replace(theirs, codes=codes) for codes in fitting)


def _per_tensor(tensor: IntegerTensor) -> IntegerTensor:
    """One scale along an axis of one is a scale for the whole tensor."""
    if tensor.scale.size != 1:
        return tensor
    return IntegerTensor(tensor.codes, tensor.scale.reshape(()), tensor.zero_point.reshape(()), None)


def _coarsest(tensor: IntegerTensor) -> IntegerTensor:
    """The same numbers in the largest steps, a power of two of these, in which all codes of a channel are whole.

    A channel of zeros is the same at any scale.
    """
    if tensor.zero_point.any() or (tensor.axis is not None and tensor.codes.shape[tensor.axis] != tensor.scale.size):
        return tensor
    channels = tensor.codes.reshape(1, -1) if tensor.axis is None else np.moveaxis(tensor.codes, tensor.axis, 0)
    some_bits = np.bitwise_or.reduce(channels.reshape(len(channels), -1).astype(np.int64), axis=1)
    factors = np.where(some_bits == 0, 1, some_bits & -some_bits)
    shape = [1] * tensor.codes.ndim
    if tensor.axis is not None:
        shape[tensor.axis] = -1
    codes = (tensor.codes // factors.reshape(shape)).astype(tensor.codes.dtype)
    scale = tensor.scale * factors.astype(np.float32).reshape(tensor.scale.shape)
    scale = np.where((some_bits == 0).reshape(tensor.scale.shape), np.float32(1), scale)
    return replace(tensor, codes=codes, scale=scale)


def _wide(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size > 1]


def _onnx(path: Path) -> _Stored:
    from .onnx_session import read_activation_scales, read_weights

    return _Stored(read_weights(path), dict(read_activation_scales(path)), {})


def _tflite(path: Path) -> _Stored:
    from .tflite_session import read_activation_scales, read_weights

    return _Stored(read_weights(path), dict(read_activation_scales(path)), {})


def _coreml(path: Path) -> _Stored:
    from .coreml_session import read_activation_scales, read_reals, read_weights

    # The converter puts this before a name that begins with a digit, as the weights of a bare Sequential do.
    weights = {re.sub(r"^var_(?=\d)", "", name): tensor for name, tensor in read_weights(path).items()}
    return _Stored(weights, dict(read_activation_scales(path)), read_reals(path))


_READERS = {"onnx": _onnx, "tflite": _tflite, "coreml": _coreml}

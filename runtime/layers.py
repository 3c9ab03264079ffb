"""The per-layer table: multiply-accumulates, precision and the error that quantization made, by PyTorch module."""

from dataclasses import dataclass

import numpy as np
from torch.export import ExportedProgram

from ..quant.scheme import NAMED_BITS
from .macs import CountedOperation, count_program
from .reference import Reference, program_values
from .samples import Samples


@dataclass(frozen=True)
class Layer:
    """A layer that multiplies.

    Attributes:
        name: of its value in the program.
        module: path of its PyTorch module.
        operator: ATen name.
        macs: multiply-accumulates for one sample.
        precision: `float32`, or what a scheme of its bits is called: `int8`, `w4a8`, `binary`, ...
        sqnr_db: signal to quantization noise of its value against the float program, in dB; None where not quantized.
    """

    name: str
    module: str
    operator: str
    macs: int
    precision: str
    sqnr_db: float | None


def layer_table(program: ExportedProgram) -> list[Layer]:
    """The layers of a program in order, without errors."""
    return [
        Layer(op.name, op.module, op.operator, op.macs, _precision(op), None)
        for op in count_program(program).operations
    ]


def _precision(operation: CountedOperation) -> str:
    """What a scheme of the operation's bits is called; a product of two activations has the same bits twice."""
    if operation.bits > 8:
        return f"float{operation.bits}"
    weight, activation = operation.weight_bits or operation.bits, operation.activation_bits or operation.bits
    named = {pair: name for name, pair in NAMED_BITS.items()}
    return named.get((weight, activation), f"w{weight}a{activation}")


def with_errors(layers: list[Layer], floating: Reference, quantized: Reference, samples: Samples) -> list[Layer]:
    """The same layers with the error of each value, summed over a few samples; both programs name values alike."""
    signal: dict[str, float] = {}
    noise: dict[str, float] = {}
    for sample in samples:
        exact = {value.name: value.data for value in program_values(floating, sample)}
        for value in program_values(quantized, sample):
            if value.name in exact and exact[value.name].shape == value.data.shape:
                truth = exact[value.name].astype(np.float64)
                signal[value.name] = signal.get(value.name, 0.0) + float(np.sum(truth**2))
                noise[value.name] = noise.get(value.name, 0.0) + float(np.sum((truth - value.data) ** 2))
    return [
        Layer(**{**vars(layer), "sqnr_db": _decibels(signal.get(layer.name), noise.get(layer.name))})
        for layer in layers
    ]


def _decibels(signal: float | None, noise: float | None) -> float | None:
    if not signal or not noise:
        return None
    return float(10 * np.log10(signal / noise))

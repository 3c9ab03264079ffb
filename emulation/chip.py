"""`Chip`: a quantized program whose layers multiply on arrays of synapse devices; all else stays in whole numbers.

Ideal devices with ideal converters give the program's own bits: a chip differs from the digital program by what its
devices and converters do, and by nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..devices.synapse.converters import adc_joules
from ..devices.synapse.crossbar import LAYERS_APART, Crossbar
from ..devices.synapse.design import ArrayDesign
from ..devices.synapse.device import Pulse, SynapseDevice
from ..devices.synapse.draws import Draws
from ..errors import BadInput
from ..quant.integer.evaluate import evaluate_many, run_many
from ..quant.integer.operations import IntegerProgram, Operation
from ..quant.integer.sums import Layer, centred, completed
from .layers import Unrolled, is_layer, sums_of, unrolled, vectors_of

# Where a publication gives no read pulse: an assumption, which every output that rests on it names.
ASSUMED_READ = Pulse(0.2, 10e-9)
_BYTES = 64 << 20  # of the largest layer's input vectors that are held at once


@dataclass(frozen=True)
class Cost:
    """What a program takes on arrays.

    Attributes:
        arrays: of all layers.
        cells: devices that stand for weights.
        write_pulses: that writing took.
        cell_joules: in the devices for one sample, mean over the samples of the calibration.
        converter_joules: in the ADCs for one sample; 0 where they are ideal.
        write_joules: of writing; None where the device's pulses are not published.
    """

    arrays: int
    cells: int
    write_pulses: int
    cell_joules: float
    converter_joules: float
    write_joules: float | None

    @property
    def joules(self) -> float:
        """Of one sample, in devices and ADCs; what the digital part takes is not in it."""
        return self.cell_joules + self.converter_joules


class Chip:
    """One chip: every layer of a program written once, with draws of its own.

    Attributes:
        cost: what it takes, once it is calibrated.
    """

    def __init__(self, program: IntegerProgram, device: SynapseDevice, design: ArrayDesign, seed: int):
        """Writes all layers.

        Raises:
            BadInput: an array cannot hold a layer, or nothing in the program multiplies with weights.
        """
        self.program, self.device, self.design = program, device, design
        layers = [operation for operation in program.operations if is_layer(operation)]
        if not layers:
            raise BadInput("the quantized program: no layer multiplies with weights, so arrays have nothing to hold")
        self._unrolled: dict[Layer, Unrolled] = {layer: unrolled(layer) for layer in layers}
        self._arrays = {
            layer: Crossbar(part.weights, part.inputs, device, design, Draws(seed, number * LAYERS_APART), layer.module)
            for number, (layer, part) in enumerate(self._unrolled.items())
        }
        self.cost: Cost | None = None
        size = max(part.weights.shape[0] * part.weights.shape[1] * part.vectors for part in self._unrolled.values())
        self._batch = max(1, _BYTES // (4 * size))

    def calibrate(self, inputs: Sequence[np.ndarray]) -> None:
        """Sets ranges of ADCs from some samples, as the digital program computes them, and adds up the energy.

        Of networks with large images the first samples are enough: as many as are run at once.
        """
        squares: dict[Layer, Tensor] = {}

        def compute(operation: Operation, *read: Tensor) -> Tensor:
            if is_layer(operation):
                arrays = self._arrays[operation]
                vectors = vectors_of(operation, arrays.drive(centred(operation.inputs[0], read[0])))
                arrays.calibrate(vectors)
                squares[operation] = vectors.double().square().sum(0) / len(read[0])
            return run_many(operation, *read)

        evaluate_many(self.program, [values[: self._batch] for values in inputs], compute)
        self.cost = self._cost(squares)

    def run(self, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The outputs for many samples, (samples, *shape) each, as `evaluate_many` takes and gives them."""
        parts = [
            evaluate_many(self.program, [values[at : at + self._batch] for values in inputs], self._compute)
            for at in range(0, len(inputs[0]), self._batch)
        ]
        return tuple(np.concatenate(outputs) for outputs in zip(*parts))

    def _compute(self, operation: Operation, *read: Tensor) -> Tensor:
        if not is_layer(operation):
            return run_many(operation, *read)
        arrays = self._arrays[operation]
        outputs = arrays.read(vectors_of(operation, arrays.drive(centred(operation.inputs[0], read[0]))))
        return completed(operation, sums_of(operation, outputs, len(read[0])))

    def _cost(self, squares: dict[Layer, Tensor]) -> Cost:
        read = self.device.read or ASSUMED_READ
        usages = [arrays.usage for arrays in self._arrays.values()]
        conversions = sum(
            arrays.usage.conversions * self._unrolled[layer].vectors for layer, arrays in self._arrays.items()
        )
        pulses = sum(usage.write_pulses for usage in usages)
        cells = sum(a.read_joules(squares[layer], abs(read.volts), read.seconds) for layer, a in self._arrays.items())
        bits = self.design.adc_bits
        return Cost(
            arrays=sum(usage.arrays for usage in usages),
            cells=sum(usage.cells for usage in usages),
            write_pulses=pulses,
            cell_joules=cells,
            converter_joules=conversions * adc_joules(bits) if bits else 0.0,
            write_joules=self._write_joules(pulses),
        )

    def _write_joules(self, pulses: int) -> float | None:
        pulse = self.device.write_up
        return None if pulse is None else pulses * self.device.joules(pulse)

"""`Crossbar`: one layer's weights on arrays of synapse devices, and what comes out when these are read.

Whatever is settled once the arrays are written and have aged (levels, spreads, stuck cells, drift, wires) is in the
matrix that a read multiplies with; noise and converters act at every read. Where reads are noisy, each cell's
conductance deviates in proportion to itself, so a column's sum deviates normally with the variance that the squares of
conductances give: a second product and one number for each output say the same as one number for each cell.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .converters import Converter, adc_range
from .design import ArrayDesign
from .device import SynapseDevice
from .draws import Draws, Purpose
from .mapping import array_count, sliced
from .retention import compensation
from .wires import effective_conductance
from .written import Written

LAYERS_APART = 64  # arrays of one layer have draws of their own, numbered from the layer's on


@dataclass(frozen=True)
class Usage:
    """What a layer takes.

    Attributes:
        arrays: of `ArrayDesign.rows` x `columns` devices.
        cells: devices that stand for a weight, or a part of one, or are a reference.
        conversions: of ADCs, for one input vector; the currents of a pair are subtracted before.
        write_pulses: that writing took.
    """

    arrays: int
    cells: int
    conversions: int
    write_pulses: int


class Crossbar:
    """One layer on one chip.

    Attributes:
        matrices: (slices, groups, inputs, outputs): what an input of 1 adds to each output. float32 where that holds
            every sum of an ideal array exactly, as it does for whole numbers on arrays that are not too large, or else
            float64; inputs are computed with in the same.
        usage: what it takes.
        row_siemens: float64 (groups, inputs): conductance of all devices on a row.
        vectors: input vectors read so far; the noise of a read is drawn for its number.
    """

    def __init__(
        self,
        weights: Tensor,
        inputs: tuple[float, float],
        device: SynapseDevice,
        design: ArrayDesign,
        draws: Draws,
        layer: str = "weights",
    ):
        """Writes the arrays and lets them age.

        Args:
            weights: (groups, inputs, outputs). A group's inputs reach no other group's outputs; cells between groups
                are not formed and conduct nothing.
            inputs: least and largest input, ends of the DAC's range.
            draws: of the chip; layers are `LAYERS_APART` apart.
            layer: its name, for errors.

        Raises:
            BadInput: weights cannot be sliced, or no array can hold them.
        """
        self.device, self.design, self._inputs, self._draws = device, design, inputs, draws
        weights = weights.double()
        slices = sliced(weights, design, layer)
        groups, rows, columns = weights.shape
        self._chunks = [slice(at, at + design.rows) for at in range(0, rows, design.rows)]
        arrays = array_count(groups, rows, columns, len(slices.factors), design)
        written = Written(slices.digits, device, design, draws)
        factors = torch.tensor(slices.factors, dtype=torch.float64, device=weights.device)[:, None, None, None]
        factors = factors * written.gain / (device.g_max - device.g_min)
        now = written.aged(design.seconds)
        wired = self._wired(now)
        self.matrices = written.difference(wired) * factors
        self._columns = written.columns
        squares = [each.square() * (factors * device.read_noise).square() for each in wired]
        # A reference's noise is one number for all outputs that are held against it.
        self._squares = squares if written.reference else [squares[0] + squares[1]]
        self.row_siemens = written.row_siemens(now)
        self._scale = 1.0
        if design.compensates_drift and bool(_ones_read(self.matrices).any()):
            fresh = written.difference(self._wired(written.fresh)) * factors
            self._scale = float(compensation(_ones_read(fresh), _ones_read(self.matrices)))
        excess = (self.matrices * self._scale).sum((0, 2)) - weights.sum(1)
        self._offset = excess / rows if design.corrects_offset else None
        self._limits: list[float] | None = None
        self.dtype = _exact_dtype(weights, inputs, design)
        self.matrices, self._squares = self.matrices.to(self.dtype), [each.to(self.dtype) for each in self._squares]
        conversions = len(slices.factors) * len(self._chunks) * groups * columns
        self.usage = Usage(arrays, written.cells, conversions, written.pulses)
        self.vectors = 0

    def calibrate(self, driven: Tensor) -> None:
        """Sets each slice's ADC range from its partial sums of some vectors that `drive` gave, as `read` takes them."""
        share = self.design.adc_share
        parts = [[partial for _, partial in self._partials(driven, place)] for place in self._slices()]
        self._limits = [float(adc_range(torch.stack(part), share)) for part in parts]

    def drive(self, inputs: Tensor) -> Tensor:
        """What the DACs make of inputs of any shape."""
        if not self.design.dac_bits:
            return inputs.to(self.dtype)
        return Converter(self.design.dac_bits).around_zero(inputs.to(self.dtype), *self._inputs)

    def read(self, driven: Tensor) -> Tensor:
        """Reads the arrays.

        Args:
            driven: (batch, groups, inputs), as `drive` gives them.

        Returns:
            float64 (batch, groups, outputs), in units of input times weight.

        Raises:
            RuntimeError: ADCs have bits and no range yet.
        """
        total: Tensor | None = None
        for place in self._slices():
            for chunk, (rows, partial) in enumerate(self._partials(driven, place)):
                if self.device.read_noise:
                    partial = partial + self._noise(driven, place, chunk, rows)
                if self.design.adc_bits:
                    partial = self._converted(partial, place)
                total = partial.double() if total is None else total + partial
        assert total is not None
        self.vectors += len(driven)
        if self._scale != 1.0:
            total = total * self._scale
        return total if self._offset is None else total - driven.double().sum(2, keepdim=True) * self._offset

    def read_joules(self, squares: Tensor, volts: float, seconds: float) -> float:
        """Energy in the cells for input vectors.

        Args:
            squares: float64 (groups, inputs), the sum of squares of inputs over all vectors.
            volts: that the largest input is driven with.
            seconds: that a read takes.
        """
        largest = max(abs(end) for end in self._inputs)
        return float((squares * self.row_siemens).sum()) * (volts / largest) ** 2 * seconds

    def _slices(self) -> range:
        return range(len(self.matrices))

    def _partials(self, inputs: Tensor, place: int) -> list[tuple[slice, Tensor]]:
        """Rows and sums (batch, groups, outputs) of each array of a slice."""
        return [(rows, _product(inputs, self.matrices[place], rows)) for rows in self._chunks]

    def _noise(self, inputs: Tensor, place: int, chunk: int, rows: slice) -> Tensor:
        """What reads of a slice's array deviate by, (batch, groups, outputs)."""
        squares, step = inputs.square(), place * len(self._chunks) + chunk
        own = self._deviation(squares, self._squares[0][place], rows, Purpose.READ, step)
        if len(self._squares) == 1:
            return own
        reference = self._deviation(squares, self._squares[1][place], rows, Purpose.REFERENCE, step)
        return own - reference[..., self._columns]

    def _deviation(self, squares: Tensor, variances: Tensor, rows: slice, purpose: Purpose, step: int) -> Tensor:
        deviation = _product(squares, variances, rows).sqrt()
        noise = self._draws.normal(purpose, deviation.numel(), step, self.vectors * deviation[0].numel())
        return deviation * noise.reshape(deviation.shape)

    def _converted(self, partial: Tensor, place: int) -> Tensor:
        if self._limits is None:
            raise RuntimeError("calibrate() sets the ADC's range; call it before read()")
        limit = self._limits[place]
        return Converter(self.design.adc_bits).convert(partial, -limit, limit)

    def _wired(self, conductances: list[Tensor]) -> list[Tensor]:
        """Siemens as the ends of the wires see them; a reference is the last column of the array that it belongs to."""
        ohms, width = self.design.wire_ohms, self.design.weight_columns
        if not ohms:
            return conductances
        wired = [torch.empty_like(each) for each in conductances]
        for rows in self._chunks:
            for place, at in enumerate(range(0, conductances[0].shape[-1], width)):
                weights, last = (..., rows, slice(at, at + width)), (..., rows, slice(place, place + 1))
                first, other = conductances
                if self.design.reference == "column":
                    tile = effective_conductance(torch.cat([first[weights], other[last]], -1), ohms, ohms)
                    wired[0][weights], wired[1][last] = tile[..., :-1], tile[..., -1:]
                else:
                    wired[0][weights] = effective_conductance(first[weights], ohms, ohms)
                    wired[1][weights] = effective_conductance(other[weights], ohms, ohms)
        return wired


def _product(inputs: Tensor, matrix: Tensor, rows: slice) -> Tensor:
    """(batch, groups, inputs) by (groups, inputs, outputs), over some of the inputs."""
    if len(matrix) == 1:
        return (inputs[:, 0, rows] @ matrix[0, rows])[:, None]
    return torch.einsum("bgi,gio->bgo", inputs[:, :, rows], matrix[:, rows])


def _exact_dtype(weights: Tensor, inputs: tuple[float, float], design: ArrayDesign) -> torch.dtype:
    """float32 where a whole array's sum of whole numbers stays below 2^24."""
    largest = max(abs(end) for end in inputs) * float(weights.abs().max()) * min(design.rows, weights.shape[1])
    is_whole = bool((weights == weights.round()).all()) and all(end == int(end) for end in inputs)
    return torch.float32 if is_whole and largest < 1 << 24 else torch.float64


def _ones_read(matrices: Tensor) -> Tensor:
    """What an input of ones gives at each output, (groups, outputs)."""
    return matrices.sum((0, 2))

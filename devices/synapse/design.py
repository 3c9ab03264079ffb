"""`ArrayDesign`: how weights lie on arrays of devices, and how these are written and read."""

from dataclasses import dataclass

from ...errors import BadInput


@dataclass(frozen=True)
class ArrayDesign:
    """What is chosen about arrays and their periphery.

    Attributes:
        rows, columns: of one array.
        reference: `pair` (a weight is the difference of two devices, on two arrays), or `column` (of a device and one
            of a column of devices at mid range, which the other columns of its array share).
        slice_bits: bits of a weight's magnitude in one device; 0 for all of them.
        dac_bits, adc_bits: of the converters; 0 for ideal ones.
        adc_share: share of partial sums that the ADC's range holds; beyond, it clips.
        clip_share: share of weights, by magnitude, that the range of conductances holds; the rest is clipped.
        wire_ohms: of the wire from one cell to the next.
        verify_rounds: of reading and mending while arrays are written.
        seconds: from writing to reading.
        compensates_drift: one factor for each layer makes up for the mean drift.
        corrects_offset: what each column gives too much for an input of ones is subtracted, in proportion to the sum
            of the inputs.
    """

    rows: int = 256
    columns: int = 256
    reference: str = "pair"
    slice_bits: int = 0
    dac_bits: int = 0
    adc_bits: int = 0
    adc_share: float = 1.0
    clip_share: float = 1.0
    wire_ohms: float = 0.0
    verify_rounds: int = 0
    seconds: float = 0.0
    compensates_drift: bool = False
    corrects_offset: bool = False

    def __post_init__(self) -> None:
        faults = [
            f"{name} must be from {low:g} to {high:g}, got {getattr(self, name):g}"
            for name, (low, high) in _BOUNDS.items()
            if not low <= getattr(self, name) <= high
        ]
        if self.reference not in ("pair", "column"):
            faults.append(f"reference must be pair or column, got {self.reference}")
        if self.reference == "column" and self.columns < 2:
            faults.append(f"columns must be 2 or more with a reference column, got {self.columns}")
        if faults:
            raise BadInput(f"arrays: {'; '.join(faults)}")

    @property
    def weight_columns(self) -> int:
        """Columns of an array that hold weights."""
        return self.columns - (self.reference == "column")


_BOUNDS = {
    "rows": (1, 65536),
    "columns": (1, 65536),
    "slice_bits": (0, 16),
    "dac_bits": (0, 16),
    "adc_bits": (0, 16),
    "adc_share": (0.5, 1.0),
    "clip_share": (0.5, 1.0),
    "wire_ohms": (0.0, 1e6),
    "verify_rounds": (0, 1000),
    "seconds": (0.0, 1e10),
}

"""`SharingBuilder`: a flatbuffer in which equal vectors of numbers stand once."""

from typing import Any

import flatbuffers
import numpy as np


class SharingBuilder(flatbuffers.Builder):
    """Tables may point at one vector, and readers cannot tell.

    A channel of a quantized layer has a zero point of eight bytes for its weights and one for its bias, all zero; its
    bias itself has four. Vectors of bytes are left alone, for those of a buffer must be aligned more strictly.
    """

    def __init__(self, size: int):
        super().__init__(size)
        self._written: dict[tuple[str, bytes], Any] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> Any:  # the builder's own name
        """The offset of a vector with these numbers."""
        if x.dtype.itemsize == 1:
            return super().CreateNumpyVector(x)
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

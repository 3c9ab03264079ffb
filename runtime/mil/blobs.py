"""Reads the weight file of a Core ML package (`weights/weight.bin`), format version 2.

The file is a 64-byte header, then blobs; a value of the program names a blob by the offset of its 64-byte metadata:
sentinel 0xDEADBEEF (uint32), element type (uint32), bytes of data, offset of the data, bits of padding at the end
(uint64 each). Layout after coremltools' `mlmodel/src/MILBlob/Blob/StorageFormat.hpp`. Elements narrower than a byte are
packed from the least significant bit on, and may straddle bytes.
"""

import mmap
import struct
from pathlib import Path

import numpy as np

from ...errors import BadInput

_SENTINEL = 0xDEADBEEF
_METADATA = struct.Struct("<IIQQQ")

NUMPY_TYPES: dict[str, type[np.generic]] = {
    "bool": np.bool_,
    "fp16": np.float16,
    "fp32": np.float32,
    "fp64": np.float64,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
}
PACKED_BITS = {"uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6, "int4": 4}


def unpack(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """The elements stored in `data` as an array of `shape`; packed types come back as uint8 (int8 for `int4`)."""
    count = int(np.prod(shape, dtype=np.int64))
    if dtype in NUMPY_TYPES:
        return np.frombuffer(data, np.dtype(NUMPY_TYPES[dtype]).newbyteorder("<"), count).reshape(shape)
    values = unpack_bits(np.frombuffer(data, np.uint8), PACKED_BITS[dtype], count).reshape(shape)
    if dtype == "int4":
        return ((values.astype(np.int8) ^ 8) - 8).astype(np.int8)  # sign bit of the nibble
    return values


def unpack_bits(packed: np.ndarray, bits: int, count: int) -> np.ndarray:
    """`count` unsigned elements of `bits` bits each from bytes filled from the least significant bit, as uint8."""
    stream = np.unpackbits(packed.astype(np.uint8), bitorder="little")[: count * bits].reshape(count, bits)
    return (stream << np.arange(bits, dtype=np.uint8)).sum(axis=1).astype(np.uint8)


class BlobFile:
    """A weight file, mapped into memory."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with open(path, "rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:  # ValueError: an empty file cannot be mapped
            raise BadInput(f"{path}: cannot read the weights ({error}); export the package again") from error

    def read(self, offset: int, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
        """The blob whose metadata stands at `offset`, as a read-only array of `shape`."""
        if offset + _METADATA.size > len(self._bytes):
            raise self._damaged(f"no blob at byte {offset} of {len(self._bytes)}")
        sentinel, _, size, start, _ = _METADATA.unpack_from(self._bytes, offset)
        if sentinel != _SENTINEL:
            raise self._damaged(f"byte {offset} does not begin a blob")
        if start + size > len(self._bytes):
            raise self._damaged(f"a blob ends at byte {start + size}, the file at byte {len(self._bytes)}")
        bits = PACKED_BITS.get(dtype) or 8 * np.dtype(NUMPY_TYPES[dtype]).itemsize
        needed = -(-int(np.prod(shape, dtype=np.int64)) * bits // 8)
        if size < needed:
            raise self._damaged(f"the blob at byte {offset} holds {size} bytes, its value needs {needed}")
        return unpack(self._bytes[start : start + size], dtype, shape)

    def _damaged(self, reason: str) -> BadInput:
        return BadInput(f"{self.path}: the weights are truncated or damaged ({reason}); export the package again")

"""Volumes in NIfTI-1 files, `.nii` and `.nii.gz`: https://nifti.nimh.nih.gov/nifti-1 (Cox et al., 2004).

What is read is one file of a header of 348 bytes, magic `n+1`, and real numbers. Sizes that a header claims are held
against the file before anything is allocated.
"""

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ...errors import BadInput, first_line
from ...storage import atomic_path

HEADER, FIRST_VOXEL = 348, 352  # bytes; four that tell of extensions lie between
MOST_BYTES = 1 << 31  # of a volume
_MOST_DEFLATED = 1032  # bytes that one byte of a deflated stream can stand for
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


@dataclass(frozen=True)
class Volume:
    """Voxels (X, Y, Z), and their sizes along each axis as the file gives them (mostly mm)."""

    voxels: np.ndarray
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, int, int]
    dtype: np.dtype
    first: int
    slope: float
    intercept: float
    spacing: tuple[float, float, float]

    @property
    def bytes_needed(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_nifti(path: Path) -> Volume:
    """A volume; voxels have the file's type, or float32 where it scales them.

    Raises:
        BadInput: the file is no such volume, is cut short, or claims more than it can hold.
    """
    try:
        size = path.stat().st_size
        with _opened(path) as file:
            header = _header(path, file.read(FIRST_VOXEL))
            _check_size(path, header, size)
            file.seek(header.first)
            content = file.read(header.bytes_needed)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path}: cannot be read ({first_line(error)}); copy it again or leave it out") from error
    if len(content) < header.bytes_needed:
        raise _cut_short(path, header, len(content))
    stored = np.frombuffer(content, header.dtype).reshape(header.shape, order="F")
    stored = stored.astype(header.dtype.newbyteorder("="))
    if (header.slope, header.intercept) == (1.0, 0.0):
        return Volume(stored, header.spacing)
    with np.errstate(over="ignore"):
        return Volume((stored * header.slope + header.intercept).astype(np.float32), header.spacing)


def write_nifti(
    path: Path, voxels: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), big_endian: bool = False
) -> None:
    """Writes voxels (X, Y, Z) as they are; compressed where the name ends in `.gz`.

    Raises:
        BadInput: there are not three axes, or NIfTI has no such type.
    """
    code = {name: number for number, name in _TYPES.items()}.get(voxels.dtype.str[1:])
    if voxels.ndim != 3 or code is None or not voxels.size:
        raise BadInput(f"{path}: voxels {voxels.dtype} {voxels.shape} are no volume; give (X, Y, Z) of real numbers")
    order: Literal["<", ">"] = ">" if big_endian else "<"
    header = bytearray(FIRST_VOXEL)
    struct.pack_into(order + "i", header, 0, HEADER)
    struct.pack_into(order + "8h", header, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into(order + "2h", header, 70, code, 8 * voxels.dtype.itemsize)
    struct.pack_into(order + "4f", header, 76, 1.0, *spacing)
    struct.pack_into(order + "3f", header, 108, FIRST_VOXEL, 1.0, 0.0)
    header[344:348] = b"n+1\0"
    content = bytes(header) + voxels.astype(voxels.dtype.newbyteorder(order)).tobytes("F")
    with atomic_path(path) as beside:
        beside.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _header(path: Path, content: bytes) -> _Header:
    if len(content) < FIRST_VOXEL:
        raise BadInput(f"{path}: has {len(content)} bytes, a NIfTI-1 header alone is {FIRST_VOXEL}; copy it again")
    order = next((order for order in "<>" if struct.unpack_from(order + "i", content)[0] == HEADER), None)
    magic = content[344:348]
    if order is None or magic != b"n+1\0":
        raise BadInput(
            f"{path}: no NIfTI-1 file (size of the header {struct.unpack_from('<i', content)[0]}, magic {magic!r}); "
            "NIfTI-2, Analyze and .hdr/.img pairs are not read, convert it to .nii or .nii.gz"
        )
    axes, *dims = struct.unpack_from(order + "8h", content, 40)
    code, bits = struct.unpack_from(order + "2h", content, 70)
    spacing = struct.unpack_from(order + "3f", content, 80)
    first, slope, intercept = struct.unpack_from(order + "3f", content, 108)
    if not 3 <= axes <= 7 or min(dims[:axes]) < 1 or any(dim != 1 for dim in dims[3:axes]):
        raise BadInput(f"{path}: has the axes {dims[: max(0, min(axes, 7))]}; expected one volume of three axes")
    if code not in _TYPES or bits != 8 * np.dtype(_TYPES[code]).itemsize:
        raise BadInput(
            f"{path}: holds voxels of type {code} with {bits} bits; expected real numbers, as int16 or float32"
        )
    if not (math.isfinite(first) and first >= FIRST_VOXEL and first == int(first)):
        raise BadInput(f"{path}: says that voxels begin at byte {first:g}; expected {FIRST_VOXEL} or later")
    if math.isnan(slope) or slope == 0:  # both say that voxels are as they are
        slope, intercept = 1.0, 0.0
    if not (math.isfinite(slope) and math.isfinite(intercept)):
        raise BadInput(f"{path}: scales voxels by {slope:g} and adds {intercept:g}; expected finite numbers")
    return _Header(tuple(dims[:3]), np.dtype(order + _TYPES[code]), int(first), slope, intercept, spacing)


def _check_size(path: Path, header: _Header, file_bytes: int) -> None:
    needed = header.first + header.bytes_needed
    if needed > MOST_BYTES:
        raise BadInput(f"{path}: claims {needed:,} bytes; at most {MOST_BYTES:,} are read, so cut the volume smaller")
    if needed > (file_bytes * _MOST_DEFLATED if path.suffix == ".gz" else file_bytes):
        raise _cut_short(path, header, file_bytes)


def _cut_short(path: Path, header: _Header, found: int) -> BadInput:
    shape = " x ".join(map(str, header.shape))
    return BadInput(
        f"{path}: is cut short, {shape} voxels need {header.bytes_needed:,} bytes, found {found:,}; copy it again"
    )

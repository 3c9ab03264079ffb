"""NIfTI volumes: what is written is read back, and what is cut, false or foreign is refused in one line."""

import gzip
import struct
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from offramp.errors import BadInput
from offramp.models.data.nifti import FIRST_VOXEL, MOST_BYTES, read_nifti, write_nifti

TYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"]


def elements(name):
    return {"allow_nan": False} if name[0] == "f" else None


VOXELS = st.sampled_from(TYPES).flatmap(
    lambda name: arrays(
        name,
        array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements={"allow_nan": False} if name[0] == "f" else None,
    )
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("volumes")


@contextmanager
def suppress_bad_input():
    """Gives the message of what is refused inside."""
    told = []
    try:
        yield told
    except BadInput as error:
        told.append(str(error))


def patched(path, offset, form, *values):
    """The file with a field of its header overwritten."""
    content = bytearray(path.read_bytes())
    struct.pack_into(form, content, offset, *values)
    path.write_bytes(content)
    return path


@pytest.fixture
def volume(tmp_path):
    path = tmp_path / "a.nii"
    write_nifti(path, np.arange(24, dtype="i2").reshape(2, 3, 4), (0.5, 0.5, 1.5))
    return path


@settings(deadline=None, max_examples=60)
@given(VOXELS, st.booleans(), st.sampled_from([".nii", ".nii.gz"]))
def test_a_written_volume_reads_back_equal(folder, voxels, big_endian, ending):
    path = folder / f"volume{ending}"
    write_nifti(path, voxels, (0.5, 0.75, 2.0), big_endian)
    found = read_nifti(path)
    assert found.voxels.dtype == voxels.dtype and found.spacing == (0.5, 0.75, 2.0)
    np.testing.assert_array_equal(found.voxels, voxels)


@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1, exclude_max=True), st.sampled_from([".nii", ".nii.gz"]))
def test_every_truncation_is_refused(folder, share, ending):
    path = folder / f"cut{ending}"
    write_nifti(path, np.arange(60, dtype="f4").reshape(3, 4, 5))
    content = path.read_bytes()
    # What closes a compressed stream is not needed for its voxels: eight bytes of checksum and length.
    path.write_bytes(content[: int(share * (len(content) - (8 if ending == ".nii.gz" else 0)))])
    with pytest.raises(BadInput, match=r"cut\.nii"):
        read_nifti(path)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, FIRST_VOXEL - 1), st.integers(0, 255))
def test_a_changed_byte_of_the_header_gives_a_volume_or_one_line(folder, place, value):
    path = folder / "changed.nii"
    write_nifti(path, np.arange(60, dtype="i2").reshape(3, 4, 5))
    patched(path, place, "B", value)
    voxels = None
    with suppress_bad_input() as told:
        voxels = read_nifti(path).voxels
    message = "".join(told)
    assert ("changed.nii" in message and "\n" not in message) if voxels is None else voxels.size <= 60


def test_the_first_axis_turns_fastest_in_the_file(volume):
    assert np.frombuffer(volume.read_bytes()[FIRST_VOXEL:], "<i2")[:3].tolist() == [0, 12, 4]
    assert volume.stat().st_size == FIRST_VOXEL + 24 * 2


@pytest.mark.parametrize(("slope", "intercept", "first"), [(2.0, 1.0, 1.0), (0.0, 7.0, 0), (float("nan"), 7.0, 0)])
def test_voxels_are_scaled_where_a_slope_is_given(volume, slope, intercept, first):
    found = read_nifti(patched(volume, 112, "<2f", slope, intercept)).voxels
    assert found[0, 0, 0] == first and found.dtype == (np.float32 if slope == 2 else np.int16)
    assert found[1, 2, 3] == (47 if slope == 2 else 23)


def test_trailing_axes_of_one_are_no_axes(volume):
    assert read_nifti(patched(volume, 40, "<8h", 5, 2, 3, 4, 1, 1, 1, 1)).voxels.shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("offset", "form", "values", "message"),
    [
        (0, "<i", (540,), r"no NIfTI-1 file \(size of the header 540, .*NIfTI-2, Analyze and \.hdr/\.img pairs"),
        (344, "4s", (b"ni1\0",), r"no NIfTI-1 file .*magic b'ni1\\x00'\); .*pairs are not read, convert"),
        (40, "<8h", (4, 2, 3, 4, 9, 1, 1, 1), r"has the axes \[2, 3, 4, 9\]; expected one volume of three axes"),
        (40, "<8h", (2, 2, 3, 1, 1, 1, 1, 1), r"has the axes \[2, 3\]; expected one volume"),
        (40, "<8h", (3, 2, -3, 4, 1, 1, 1, 1), r"has the axes \[2, -3, 4\]"),
        (70, "<2h", (32, 64), r"holds voxels of type 32 with 64 bits; expected real numbers, as int16 or float32"),
        (70, "<2h", (4, 8), r"holds voxels of type 4 with 8 bits"),
        (108, "<f", (float("nan"),), r"says that voxels begin at byte nan; expected 352 or later"),
        (108, "<f", (0.0,), r"says that voxels begin at byte 0"),
        (112, "<2f", (float("inf"), 0.0), r"scales voxels by inf and adds 0; expected finite numbers"),
        (40, "<8h", (3, 32767, 32767, 32767, 1, 1, 1, 1), r"claims .* bytes; at most 2,147,483,648 are read"),
        (
            40,
            "<8h",
            (3, 2, 3, 5, 1, 1, 1, 1),
            r"is cut short, 2 x 3 x 5 voxels need 60 bytes, found 400; copy",
        ),
    ],
)
def test_what_is_not_understood_is_refused(volume, offset, form, values, message):
    with pytest.raises(BadInput, match=r"a\.nii: " + message):
        read_nifti(patched(volume, offset, form, *values))


def test_a_compressed_header_cannot_claim_more_than_its_file_can_hold(volume, tmp_path):
    """Nothing is allocated for a gigabyte that a hundred bytes cannot become."""
    patched(volume, 40, "<8h", 3, 1000, 1000, 400, 1, 1, 1, 1)
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(volume.read_bytes()))
    with pytest.raises(BadInput, match=r"bomb\.nii\.gz: is cut short, 1000 x 1000 x 400 voxels need 800,000,000 bytes"):
        read_nifti(path)
    assert MOST_BYTES == 2**31


def test_files_that_are_no_volumes_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"none\.nii: cannot be read .*; copy it again or leave it out"):
        read_nifti(tmp_path / "none.nii")
    (tmp_path / "text.nii.gz").write_bytes(b"no gzip at all")
    with pytest.raises(BadInput, match=r"text\.nii\.gz: cannot be read \(Not a gzipped file"):
        read_nifti(tmp_path / "text.nii.gz")
    (tmp_path / "short.nii").write_bytes(b"\0" * 10)
    with pytest.raises(BadInput, match=r"short\.nii: has 10 bytes, a NIfTI-1 header alone is 352; copy it again"):
        read_nifti(tmp_path / "short.nii")


@pytest.mark.parametrize("voxels", [np.zeros((2, 2)), np.zeros((2, 2, 2), complex), np.zeros((0, 2, 2))])
def test_only_volumes_of_real_numbers_are_written(tmp_path, voxels):
    with pytest.raises(BadInput, match=r"are no volume; give \(X, Y, Z\) of real numbers"):
        write_nifti(tmp_path / "a.nii", voxels)

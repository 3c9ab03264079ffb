"""IDX files: right values from good ones, one clear line from bad ones."""

import gzip
import struct

import numpy as np
import pytest
from offramp.errors import BadInput
from offramp.models.data import load
from offramp.models.data.mnist import read_idx


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder, train=6, test=4, gz=False):
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("t10k", test)):
        for kind, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28), np.uint8)),
            ("labels-idx1", (np.arange(count) % 3).astype(np.uint8)),
        ):
            path = folder / f"{part}-{kind}-ubyte{'.gz' if gz else ''}"
            path.write_bytes(gzip.compress(idx(array)) if gz else idx(array))


@pytest.mark.parametrize("gz", [False, True])
def test_mnist_is_found_by_its_files(tmp_path, gz):
    write_mnist(tmp_path, gz=gz)
    data = load(tmp_path, channels=1, size=28)
    expected = np.random.default_rng(0).integers(0, 256, (6, 28, 28), np.uint8)
    assert (len(data.train), len(data.test), data.labels) == (6, 4, ("0", "1", "2"))
    assert np.array_equal(data.train[4][0][0].numpy(), expected[4])
    assert [data.train[i][1] for i in range(6)] == [0, 1, 2, 0, 1, 2]


def test_mnist_with_other_counts_of_images_and_labels_is_refused(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(9, np.uint8)))
    with pytest.raises(BadInput, match="t10k-images-idx3-ubyte has 4 images and t10k-labels-idx1-ubyte 9 labels"):
        load(tmp_path, 1, 28)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cut short inside its header, 0 bytes"),
        (idx(np.zeros(3, np.uint8)) + b"\0" * 9, r"magic 0x00000801, not 0x00000803"),
        (idx(np.zeros((2, 4, 4), np.uint8))[:-1], "announces 32 bytes"),
        (idx(np.zeros((2, 4, 4), np.uint8)) + b"\0", "announces 32 bytes"),
        (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), f"announces {(2**32 - 1) ** 3} bytes, which no"),
        (struct.pack(">4I", 0x803, 0, 28, 28), "announces 0 bytes"),
    ],
)
def test_damaged_idx_is_refused(tmp_path, content, message):
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=f"images: .*{message}"):
        read_idx(path, 3)


def test_gzip_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((2, 9, 9), np.uint8)))[:-12])
    with pytest.raises(BadInput, match=r"images.gz: cannot be read"):
        read_idx(path, 3)

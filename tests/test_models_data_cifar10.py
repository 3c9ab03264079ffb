"""CIFAR-10 in both forms, and a pickle that cannot run anything."""

import os
import pickle
import struct

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import load


def cifar_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3072), np.uint8)


def write_cifar_python(folder, protocol=2):
    for name, count in (("data_batch_1", 5), ("data_batch_2", 3), ("test_batch", 4)):
        batch = {b"data": cifar_images(count), b"labels": [i % 10 for i in range(count)], b"batch_label": b"some"}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))


def test_both_forms_of_cifar10_give_the_same_images(tmp_path):
    python, binary = tmp_path / "py", tmp_path / "bin"
    for folder in (python, binary):
        folder.mkdir()
    write_cifar_python(python)
    for name, count in (("data_batch_1", 5), ("data_batch_2", 3), ("test_batch", 4)):
        labels = (np.arange(count) % 10).astype(np.uint8)[:, None]
        (binary / f"{name}.bin").write_bytes(np.hstack([labels, cifar_images(count)]).tobytes())
    first, second = load(python, 3, 32), load(binary, 3, 32)
    assert (len(first.train), len(first.test)) == (8, 4)
    for split in ("train", "test"):
        assert torch.equal(getattr(first, split).samples, getattr(second, split).samples)
        assert torch.equal(getattr(first, split).labels, getattr(second, split).labels)
    assert np.array_equal(first.train[6][0].numpy(), cifar_images(3)[1].reshape(3, 32, 32))


def test_cifar10_in_its_usual_subfolder_and_in_grey(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    write_cifar_python(tmp_path / "cifar-10-batches-py", protocol=4)
    data = load(tmp_path, channels=1, size=16)
    assert data.test[0][0].shape == (1, 16, 16)
    assert len(data.preprocessing.mean) == 1


def test_a_pickle_as_python_2_wrote_it_is_read(tmp_path):
    """The published files: byte strings everywhere, and numpy's names of 2009."""
    pixels = cifar_images(1)
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01M\x00\x0c\x86"
    array += dtype + b"\x89T" + struct.pack("<I", 3072) + pixels.tobytes() + b"tb"
    batch = b"\x80\x02}(U\x04data" + array + b"U\x06labels](K\x07eu."
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(batch)
    image, label = load(tmp_path, 3, 32).train[0]
    assert label == 7
    assert np.array_equal(image.numpy(), pixels.reshape(3, 32, 32))


class Bomb:
    """Unpickling this would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_cannot_run_anything(tmp_path):
    write_cifar_python(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps({b"data": Bomb(tmp_path / "made"), b"labels": []}))
    with pytest.raises(BadInput, match=r"data_batch_1: its pickle asks for (posix|nt).mkdir"):
        load(tmp_path, 3, 32)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({b"labels": [0]}, r"not a CIFAR-10 batch \(KeyError: 'data'\)"),
        ({b"data": cifar_images(2), b"labels": [0]}, r"images of shape \(2, 3072\) for 1 labels"),
        ({b"data": cifar_images(1), b"labels": [10]}, "labels from 10 to 10"),
        ({b"data": np.zeros((1, 3072)), b"labels": [1]}, "expected unsigned bytes"),
    ],
)
def test_wrong_cifar_pickle_is_refused(tmp_path, batch, message):
    write_cifar_python(tmp_path)
    (tmp_path / "data_batch_2").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(BadInput, match=f"data_batch_2: .*{message}"):
        load(tmp_path, 3, 32)


def test_cifar_that_is_cut_short_is_refused(tmp_path):
    write_cifar_python(tmp_path)
    whole = (tmp_path / "test_batch").read_bytes()
    (tmp_path / "test_batch").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="test_batch: not a CIFAR-10 batch"):
        load(tmp_path, 3, 32)
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(b"\0" * 3074)
    with pytest.raises(BadInput, match=r"data_batch_1.bin: 3074 bytes, not a multiple of 3073"):
        load(tmp_path, 3, 32)

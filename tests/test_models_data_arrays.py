"""The user's own samples in an `.npz`."""

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data import Preprocessing, load, load_arrays


def test_arrays_come_by_input_name(tmp_path):
    np.savez(tmp_path / "mine.npz", image=np.ones((4, 1, 8, 8), np.float32), labels=np.array([0, 1, 1, 0]))
    arrays, labels = load_arrays(tmp_path / "mine.npz")
    assert list(arrays) == ["image"]
    assert arrays["image"].shape == (4, 1, 8, 8)
    assert labels.tolist() == [0, 1, 1, 0]


def test_labels_are_optional(tmp_path):
    np.savez(tmp_path / "mine.npz", a=np.ones((4, 2)), b=np.ones((4, 3)))
    arrays, labels = load_arrays(tmp_path / "mine.npz")
    assert sorted(arrays) == ["a", "b"]
    assert labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": np.array([1])}, "no input array"),
        ({"a": np.ones((4, 2)), "labels": np.array([1])}, r"share their first dimension.* a \(4, 2\), labels \(1,\)"),
        ({"a": np.ones((0, 2))}, "holds no sample"),
        ({"a": np.array([1.0, np.nan])}, r"a \(float64\) must hold finite numbers"),
        ({"a": np.array(["x"])}, "must hold finite numbers"),
        ({"a": np.array([{}], dtype=object)}, "not a readable .npz of plain numbers"),
        ({"a": np.ones((1, 2)), "labels": np.array([0.5])}, r"whole numbers from 0, one a sample; got float64 \(1,\)"),
    ],
)
def test_wrong_arrays_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(BadInput, match=f"mine.npz: .*{message}"):
        load_arrays(tmp_path / "mine.npz")


def test_a_damaged_npz_is_refused(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(BadInput, match=r"mine.npz: no such file"):
        load_arrays(path)
    np.savez(path, a=np.ones((40, 2)))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"mine.npz: not a readable .npz"):
        load_arrays(path)


def test_an_npz_with_labels_is_a_data_set_with_a_fifth_held_out(tmp_path):
    samples = np.arange(40, dtype=np.uint8).reshape(20, 2)
    np.savez(tmp_path / "mine.npz", image=samples, labels=np.arange(20) % 2)
    data = load(tmp_path / "mine.npz", seed=3)
    assert (len(data.train), len(data.test), data.name) == (16, 4, "mine")
    assert sorted(torch.cat([data.train.samples, data.test.samples])[:, 0].tolist()) == list(range(0, 40, 2))
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    assert data.preprocessing == Preprocessing(1 / 255)


def test_an_npz_without_labels_cannot_be_trained_on(tmp_path):
    np.savez(tmp_path / "mine.npz", image=np.ones((4, 2)))
    with pytest.raises(BadInput, match="training wants one input array and `labels`, found image"):
        load(tmp_path / "mine.npz")

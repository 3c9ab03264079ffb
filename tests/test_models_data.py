"""Every data format: right values from a good file, one clear line from a bad one."""

import gzip
import io
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.batches import in_order, read_batches
from offramp.models.data import InMemory, Preprocessed, Preprocessing, load, load_arrays
from offramp.models.data.dataset import render
from offramp.models.data.image_folder import read_image
from offramp.models.data.mnist import read_idx
from PIL import Image
from torch import nn


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


def cifar_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 3072), np.uint8)


def write_cifar_python(folder, protocol=2):
    for name, count in (("data_batch_1", 5), ("data_batch_2", 3), ("test_batch", 4)):
        batch = {b"data": cifar_images(count), b"labels": [i % 10 for i in range(count)], b"batch_label": b"some"}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))


def write_pictures(folder, classes=("ant", "bee"), parts=("train", "val")):
    for part in parts:
        for value, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            Image.new("RGB", (40, 20), (200, 100 * value, 0)).save(folder / part / name / "one.png")


# --- preprocessing ---


def test_preprocessing_is_its_formula_per_channel():
    preprocessing = Preprocessing(1 / 255, (0.5, 0.25), (0.5, 2.0))
    raw = torch.tensor([0.0, 255.0]).reshape(1, 1, 1, 2).expand(1, 2, 1, 2)
    expected = torch.tensor([[[[-1.0, 1.0]], [[-0.125, 0.375]]]])
    torch.testing.assert_close(preprocessing.apply(raw), expected)


def test_preprocessing_reads_channels_from_the_last_dimension_of_other_inputs():
    preprocessing = Preprocessing(2.0, (0.0, 1.0, 2.0), (1.0, 1.0, 4.0))
    torch.testing.assert_close(preprocessing.apply(torch.ones(5, 3)), torch.tensor([2.0, 1.0, 0.0]).expand(5, 3))


def test_baked_preprocessing_gives_the_same_bits_and_exports():
    preprocessing = Preprocessing(1 / 255, (0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
    module = nn.Conv2d(3, 4, 3).eval()
    raw = torch.randint(0, 256, (2, 3, 8, 8)).float()
    baked = Preprocessed(module, preprocessing).eval()
    assert torch.equal(baked(raw), module(preprocessing.apply(raw)))
    torch.testing.assert_close(torch.export.export(baked, (raw,)).module()(raw), baked(raw))


def test_preprocessing_survives_json():
    preprocessing = Preprocessing(1 / 255, (0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
    assert Preprocessing.from_json(preprocessing.to_json()) == preprocessing


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Preprocessing(1.0, (0.0, 1.0), (1.0,)), "2 means and 1 stds"),
        (lambda: Preprocessing(1.0, (0.0,), (0.0,)), r"above 0, got scale 1.0 and std \(0.0,\)"),
        (lambda: Preprocessing.from_json({"scale": 1}), r"expected scale, mean and std, got \{'scale': 1\}"),
    ],
)
def test_wrong_preprocessing_is_refused(make, message):
    with pytest.raises(BadInput, match=message):
        make()


# --- rendering ---


def test_grey_is_repeated_and_colour_becomes_luma():
    grey = torch.tensor([0.0, 100.0]).reshape(1, 1, 1, 2)
    assert torch.equal(render(grey.expand(1, 1, 2, 2), 3, 2), grey.expand(1, 3, 2, 2))
    colour = torch.tensor([10.0, 20.0, 30.0]).reshape(1, 3, 1, 1)
    assert render(colour, 1, 1).item() == pytest.approx(0.299 * 10 + 0.587 * 20 + 0.114 * 30)
    with pytest.raises(BadInput, match="images have 3 channels and the network wants 2"):
        render(colour, 2, 1)


def test_rendering_keeps_a_flat_image_flat_at_any_size():
    flat = torch.full((1, 1, 8, 8), 77.0)
    for size in (3, 8, 32):
        torch.testing.assert_close(render(flat, 1, size), torch.full((1, 1, size, size), 77.0))


# --- digits ---


def test_digits_are_split_evenly_over_the_classes():
    data = load("digits", channels=1, size=32)
    train, test = (np.bincount(split.labels) for split in (data.train, data.test))
    assert (train.sum(), test.sum()) == (1297, 500)
    assert np.abs(test / 500 - (train + test) / 1797).max() < 0.002
    assert data.labels == tuple("0123456789")


def test_digits_have_the_form_that_was_asked_for():
    image, label = load("digits", channels=3, size=20).train[5]
    assert (image.shape, image.dtype, type(label)) == ((3, 20, 20), torch.float32, int)
    assert torch.equal(image[0], image[2])
    raw, _ = load("digits", channels=1, size=8).train.batch(range(1297))
    assert (raw.min().item(), raw.max().item()) == (0, 255)


def test_digits_preprocessing_centres_the_train_split():
    data = load("digits", channels=1, size=8)
    inputs = data.preprocessing.apply(data.train.batch(range(1297))[0])
    assert inputs.mean().item() == pytest.approx(0, abs=0.01)
    assert inputs.std().item() == pytest.approx(1, abs=0.01)


def test_no_digit_is_in_both_splits_and_no_seed_moves_one():
    first, again = load("digits", 1, 8, seed=0), load("digits", 1, 8, seed=7)
    assert torch.equal(first.test.samples, again.test.samples)
    assert len(first.train) + len(first.test) == 1797


# --- MNIST ---


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


# --- CIFAR-10 ---


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


# --- pictures in class folders ---


def test_class_folders_give_labels_by_name(tmp_path):
    write_pictures(tmp_path)
    data = load(tmp_path, channels=3, size=16)
    assert data.labels == ("ant", "bee")
    image, label = data.test[1]
    assert (label, image.shape) == (1, (3, 16, 16))
    assert torch.equal(image, torch.tensor([200.0, 100.0, 0.0]).reshape(3, 1, 1).expand(3, 16, 16))


def test_a_picture_is_cropped_in_its_centre(tmp_path):
    pixels = np.zeros((16, 64, 3), np.uint8)
    pixels[:, 24:40] = 255  # the centre crop of a 64x16 picture lies inside columns 24 to 40
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    image = read_image(tmp_path / "wide.png", 1, 14)
    assert image.shape == (1, 14, 14)
    assert image.min().item() == 255


def test_a_class_only_in_the_held_out_part_is_refused(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "val" / "cow").mkdir()
    with pytest.raises(BadInput, match=r"val: classes that .*train does not have: cow"):
        load(tmp_path, 3, 16)


def test_a_class_without_a_picture_is_refused(tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train" / "cow").mkdir()
    with pytest.raises(BadInput, match=r"train: no picture in cow"):
        load(tmp_path, 3, 16)


def test_channels_that_pictures_do_not_have_are_refused(tmp_path):
    write_pictures(tmp_path)
    with pytest.raises(BadInput, match="1 or 3 channels and the network wants 4"):
        load(tmp_path, 4, 16)


@pytest.mark.parametrize("content", [b"", b"not a picture", "half"])
def test_a_bad_picture_is_named_in_one_line(tmp_path, content):
    write_pictures(tmp_path)
    if content == "half":
        whole = io.BytesIO()
        Image.effect_noise((64, 64), 90).save(whole, "JPEG")
        content = whole.getvalue()[:-900]
    (tmp_path / "train" / "bee" / "two.jpg").write_bytes(content)
    data = load(tmp_path, 3, 16)
    with pytest.raises(BadInput, match=r"bee.two.jpg: cannot be read as a picture") as caught:  # through workers
        list(read_batches(data.train, in_order(data.train, 2, 0, 1)))
    assert "\n" not in str(caught.value)


# --- npz ---


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


# --- the door ---


def test_what_was_looked_for_is_said(tmp_path):
    with pytest.raises(BadInput, match=r"no data set that is known; .*train-images-idx3-ubyte.*data_batch_1.*CLASS"):
        load(tmp_path)
    with pytest.raises(BadInput, match="nowhere: no such data; give `digits`"):
        load(tmp_path / "nowhere")


def test_in_memory_batches_are_its_samples():
    dataset = InMemory(torch.arange(6.0).reshape(6, 1), torch.arange(6))
    (first, labels), (rest, _) = read_batches(dataset, [[4, 1], [0]])
    assert (first.tolist(), labels.tolist(), rest.tolist()) == ([[4.0], [1.0]], [4, 1], [[0.0]])

"""The user's own pairs: a folder of sounds and frames, and an `.npz`."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from offramp.errors import BadInput, OfframpWarning
from offramp.models.batches import read_batches
from offramp.models.data.image_folder import MEAN, STD
from offramp.models.data.paired_files import PairedFormat, load_paired_arrays, load_paired_folder, read_list
from offramp.models.data.sound import Spectrogram
from PIL import Image

sys.path.append(str(Path(__file__).parent))
from small_sounds import tone, write_wav

FORM = PairedFormat(3, 16, Spectrogram(rate_hz=8000, length=512, window=64, hop=32))
NAMES = ("image", "spectrogram")


def write_sample(folder, name, grey=128, frames=3):
    (folder / "AudioWAV").mkdir(exist_ok=True)
    write_wav(folder / "AudioWAV" / f"{name}.wav", (2**14 * tone(1000)).round().tolist())
    shown = folder / "Image-01-FPS" / name
    shown.mkdir(parents=True)
    for number in range(frames):
        Image.new("RGB", (24, 20), (grey + 20 * number,) * 3).save(shown / f"{number:03}.png")


def make_folder(folder, train="a,x b,y c,x d,y", test="e,y f,x", header=False):
    for name, listed in (("train", train), ("test", test)):
        rows = listed.split()
        (folder / f"{name}.csv").write_text("\n".join(["id,label", *rows] if header else rows) + "\n")
        for row in rows:
            write_sample(folder, row.split(",")[0])
    return folder


@pytest.mark.parametrize("header", [False, True])
def test_lists_give_parts_and_labels(tmp_path, header):
    data = load_paired_folder(make_folder(tmp_path, header=header), FORM)
    assert (len(data.train), len(data.test), data.labels) == (4, 2, ("x", "y"))
    assert [data.train[i][1] for i in range(4)] == [0, 1, 0, 1]
    assert [data.test[i][1] for i in range(2)] == [1, 0]


def test_a_sample_is_its_middle_frame_and_its_spectrogram_standardised(tmp_path):
    data = load_paired_folder(make_folder(tmp_path), FORM)
    (image, spectrogram), _ = data.train[0]
    assert image.shape == (3, 16, 16) and spectrogram.shape == (1, *FORM.spectrogram.shape)
    expected = torch.tensor([((128 + 20) / 255 - m) / s for m, s in zip(MEAN, STD)])
    torch.testing.assert_close(image, expected.reshape(3, 1, 1).expand(3, 16, 16))
    assert spectrogram.mean().abs() < 1e-5
    assert set(spectrogram[0, :, 2:-2].argmax(0).tolist()) == {8}


def test_batches_are_tuples_of_tensors(tmp_path):
    data = load_paired_folder(make_folder(tmp_path), FORM)
    ((images, spectrograms), labels), *_ = read_batches(data.train, [[0, 1, 3]])
    assert (images.shape, spectrograms.shape) == ((3, 3, 16, 16), (3, 1, *FORM.spectrogram.shape))
    assert labels.tolist() == [0, 1, 1]


def test_one_list_is_split_by_class_and_seed(tmp_path):
    rows = [f"s{i},{'xy'[i % 2]}" for i in range(20)]
    for row in rows:
        write_sample(tmp_path, row.split(",")[0], frames=1)
    (tmp_path / "all.csv").write_text("\n".join(rows))
    first, again, other = (load_paired_folder(tmp_path, FORM, seed) for seed in (0, 0, 1))
    assert (len(first.train), len(first.test)) == (16, 4)
    assert sorted(label for _, label in first.test.listed) == [0, 0, 1, 1]
    assert first.test.listed == again.test.listed != other.test.listed
    names = [name for part in (first.train, first.test) for name, _ in part.listed]
    assert sorted(names) == sorted(row.split(",")[0] for row in rows)


def test_samples_without_files_are_left_out_and_counted(tmp_path):
    make_folder(tmp_path)
    (tmp_path / "AudioWAV" / "b.wav").unlink()
    for frame in (tmp_path / "Image-01-FPS" / "c").iterdir():
        frame.unlink()
    with pytest.warns(OfframpWarning, match=r"2 of 4 samples lack AudioWAV/ID\.wav or frames .*, first b; left out"):
        data = load_paired_folder(tmp_path, FORM)
    assert [name for name, _ in data.train.listed] == ["a", "d"] and len(data.test) == 2


def test_nothing_is_said_where_nothing_is_missing(tmp_path):
    make_folder(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_paired_folder(tmp_path, FORM)


def test_more_than_half_missing_is_a_fault(tmp_path):
    make_folder(tmp_path)
    for name in "abc":
        (tmp_path / "AudioWAV" / f"{name}.wav").unlink()
    with pytest.raises(BadInput, match=r"3 of 4 samples lack AudioWAV/ID\.wav .*first a; add them, or take these"):
        load_paired_folder(tmp_path, FORM)


def test_one_class_is_too_few(tmp_path):
    with pytest.raises(BadInput, match=r"only one class to train on \(x\); give samples of two or more"):
        load_paired_folder(make_folder(tmp_path, "a,x b,x", "c,x"), FORM)


def test_held_out_classes_are_trained_on(tmp_path):
    with pytest.raises(BadInput, match=r"held-out classes that none is trained on: q, z"):
        load_paired_folder(make_folder(tmp_path, test="e,z f,q g,x"), FORM)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "names no sample; write id,label in each line"),
        ("id,label\n", "names no sample; write id,label in each line"),
        ("a,x\nb\n", r"line 2 has 1 columns; each line is id,label"),
        ("a,x\n\nb,y,3\n", r"line 3 has 3 columns; each line is id,label"),
        ("../a,x\n", r"line 1 has the id '\.\./a'; an id is a file's name without its ending"),
        ("a,x\n..,y\n", r"line 2 has the id '\.\.'"),
        (",x\n", r"line 1 has the id ''"),
    ],
)
def test_lists_that_cannot_be_used_say_why(tmp_path, text, match):
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(BadInput, match=rf"train\.csv: .*{match}"):
        read_list(tmp_path / "train.csv")


def test_a_list_that_is_no_text_is_named(tmp_path):
    (tmp_path / "train.csv").write_bytes(b"a,\xff\xfe\n")
    with pytest.raises(BadInput, match=r"train\.csv: cannot be read .*write id,label in each line, as UTF-8"):
        read_list(tmp_path / "train.csv")


_NAME = st.text("abIDid019_-.;'é漢", min_size=1, max_size=6).filter(lambda name: name not in (".", ".."))


@given(rows=st.lists(st.tuples(_NAME, _NAME), min_size=1, max_size=5), header=st.sampled_from(["", "ID, Label\n"]))
def test_lists_are_read_as_written(tmp_path_factory, rows, header):
    path = tmp_path_factory.getbasetemp() / "list.csv"
    path.write_text(header + "".join(f" {name},{label} \n" for name, label in rows), encoding="utf-8")
    assert read_list(path) == rows


def test_no_list_and_too_many_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"expected train\.csv and test\.csv, or one \.csv; found none"):
        load_paired_folder(tmp_path, FORM)
    for name in ("b", "a"):
        (tmp_path / f"{name}.csv").write_text("a,x\n")
    with pytest.raises(BadInput, match=r"or one \.csv; found a\.csv, b\.csv"):
        load_paired_folder(tmp_path, FORM)


def test_too_few_samples_to_hold_out_a_fifth(tmp_path):
    (tmp_path / "all.csv").write_text("a,x\nb,y\nc,z\n")
    with pytest.raises(BadInput, match=r"all\.csv: cannot hold out a fifth of each class .*; add samples"):
        load_paired_folder(tmp_path, FORM)


def test_a_damaged_sound_is_named_when_it_is_read(tmp_path):
    data = load_paired_folder(make_folder(tmp_path), FORM)
    (tmp_path / "AudioWAV" / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(BadInput, match=r"b\.wav: cannot be read as PCM WAV"):
        list(read_batches(data.train, [[0, 1]]))


def save(path, count=20, **changes):
    arrays = {
        "image": np.arange(count * 4, dtype=np.float32).reshape(count, 1, 2, 2),
        "spectrogram": np.arange(count * 3, dtype=np.float32).reshape(count, 1, 3, 1),
        "labels": np.arange(count) % 2,
    }
    np.savez(path, **{name: value for name, value in (arrays | changes).items() if value is not None})
    return path


def test_arrays_are_read_by_name_and_split_by_class(tmp_path):
    data = load_paired_arrays(save(tmp_path / "own.npz"), NAMES)
    assert (data.name, data.labels, len(data.train), len(data.test)) == ("own", ("0", "1"), 16, 4)
    (image, spectrogram), label = data.test[1]
    place = int(image[0, 0, 0]) // 4
    assert spectrogram[0, 0, 0] == 3 * place and label == place % 2
    assert torch.equal(data.preprocessing.apply(image), image)


def test_arrays_may_say_what_is_present(tmp_path):
    present = np.tile([[1.0, 0.0]], (20, 1))
    (sample, _) = load_paired_arrays(save(tmp_path / "own.npz", present=present), NAMES).train[0]
    assert sample[2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"image": None}, "expected the arrays image, spectrogram and labels, found labels, spectrogram"),
        ({"labels": None}, "expected the arrays image, spectrogram and labels, found image, spectrogram"),
        ({"depth": np.zeros(20)}, "found depth, image, labels, spectrogram"),
        ({"present": np.ones((20, 3))}, r"present must be zeros and ones, two a sample, got the shape \(20, 3\)"),
        ({"present": np.full((20, 2), 0.5)}, "present must be zeros and ones"),
        ({"labels": np.full(20, 3)}, r"only one class to train on \(3\); give samples of two or more"),
        ({"labels": np.arange(20)}, "cannot hold out a fifth of each class"),
    ],
)
def test_arrays_that_cannot_be_used_say_why(tmp_path, changes, match):
    with pytest.raises(BadInput, match=rf"own\.npz: .*{match}"):
        load_paired_arrays(save(tmp_path / "own.npz", **changes), NAMES)

"""Photographs: local normalisation, crops that do not overlap, and folders with pictures good and bad."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput, OfframpWarning
from offramp.models.data import photographs
from offramp.models.data.photographs import (
    areas,
    bundled,
    load_photographs,
    local_contrast,
    random_crops,
    read_grey,
    tiles,
)
from PIL import Image


def textured(height, width, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)


def write(path, height=100, width=120, mode="L", seed=0):
    Image.fromarray(textured(height, width, seed).astype(np.uint8)).convert(mode).save(path)


@pytest.fixture
def folder(tmp_path):
    """Three pictures of different kinds and sizes."""
    write(tmp_path / "a.png")
    write(tmp_path / "b.jpg", 150, 101, "RGB", 1)
    (tmp_path / "below").mkdir()
    write(tmp_path / "below" / "c.png", 97, 203, "RGBA", 2)
    return tmp_path


# Normalisation


def slow_local_contrast(grey):
    """The definition, window by window: weights of a Gaussian of deviation 7 / 3 on 15 x 15 pixels, edges mirrored."""
    weights = np.exp(-0.5 * (np.arange(-7, 8) / (7 / 3)) ** 2)
    weights = np.outer(weights, weights) / weights.sum() ** 2

    def mean(values):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, 7, mode="symmetric"), (15, 15))
        return (windows * weights).sum((2, 3))

    centred = grey - mean(grey)
    norm = np.sqrt(mean(centred**2))
    return centred / np.maximum(norm, norm.mean())


@pytest.mark.parametrize("shape", [(16, 40), (23, 15)])
def test_normalisation_is_its_definition(shape):
    grey = textured(*shape).astype(np.float64)
    grey[:, : shape[1] // 2] *= 0.05  # where the mean norm is the larger one
    np.testing.assert_allclose(local_contrast(grey), slow_local_contrast(grey), rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-3, 1e3), offset=st.floats(-100, 100), seed=st.integers(0, 99))
def test_neither_scale_nor_offset_of_a_picture_matters(scale, offset, seed):
    grey = textured(20, 17, seed)
    found = local_contrast(grey.astype(np.float64) * scale + offset)
    np.testing.assert_allclose(found, local_contrast(grey), rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 255.0, -3e7])
def test_what_is_flat_becomes_zero(value):
    assert np.abs(local_contrast(np.full((20, 30), value))).max() < 1e-6


# Areas and crops


@settings(max_examples=40, deadline=None)
@given(height=st.integers(16, 60), width=st.integers(16, 60), size=st.integers(3, 12))
def test_tiles_lie_side_by_side(height, width, size):
    area = np.arange(height * width, dtype=np.float32).reshape(height, width)
    found = tiles(area, size)
    values = np.concatenate([tile.ravel() for tile in found])
    assert len(found) == (height // size) * (width // size)
    assert len(np.unique(values)) == len(values) and all(tile.shape == (size, size) for tile in found)


@pytest.mark.parametrize("shape", [(40, 90), (90, 40), (50, 50)])
def test_what_is_held_out_has_seen_no_pixel_of_training(shape):
    """Changing any training pixel leaves the held-out area as it is, and the other way round."""
    grey = textured(*shape)
    learned, held_out = areas(grey)
    axis = int(shape[1] >= shape[0])
    cut = learned.shape[axis]
    assert cut == round(0.8 * shape[axis]) and cut + held_out.shape[axis] == shape[axis]
    assert learned.shape[1 - axis] == held_out.shape[1 - axis] == shape[1 - axis]
    changed = grey.swapaxes(0, axis).copy()
    changed[:cut] = changed[:cut] ** 2
    np.testing.assert_array_equal(areas(changed.swapaxes(0, axis))[1], held_out)
    changed = grey.swapaxes(0, axis).copy()
    changed[cut:] = 0
    np.testing.assert_array_equal(areas(changed.swapaxes(0, axis))[0], learned)


def test_crops_without_contrast_are_left_out():
    area = np.concatenate([textured(16, 32) / 100, np.zeros((16, 32), np.float32)], axis=1)
    assert len(tiles(area, 16)) == 2
    crops = random_crops(area, 8, torch.Generator().manual_seed(0))
    assert all(next(crops).std() >= photographs.LEAST_CONTRAST for _ in range(20))
    assert list(random_crops(np.zeros((20, 20)), 8, torch.Generator())) == []
    assert list(random_crops(textured(7, 20), 8, torch.Generator())) == []


# Data


@pytest.fixture(scope="module")
def data():
    return load_photographs("photographs", 48, seed=0)


def test_the_two_bundled_photographs_give_training_and_held_out_crops(data):
    assert [picture.shape for picture in bundled()] == [(427, 640)] * 2
    assert data.name == "photographs" and data.labels == ()
    assert len(data.train) == photographs.TRAINING
    assert 20 <= len(data.test) <= 2 * (427 // 48) * (128 // 48)
    crop, number = data.test[0]
    assert crop.shape == (1, 48, 48) and number in (0, 1)
    assert set(data.train.labels.tolist()) == {0, 1}
    values = data.train.samples
    assert values.abs().max() < 8 and values.mean().abs() < 0.05 and 0.5 < values.std() < 1
    assert data.preprocessing.apply(crop[None]).equal(crop[None])


def test_the_seed_moves_training_crops_only(data):
    other = load_photographs("photographs", 48, seed=1)
    again = load_photographs("photographs", 48, seed=0)
    assert torch.equal(again.train.samples, data.train.samples)
    assert not torch.equal(other.train.samples, data.train.samples)
    assert torch.equal(other.test.samples, data.test.samples)


def test_a_folder_gives_crops_of_each_of_its_pictures(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error", OfframpWarning)
        data = load_photographs(folder, 16)
    assert data.name == folder.name
    for part, each in ((data.train, 171), (data.test, 22)):  # a third of 512 and of 64, rounded up
        counts = torch.bincount(part.labels).tolist()
        assert len(counts) == 3 and max(counts) <= each and min(counts) >= 6
    assert torch.bincount(data.train.labels).tolist() == [171] * 3


def test_pictures_that_cannot_be_read_are_left_out_and_counted(folder):
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:200])
    with pytest.warns(OfframpWarning, match=r"1 of 4 pictures cannot be read and are left out, the first: .*cut\.png"):
        data = load_photographs(folder, 16)
    assert set(data.train.labels.tolist()) == {0, 1, 2}


def test_a_folder_of_mostly_damaged_pictures_is_refused(folder):
    for number in range(4):
        (folder / f"no{number}.jpg").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"4 of 7 pictures cannot be read, the first: .*no0\.jpg: cannot be read"):
        load_photographs(folder, 16)


def test_a_folder_of_which_no_picture_can_be_read_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(BadInput, match="1 of 1 pictures cannot be read"):
        load_photographs(tmp_path, 16)


def test_a_folder_without_pictures_and_a_missing_one_are_refused(tmp_path):
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(BadInput, match=r"no picture in it; known endings are \.jpg"):
        load_photographs(tmp_path, 16)
    with pytest.raises(BadInput, match="no such folder; give one with pictures, or `photographs`"):
        load_photographs(tmp_path / "nowhere", 16)


def test_pictures_that_are_too_small_or_flat_are_refused(tmp_path):
    write(tmp_path / "small.png", 40, 70)
    with pytest.raises(BadInput, match=r"no picture gives crops of 16x16 .* give pictures of 16x85 or more"):
        load_photographs(tmp_path, 16)
    write(tmp_path / "large.png", 16, 85)
    assert len(load_photographs(tmp_path, 16).test) == 1
    Image.new("L", (200, 200), 90).save(tmp_path / "large.png")
    with pytest.raises(BadInput, match="have some contrast"):
        load_photographs(tmp_path, 16)


# Files


def test_sixteen_bits_are_read_as_they_are_and_large_pictures_shrunk(tmp_path):
    deep = (textured(30, 20) * 256).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "deep.png"), deep.astype(np.float32))
    write(tmp_path / "large.png", 30, 2048)
    assert read_grey(tmp_path / "large.png").shape == (15, 1024)


def test_values_that_are_no_numbers_are_refused(tmp_path):
    values = textured(20, 20)
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "odd.tif")
    with pytest.raises(BadInput, match=r"odd\.tif: holds values that are no finite numbers; replace or remove it"):
        read_grey(tmp_path / "odd.tif")


def outcome(path):
    """The shape of what was read, or what was said."""
    try:
        return read_grey(path).shape
    except BadInput as error:
        return str(error)


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.95), spoiled=st.integers(0, 10_000))
def test_a_damaged_file_gives_a_picture_or_one_error(cut, spoiled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    write(folder / "whole.jpg", 40, 40)
    content = bytearray((folder / "whole.jpg").read_bytes())
    content[spoiled % len(content)] ^= 0xFF
    (folder / "damaged.jpg").write_bytes(content[: int(len(content) * (1 - cut))])
    found = outcome(folder / "damaged.jpg")
    assert found == (40, 40) or ("cannot be read as a picture" in found and "\n" not in found)

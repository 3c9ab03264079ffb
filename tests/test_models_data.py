"""Preprocessing, rendering, the bundled digits and the door to all data sets."""

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.batches import read_batches
from offramp.models.data import InMemory, Preprocessed, Preprocessing, load
from offramp.models.data.dataset import render
from torch import nn

# --- preprocessing ---


def test_preprocessing_is_its_formula_per_channel():
    preprocessing = Preprocessing(1 / 255, (0.5, 0.25), (0.5, 2.0))
    raw = torch.tensor([0.0, 255.0]).reshape(1, 1, 1, 2).expand(1, 2, 1, 2)
    expected = torch.tensor([[[[-1.0, 1.0]], [[-0.125, 0.375]]]])
    torch.testing.assert_close(preprocessing.apply(raw), expected)


def test_preprocessing_reads_channels_from_the_last_dimension_of_other_inputs():
    preprocessing = Preprocessing(2.0, (0.0, 1.0, 2.0), (1.0, 1.0, 4.0))
    torch.testing.assert_close(preprocessing.apply(torch.ones(5, 3)), torch.tensor([2.0, 1.0, 0.0]).expand(5, 3))


@pytest.mark.parametrize("shape", [(2, 2, 3, 3), (4, 2)])
def test_scaled_values_come_back_from_the_networks_input(shape):
    preprocessing, raw = Preprocessing(1 / 255, (0.5, 0.25), (0.5, 2.0)), 255 * torch.rand(shape)
    assert torch.allclose(preprocessing.scaled(preprocessing.apply(raw)), raw / 255, atol=1e-6)


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

"""Held-out inputs as sessions take them, and the faults of data that do not fit."""

import numpy as np
import pytest
from offramp.errors import BadInput
from offramp.export.artifact import TensorSpec
from offramp.runtime.samples import Samples, fit_samples, random_samples

INPUTS = (TensorSpec("image", (1, 3, 4, 4), "float32"), TensorSpec("ids", (1, 5), "int64"))


def samples(count=3, **changes):
    inputs = {"image": np.zeros((count, 3, 4, 4), np.float32), "ids": np.zeros((count, 5), np.int64)}
    return Samples({**inputs, **changes}, np.arange(count), "made up")


def test_samples_come_one_at_a_time_with_a_batch_dimension_of_one():
    found = list(samples(3, ids=np.arange(15).reshape(3, 5)))
    assert [s["ids"].tolist() for s in found] == [[[0, 1, 2, 3, 4]], [[5, 6, 7, 8, 9]], [[10, 11, 12, 13, 14]]]
    assert all(s["image"].shape == (1, 3, 4, 4) for s in found)
    assert len(samples(3)) == 3


def test_the_first_samples_keep_their_labels():
    few = samples(3).first(2)
    assert len(few) == 2
    assert few.labels.tolist() == [0, 1]
    assert few.inputs["image"].shape == (2, 3, 4, 4)
    assert Samples({"x": np.zeros((3, 1))}, None, "").first(2).labels is None


def test_random_samples_have_the_inputs_own_types_and_the_same_values_for_one_seed():
    drawn, again, other = (random_samples(INPUTS, 200, seed) for seed in (1, 1, 2))
    assert drawn.inputs["image"].dtype == np.float32
    assert drawn.inputs["ids"].dtype == np.int64
    assert set(np.unique(drawn.inputs["ids"])) == {0, 1}
    assert abs(drawn.inputs["image"].mean()) < 0.05
    assert abs(drawn.inputs["image"].std() - 1) < 0.05
    np.testing.assert_array_equal(drawn.inputs["image"], again.inputs["image"])
    assert not np.array_equal(drawn.inputs["image"], other.inputs["image"])
    assert drawn.labels is None
    assert drawn.drawn
    assert fit_samples(drawn, INPUTS).drawn
    assert drawn.first(3).drawn
    assert drawn.name == "200 random inputs (no data was given)"


def test_a_free_size_is_one_in_random_samples():
    assert random_samples((TensorSpec("x", (None, 3, None), "float32"),), 4).inputs["x"].shape == (4, 3, 1)


def test_samples_that_fit_take_the_network_s_types():
    pixels = np.arange(3 * 48, dtype=np.uint8).reshape(3, 3, 4, 4)
    for image in (pixels, pixels.astype(np.float64)):
        fitted = fit_samples(samples(image=image, ids=np.ones((3, 5), np.int32)), INPUTS)
        assert {name: str(values.dtype) for name, values in fitted.inputs.items()} == {
            "image": "float32",
            "ids": "int64",
        }
        np.testing.assert_array_equal(fitted.inputs["image"], pixels)
        assert fitted.labels.tolist() == [0, 1, 2]
    fit_samples(samples(), (TensorSpec("image", (None, 3, None, 4), "float32"), INPUTS[1]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"image": np.zeros((3, 3, 4, 5), np.float32)},
            r"image must have samples of shape \(3, 4, 4\), got \(3, 4, 5\)",
        ),
        ({"image": np.zeros((3, 3, 4), np.float32)}, r"image must have samples of shape \(3, 4, 4\), got \(3, 4\)"),
        ({"image": np.full((3, 3, 4, 4), np.nan, np.float32)}, "image holds NaN or infinite values"),
        ({"image": np.full((3, 3, 4, 4), np.inf, np.float32)}, "image holds NaN or infinite values"),
        ({"mask": np.zeros((3, 1))}, "inputs are image, ids, got image, ids, mask"),
        ({"ids": np.full((3, 5), 0.5, np.float32)}, "ids must hold int64, got float32"),
    ],
)
def test_samples_that_do_not_fit_are_named(changes, message):
    with pytest.raises(BadInput, match=message):
        fit_samples(samples(**changes), INPUTS)


def test_a_missing_input_is_named():
    with pytest.raises(BadInput, match=r"inputs are image, ids, got image$"):
        fit_samples(Samples({"image": np.zeros((1, 3, 4, 4))}, None, ""), INPUTS)

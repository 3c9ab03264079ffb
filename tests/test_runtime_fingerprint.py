"""Samples are told from others, and from nothing else: not from themselves as another processor rounds them."""

from dataclasses import replace

import numpy as np
import pytest
from offramp.runtime.fingerprint import fingerprint_of
from offramp.runtime.samples import Samples


def samples(**changes) -> Samples:
    draw = np.random.default_rng(0)
    inputs = {"image": draw.standard_normal((40, 3, 16, 16)).astype(np.float32), "ids": draw.integers(0, 99, (40, 7))}
    return replace(Samples(inputs, np.arange(40) % 5, "drawn"), **changes)


def with_input(name, values) -> Samples:
    return samples(inputs=samples().inputs | {name: values})


def test_it_is_64_digits_that_stay_and_a_name_changes_nothing():
    assert len(fingerprint_of(samples())) == 64
    assert fingerprint_of(samples()) == fingerprint_of(samples(name="elsewhere"))


IMAGE, IDS = samples().inputs["image"], samples().inputs["ids"]


@pytest.mark.parametrize(
    "other",
    [
        with_input("image", IMAGE[::-1]),
        with_input("image", IMAGE[:, :, ::-1]),
        with_input("image", IMAGE * np.float32(1.02)),
        with_input("image", IMAGE + np.float32(0.02)),
        with_input("image", np.concatenate([IMAGE[1:2], IMAGE[1:]])),
        with_input("image", IMAGE.astype(np.float64)),
        with_input("image", IMAGE.reshape(40, 3, 256)),
        with_input("ids", IDS + (np.arange(40) == 39)[:, None]),
        samples(inputs={"picture": IMAGE, "ids": IDS}),
        samples(labels=None),
        samples(labels=np.arange(40) % 4),
        samples().first(39),
    ],
)
def test_other_samples_have_another(other):
    assert fingerprint_of(other) != fingerprint_of(samples())


def test_the_last_bit_of_every_float_may_differ():
    draw = np.random.default_rng(1)
    for _ in range(20):
        rounded = np.nextafter(IMAGE, np.float32(np.inf) * draw.choice([-1, 1], IMAGE.shape)).astype(np.float32)
        assert fingerprint_of(with_input("image", rounded)) == fingerprint_of(samples())


def test_inputs_that_are_all_zero_have_one_too():
    assert fingerprint_of(with_input("image", np.zeros_like(IMAGE)))

"""Two views of the bundled digits, generated."""

import pytest
import torch
from offramp.models.data import load
from offramp.models.data.digits import MEAN, STD
from offramp.models.data.paired import KEY_SOUND, TONES_HZ, digits_with_tones, key_sounds, two_view_digits


def whole(data):
    """All raw samples and labels of both parts."""
    return [part.batch(range(len(part))) for part in (data.train, data.test)]


def digits():
    return [part.batch(range(len(part))) for part in (load("digits", 1, 8).train, load("digits", 1, 8).test)]


def test_views_are_the_halves_of_the_digits_in_their_own_split():
    data = two_view_digits(noise=(0.0, 0.0))
    assert (len(data.train), len(data.test), len(data.labels)) == (1297, 500, 10)
    for ((top, bottom), labels), (images, expected) in zip(whole(data), digits()):
        assert torch.equal(labels, expected)
        assert torch.equal(torch.cat([top, bottom], 1), images.flatten(1) / 255)


def test_each_view_has_noise_of_its_own_strength():
    clean, noisy = two_view_digits(noise=(0.0, 0.0)), two_view_digits(noise=(0.2, 0.6))
    for (views, _), (noisy_views, _) in zip(whole(clean), whole(noisy)):
        spread = [(b - a).std().item() for a, b in zip(views, noisy_views)]
        assert spread == pytest.approx([0.2, 0.6], rel=0.02)


def test_noise_follows_the_seed_and_nothing_else():
    first, again, other = (whole(two_view_digits(seed=seed)) for seed in (3, 3, 4))
    assert torch.equal(first[0][0][0], again[0][0][0]) and torch.equal(first[1][0][1], again[1][0][1])
    assert not torch.equal(first[0][0][0], other[0][0][0])
    state = torch.get_rng_state()
    digits_with_tones()
    assert torch.equal(torch.get_rng_state(), state)


def test_views_are_preprocessed_to_about_unit_range():
    data = two_view_digits(noise=(0.0, 0.0))
    (views, _), _ = whole(data)
    both = torch.cat([data.preprocessing.apply(view) for view in views], 1)
    assert both.mean().item() == pytest.approx(0, abs=0.01) and both.std().item() == pytest.approx(1, abs=0.01)


def test_a_picture_and_a_spectrogram_of_each_digit():
    data = digits_with_tones(image_noise=0.0)
    for ((pictures, sounds), labels), (images, expected) in zip(whole(data), digits()):
        assert torch.equal(labels, expected)
        assert pictures.shape == (len(labels), 1, 32, 32) and sounds.shape == (len(labels), 1, *KEY_SOUND.shape)
        small = torch.nn.functional.avg_pool2d(pictures * STD + MEAN, 4) * 255
        assert torch.corrcoef(torch.stack([small.flatten(), images.flatten()]))[0, 1] > 0.95
        assert sounds.mean((1, 2, 3)).abs().max() < 1e-4


@pytest.mark.parametrize("digit", range(10))
def test_each_digit_sounds_its_two_tones(digit):
    sound = key_sounds(torch.tensor([digit]), 0.0, torch.Generator().manual_seed(0))
    power = torch.fft.rfft(sound[0]).abs()
    hertz = torch.arange(len(power)) * KEY_SOUND.rate_hz / KEY_SOUND.length
    low, high = (hertz[(power * between).argmax()].item() for between in (hertz < 1000, hertz >= 1000))
    assert (low, high) == pytest.approx(TONES_HZ[digit], abs=KEY_SOUND.rate_hz / KEY_SOUND.length)


def test_keys_have_different_tones():
    assert len(set(TONES_HZ)) == 10


def test_noise_of_the_sound_has_its_strength():
    labels = torch.zeros(20, dtype=torch.long)
    clean, noisy = (key_sounds(labels, noise, torch.Generator().manual_seed(1)) for noise in (0.0, 2.0))
    assert (noisy - clean).std().item() == pytest.approx(2.0, rel=0.02)
    assert 0.25 < clean.abs().max() <= 1.0

"""WAV files and log-spectrograms."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from offramp.errors import BadInput
from offramp.models.data.sound import Spectrogram, read_wav

sys.path.append(str(Path(__file__).parent))
from small_sounds import tone, write_wav

TINY = Spectrogram(rate_hz=8000, length=512, window=64, hop=32)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width_come_in_unit_range(tmp_path, width):
    most = 2 ** (8 * width - 1)
    middle = 128 if width == 1 else 0
    written = [middle, middle + most // 2, middle - most, middle + most - 1]
    samples, rate = read_wav(write_wav(tmp_path / "a.wav", written, 11025, width))
    assert rate == 11025
    assert samples.tolist() == pytest.approx([0.0, 0.5, -1.0, 1 - 1 / most])


def test_channels_are_averaged(tmp_path):
    samples, _ = read_wav(write_wav(tmp_path / "a.wav", [8192, 16384, -8192, 8192], channels=2))
    assert samples.tolist() == [0.375, 0.0]


def test_shapes_are_those_of_the_published_spectrograms():
    assert Spectrogram(22050, 3 * 22050, 512, 353).shape == (257, 188)
    assert TINY.of(torch.randn(3, 512)).shape == (3, *TINY.shape) == (3, 33, 17)


def test_a_tone_is_loudest_at_its_frequency():
    found = TINY.of(tone(1000).unsqueeze(0))[0]
    assert set(found[:, 2:-2].argmax(0).tolist()) == {1000 * 64 // 8000}


def test_each_spectrogram_is_standardised_by_itself():
    found = TINY.of(torch.stack([tone(700), 1e-3 * tone(700), torch.randn(512)]))
    assert found.mean((1, 2)).abs().max() < 1e-5
    assert torch.allclose(found.std((1, 2), correction=0), torch.ones(3), atol=1e-5)


def test_silence_is_zero_and_not_nan():
    assert TINY.of(torch.zeros(1, 512)).abs().max() == 0


def test_files_are_resampled_and_repeated_to_the_length(tmp_path):
    """A 16 kHz tone of half the length gives the frequency it has, all along."""
    samples = (2**14 * tone(1000, 512, 16000)).round().tolist()
    found = TINY.of_file(write_wav(tmp_path / "a.wav", samples, 16000))
    assert found.shape == TINY.shape
    assert set(found[:, 2:-2].argmax(0).tolist()) == {8}


def test_longer_files_are_cut(tmp_path):
    both = torch.cat([tone(1000), tone(3000)])
    found = TINY.of_file(write_wav(tmp_path / "a.wav", (2**14 * both).round().tolist()))
    assert set(found[:, 2:-2].argmax(0).tolist()) == {8}


def test_a_spectrogram_is_the_logarithm_of_a_windowed_fourier_transform():
    waveform = torch.randn(1, 512, generator=torch.Generator().manual_seed(0))
    frame = waveform[0, 96 - 32 : 96 + 32].numpy() * (0.5 - 0.5 * np.cos(2 * math.pi * np.arange(64) / 64))
    expected = np.log(np.abs(np.fft.rfft(frame)) + 1e-7)
    found = TINY.of(waveform)[0, :, 3].numpy()
    # Standardised, so up to one scale and offset.
    assert np.corrcoef(found, expected)[0, 1] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"not a sound at all, but text of some length"])
def test_a_file_that_is_no_wav_is_named(tmp_path, content):
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(BadInput, match=r"x\.wav: cannot be read as PCM WAV .*convert or remove it"):
        read_wav(tmp_path / "x.wav")


def test_a_wav_without_sound_is_named(tmp_path):
    with pytest.raises(BadInput, match=r"x\.wav: holds no sound; replace or remove it"):
        read_wav(write_wav(tmp_path / "x.wav", []))

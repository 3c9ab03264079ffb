"""Two views of the same thing, one clear and one noisy, made from the bundled digits: no download.

`two-view-digits` are the upper and the lower half of a digit, `digits-with-tones` its picture and the sound of its key.
"""

import torch
from torch import Tensor

from .dataset import Data, InMemory, render
from .digits import MEAN, STD, load_digits
from .preprocessing import Preprocessing
from .sound import Spectrogram

TWO_VIEWS = "two-view-digits"
WITH_TONES = "digits-with-tones"
IMAGE_SIZE = 32

# Low and high tone of a telephone's keys 0 to 9 (ITU-T recommendation Q.23).
TONES_HZ = (
    (941, 1336), (697, 1209), (697, 1336), (697, 1477), (770, 1209),
    (770, 1336), (770, 1477), (852, 1209), (852, 1336), (852, 1477),
)  # fmt: skip
KEY_SOUND = Spectrogram(rate_hz=8000, length=31 * 64, window=128, hop=64)  # 65 frequencies, 32 frames


def two_view_digits(noise: tuple[float, float] = (0.2, 0.6), seed: int = 0) -> Data:
    """Digits as two vectors of 32 pixels, rows 0 to 3 and 4 to 7; the split is that of `digits`.

    Args:
        noise: standard deviation of each half's Gaussian noise, where pixels are 0 to 1.
        seed: of the noise.
    """
    draws = torch.Generator().manual_seed(seed)
    train, test = (_halves(images, labels, noise, draws) for images, labels in _digits())
    return _data(TWO_VIEWS, train, test, Preprocessing(1.0, (MEAN,), (STD,)))


def digits_with_tones(image_noise: float = 0.45, sound_noise: float = 1.1, seed: int = 0) -> Data:
    """Digits as a picture (1, 32, 32) and a spectrogram (1, 65, 32), both standardised; the split is that of `digits`.

    Args:
        image_noise: standard deviation of the picture's Gaussian noise, where pixels have a spread of 1.
        sound_noise: that of the waveform's, where each of the two tones has an amplitude of 0.25 to 0.5.
        seed: of the noise, amplitudes and phases.
    """
    draws = torch.Generator().manual_seed(seed)
    train, test = (_with_tones(images, labels, image_noise, sound_noise, draws) for images, labels in _digits())
    return _data(WITH_TONES, train, test, Preprocessing())


def key_sounds(digits: Tensor, noise: float, draws: torch.Generator) -> Tensor:
    """Waveforms (N, length) of the digits' keys (N,), each tone of its own amplitude and phase, in noise."""
    seconds = torch.arange(KEY_SOUND.length) / KEY_SOUND.rate_hz
    frequencies = torch.tensor(TONES_HZ, dtype=torch.float32)[digits].unsqueeze(2)  # (N, 2, 1)
    amplitudes, phases = torch.rand(2, len(digits), 2, 1, generator=draws)
    cycles = frequencies * seconds + phases
    tones = (0.25 * (1 + amplitudes) * torch.sin(2 * torch.pi * cycles)).sum(1)
    return tones + noise * torch.randn(tones.shape, generator=draws)


def _halves(images: Tensor, labels: Tensor, noise: tuple[float, float], draws: torch.Generator) -> InMemory:
    views = images.flatten(2).chunk(2, dim=2)  # twice (N, 1, 32)
    noisy = (view[:, 0] + sigma * torch.randn(view[:, 0].shape, generator=draws) for view, sigma in zip(views, noise))
    return InMemory(tuple(noisy), labels)


def _with_tones(
    images: Tensor, labels: Tensor, image_noise: float, sound_noise: float, draws: torch.Generator
) -> InMemory:
    pictures = (render(images, 1, IMAGE_SIZE) - MEAN) / STD
    pictures = pictures + image_noise * torch.randn(pictures.shape, generator=draws)
    spectrograms = KEY_SOUND.of(key_sounds(labels, sound_noise, draws)).unsqueeze(1)
    return InMemory((pictures, spectrograms), labels)


def _digits() -> list[tuple[Tensor, Tensor]]:
    """Pictures (N, 1, 8, 8) in 0..1 and labels, to train on and held out."""
    digits = load_digits(1, 8)
    parts = []
    for part in (digits.train, digits.test):
        assert isinstance(part, InMemory) and isinstance(part.samples, Tensor)
        parts.append((part.samples / 255, part.labels))
    return parts


def _data(name: str, train: InMemory, test: InMemory, preprocessing: Preprocessing) -> Data:
    return Data(name, train, test, tuple(str(digit) for digit in range(10)), preprocessing)

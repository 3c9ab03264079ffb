"""Sound as a picture: WAV files, and log-spectrograms computed in front of a network, not inside it."""

import wave
from dataclasses import dataclass
from math import gcd
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...errors import BadInput

_FLOOR = 1e-7  # added to magnitudes before the logarithm
_LEAST_SPREAD = 1e-3  # of a silent spectrogram, which has none


@dataclass(frozen=True)
class Spectrogram:
    """Log-magnitudes of a short-time Fourier transform (Hann window, centred frames), each standardised by itself.

    Unstandardised they reach from -16 (silence) to about 6, too wide for 8 bits.

    Attributes:
        rate_hz: of the waveform.
        length: of the waveform, in samples.
        window: of a frame, in samples; gives `window // 2 + 1` frequencies.
        hop: from frame to frame, in samples.
    """

    rate_hz: int
    length: int
    window: int
    hop: int

    @property
    def shape(self) -> tuple[int, int]:
        """Frequencies and frames."""
        return self.window // 2 + 1, self.length // self.hop + 1

    def of(self, waveforms: Tensor) -> Tensor:
        """Waveforms (N, length) in -1..1 to (N, frequencies, frames), each of mean 0 and spread 1."""
        window = torch.hann_window(self.window)
        transform = torch.stft(waveforms, self.window, self.hop, window=window, return_complex=True)
        logs = (transform.abs() + _FLOOR).log()
        spread, mean = torch.std_mean(logs, (1, 2), correction=0, keepdim=True)
        return (logs - mean) / spread.clamp_min(_LEAST_SPREAD)

    def of_file(self, path: Path) -> Tensor:
        """(frequencies, frames) of a WAV file, resampled, repeated to the length and cut there.

        Raises:
            BadInput: as `read_wav`.
        """
        from scipy.signal import resample_poly

        samples, rate_hz = read_wav(path)
        common = gcd(rate_hz, self.rate_hz)
        samples = resample_poly(samples, self.rate_hz // common, rate_hz // common)
        fitted = np.tile(samples, -(-self.length // len(samples)))[: self.length].clip(-1, 1)
        return self.of(torch.from_numpy(fitted.astype(np.float32)).unsqueeze(0))[0]


def read_wav(path: Path) -> tuple[np.ndarray, int]:
    """Samples of a PCM WAV file of 8, 16, 24 or 32 bits, channels averaged, in -1..1; and their rate in hertz.

    Raises:
        BadInput: the file is no such WAV, or holds no sample.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz, count, *_ = file.getparams()
            data = file.readframes(count)
    except (OSError, EOFError, wave.Error) as error:
        raise BadInput(f"{path}: cannot be read as PCM WAV ({error or 'cut short'}); convert or remove it") from error
    frames = np.frombuffer(data, np.uint8)
    frames = frames[: len(frames) // (channels * width) * channels * width]
    if not len(frames) or not rate_hz:
        raise BadInput(f"{path}: holds no sound; replace or remove it")
    return _unit_range(frames, width).reshape(-1, channels).mean(1), rate_hz


def _unit_range(data: np.ndarray, width: int) -> np.ndarray:
    """Little-endian integers of `width` bytes as float64; those of one byte are unsigned, with zero at 128."""
    if width == 1:
        return (data.astype(np.float64) - 128) / 128
    wide = np.zeros((len(data) // width, 4), np.uint8)
    wide[:, 4 - width :] = data.reshape(-1, width)
    return wide.view("<i4")[:, 0] / 2.0**31

"""Sounds as tests write them."""

import wave

import torch


def write_wav(path, samples, rate=8000, width=2, channels=1):
    """Integers as little-endian samples of `width` bytes."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        data = b"".join(int(s).to_bytes(width, "little", signed=width > 1) for s in samples)
        file.writeframes(data)
    return path


def tone(hertz, length=512, rate=8000):
    """A sine of amplitude 1."""
    return torch.sin(2 * torch.pi * hertz * torch.arange(length) / rate)

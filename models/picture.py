"""`Picture`: what a system shows of an exported artifact in the report."""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RunArtifact = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""Executes an artifact on one sample, batch dimension of 1 included."""


@dataclass(frozen=True)
class Picture:
    """A PNG with its words.

    Attributes:
        title: a few words.
        caption: what is seen, in one or two sentences.
        png: the file's bytes.
    """

    title: str
    caption: str
    png: bytes


Illustrate = Callable[[RunArtifact, dict[str, np.ndarray], np.ndarray], tuple[Picture, ...]]
"""From an artifact, held-out inputs by name (N, ...) and their targets (N,) or (N, k)."""


def png_of(pixels: np.ndarray, scale: int = 1) -> bytes:
    """Grey (H, W) or colour (H, W, 3) values in 0..1, cut off there, each pixel `scale` wide and high, as PNG."""
    from PIL import Image

    levels = np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    levels = levels.repeat(scale, 0).repeat(scale, 1)
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, "PNG", optimize=True)
    return stream.getvalue()

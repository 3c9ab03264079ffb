"""Arrays of ±1 as the words that the C kernels read.

A bit is 1 for +1 and 0 for -1. Activations are channels last, channel c in bit c % 64 of word c // 64. Weights lie in
blocks of 64 output channels, so that one vector load serves many of them; a block has one row for each kernel tap and
32 input channels, a row 32 bits for each output channel. Bits that only fill up are 0:

    [block][tap][input channels / 32][output channel in the block][32 input channels]
"""

import numpy as np
from numpy.typing import NDArray

_BLOCK = 64  # output channels; the last block is as wide as a multiple of _STEP needs
_STEP = 8


def pack_activations(codes: NDArray[np.integer]) -> NDArray[np.uint64]:
    """±1 of shape (..., channels) to words of shape (..., ceil(channels / 64)).

    Raises:
        ValueError: a value that is neither +1 nor -1.
    """
    bits = _bits(codes)
    padding = -bits.shape[-1] % 64
    bits = np.pad(bits, [(0, 0)] * (bits.ndim - 1) + [(0, padding)])
    return np.packbits(bits, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def pack_signs(codes: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Weights of ±1, (out_channels, channels, kernel_height, kernel_width), to the words of one layer in a row.

    A linear layer is a convolution whose kernel is 1 x 1.

    Raises:
        ValueError: a value that is neither +1 nor -1, or another number of dimensions.
    """
    if codes.ndim != 4:
        raise ValueError(f"weights must have 4 dimensions (out, in, height, width), got shape {codes.shape}")
    bits = _bits(codes)
    out_channels, channels, height, width = bits.shape
    bits = np.pad(bits, ((0, -out_channels % _STEP), (0, -channels % 32), (0, 0), (0, 0)))
    words = np.packbits(bits.transpose(2, 3, 0, 1), axis=-1, bitorder="little").view("<u4")
    rows = words.reshape(height * width, len(bits), -1).transpose(0, 2, 1)  # (tap, word, out channel)
    blocks = [rows[:, :, first : first + _BLOCK] for first in range(0, len(bits), _BLOCK)]
    return np.concatenate([np.ascontiguousarray(block).reshape(-1) for block in blocks]).view("<u8").astype(np.uint64)


def pack_limits(least: NDArray[np.integer], products: int) -> NDArray[np.int32]:
    """`limit` of a convolution with bits out: `products` - least, for each output channel.

    Args:
        least: the least sum that gives +1; any integers, those beyond what sums can reach mean always or never.
        products: of one output pixel inside the image, taps x channels.
    """
    reachable = np.clip(np.asarray(least, np.int64), -products, products + 1)
    return (products - reachable).astype(np.int32)


def _bits(codes: NDArray[np.integer]) -> NDArray[np.uint8]:
    if not np.isin(codes, (-1, 1)).all():
        raise ValueError(f"codes must be -1 or +1, got {np.setdiff1d(codes, (-1, 1))[:4].tolist()}")
    return (codes > 0).astype(np.uint8)

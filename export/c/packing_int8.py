"""How the weights of int8 layers lie in a C file: one layout for VNNI, NEON dot products, SMLAD and plain loops.

A *run* is what a kernel reads from the image without a jump: a whole kernel row where that is contiguous in a
channels-last image, otherwise one tap. Runs are padded with zero weights to quads of 4 inputs, and the output channels
of each group stand in blocks of 16, the last block as wide as a multiple of 4 needs:

    [group][block][run][quad][output channel in the block][4 inputs]

So 64 bytes hold 4 inputs of 16 outputs, and a kernel streams through a block's weights from end to end.
"""

from collections.abc import Sequence

import numpy as np

BLOCK = 16
QUAD = 4
PATCHES = 4  # as many as a tile of pixels needs on the processor that takes the most at once


def _round_up(value: int, step: int) -> int:
    return -(-value // step) * step


def run_shape(inputs: int, kernel: Sequence[int], groups: int = 1, dilation_w: int = 1) -> tuple[int, int]:
    """Runs of a patch and the codes in each, for `inputs` channels per group and a `kernel` of (height, width)."""
    height, width = kernel
    if width == 1 or (groups == 1 and dilation_w == 1):
        return height, width * inputs
    return height * width, inputs


def scratch_bytes(inputs: int, kernel: Sequence[int], groups: int = 1, dilation_w: int = 1) -> int:
    """Bytes of scratch that `run_conv_int8` needs, on any processor; other layers need none."""
    runs, length = run_shape(inputs, kernel, groups, dilation_w)
    return PATCHES * runs * _round_up(length, QUAD)


def pack_weights(codes: np.ndarray, groups: int = 1, dilation_w: int = 1) -> np.ndarray:
    """Weights of a convolution, (O, I / groups, kh, kw) int8, to the bytes its kernel reads: flat int8.

    A linear layer's (O, I) are packed as (O, I, 1, 1). ValueError where `codes` are not int8 or do not divide into
    `groups`.
    """
    if codes.dtype != np.int8 or codes.ndim != 4:
        raise ValueError(f"weights must be int8 of four dimensions, not {codes.dtype} of {codes.ndim}")
    outputs, inputs, height, width = codes.shape
    if outputs % groups:
        raise ValueError(f"{outputs} output channels do not divide into {groups} groups")
    runs, length = run_shape(inputs, (height, width), groups, dilation_w)
    rows = codes.transpose(0, 2, 3, 1).reshape(groups, outputs // groups, runs, length)
    rows = np.pad(rows, ((0, 0), (0, -(outputs // groups) % QUAD), (0, 0), (0, -length % QUAD)))
    quads = rows.reshape(groups, rows.shape[1], runs, -1, QUAD)
    parts = [
        group[first : first + BLOCK].transpose(1, 2, 0, 3).ravel()
        for group in quads
        for first in range(0, group.shape[0], BLOCK)
    ]
    return np.concatenate(parts)


def pack_depthwise_weights(codes: np.ndarray) -> np.ndarray:
    """Weights of a depthwise convolution, (C, 1, kh, kw) int8, tap by tap: flat [kh][kw][C] int8.

    ValueError where `codes` are not int8 with one input channel per output.
    """
    if codes.dtype != np.int8 or codes.ndim != 4 or codes.shape[1] != 1:
        raise ValueError(f"depthwise weights must be int8 (C, 1, kh, kw), not {codes.dtype} {codes.shape}")
    return codes[:, 0].transpose(1, 2, 0).ravel()


def pack_per_channel(values: np.ndarray, groups: int = 1) -> np.ndarray:
    """Biases or multipliers, (O,), with zeros after each group until its outputs are a multiple of 4.

    Depthwise layers have `groups` of 1 here: their channels lie side by side.
    """
    rows = values.reshape(groups, -1)
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % QUAD))).ravel()


def fold_zero_point(bias: np.ndarray, codes: np.ndarray, zero_in: int) -> np.ndarray:
    """Biases (O,) int32 that let kernels sum raw input codes: bias - zero_in * (sum of the output's weights).

    OverflowError where one leaves int32.
    """
    folded = bias.astype(np.int64) - zero_in * codes.reshape(len(codes), -1).sum(1, dtype=np.int64)
    if np.any(folded != folded.astype(np.int32)):
        raise OverflowError("a bias with its zero point folded in leaves int32")
    return folded.astype(np.int32)

"""Resizing of the last two axes. Definitions: coremltools `converters/mil/mil/ops/defs/iOS15/image_resizing.py`."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def grid(size: int, out: int, mode: str) -> Tensor:
    """Positions in the input of `out` samples along an axis of `size`, (out,), by the notes of `resize_bilinear`."""
    index = torch.arange(out, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if out == 1:
            return torch.tensor([(size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0], dtype=torch.float64)
        positions = index * (size - 1) / (out - 1)
    elif mode == "DEFAULT":
        positions = index * size / out
    elif mode == "OFFSET_CORNERS":
        delta = max(1, size - 1) / out
        positions = (index + 0.5) * delta
    elif mode == "UNALIGN_CORNERS":
        positions = (index + 0.5) * size / out - 0.5
    else:
        raise ValueError(f"unknown sampling mode {mode}")
    return positions.clamp(0, size - 1)


def _linear(x: Tensor, axis: int, positions: Tensor) -> Tensor:
    """Linear interpolation of x along `axis` at the positions."""
    below = positions.floor().to(torch.int64)
    above = (below + 1).clamp(max=x.shape[axis] - 1)
    share = (positions - below).to(x.dtype).reshape(-1, *(1,) * (-axis - 1))
    low, high = x.index_select(axis, below), x.index_select(axis, above)
    return low * (1 - share) + high * share


def _bilinear(x: Tensor, height: int, width: int, mode: str) -> Tensor:
    x = _linear(x, -2, grid(x.shape[-2], height, mode))
    return _linear(x, -1, grid(x.shape[-1], width, mode))


def _nearest(x: Tensor, height: int, width: int) -> Tensor:
    """Sample i reads position floor(i size / out)."""
    for axis, out in ((-2, height), (-1, width)):
        x = x.index_select(axis, torch.arange(out) * x.shape[axis] // out)
    return x


def upsample_bilinear(
    x: Tensor,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """The grid is that of the resulting size.

    Without aligned corners, samples lie at the centres of pixels, or (iOS 16, half_pixel_centers false) at the corners.
    """
    height, width = _scaled(x, scale_factor_height, scale_factor_width)
    if align_corners:
        mode = "STRICT_ALIGN_CORNERS"
    else:
        mode = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    return _bilinear(x, height, width, mode)


def upsample_nearest_neighbor(x: Tensor, *, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    return _nearest(x, *_scaled(x, scale_factor_height, scale_factor_width))


def _scaled(x: Tensor, height: float, width: float) -> tuple[int, int]:
    return math.floor(x.shape[-2] * height), math.floor(x.shape[-1] * width)


def resize_bilinear(
    x: Tensor, *, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _bilinear(x, target_size_height, target_size_width, sampling_mode)


def resize_nearest_neighbor(x: Tensor, *, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(x, target_size_height, target_size_width)


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "resize_bilinear": resize_bilinear,
    "resize_nearest_neighbor": resize_nearest_neighbor,
    "upsample_bilinear": upsample_bilinear,
    "upsample_nearest_neighbor": upsample_nearest_neighbor,
}

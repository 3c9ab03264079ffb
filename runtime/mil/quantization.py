"""Quantization of activations, and the compressed forms of constant weights.

Definitions: coremltools `converters/mil/mil/ops/defs/iOS16/constexpr_ops.py`, `iOS17/quantization_ops.py` and
`iOS18/compression.py`. `quantize` is clip(round(input / scale) + zero_point); its rounding is half to even, as the
reference `quantize_by_scale_and_zp` (coremltools `optimize/_utils.py`) does with `np.round`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from .blobs import unpack_bits

_RANGE = {"int8": (-128, 127), "uint8": (0, 255)}


def _broadcast(parameter: Tensor, rank: int, axis: int | None) -> Tensor:
    """A vector along `axis`, ready to meet a tensor of `rank`; a scalar as it is."""
    if parameter.dim() == 0 or axis is None:
        return parameter
    shape = [1] * rank
    shape[axis] = -1
    return parameter.reshape(shape)


def quantize(
    input: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, output_dtype: str, axis: int | None = None
) -> Tensor:
    """Real values to int8 or uint8 codes."""
    codes = torch.round(input / _broadcast(scale, input.dim(), axis))
    if zero_point is not None:
        codes = codes + _broadcast(zero_point, input.dim(), axis).to(codes.dtype)
    low, high = _RANGE[output_dtype]
    return codes.clamp(low, high)


def dequantize(input: Tensor, scale: Tensor, zero_point: Tensor | None = None, *, axis: int | None = None) -> Tensor:
    """scale (input - zero_point)."""
    centred = input.to(scale.dtype)
    if zero_point is not None:
        centred = centred - _broadcast(zero_point, input.dim(), axis).to(scale.dtype)
    return centred * _broadcast(scale, input.dim(), axis)


def constexpr_affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, *, axis: int) -> Tensor:
    return dequantize(quantized_data, scale, zero_point, axis=axis)


def constexpr_blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale (data - offset), one scale per block of data.shape / scale.shape elements."""
    centred = data.to(scale.dtype)
    if offset is not None:
        centred = centred - _over_blocks(offset.to(scale.dtype), data.shape)
    return centred * _over_blocks(scale, data.shape)


def _over_blocks(parameter: Tensor, shape: Sequence[int]) -> Tensor:
    for axis, size in enumerate(shape):
        parameter = parameter.repeat_interleave(size // parameter.shape[axis], axis)
    return parameter


def constexpr_cast(source_val: Tensor, *, output_dtype: str) -> Tensor:
    return source_val


def constexpr_lut_to_dense(
    indices: Tensor, lut: Tensor, *, shape: Sequence[int] | None = None, vector_axis: int | None = None
) -> Tensor:
    """Values looked up in a table.

    iOS 16 gives `shape`, packed indices and one table (2**bits,). iOS 18 gives indices in their own shape and tables
    (..., 2**bits, vector), one per block of indices; a vector fills consecutive places along `vector_axis`.
    """
    if shape is not None:
        bits = lut.numel().bit_length() - 1
        return lut[_unpacked(indices, bits, shape)]
    *blocks, entries, vector = lut.shape
    tables = lut.reshape(-1, entries, vector)
    which = _over_blocks(torch.arange(tables.shape[0]).reshape(blocks), indices.shape)
    dense = tables[which, indices.to(torch.int64)]  # (*indices.shape, vector)
    if vector == 1:
        return dense.squeeze(-1)
    assert vector_axis is not None
    axis = vector_axis % indices.dim()
    return dense.movedim(-1, axis + 1).flatten(axis, axis + 1)


def constexpr_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, *, shape: Sequence[int] | None = None) -> Tensor:
    """Places the data where the mask is 1; iOS 16 gives `shape` and a packed mask, iOS 18 the mask in its own shape."""
    kept = mask.bool() if shape is None else _unpacked(mask, 1, shape).bool()
    dense = torch.zeros(kept.shape, dtype=nonzero_data.dtype)
    dense[kept] = nonzero_data
    return dense


def constexpr_lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, *, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """(mask, values) of a table looked up at the places of the mask only."""
    indices = constexpr_sparse_to_dense(indices_nonzero_data, indices_mask)
    dense = constexpr_lut_to_dense(indices, lut, vector_axis=vector_axis)
    mask = indices_mask if vector_axis is None else indices_mask.repeat_interleave(lut.shape[-1], vector_axis)
    return mask, dense[mask.bool()]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(mask, values) of constexpr_blockwise_shift_scale at the places of the mask only."""
    dense = constexpr_blockwise_shift_scale(constexpr_sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]


def _unpacked(packed: Tensor, bits: int, shape: Sequence[int]) -> Tensor:
    count = int(np.prod(shape, dtype=np.int64))
    return torch.from_numpy(unpack_bits(packed.numpy(), bits, count).astype(np.int64)).reshape(tuple(shape))


OPERATORS: dict[str, Callable[..., Tensor | tuple[Tensor, ...]]] = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": constexpr_blockwise_shift_scale,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
    "constexpr_lut_to_sparse": constexpr_lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": constexpr_sparse_blockwise_shift_scale,
    "constexpr_sparse_to_dense": constexpr_sparse_to_dense,
    "dequantize": dequantize,
    "quantize": quantize,
}

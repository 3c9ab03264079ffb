"""How values of each element type are held while a program is evaluated.

A `fp16` value is held as float32 whose every element is a float16: operators then compute in float32 with one rounding
to float16 at the end, which is what a unit that accumulates in float32 does. Narrow integers are held in the narrowest
type in which torch computes, and strings in Python lists.
"""

import numpy as np
import torch
from torch import Tensor

from .blobs import NUMPY_TYPES

HELD = {
    "bool": torch.bool,
    "fp16": torch.float32,
    "fp32": torch.float32,
    "fp64": torch.float64,
    "int4": torch.int8,
    "int8": torch.int8,
    "int16": torch.int32,
    "int32": torch.int32,
    "int64": torch.int64,
    "uint1": torch.uint8,
    "uint2": torch.uint8,
    "uint3": torch.uint8,
    "uint4": torch.uint8,
    "uint6": torch.uint8,
    "uint8": torch.uint8,
    "uint16": torch.int32,
    "uint32": torch.int64,
    "uint64": torch.int64,
}


def hold(array: np.ndarray, dtype: str) -> Tensor:
    """An array as the tensor that the evaluator holds for it; `fp16` is rounded to float16 on the way."""
    if dtype == "fp16":
        array = np.asarray(array, np.float16)
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        array = array.astype(np.int64)
    if not array.flags.writeable or array.dtype.byteorder == ">":
        array = array.copy()
    return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape)).to(HELD[dtype])


def release(value: Tensor, dtype: str) -> np.ndarray:
    """The held tensor as an array of its own element type."""
    return value.numpy().astype(NUMPY_TYPES.get(dtype, value.numpy().dtype), copy=False)


def settle(value: Tensor, dtype: str) -> Tensor:
    """The result of an operator in the form in which a value of `dtype` is held."""
    if dtype == "fp16":
        return value.to(torch.float16).to(torch.float32)
    return value if value.dtype == HELD[dtype] else value.to(HELD[dtype])

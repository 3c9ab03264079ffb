"""Weights of few bits in finer steps, as TFLite's requantization needs them.

TFLite's kernels take a sum to the next value's codes by a fixed-point factor M = s_x s_w / s_y: they multiply and
round, then shift right by s, about -log2 M, and round again. With 8-bit weights M is small and the first rounding is
lost in the second. A step of a sum of few-bit weights is about as large as one of the codes. Where M is 1/2 or more
nothing is shifted right and all is well. Below that s is small, and many a sum is rounded to a neighbour of the right
code. So in channels with M below 1/2, codes of b bits are stored times 2^(8 - b), their scale, and that of the bias,
divided by the same. All numbers stay what they are, to the last bit.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from .tflite_rewrites import builtin_of, drop_unread_buffers, rescale, text_of

_LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_INT32 = 2**31 - 1


def refine_steps(model: Any, bits: Mapping[str, int], packed: Collection[str]) -> None:
    """Stores int8 weights of fewer than 8 bits in finer steps, channel by channel, where kernels would round twice.

    A channel whose bias would leave int32, next to which its weights are nothing, stays as it is.

    Args:
        bits: of the codes of each weight, by its name.
        packed: names of weights that are stored in fewer bits.
    """
    graph, done = model.subgraphs[0], set(packed)
    for operator in graph.operators:
        if builtin_of(model, operator) not in _LAYERS:
            continue
        x, weight, *bias = (graph.tensors[index] for index in operator.inputs if index >= 0)
        name = text_of(weight.name)
        if name in done or bits.get(name, 8) == 8:
            continue
        done.add(name)
        finer = 1 << (8 - max(bits[name], 2))
        multiplier = _scales(x) * _scales(weight) / _scales(graph.tensors[operator.outputs[0]])
        factors = np.where(multiplier < 0.5, finer, 1)
        if bias:
            room = np.abs(_codes(model, bias[0], np.int32).astype(np.int64)) * factors <= _INT32
            factors = np.where(room, factors, 1)
            _store(model, bias[0], np.int32, factors, 0)
        _store(model, weight, np.int8, factors, weight.quantization.quantizedDimension)
    drop_unread_buffers(model)


def _scales(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.quantization.scale, dtype=np.float64)


def _codes(model: Any, tensor: Any, dtype: Any) -> np.ndarray:
    stored = np.asarray(model.buffers[tensor.buffer].data, dtype=np.uint8)
    return stored.view(dtype).reshape([int(size) for size in tensor.shape])


def _store(model: Any, tensor: Any, dtype: Any, factors: np.ndarray, axis: int) -> None:
    """Multiplies the codes of each channel along `axis` and divides its scale."""
    from ai_edge_litert import schema_py_generated as schema

    codes = _codes(model, tensor, dtype)
    shape = [1] * codes.ndim
    shape[axis] = -1
    buffer = schema.BufferT()
    buffer.data = np.frombuffer((codes * factors.reshape(shape)).astype(dtype).tobytes(), dtype=np.uint8)
    tensor.buffer = len(model.buffers)
    model.buffers.append(buffer)
    rescale(tensor, np.asarray(tensor.quantization.scale, np.float32) / factors.astype(np.float32))

"""Averages of codes as TFLite's linear layers and depthwise convolutions, which round once.

The MEAN of LiteRT's plain kernels gives neighbours of the right codes, at some scales many, at others few. Its
AVERAGE_POOL_2D rounds a mean of codes, which for four values lies half-way between two in one of four cases, away from
zero, and knows no scale of its own. A product with equal weights sums exactly and rounds to the scale of the result.

A mean over all positions, or over the one window that fits into an image, is a linear layer of one line of positions,
which takes XNNPACK no longer than its MEAN. As a depthwise convolution with so wide a window it does. Pooling with
several windows is a convolution.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from ..quant.graph import call, calls, insert_constant
from ..quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE
from ..quant.rules import AVERAGES
from .tflite_names import own_tensor
from .tflite_rewrites import builtin_of, rescale, text_of
from .unfold import QUANTIZE_CHANNELS

aten = torch.ops.aten
# What names of weights and zeros add to that of the result; a name of the program's own has no slash.
WEIGHTS, ZEROS = "/average", "/average_zeros"
_CODE = 64  # of every weight: a power of two, so that scales of windows of 2^k values are exact


def average_by_products(module: GraphModule) -> None:
    """Rewrites every mean over positions or over the last dimension, and average pooling, between codes."""
    for node in calls(module):
        if node.target is aten.mean.dim and _is_between_codes(node):
            _mean(module, node)
        elif node.target is aten.avg_pool2d.default and _is_between_codes(node):
            _pool(module, node)


def name_averages(model: Any, program: torch.export.ExportedProgram, values: dict[str, str]) -> None:
    """Names the weights and zeros, which are none of the program's, after the average; one scale is enough for them.

    Args:
        values: tensor name -> name of the program's value, where the two differ.
    """
    averages = {node.name for node in program.graph.nodes if node.target in AVERAGES}
    graph = model.subgraphs[0]
    for operator in graph.operators:
        name = text_of(graph.tensors[operator.outputs[0]].name)
        name = values.get(name, name).partition("/")[0]
        if name in averages and builtin_of(model, operator) in ("DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            for place, ending in ((1, WEIGHTS), (2, ZEROS)):  # zeros that the converter adds as a bias
                if place < len(operator.inputs) and operator.inputs[place] >= 0:
                    operator.inputs[place] = own_tensor(graph, operator.inputs[place], f"{name}{ending}")
                    tensor = graph.tensors[operator.inputs[place]]
                    rescale(tensor, np.asarray(tensor.quantization.scale[:1]))


def _is_between_codes(node: Node) -> bool:
    read = node.args[0]
    return isinstance(read, Node) and read.target is DEQUANTIZE and [n.target for n in node.users] == [QUANTIZE]


def _mean(module: GraphModule, node: Node) -> None:
    x = node.args[0]
    assert isinstance(x, Node)
    shape = x.meta["val"].shape
    axes = sorted(axis % len(shape) for axis in node.args[1])
    if len(shape) == 4 and axes == [2, 3]:
        x = _flattened(module, node, x)
    elif axes != [len(shape) - 1]:
        return
    count = x.meta["val"].shape[-1]
    _multiply(module, node, x, torch.ones(count), count)


def _pool(module: GraphModule, node: Node) -> None:
    """Pooling whose windows all hold equally many values; in ceil mode those past the padding hold fewer."""
    given = [*node.args, *([], [0, 0], False, True, None)[len(node.args) - 2 :]]
    x, kernel, stride, padding, ceil, counts_padding, divisor = given
    stride = stride or kernel
    sizes, count = x.meta["val"].shape[2:], math.prod(kernel)
    overhangs = ceil and any((size + 2 * pad - k) % step for size, k, step, pad in zip(sizes, kernel, stride, padding))
    if divisor is not None or overhangs or (any(padding) and not counts_padding):
        return
    if list(node.meta["val"].shape[2:]) == [1, 1]:
        window = torch.zeros(sizes)
        window[tuple(slice(0, k - pad) for k, pad in zip(kernel, padding))] = 1
        _multiply(module, node, _flattened(module, node, x), window.flatten(), count)
    else:
        _convolve(module, node, list(kernel), list(stride), list(padding))


def _multiply(module: GraphModule, node: Node, x: Node, line: Tensor, count: int) -> None:
    """Makes `node` a linear layer over the last dimension of x, then of the shape that it had.

    Args:
        line: 1 where the values of the window stand, 0 elsewhere.
        count: of the values that the window holds, those of the padding among them.
    """
    result = list(node.meta["val"].shape)
    kept = list(x.meta["val"].shape[:-1])
    node.args, node.kwargs = (x, _weight(module, node, line.unsqueeze(0), count)), {}
    node.target, node.meta["val"] = aten.linear.default, torch.empty((*kept, 1), device="meta")
    if result != [*kept, 1]:
        _reshape_codes(module, node, result)


def _convolve(module: GraphModule, node: Node, kernel: list[int], stride: list[int], padding: list[int]) -> None:
    x = node.args[0]
    assert isinstance(x, Node)
    channels = x.meta["val"].shape[1]
    weight = _weight(module, node, torch.ones(channels, 1, *kernel), math.prod(kernel))
    node.target, node.kwargs = aten.conv2d.default, {}
    node.args = (x, weight, None, stride, padding, [1, 1], channels)


def _weight(module: GraphModule, node: Node, taps: Tensor, count: int) -> Node:
    """`taps` over count, as the converter wants them: floats behind a quantize and a dequantize."""
    scales = insert_constant(module, node, f"{node.name}_scales", torch.full((len(taps),), 1 / (_CODE * count)))
    zeros = insert_constant(module, node, f"{node.name}_zeros", torch.zeros(len(taps), dtype=torch.int64))
    value = _CODE * scales.meta["val"][0] * taps
    real = insert_constant(module, node, f"{node.name}_average", value)
    form = (scales, zeros, 0, -127, 127, torch.int8)
    codes = call(module, node, QUANTIZE_CHANNELS, (real, *form), node, f"{node.name}_weight_codes", value)
    return call(module, node, DEQUANTIZE_CHANNELS, (codes, *form), node, f"{node.name}_weight", value)


def _flattened(module: GraphModule, node: Node, x: Node) -> Node:
    """The positions of (N, C, H, W) as one dimension, between codes of one scale, for `node` to read."""
    n, c, h, w = x.meta["val"].shape
    value = torch.empty((n, c, h * w), device="meta")
    view = call(module, node, aten.reshape.default, (x, [n, c, h * w]), node, f"{node.name}_line", value)
    codes = call(module, node, QUANTIZE, (view, *x.args[1:]), node, f"{node.name}_line_codes")
    return call(module, node, DEQUANTIZE, (codes, *x.args[1:]), node, f"{node.name}_line_real", value)


def _reshape_codes(module: GraphModule, node: Node, shape: list[int]) -> None:
    """Puts a change of shape, between codes of one scale, behind the average."""
    quantize = next(iter(node.users))
    form = quantize.args[1:]
    codes = call(module, quantize, QUANTIZE, (node, *form), node, f"{node.name}_wide_codes")
    real = call(module, quantize, DEQUANTIZE, (codes, *form), node, f"{node.name}_wide_real")
    value = torch.empty(shape, device="meta")
    view = call(module, quantize, aten.reshape.default, (real, shape), node, f"{node.name}_flat", value)
    quantize.replace_input_with(node, view)

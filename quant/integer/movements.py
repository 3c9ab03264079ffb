"""Operators that move or select elements without changing them, on codes and on real numbers alike."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph import module_path
from .arithmetic import code_of
from .operations import Concatenate, Expand, MaxPool, Operation, Pad, Permute, Reshape, Slice, Upsample
from .values import Kind, Value
from .windows import pool_window

if TYPE_CHECKING:
    from .lowering import Lowering

aten = torch.ops.aten

_RESHAPES = {
    *(aten.reshape.default, aten.view.default, aten.flatten.using_ints, aten.unflatten.int, aten.squeeze.dim),
    *(aten.squeeze.default, aten.squeeze.dims, aten.unsqueeze.default, aten._unsafe_view.default),
}
_SPLITS = {aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default}
_COPIES = {aten.clone.default, aten.contiguous.default, aten.alias.default, aten.detach.default}


def sources_of(node: Node) -> list[Node]:
    """The values that a movement moves; empty for any other operator."""
    if node.target is operator.getitem:
        return [node.args[0].args[0]] if node.args[0].target in _SPLITS else []
    if node.target is aten.cat.default:
        return list(node.args[0])
    return [node.args[0]] if node.target in _MOVES or node.target in _RESHAPES or node.target in _COPIES else []


def moved(lowering: Lowering, node: Node, value_of: Callable[[Node], Value], name: str) -> Value | None:
    """Adds the operations of a movement, each input taken by `value_of`; None where the node is none."""
    sources = sources_of(node)
    if not sources:
        return None
    inputs = tuple(value_of(source) for source in sources)
    if any(value.kind is Kind.WHOLE for value in inputs):
        return None
    shape = tuple(node.meta["val"].shape)
    output = replace(inputs[0], name=lowering.named(name), shape=shape, constant=None)
    module = module_path(node)
    if node.target in _RESHAPES or node.target in _COPIES:
        return lowering.add(Reshape(inputs, output, module))
    if node.target is operator.getitem:
        return lowering.add(_part(node, inputs, output, module))
    if node.target is aten.cat.default:
        axis = (node.args[1] if len(node.args) > 1 else 0) % len(shape)
        return lowering.add(Concatenate(inputs, output, module, axis))
    return _MOVES[node.target](lowering, node, inputs[0], output, module)


def _part(node: Node, inputs: tuple[Value, ...], output: Value, module: str) -> Operation:
    """One result of a chunk or split."""
    split, index = node.args
    axis = (split.args[2] if len(split.args) > 2 else 0) % len(output.shape)
    sizes = [part.shape[axis] for part in split.meta["val"]]
    starts = [0] * len(output.shape)
    starts[axis] = sum(sizes[:index])
    return Slice(inputs, output, module, tuple(starts), (1,) * len(output.shape))


def _transpose(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value:
    order = list(range(len(x.shape)))
    first, second = (axis % len(order) for axis in node.args[1:3])
    order[first], order[second] = order[second], order[first]
    return lowering.add(Permute((x,), output, module, tuple(order)))


def _permute(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value:
    return lowering.add(Permute((x,), output, module, tuple(axis % len(x.shape) for axis in node.args[1])))


def _slice(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value:
    given: list[Any] = [*node.args[1:], *[0, None, None, 1][len(node.args) - 1 :]]
    axis, start, step = given[0] % len(x.shape), given[1] or 0, given[3]
    size = x.shape[axis]
    start = min(max(start + size if start < 0 else start, 0), size)
    starts, steps = [0] * len(x.shape), [1] * len(x.shape)
    starts[axis], steps[axis] = start, step
    return lowering.add(Slice((x,), output, module, tuple(starts), tuple(steps)))


def _select(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value:
    axis, index = node.args[1] % len(x.shape), node.args[2]
    starts = [0] * len(x.shape)
    starts[axis] = index % x.shape[axis]
    shape = tuple(1 if i == axis else size for i, size in enumerate(x.shape))
    taken = replace(output, name=lowering.named(f"{output.name}_part"), shape=shape)
    lowering.add(Slice((x,), taken, module, tuple(starts), (1,) * len(shape)))
    return lowering.add(Reshape((taken,), output, module))


def _pad(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value | None:
    widths = list(node.args[1])
    fill = float(node.args[2]) if len(node.args) > 2 and node.args[2] is not None else 0.0
    if node.target is aten.pad.default:
        if len(node.args) > 2 and node.args[2] != "constant":
            return None
        fill = float(node.args[3]) if len(node.args) > 3 and node.args[3] is not None else 0.0
    if min(widths) < 0:
        return None
    rank = len(x.shape)
    before = [0] * rank
    for place in range(len(widths) // 2):
        before[rank - 1 - place] = widths[2 * place]
    if x.affine is not None:
        fill = code_of(fill, x.affine)
    return lowering.add(Pad((x,), output, module, tuple(before), fill))


def _expand(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value:
    return lowering.add(Expand((x,), output, module))


def _max_pool(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value | None:
    if len(x.shape) != 4:
        return None
    return lowering.add(MaxPool((x,), output, module, pool_window(node.args, x.shape, output.shape)))


def _pixel_shuffle(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value:
    """(*, C r r, H, W) -> (*, C, H r, W r)."""
    r = node.args[1]
    *lead, channels, height, width = x.shape
    parts = (*lead, channels // (r * r), r, r, height, width)
    split = replace(output, name=lowering.named(f"{output.name}_split"), shape=parts)
    lowering.add(Reshape((x,), split, module))
    n = len(lead)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    turned = replace(output, name=lowering.named(f"{output.name}_turned"), shape=tuple(parts[i] for i in order))
    lowering.add(Permute((split,), turned, module, order))
    return lowering.add(Reshape((turned,), output, module))


def _upsample(lowering: Lowering, node: Node, x: Value, output: Value, module: str) -> Value | None:
    factors = [after // before for before, after in zip(x.shape, output.shape)]
    if any(before * factor != after for before, factor, after in zip(x.shape, factors, output.shape)):
        return None
    return lowering.add(Upsample((x,), output, module, tuple(factors)))


_MOVES: dict[Any, Callable[..., Value | None]] = {
    aten.transpose.int: _transpose,
    aten.t.default: lambda lowering, node, x, output, module: lowering.add(
        Permute((x,), output, module, tuple(reversed(range(len(x.shape)))))
    ),
    aten.permute.default: _permute,
    aten.slice.Tensor: _slice,
    aten.select.int: _select,
    aten.constant_pad_nd.default: _pad,
    aten.pad.default: _pad,
    aten.expand.default: _expand,
    aten.max_pool2d.default: _max_pool,
    aten.pixel_shuffle.default: _pixel_shuffle,
    aten.upsample_nearest2d.vec: _upsample,
}

"""Brings a captured graph to the few spellings that the quantizer and the exporters know.

1. Dropout and other identities of evaluation mode go.
2. A division by a number becomes a multiplication by its reciprocal.
3. `padding="same"` becomes explicit padding, and `pad` with a constant `constant_pad_nd`.
4. What is made of constants alone (transposed, normalised or masked ones, positions) is computed now.
5. Scaled dot-product attention becomes matrix products and a softmax.
6. In-place operators become their out-of-place forms.
7. A matrix product with a constant matrix on the right becomes a linear layer.
8. A mean over everything, or pooling to one pixel, becomes a mean over axes.
9. A number less a value, as in `1 - x`, becomes a constant less the value; the factor that sums and differences may
   give their second operand (`alpha`) becomes a multiplication.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import GraphModule, Node

from .graph import MASKS, call, calls, constant_of, insert_constant, is_constant, is_float_value

aten = torch.ops.aten

_IDENTITIES = {
    aten.dropout.default,
    aten.dropout_.default,
    aten.feature_dropout.default,
    aten.alpha_dropout.default,
    aten.contiguous.default,
    aten.clone.default,
    aten.detach.default,
    aten.detach_.default,
    aten.lift_fresh_copy.default,
    aten.alias.default,
}

# What an attention mask adds to a hidden score: exp(-1e4) is exactly 0, and unlike -inf no converter stumbles over it.
_HIDDEN = -1e4


def normalise(module: GraphModule) -> None:
    """Applies the rules above in place."""
    for node in calls(module):
        node.target = _out_of_place(node.target)
        rule = _RULES.get(node.target)
        if node.target in _IDENTITIES:
            _replace(module, node, node.args[0])
        elif _is_of_constants(node):
            _compute(module, node)
        elif rule is not None:
            rule(module, node)
    module.graph.eliminate_dead_code()
    module.graph.lint()


def _replace(module: GraphModule, node: Node, by: object) -> None:
    assert isinstance(by, Node)
    node.replace_all_uses_with(by)
    module.graph.erase_node(node)


def _out_of_place(target: Any) -> Any:
    """`aten.relu.default` for `aten.relu_.default`; anything else as it is."""
    if not isinstance(target, torch._ops.OpOverload) or target.namespace != "aten":
        return target
    name = target._opname
    if not name.endswith("_") or name.endswith("__") or not hasattr(aten, name[:-1]):
        return target
    return getattr(getattr(aten, name[:-1]), target._overloadname, target)


def changes_shared_memory(node: Node) -> bool:
    """Whether the operator changes, in place, a tensor that other values are views of: `y[:, 0] = 0`, for example.

    Making such an operator out-of-place would lose the change of the others.
    """
    changed = node.args[0] if node.args else None
    if _out_of_place(node.target) is node.target or not isinstance(changed, Node):
        return False
    return _may_share(changed) or any(user is not node and _may_share(user) for user in changed.users)


def _may_share(node: Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload):
        return target is operator.getitem
    return target.is_view or target._opname in ("reshape", "flatten", "contiguous", "chunk", "split", "unbind", "to")


def _is_of_constants(node: Node) -> bool:
    """Whether the operator reads constants or nothing at all, gives one tensor, and the same one at every call."""
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded in node.target.tags:
        return False
    return all(map(is_constant, node.all_input_nodes)) and isinstance(node.meta.get("val"), torch.Tensor)


def _compute(module: GraphModule, node: Node) -> None:
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda source: constant_of(module, source))
    assert callable(node.target)
    value = node.target(*args, **kwargs).contiguous()
    _replace(module, node, insert_constant(module, node, f"{node.name}_value", value))


def _divide_by_number(module: GraphModule, node: Node) -> None:
    numerator, divisor = node.args[:2]
    if isinstance(divisor, int | float) and divisor != 0 and isinstance(numerator, Node):
        by = call(module, node, aten.mul.Tensor, (numerator, 1.0 / divisor), node)
        _replace(module, node, by)


def _subtract_from(module: GraphModule, node: Node) -> None:
    """rsub(x, y, alpha) -> y - alpha x."""
    value, minuend, alpha = [*node.args, node.kwargs.get("alpha", 1)][:3]
    if not is_float_value(node) or not isinstance(value, Node):
        return
    if isinstance(minuend, int | float):
        minuend = insert_constant(module, node, f"{node.name}_number", torch.tensor(float(minuend)))
    _replace(module, node, call(module, node, aten.sub.Tensor, (minuend, _times(module, node, value, alpha)), node))


def _scale_operand(module: GraphModule, node: Node) -> None:
    """x ± alpha y -> x ± (alpha y)."""
    alpha = node.kwargs.get("alpha", 1)
    if alpha != 1 and is_float_value(node):
        value, other = node.args
        node.args, node.kwargs = (value, _times(module, node, other, alpha)), {}


def _times(module: GraphModule, before: Node, operand: Any, factor: Any) -> Any:
    if not isinstance(operand, Node):
        return factor * operand
    return operand if factor == 1 else call(module, before, aten.mul.Tensor, (operand, factor), operand)


def _explicit_padding(module: GraphModule, node: Node) -> None:
    """conv2d(..., padding="same" | "valid") -> numbers; uneven "same" padding gets a pad operator of its own."""
    weight = node.args[1]
    assert isinstance(weight, Node)
    ones = [1] * (weight.meta["val"].ndim - 2)
    defaults: list[Any] = [None, ones, "valid", ones, 1]
    x, weight, bias, stride, padding, dilation, groups = list(node.args) + defaults[len(node.args) - 2 :]
    assert isinstance(x, Node) and isinstance(weight, Node)
    kernel = weight.meta["val"].shape[2:]
    if padding == "valid":
        total = [0] * len(kernel)
    else:
        total = [d * (k - 1) for d, k in zip(dilation, kernel)]  # stride is 1, PyTorch insists
    if any(t % 2 for t in total):
        pads = [p for t in reversed(total) for p in (t // 2, t - t // 2)]
        padded_shape = [*x.meta["val"].shape[:2], *(s + t for s, t in zip(x.meta["val"].shape[2:], total))]
        padded = x.meta["val"].new_empty(padded_shape)
        x = call(module, node, aten.constant_pad_nd.default, (x, pads, 0.0), node, val=padded)
        total = [0] * len(kernel)
    plain = {1: aten.conv1d.default, 2: aten.conv2d.default}[len(kernel)]
    by = call(module, node, plain, (x, weight, bias, stride, [t // 2 for t in total], dilation, groups), node)
    _replace(module, node, by)


def _constant_pad(module: GraphModule, node: Node) -> None:
    """pad(x, widths, "constant", value) -> constant_pad_nd, the only spelling that every converter follows."""
    x, widths, mode, value = [*node.args, "constant", None][:4] if len(node.args) == 2 else [*node.args, None][:4]
    if mode == "constant" and isinstance(x, Node):
        _replace(module, node, call(module, node, aten.constant_pad_nd.default, (x, widths, float(value or 0.0)), node))


def _product_with_matrix(module: GraphModule, node: Node) -> None:
    """x @ W or bias + x @ W with constant W (in, out) and bias (out,) -> linear with W transposed, (out, in)."""
    *bias, x, matrix = node.args if node.target is aten.addmm.default else node.args[:2]
    if not (isinstance(x, Node) and isinstance(matrix, Node) and is_constant(matrix)) or is_constant(x):
        return
    plain_bias = all(is_constant(b) and b.meta["val"].ndim == 1 for b in bias) and not node.kwargs
    if matrix.meta["val"].ndim != 2 or x.meta["val"].ndim < 2 or not plain_bias:
        return
    weight = insert_constant(module, node, f"{matrix.target}_transposed", constant_of(module, matrix).t().contiguous())
    _replace(module, node, call(module, node, aten.linear.default, (x, weight, *bias), node))


def _plain_batch_norm(module: GraphModule, node: Node) -> None:
    """(x, weight, bias, mean, variance, momentum, epsilon) -> (result, saved ...) as one plain batch norm."""
    x, weight, bias, mean, variance, momentum, epsilon = node.args
    for user in [user for user in node.users if user.args[1] == 0]:
        args = (x, weight, bias, mean, variance, False, momentum, epsilon, False)
        _replace(module, user, call(module, node, aten.batch_norm.default, args, user))


def _mean_of_all(module: GraphModule, node: Node) -> None:
    x = node.args[0]
    if isinstance(x, Node) and not node.kwargs:
        axes = list(range(x.meta["val"].ndim))
        _replace(module, node, call(module, node, aten.mean.dim, (x, axes), node))


def _pool_to_one(module: GraphModule, node: Node) -> None:
    x, size = node.args
    assert isinstance(x, Node) and isinstance(size, list | tuple)
    if all(s == 1 for s in size):
        rank = x.meta["val"].ndim
        axes = list(range(rank - len(size), rank))
        _replace(module, node, call(module, node, aten.mean.dim, (x, axes, True), node))


def _attention(module: GraphModule, node: Node) -> None:
    """softmax(q k^T * scale + mask) v, the definition that `F.scaled_dot_product_attention` documents."""
    query, key, value = node.args[:3]
    assert isinstance(query, Node) and isinstance(key, Node) and isinstance(value, Node)
    options = dict(zip(("attn_mask", "dropout_p", "is_causal"), node.args[3:])) | dict(node.kwargs)
    if options.get("enable_gqa"):
        return
    q, k = query.meta["val"], key.meta["val"]
    scale = options.get("scale")
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = torch.empty(*q.shape[:-1], k.shape[-2], device="meta")
    transposed = call(module, node, aten.transpose.int, (key, -1, -2), key, val=k.transpose(-1, -2))
    x = call(module, node, aten.matmul.default, (query, transposed), node, val=scores)
    x = call(module, node, aten.mul.Tensor, (x, scale), node, val=scores)
    mask = options.get("attn_mask")
    if options.get("is_causal"):
        hidden = torch.full(scores.shape[-2:], float("-inf")).triu(1)
        mask = insert_constant(module, node, "causal_mask", hidden.clamp(min=_HIDDEN))
    if mask is not None:
        assert isinstance(mask, Node)
        if mask.meta["val"].dtype == torch.bool:
            allowed = mask
            fill = insert_constant(module, node, "mask_fill", torch.tensor(_HIDDEN))
            zero = insert_constant(module, node, "mask_zero", torch.tensor(0.0))
            mask = call(module, node, aten.where.self, (allowed, zero, fill), node, val=allowed.meta["val"].float())
        else:
            floor = insert_constant(module, node, "mask_floor", torch.tensor(_HIDDEN))
            mask = call(module, node, aten.maximum.default, (mask, floor), node, val=mask.meta["val"])
        if _is_of_constants(mask):
            args = [constant_of(module, source) for source in mask.args]
            mask = insert_constant(module, node, "mask", mask.target(*args))
        x = call(module, node, aten.add.Tensor, (x, mask), node, val=scores)
        x.meta[MASKS] = True
    x = call(module, node, aten.softmax.int, (x, -1), node, val=scores)
    _replace(module, node, call(module, node, aten.matmul.default, (x, value), node))


_RULES: dict[object, Callable[[GraphModule, Node], None]] = {
    aten.div.Tensor: _divide_by_number,
    **dict.fromkeys((aten.rsub.Scalar, aten.rsub.Tensor), _subtract_from),
    **dict.fromkeys((aten.add.Tensor, aten.sub.Tensor), _scale_operand),
    aten.conv1d.padding: _explicit_padding,
    aten.conv2d.padding: _explicit_padding,
    aten.pad.default: _constant_pad,
    **dict.fromkeys((aten.matmul.default, aten.mm.default, aten.addmm.default), _product_with_matrix),
    aten._native_batch_norm_legit_no_training.default: _plain_batch_norm,
    aten.mean.default: _mean_of_all,
    **dict.fromkeys((aten.adaptive_avg_pool1d.default, aten.adaptive_avg_pool2d.default), _pool_to_one),
    aten.scaled_dot_product_attention.default: _attention,
}

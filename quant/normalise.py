"""Brings a captured graph to the few spellings that the quantizer and the exporters know.

1. Dropout and other identities of evaluation mode go.
2. A division by a number becomes a multiplication by its reciprocal.
3. `padding="same"` becomes explicit padding, and `pad` with a constant `constant_pad_nd`.
4. A transposed view by `.T`, `.mT` or `permute` of a constant is computed now.
5. Scaled dot-product attention becomes matrix products and a softmax.
6. In-place operators become their out-of-place forms.
"""

import math
from collections.abc import Callable

import torch
from torch.fx import GraphModule, Node

from .graph import call, calls, constant_of, insert_constant, is_constant

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

_OUT_OF_PLACE = {
    aten.relu_.default: aten.relu.default,
    aten.hardtanh_.default: aten.hardtanh.default,
    aten.relu6_.default: aten.relu6.default,
    aten.hardswish_.default: aten.hardswish.default,
    aten.hardsigmoid_.default: aten.hardsigmoid.default,
    aten.silu_.default: aten.silu.default,
    aten.gelu_.default: aten.gelu.default,
    aten.elu_.default: aten.elu.default,
    aten.leaky_relu_.default: aten.leaky_relu.default,
    aten.sigmoid_.default: aten.sigmoid.default,
    aten.tanh_.default: aten.tanh.default,
    aten.add_.Tensor: aten.add.Tensor,
    aten.sub_.Tensor: aten.sub.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.div_.Tensor: aten.div.Tensor,
    aten.clamp_.default: aten.clamp.default,
}


def normalise(module: GraphModule) -> None:
    """Applies the rules above in place."""
    for node in calls(module):
        if node.target in _OUT_OF_PLACE:
            node.target = _OUT_OF_PLACE[node.target]
        rule = _RULES.get(node.target)
        if node.target in _IDENTITIES:
            _replace(module, node, node.args[0])
        elif rule is not None:
            rule(module, node)
    module.graph.eliminate_dead_code()
    module.graph.lint()


def _replace(module: GraphModule, node: Node, by: object) -> None:
    assert isinstance(by, Node)
    node.replace_all_uses_with(by)
    module.graph.erase_node(node)


def _divide_by_number(module: GraphModule, node: Node) -> None:
    numerator, divisor = node.args[:2]
    if isinstance(divisor, int | float) and divisor != 0 and isinstance(numerator, Node):
        by = call(module, node, aten.mul.Tensor, (numerator, 1.0 / divisor), node)
        _replace(module, node, by)


def _explicit_padding(module: GraphModule, node: Node) -> None:
    """conv2d(..., padding="same" | "valid") -> numbers; uneven "same" padding gets a pad operator of its own."""
    x, weight, bias, stride, padding, dilation, groups = (*node.args, *(None, [1, 1], "valid", [1, 1], 1))[:7]
    arguments = list(node.args) + [None, [1, 1], "valid", [1, 1], 1][len(node.args) - 2 :]
    x, weight, bias, stride, padding, dilation, groups = arguments
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
    x, widths, mode, value = (*node.args, "constant", None)[:4] if len(node.args) < 4 else node.args[:4]
    if mode == "constant" and isinstance(x, Node):
        _replace(module, node, call(module, node, aten.constant_pad_nd.default, (x, widths, float(value or 0.0)), node))


def _transpose_of_constant(module: GraphModule, node: Node) -> None:
    source = node.args[0]
    if is_constant(source):
        assert isinstance(source, Node) and callable(node.target)
        value = node.target(constant_of(module, source), *node.args[1:], **node.kwargs).contiguous()
        _replace(module, node, insert_constant(module, node, f"{source.target}_transposed", value))


def _attention(module: GraphModule, node: Node) -> None:
    """softmax(q k^T * scale + mask) v, the definition that `F.scaled_dot_product_attention` documents."""
    query, key, value = node.args[:3]
    assert isinstance(query, Node) and isinstance(key, Node) and isinstance(value, Node)
    options = dict(zip(("attn_mask", "dropout_p", "is_causal"), node.args[3:])) | dict(node.kwargs)
    q, k = query.meta["val"], key.meta["val"]
    scale = options.get("scale") or 1 / math.sqrt(q.shape[-1])
    scores = torch.empty(*q.shape[:-1], k.shape[-2], device="meta")
    transposed = call(module, node, aten.transpose.int, (key, -1, -2), key, val=k.transpose(-1, -2))
    x = call(module, node, aten.matmul.default, (query, transposed), node, val=scores)
    x = call(module, node, aten.mul.Tensor, (x, scale), node, val=scores)
    mask = options.get("attn_mask")
    if options.get("is_causal"):
        hidden = torch.full(scores.shape[-2:], float("-inf")).triu(1)
        # A finite floor: -inf cannot be quantized, and exp(-30) is below half a step of an 8-bit softmax.
        mask = insert_constant(module, node, "causal_mask", hidden.clamp(min=-30.0))
    if mask is not None:
        assert isinstance(mask, Node)
        if mask.meta["val"].dtype == torch.bool:
            allowed = mask
            fill = insert_constant(module, node, "mask_fill", torch.tensor(-30.0))
            zero = insert_constant(module, node, "mask_zero", torch.tensor(0.0))
            mask = call(module, node, aten.where.self, (allowed, zero, fill), node, val=allowed.meta["val"].float())
        x = call(module, node, aten.add.Tensor, (x, mask), node, val=scores)
    x = call(module, node, aten.softmax.int, (x, -1), node, val=scores)
    _replace(module, node, call(module, node, aten.matmul.default, (x, value), node))


_RULES: dict[object, Callable[[GraphModule, Node], None]] = {
    aten.div.Tensor: _divide_by_number,
    aten.conv1d.padding: _explicit_padding,
    aten.conv2d.padding: _explicit_padding,
    aten.pad.default: _constant_pad,
    aten.t.default: _transpose_of_constant,
    aten.permute.default: _transpose_of_constant,
    aten.transpose.int: _transpose_of_constant,
    aten.numpy_T.default: _transpose_of_constant,
    aten.scaled_dot_product_attention.default: _attention,
}

"""Fewer than 8 bits in an ONNX file: packed weights, and clips that work on the codes.

A weight of at most 4 bits is an `INT4` or `INT2` initializer behind a `Cast` to int8. ONNX Runtime folds the cast when
it loads the file and so runs the layer on its int8 kernels; a `DequantizeLinear` that reads the packed codes itself
leaves the layer in float (INT4) or makes a graph that the runtime then refuses (INT2).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .code_bits import Form

_INT4 = Form(4, "INT4 (cast to int8 as the file is loaded)")
_INT2 = Form(2, "INT2 (cast to int8 as the file is loaded)")
FORMS = {4: _INT4, 3: _INT4, 2: _INT2, 1: _INT2}  # 1-bit codes are -1 and +1, which INT2 holds
# Bits of the form -> the first (opset, IR version) that knows it.
_KNOWN_SINCE = {4: (21, 10), 2: (25, 13)}


def pack_weights(model: Any, bits: Mapping[str, int]) -> None:
    """Packs the weights that need at most 4 bits, and raises opset and IR version as far as that asks."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    needed = [FORMS[bits[name]].bits for name in bits if bits[name] in FORMS and name in initializers]
    if not needed:
        return
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and bits.get(node.input[0]) in FORMS:
            name = node.input[0]
            node.input[0] = f"{name}_int8"
            if all(made.output[0] != node.input[0] for made in nodes):
                _pack(initializers[name], FORMS[bits[name]].bits)
                nodes.append(_cast(name, node.input[0]))
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    # The operators that the exporter writes mean the same in these sets; later ones only add types.
    opset, ir_version = max(_KNOWN_SINCE[form] for form in needed)
    model.opset_import[0].version = max(model.opset_import[0].version, opset)
    model.ir_version = max(model.ir_version, ir_version)


def _pack(tensor: Any, bits: int) -> None:
    import ml_dtypes
    from onnx import numpy_helper

    narrow = {4: ml_dtypes.int4, 2: ml_dtypes.int2}[bits]
    codes = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(codes.astype(narrow), tensor.name))


def _cast(name: str, result: str) -> Any:
    from onnx import TensorProto, helper

    return helper.make_node("Cast", [name], [result], name=result, to=TensorProto.INT8)


def clip_codes(model: Any) -> None:
    """Rewrites quantize, dequantize, clip, quantize, dequantize at one scale into quantize, clip, dequantize.

    The limits lie on the scale, so clipping the codes gives the same codes, and no float operator is left between the
    value and the layer that reads it.
    """
    from onnx import numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    dropped = set()
    for clip in [node for node in model.graph.node if node.op_type == "Clip" and len(node.input) == 3]:
        before, after = makers.get(clip.input[0]), readers.get(clip.output[0], [])
        if before is None or before.op_type != "DequantizeLinear" or [n.op_type for n in after] != ["QuantizeLinear"]:
            continue
        codes, (quantize,) = makers.get(before.input[0]), after
        if codes is None or codes.op_type != "QuantizeLinear" or len(readers[before.output[0]]) > 1:
            continue
        scale, zero = constants[before.input[1]], constants[before.input[2]]
        low, high = (_code(constants[name], scale, zero) for name in clip.input[1:])
        if constants[quantize.input[1]] != scale or constants[quantize.input[2]] != zero or low is None or high is None:
            continue
        clip.input[:] = [before.input[0], *(_constant(model, constants, code) for code in (low, high))]
        clip.output[0] = clip.name = quantize.output[0]
        dropped.add(before.output[0])
        quantize.output[0] = ""
    kept = [node for node in model.graph.node if node.output[0] and node.output[0] not in dropped]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    used = {name for node in kept for name in node.input}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)


def _code(limit: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> int | None:
    """The uint8 code of a limit; None where it lies between two codes, or beyond them."""
    code = float(limit) / float(scale) + int(zero)
    return round(code) if abs(code - round(code)) < 1e-3 and 0 <= round(code) <= 255 else None


def _constant(model: Any, constants: dict[str, np.ndarray], code: int) -> str:
    from onnx import numpy_helper

    name = f"code_{code}"
    if name not in constants:
        constants[name] = np.asarray(code, np.uint8)
        model.graph.initializer.append(numpy_helper.from_array(constants[name], name))
    return name

"""Rewrites of an exported ONNX model: the program's own names, constants in place, uint8 activations, open batch."""

from typing import Any

import numpy as np
import torch

from ..errors import BadInput
from ..quant.program import DEQUANTIZE, DEQUANTIZE_CHANNELS, QUANTIZE

_SHIFT = 128


def tidy(model: Any, program: torch.export.ExportedProgram) -> tuple[Any, dict[str, str]]:
    """Names values as the program does, folds what is constant, and drops metadata that holds paths of the machine.

    Initializers are never merged, even where they are equal: each layer's codes stay under that layer's name.

    Args:
        model: an `onnx_ir.Model` straight from the exporter.

    Returns:
        The `onnx.ModelProto`, and the PyTorch module path behind each value name.
    """
    import onnx_ir
    from onnx_ir.passes import common
    from onnxscript import optimizer, rewriter

    common.InlinePass()(model)
    _leave_border_names(model)
    _name_quantized_values(model, program)
    paths = {
        output.name: scope
        for node in model.graph
        if (scope := _scope(node.metadata_props)) is not None
        for output in node.outputs
    }
    optimizer.fold_constants_ir(model)
    model = rewriter.rewrite(model)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.IdentityEliminationPass()(model)
    common.RemoveUnusedNodesPass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    common.ClearMetadataAndDocStringPass()(model)
    model.producer_name, model.producer_version, model.graph.name = "offramp", "", "network"
    proto = onnx_ir.to_proto(model)
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        node.name = node.output[0]
    for initializer in proto.graph.initializer:
        initializer.doc_string = ""
    _name_quantizer_inputs(proto, paths)
    present = {name for node in proto.graph.node for name in node.output}
    return proto, {name: path for name, path in paths.items() if name in present}


def shift_to_uint8(model: Any) -> None:
    """Moves every activation, and every constant that meets one in arithmetic, from int8 to uint8: +128 on both
    codes and zero points, so the real values stay the same. Weights and biases are left alone."""
    from onnx import numpy_helper

    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    activations = {node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    zero_points: dict[int, str] = {}

    def shifted(name: str) -> str:
        zero = int(numpy_helper.to_array(initializers[name])) + _SHIFT
        if zero not in zero_points:
            zero_points[zero] = f"zero_point_{zero}"
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(zero, np.uint8), zero_points[zero]))
        return zero_points[zero]

    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            node.input[2] = shifted(node.input[2])
        elif node.op_type == "DequantizeLinear" and len(node.input) == 3:
            node.input[2] = shifted(node.input[2])
            if node.input[0] not in activations:
                tensor = initializers[node.input[0]]
                codes = (numpy_helper.to_array(tensor).astype(np.int16) + _SHIFT).astype(np.uint8)
                tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def state_zero_points(model: Any) -> None:
    """Gives every dequantize of weights and biases its zero points, all zero: ONNX Runtime makes an integer Gemm of
    nothing less, though zeros are what a missing input means.

    Those of weights are each weight's own: where ONNX Runtime turns weights to uint8, for processors whose int8
    products saturate, it refuses a network in which two weights share theirs.
    """
    from onnx import numpy_helper

    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and len(node.input) == 2:
            codes, scales = (numpy_helper.to_array(initializers[name]) for name in node.input)
            shared = f"zeros_{codes.dtype}_{'x'.join(map(str, scales.shape)) or 'scalar'}"
            name = f"{node.input[0]}_zero_point" if codes.dtype == np.int8 else shared
            if name not in initializers:
                initializers[name] = numpy_helper.from_array(np.zeros(scales.shape, codes.dtype), name)
                model.graph.initializer.append(initializers[name])
            node.input.append(name)


def fold_pads(model: Any) -> None:
    """Moves zero padding between a value and a convolution, with its own quantize and dequantize, into the convolution.

    Codes of padding are the zero point, which is what a convolution pads with; the pad's scale is the value's own.
    """
    from onnx import numpy_helper

    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    folded = set()
    for conv in model.graph.node:
        dequantize = makers.get(conv.input[0])
        if conv.op_type != "Conv" or dequantize is None:
            continue
        quantize = makers.get(dequantize.input[0])
        pad = makers.get(quantize.input[0]) if quantize is not None else None
        if quantize is None or pad is None or pad.op_type != "Pad" or len(_readers(model, pad.output[0])) != 1:
            continue
        widths = numpy_helper.to_array(initializers[pad.input[1]]).reshape(2, -1)  # starts, ends
        value = numpy_helper.to_array(initializers[pad.input[2]]) if len(pad.input) > 2 and pad.input[2] else 0.0
        if widths[:, :2].any() or (widths < 0).any() or value != 0.0 or len(_readers(model, dequantize.output[0])) != 1:
            continue
        attribute = next(a for a in conv.attribute if a.name == "pads")
        attribute.ints[:] = [int(p + w) for p, w in zip(attribute.ints, widths[:, 2:].reshape(-1))]
        conv.input[0] = pad.input[0]
        folded |= {pad.output[0], quantize.output[0], dequantize.output[0]}
    kept = [node for node in model.graph.node if node.output[0] not in folded]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _readers(model: Any, name: str) -> list[Any]:
    return [node for node in model.graph.node if name in node.input]


def open_batch(model: Any) -> None:
    """Leaves the first dimension of every input and output open.

    Reshapes keep "the first dimension of what comes in" (a 0 in ONNX) where they said 1.

    Raises:
        BadInput: an input has no batch dimension of 1.
    """
    from onnx import numpy_helper

    for value in [*model.graph.input, *model.graph.output]:
        shape = value.type.tensor_type.shape
        if not shape.dim or shape.dim[0].dim_value != 1:
            raise BadInput(f"{value.name}: no batch dimension of 1 to leave open; export without --dynamic-batch")
        shape.dim[0].dim_param = "batch"
    shapes = {node.input[1] for node in model.graph.node if node.op_type == "Reshape"}
    for tensor in model.graph.initializer:
        if tensor.name in shapes:
            wanted = numpy_helper.to_array(tensor).copy()
            if len(wanted) and wanted[0] == 1:
                wanted[0] = 0
                tensor.CopyFrom(numpy_helper.from_array(wanted, tensor.name))
    for node in model.graph.node:
        if node.op_type == "Reshape":  # with `allowzero`, as the exporter writes it, a 0 would be an empty dimension
            kept = [attribute for attribute in node.attribute if attribute.name != "allowzero"]
            del node.attribute[:]
            node.attribute.extend(kept)


def _name_quantized_values(model: Any, program: torch.export.ExportedProgram) -> None:
    """Gives quantize and dequantize nodes, and what they read, the program's names; both lists are in graph order."""
    for op_type, targets in (("QuantizeLinear", {QUANTIZE}), ("DequantizeLinear", {DEQUANTIZE, DEQUANTIZE_CHANNELS})):
        theirs = [node for node in model.graph if node.op_type == op_type]
        ours = [node for node in program.graph.nodes if node.target in targets]
        if len(theirs) != len(ours):
            raise RuntimeError(f"{len(theirs)} {op_type} nodes for {len(ours)} in the program; please report this")
        outputs = {value.name for value in model.graph.outputs}
        border = outputs | {value.name for value in model.graph.inputs}
        for node, source in zip(theirs, ours):
            if node.outputs[0].name not in outputs:
                node.outputs[0].name = beside(source.name, border)
            read = node.inputs[0]
            if op_type == "QuantizeLinear" and read.producer() is not None:
                read.name = beside(source.args[0].name, border)


def _leave_border_names(model: Any) -> None:
    border = [*model.graph.inputs, *model.graph.outputs]
    names = {value.name for value in border}
    for node in model.graph:
        for value in node.outputs:
            if value.name in names and not any(value is other for other in border):
                value.name = beside(value.name, names)


def beside(name: str, border: set[str]) -> str:
    """The name of a value inside the network, which an input or output of the user's choice may have already."""
    while name in border:
        name = f"{name}_value"
    return name


def _name_quantizer_inputs(proto: Any, paths: dict[str, str]) -> None:
    """What a quantizer reads carries the program's name for it, also where a rewrite put a new node in its place."""
    border = {value.name for value in [*proto.graph.input, *proto.graph.output]}
    taken = {name for node in proto.graph.node for name in node.output}
    renamed = {}
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear" and node.output[0].endswith("_codes"):
            name = node.output[0].removesuffix("_codes")
            if node.input[0] not in border and name not in taken:
                renamed[node.input[0]] = name
    for before, after in renamed.items():
        paths.setdefault(after, paths.get(before, paths.get(f"{after}_codes", "")))
    for node in proto.graph.node:
        for field in (node.input, node.output):
            for place, name in enumerate(field):
                field[place] = renamed.get(name, name)


def _scope(properties: Any) -> str | None:
    """Module path out of the exporter's `name_scopes`, for example `['', 'stem', 'stem.0', 'conv2d']` -> `stem.0`."""
    scopes = properties.get("pkg.torch.onnx.name_scopes")
    if not scopes:
        return None
    parts = [part.strip().strip("'\"") for part in scopes.strip("[]").split(",")]
    return parts[-2] if len(parts) > 1 else ""

"""Writes ONNX: QDQ form with integer initializers for a quantized program, plain float otherwise.

The stock translation of PyTorch's quantize and dequantize gives zero points of the wrong type, so the operators are
translated here. Activations are written as uint8 with the zero point moved by 128, exactly the same real values:
on x86, ONNX Runtime leaves int8 activations in float wherever two operators read them. Weights stay int8, biases int32.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import UnsupportedOperator
from ..quant.graph import module_path
from ..storage import atomic_path
from .artifact import Artifact, TensorSpec, is_quantized
from .code_bits import describe_weights, weight_bits
from .onnx_few_bits import FORMS, clip_codes, pack_weights
from .onnx_linear import linear_as_gemm
from .onnx_rewrites import fold_pads, open_batch, shift_to_uint8, state_zero_points, tidy
from .quiet import quiet

OPSET = 20  # the first with a Gelu operator; older ones spell it in five; packed weights need a later one


def to_onnx(
    program: torch.export.ExportedProgram,
    path: Path,
    *,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    precision: str,
    dynamic_batch: bool = False,
    metadata: dict[str, str] | None = None,
) -> Artifact:
    """Writes `program` as one ONNX file at `path`.

    Args:
        program: a float program or a quantized one.
        input_names, output_names: the names in the file, in order.
        precision: `float32`, `float16` (weights and arithmetic; inputs and outputs stay float32), or the scheme's name
            of a quantized program.
        dynamic_batch: leave the first dimension of every input and output open.
        metadata: kept as the file's metadata properties.

    Raises:
        UnsupportedOperator: ONNX has no form of an operator (named with its module path).
    """
    import onnx

    model, modules = _translate(program, input_names, output_names)
    bits = weight_bits(program) if is_quantized(precision) else {}
    if is_quantized(precision):
        fold_pads(model)
        shift_to_uint8(model)
        state_zero_points(model)
        clip_codes(model)
        linear_as_gemm(model)
        pack_weights(model, bits)
        present = {name for node in model.graph.node for name in node.output}
        modules = {name: path for name, path in modules.items() if name in present}
    if precision == "float16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        model = convert_float_to_float16(model, keep_io_types=True)
        OnnxModel(model).topological_sort(is_deterministic=True)  # the converter puts its casts at the end
    if dynamic_batch:
        open_batch(model)
    for key, value in sorted((metadata or {}).items()):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(model, full_check=True)
    with atomic_path(path) as beside:
        beside.write_bytes(model.SerializeToString(deterministic=True))
    details = {"opset": str(model.opset_import[0].version), "ir_version": str(model.ir_version)}
    if is_quantized(precision):
        details["activations"] = "uint8, the program's int8 codes moved by 128"
    if any(count < 8 for count in bits.values()):
        details["weights"] = describe_weights(bits, FORMS)
    return Artifact(
        "onnx", precision, Path(path), _specs(model.graph.input), _specs(model.graph.output), modules, details
    )


def _translate(
    program: torch.export.ExportedProgram, input_names: tuple[str, ...], output_names: tuple[str, ...]
) -> tuple[Any, dict[str, str]]:
    """The ONNX model with the program's own value names, and the module path behind each value."""
    try:
        with quiet():
            exported = torch.onnx.export(
                program,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                custom_translation_table=_translations(),
                optimize=False,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # the exporter raises many kinds; each becomes one line for the user
        raise _explain(program, error) from error
    assert exported is not None
    return tidy(exported.model, program)


def _translations() -> dict[Any, Any]:
    """ONNX forms of the quantized_decomposed operators, for torch.onnx's translation table (int8 as they stand)."""
    from onnxscript import opset20 as op

    table = torch.ops.quantized_decomposed

    def constant(value: Any) -> Any:
        from onnx import numpy_helper

        return op.Constant(value=numpy_helper.from_array(np.asarray(value)))

    def quantize(x, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int):
        return op.QuantizeLinear(x, constant(np.float32(scale)), constant(np.int8(zero_point)))

    def dequantize(x, scale: float, zero_point: int, quant_min: int, quant_max: int, dtype: int, out_dtype: int = -1):
        return op.DequantizeLinear(x, constant(np.float32(scale)), constant(np.int8(zero_point)))

    def dequantize_channels(
        x, scales, zero_points, axis: int, quant_min: int, quant_max: int, dtype: int, out_dtype: int = -1
    ):
        return op.DequantizeLinear(x, scales, axis=axis)  # weights and biases are symmetric

    return {
        table.quantize_per_tensor.default: quantize,
        table.dequantize_per_tensor.default: dequantize,
        table.dequantize_per_channel.default: dequantize_channels,
    }


def _explain(program: torch.export.ExportedProgram, error: Exception) -> UnsupportedOperator:
    """Names the operator, and the module that calls it, that the translation stopped at."""
    chain = [str(e) for e in (error, error.__cause__, getattr(error.__cause__, "__cause__", None)) if e]
    text = " ".join(chain)
    # The exporter decomposes first, and may stop at `prims.bessel_j0` where the program has `aten.special_bessel_j0`.
    inner = re.search(r"<OpOverload\(op='\w+\.(\w+)'", text)
    for node in program.graph.nodes:
        if node.op == "call_function" and (str(node.target) in text or (inner and inner[1] in str(node.target))):
            return UnsupportedOperator(
                str(node.target), module_path(node), "onnx", "replace it in the network or leave this target out"
            )
    reason = chain[-1].strip().splitlines()[0]
    return UnsupportedOperator(f"the network ({reason})", "", "onnx", "leave this target out")


def _specs(values: Any) -> tuple[TensorSpec, ...]:
    from onnx import helper

    found = []
    for value in values:
        tensor = value.type.tensor_type
        shape = tuple(d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
        found.append(TensorSpec(value.name, shape, str(helper.tensor_dtype_to_np_dtype(tensor.elem_type))))
    return tuple(found)

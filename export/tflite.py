"""Writes TFLite through LiteRT's converter, with integer kernels wherever the quantized program has integer operators.

The converter is given the program with its weights unfolded (see `unfold.py`) and told that the quantization is static;
without the second it silently leaves every convolution in float.
"""

import json
import zipfile
from pathlib import Path

import torch
from torch.fx import Node

from ..errors import UnsupportedOperator
from ..quant.capture import module_paths
from ..quant.graph import module_path
from ..storage import atomic_path
from .artifact import Artifact, is_quantized
from .code_bits import describe_weights, weight_bits
from .litert_layouts import teach_layouts
from .quiet import quiet_process
from .specs import border_specs
from .tflite_averages import average_by_products, name_averages
from .tflite_elu import restore_elu
from .tflite_few_bits import FORMS, insert_edges, open_edges, pack_linear
from .tflite_names import name_border, name_tensors, tensor_names
from .tflite_operand_order import keep_operand_order
from .tflite_rewrites import float_border, halve_weights, pack_model, read_model, state_biases
from .tflite_steps import refine_steps
from .unfold import unfold


def to_tflite(
    program: torch.export.ExportedProgram,
    path: Path,
    *,
    input_names: tuple[str, ...],
    output_names: tuple[str, ...],
    precision: str,
    integer_io: bool = False,
    labels: tuple[str, ...] | None = None,
    metadata: dict[str, str] | None = None,
) -> Artifact:
    """Writes `program` as one TFLite file with the signature `serving_default`.

    Args:
        program: a float program or a quantized one.
        input_names, output_names: the names of the signature, in order.
        precision: `float32`, `float16` (weights stored in half the bytes), or the scheme's name of a quantized program.
        integer_io: take and give int8 codes at the border instead of float (quantized programs only).
        labels, metadata: appended as a zip of `labels.txt` and `metadata.json`, which readers of the format skip.

    Raises:
        UnsupportedOperator: LiteRT has no form of an operator (named with its module path).
    """
    model = read_model(_convert(program, input_names, precision))
    name_border(model, input_names, output_names)
    restore_elu(model)
    values = name_tensors(model, program)
    name_averages(model, program, values)
    bits = weight_bits(program) if is_quantized(precision) else {}
    packed: set[str] = set()
    if is_quantized(precision):
        insert_edges(model, program)
        packed = pack_linear(model, bits)
        state_biases(model, program)
        refine_steps(model, bits, packed)
    if is_quantized(precision) and not integer_io:
        float_border(model)
    if precision == "float16":
        halve_weights(model)
    with atomic_path(path) as beside:
        beside.write_bytes(pack_model(model))
        if labels or metadata:
            _append_files(beside, labels or (), metadata or {})
    paths = module_paths(program)
    # A tensor with a number behind a value's name is that value on its way, in another layout for example.
    modules = {name: paths[base] for name in tensor_names(model) if (base := name.partition("/")[0]) in paths}
    modules |= {value: paths.get(name, "") for value, name in values.items()}
    inputs, outputs = border_specs(program, input_names, output_names)
    border = "int8" if integer_io and is_quantized(precision) else "float32"
    details = {"signature": "serving_default", "border": border}
    if any(count < 8 for count in bits.values()):
        halves = [{n: b for n, b in bits.items() if (n in packed) is chosen} for chosen in (True, False)]
        details["weights"] = "; ".join(describe_weights(half, form) for half, form in zip(halves, (FORMS, {})) if half)
    return Artifact("tflite", precision, Path(path), inputs, outputs, modules, details)


def _convert(program: torch.export.ExportedProgram, input_names: tuple[str, ...], precision: str) -> bytes:
    """The flatbuffer that LiteRT's converter gives, its tensors named after the program's values."""
    module = unfold(program)
    open_edges(module)
    average_by_products(module)
    keep_operand_order(module)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    examples = {name: _example(node) for name, node in zip(input_names, placeholders)}
    for name, node in zip(input_names, placeholders):
        node.name, node.target = name, name
    for node in module.graph.nodes:
        # The converter names tensors by class and name of each module on the stack; one entry without a name leaves
        # just this text, and so every tensor carries the name of the value it holds.
        node.meta["nn_module_stack"] = {"value": ("", node.name)}
    module.recompile()
    try:
        with quiet_process():
            import litert_torch
            from litert_torch.quantize import pt2e_quantizer, quant_config

            teach_layouts()
            static = pt2e_quantizer.PT2EQuantizer().set_global(pt2e_quantizer.get_symmetric_quantization_config())
            config = quant_config.QuantConfig(pt2e_quantizer=static) if is_quantized(precision) else None
            converted = litert_torch.convert(module, sample_kwargs=examples, quant_config=config)
            return bytes(converted.model_content())
    except Exception as error:  # the converter raises many kinds; each becomes one line for the user
        raise _explain(program, error) from error


def _example(node: Node) -> torch.Tensor:
    value = node.meta["val"]
    return torch.zeros(value.shape, dtype=value.dtype)


def _append_files(path: Path, labels: tuple[str, ...], metadata: dict[str, str]) -> None:
    """Appends a zip behind the flatbuffer, with fixed times so that equal input gives equal bytes."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("metadata.json"), json.dumps(metadata, sort_keys=True, indent=1))
        if labels:
            archive.writestr(zipfile.ZipInfo("labels.txt"), "\n".join(labels) + "\n")


def _explain(program: torch.export.ExportedProgram, error: Exception) -> UnsupportedOperator:
    text = f"{error} {error.__cause__ or ''}"
    mend = "replace it in the network or leave this target out"
    for node in program.graph.nodes:
        if node.op == "call_function" and str(node.target) in text:
            return UnsupportedOperator(str(node.target), module_path(node), "tflite", mend)
    reason = (text.strip() or type(error).__name__).splitlines()[0]
    return UnsupportedOperator(f"the network ({reason})", "", "tflite", mend)

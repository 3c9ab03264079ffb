"""Core ML: a `torch.export` program to an `.mlpackage` holding an ML program, through coremltools.

A quantized program is taken in its canonical form: int8 weight buffers under `quantized_decomposed.dequantize_per_*`
become `constexpr_affine_dequantize`, `quantize_per_tensor` / `dequantize_per_tensor` pairs on activations become
`quantize` and `dequantize`, with codes, scales and zero points exactly as given. Two passes of coremltools that choose
other codes are left out (`_RECODING_PASSES`). Core ML dequantizes nothing wider than 8 bits, so an int32 bias is stored
as the float32 numbers that the program itself computes from it.

Module paths: coremltools names a value after the fx node it comes from, followed by `_0`, `_1`, ... where a node gives
several, and an operation likewise, followed by `_cast_fp16` where it casts. `Artifact.modules` therefore looks up the
longest node name that begins the operation's name, and reads the path from that node's `nn_module_stack`.
"""

import contextlib
import hashlib
import io
import json
import logging
import re
import shutil
import uuid
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind, OutputSpec, TensorArgument
from torch.fx import Node

from ..errors import BadInput, UnsupportedOperator
from ..storage import atomic_folder
from .artifact import Artifact, TensorSpec

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18")
PRECISIONS = ("float32", "float16", "int8")
# The first turns int8 codes with zero point -128 into uint8 with 0, the second rescales the operands of additions; the
# third drops the names of equal constants, which reading the weights back needs.
_RECODING_PASSES = {
    "common::nullify_redundant_quantization_zero_point",
    "common::distributive_quantized_binary_op_scale_normalization",
    "common::const_deduplication",
}
_METADATA_FIELDS = {
    "author": "author",
    "license": "license",
    "version": "versionString",
    "description": "shortDescription",
}
_CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"
_PROBABILITIES = "probabilities"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps coremltools' log lines, warnings and progress bars off the terminal, above all those of its import."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def to_coreml(
    program: ExportedProgram,
    path: Path,
    *,
    input_names: Sequence[str],
    output_names: Sequence[str],
    precision: str,
    labels: Sequence[str] | None = None,
    image_input: bool = False,
    metadata: dict[str, str] | None = None,
    minimum_target: str = "iOS17",
) -> Artifact:
    """Writes `program` as a Core ML package; the same program gives the same bytes.

    Args:
        program: an ATen program, float or in the canonical quantized form.
        path: the package, ending in `.mlpackage`.
        input_names, output_names: one for each user input and output, in order.
        precision: `float32`, `float16` (weights and arithmetic; inputs and outputs stay float32), or `int8` for a
            quantized program (what is not quantized stays float32, so that scales are exact).
        labels: one per class. Adds `classLabel` and `classLabel_probs`, the softmax of the only output, (1, classes).
        image_input: the only input, (1, 1 or 3, H, W), is a grey or RGB image of raw pixels 0 to 255.
        metadata: `author`, `license`, `version` and `description` go to the fields of that name, others beside them.
        minimum_target: oldest system, `iOS15` to `iOS18`; int8 activations need `iOS17`.

    Raises:
        BadInput: names, labels, shapes or options that do not fit the program.
        UnsupportedOperator: Core ML or coremltools lacks an operator; it names the operator and its module.
    """
    path = Path(path)
    _check_options(program, path, input_names, output_names, precision, minimum_target)
    with quiet():
        import coremltools as ct

        lowered = program.run_decompositions({})
    biases = _prepare(lowered)
    inputs = [_value_of(lowered, name) for name in lowered.graph_signature.user_inputs]
    outputs = [_value_of(lowered, name) for name in lowered.graph_signature.user_outputs]
    if labels is not None:
        _add_probabilities(lowered, outputs, labels)
    results = [_value_of(lowered, name) for name in lowered.graph_signature.user_outputs]
    names = [*output_names, *([_PROBABILITIES] if labels is not None else [])]
    pipeline = ct.PassPipeline()
    pipeline.remove_passes(_RECODING_PASSES)
    try:
        with quiet():
            model = ct.convert(
                lowered,
                convert_to="mlprogram",
                inputs=[_input_type(ct, name, value, image_input) for name, value in zip(input_names, inputs)],
                outputs=[ct.TensorType(name=name, dtype=_numpy_type(value)) for name, value in zip(names, results)],
                compute_precision=ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32,
                minimum_deployment_target=getattr(ct.target, minimum_target),
                classifier_config=_classifier(ct, labels),
                pass_pipeline=pipeline,
                skip_model_load=True,
            )
    except Exception as error:
        raise _refused(error, lowered) from error
    spec = model.get_spec()
    _describe(spec, metadata or {})
    _write_package(path, spec, Path(model.weights_dir))
    details = {"coremltools": ct.__version__, "minimum_target": minimum_target}
    if biases:
        details["biases"] = (
            f"{biases} int32 biases stored as the float32 numbers codes * scale; Core ML has no int32 form"
        )
    return Artifact(
        target="coreml",
        precision=precision,
        path=path,
        inputs=tuple(_tensor_spec(name, value) for name, value in zip(input_names, inputs)),
        outputs=tuple(_tensor_spec(name, value) for name, value in zip(output_names, outputs)),
        modules=_modules(spec, lowered, dict(zip(names, lowered.graph_signature.user_outputs))),
        details=details,
    )


def _check_options(
    program: ExportedProgram,
    path: Path,
    input_names: Sequence[str],
    output_names: Sequence[str],
    precision: str,
    minimum_target: str,
) -> None:
    faults = []
    if path.suffix != ".mlpackage":
        faults.append(f"the path must end in .mlpackage, got {path.name}")
    for what, given, allowed in (("precision", precision, PRECISIONS), ("minimum target", minimum_target, TARGETS)):
        if given not in allowed:
            faults.append(f"{what} must be one of {', '.join(allowed)}, got {given}")
    signature = program.graph_signature
    for what, names, values in (
        ("input", input_names, signature.user_inputs),
        ("output", output_names, signature.user_outputs),
    ):
        if len(names) != len(values):
            faults.append(f"the program has {len(values)} {what}s, got {len(names)} names ({', '.join(names)})")
        faults += [
            f"{what} name {n!r} must be letters, digits and _" for n in names if not re.fullmatch(r"[A-Za-z_]\w*", n)
        ]
    if len({*input_names, *output_names}) != len(input_names) + len(output_names):
        faults.append(f"names must differ, got {', '.join([*input_names, *output_names])}")
    if precision == "int8" and minimum_target in ("iOS15", "iOS16"):
        faults.append(f"int8 activations need iOS17, got {minimum_target}; pass minimum_target='iOS17'")
    if faults:
        raise BadInput(f"{path}: " + "; ".join(faults))


def _value_of(program: ExportedProgram, name: str) -> Tensor:
    return next(node for node in program.graph.nodes if node.name == name).meta["val"]


def _tensor_spec(name: str, value: Tensor) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorSpec(name, shape, _numpy_type(value).__name__)


def _numpy_type(value: Tensor) -> type[np.generic]:
    """The element type at the border: Core ML exchanges integers as int32."""
    return np.float32 if value.is_floating_point() else np.int32


def _input_type(ct: Any, name: str, value: Tensor, image: bool) -> Any:
    if not image:
        return ct.TensorType(name=name, dtype=_numpy_type(value))
    if value.dim() != 4 or value.shape[0] != 1 or value.shape[1] not in (1, 3):
        raise BadInput(
            f"{name}: an image input must be (1, 1 or 3, H, W), got {tuple(value.shape)}; pass a tensor input"
        )
    layout = ct.colorlayout.RGB if value.shape[1] == 3 else ct.colorlayout.GRAYSCALE
    return ct.ImageType(name=name, shape=tuple(value.shape), color_layout=layout, channel_first=True)


def _classifier(ct: Any, labels: Sequence[str] | None) -> Any:
    if labels is None:
        return None
    return ct.ClassifierConfig([str(label) for label in labels], predicted_probabilities_output=_PROBABILITIES)


def _prepare(program: ExportedProgram) -> int:
    """Makes the program fit Core ML, in place; returns how many int32 biases became float.

    1. An int32 buffer under a dequantize becomes a float buffer, computed by that very operator.
    2. A quantize over less than the whole int8 range is refused: Core ML's has no limits to set.
    """
    program._state_dict = dict(program.state_dict)  # the caller's program keeps its own
    program._constants = dict(program.constants)
    signature = program.graph_signature
    targets = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    biases = 0
    for node in list(program.graph.nodes):
        if node.op != "call_function":
            continue
        operator = str(node.target)
        if operator.startswith("quantized_decomposed.dequantize") and node.args[-1] == torch.int32:
            _fold_bias(program, node, targets)
            biases += 1
        elif operator.startswith("quantized_decomposed.quantize_per_tensor") and node.args[3:5] not in (
            (-128, 127),
            (0, 255),
        ):
            what = f"{operator} to {node.args[3]}..{node.args[4]}"
            raise UnsupportedOperator(what, _module_path(node), "coreml", "quantize activations to -128..127")
    program.graph.lint()
    program.graph_module.recompile()
    return biases


def _fold_bias(program: ExportedProgram, node: Node, targets: dict[str, str]) -> None:
    def tensor(argument: Any) -> Any:
        if not isinstance(argument, Node):
            return argument
        target = targets[argument.name]
        return program.state_dict[target] if target in program.state_dict else program.constants[target]

    placeholder = node.args[0]
    assert isinstance(placeholder, Node)
    assert callable(node.target)
    value = node.target(*(tensor(argument) for argument in node.args))
    home = program.state_dict if targets[placeholder.name] in program.state_dict else program.constants
    home[targets[placeholder.name]] = value
    placeholder.meta["val"] = node.meta["val"]
    node.replace_all_uses_with(placeholder)
    program.graph.erase_node(node)


def _add_probabilities(program: ExportedProgram, outputs: Sequence[Tensor], labels: Sequence[str]) -> None:
    """Adds the softmax of the only output as a second one, which the classifier reads."""
    if len(outputs) != 1 or outputs[0].dim() != 2 or outputs[0].shape[-1] != len(labels):
        shapes = ", ".join(str(tuple(value.shape)) for value in outputs)
        raise BadInput(f"{len(labels)} labels need one output of (1, {len(labels)}), got {shapes}; mend the labels")
    graph = program.graph
    end = graph.output_node()
    (logits,) = end.args[0]  # type: ignore[misc]
    with graph.inserting_before(end):
        softmax = graph.call_function(torch.ops.aten._softmax.default, (logits, -1, False))
    softmax.meta["val"] = outputs[0]
    end.args = ((logits, softmax),)
    argument = TensorArgument(name=softmax.name)
    program.graph_signature.output_specs.append(OutputSpec(OutputKind.USER_OUTPUT, argument, None))
    program.graph_module.recompile()


def _module_path(node: Node) -> str:
    """`stages.0.1.fc1` for a node; a second call of one module carries no `@1`."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return re.sub(r"@\d+", "", str(stack[-1][0])) if stack else ""


def _refused(error: Exception, program: ExportedProgram) -> Exception:
    """The error as one line: the operator under conversion is the `node` of coremltools' `convert_single_node`."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "convert_single_node":
            name = trace.tb_frame.f_locals["node"].name
            node = next((n for n in program.graph.nodes if n.name == name), None)
            if node is not None:
                return UnsupportedOperator(str(node.target), _module_path(node), "coreml", _mend(error))
        trace = trace.tb_next
    if isinstance(error, BadInput):
        return error
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BadInput(f"coremltools could not convert the program ({first}); export another target, or report it")


def _mend(error: Exception) -> str:
    why = "" if isinstance(error, NotImplementedError) else f" (coremltools: {str(error).strip().splitlines()[0]})"
    return f"write it with other operators{why}"


def _describe(spec: Any, metadata: dict[str, str]) -> None:
    """Fills in the metadata; the date of conversion goes, as it would make every day's bytes differ."""
    fields = spec.description.metadata
    fields.userDefined.pop(_CONVERSION_DATE, None)
    for key, value in metadata.items():
        if key in _METADATA_FIELDS:
            setattr(fields, _METADATA_FIELDS[key], value)
        else:
            fields.userDefined[key] = value


def _write_package(path: Path, spec: Any, weights: Path) -> None:
    """Writes the package with identifiers drawn from its content, where coremltools draws random ones."""
    with atomic_folder(path) as folder:
        content = folder / "Data" / "com.apple.CoreML"
        content.mkdir(parents=True)
        model = spec.SerializeToString(deterministic=True)
        (content / "model.mlmodel").write_bytes(model)
        shutil.copytree(weights, content / "weights")
        items = {
            "model.mlmodel": ("Specification", model),
            "weights": ("Weights", (content / "weights/weight.bin").read_bytes()),
        }
        identifiers = {name: str(uuid.UUID(hashlib.sha256(data).hexdigest()[:32])) for name, (_, data) in items.items()}
        manifest = {
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": {
                identifiers[name]: {
                    "author": "com.apple.CoreML",
                    "description": f"CoreML Model {what}",
                    "name": name,
                    "path": f"com.apple.CoreML/{name}",
                }
                for name, (what, _) in items.items()
            },
            "rootModelIdentifier": identifiers["model.mlmodel"],
        }
        (folder / "Manifest.json").write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n", encoding="utf-8")


def _modules(spec: Any, program: ExportedProgram, outputs: dict[str, str]) -> dict[str, str]:
    """Value name -> module path ("" for the network itself) of what is computed; see the head of this file."""
    nodes = {node.name: node for node in program.graph.nodes if node.op == "call_function"}
    body = spec.mlProgram.functions["main"]
    found = {}
    for operation in body.block_specializations[body.opset].operations:
        if operation.type == "const":
            continue
        name = operation.attributes["name"].immediateValue.tensor.strings.values[0]
        for value in operation.outputs:
            stem = outputs.get(value.name, name)
            while stem and stem not in nodes:
                stem = stem.rpartition("_")[0]
            if stem:
                found[value.name] = _module_path(nodes[stem])
    return found

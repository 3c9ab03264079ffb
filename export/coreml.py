"""Core ML: a `torch.export` program to an `.mlpackage` holding an ML program, through coremltools.

A quantized program is taken in its canonical form: int8 weight buffers under `quantized_decomposed.dequantize_per_*`
become `constexpr_affine_dequantize`, `quantize_per_tensor` / `dequantize_per_tensor` pairs on activations become
`quantize` and `dequantize`, with codes, scales and zero points exactly as given. Passes of coremltools that choose
other codes or names are left out (`_RECODING_PASSES`). Core ML dequantizes nothing wider than 8 bits, so an int32 bias
is stored as the float32 numbers that the program itself computes from it.

Values carry the names of the fx nodes that they come from, so that a value of the package is found in the program by
its name, and by the node's `nn_module_stack` the module that computes it (`Artifact.modules`). coremltools names most
values so by itself; `lower` and `name_values` mend the others. A node that becomes several operations names the last of
them, and the others have its name with something behind it.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.export import ExportedProgram

from ..errors import BadInput, UnsupportedOperator
from ..quant.graph import module_path
from ..quant.scheme import bits_named
from .artifact import FLOAT_PRECISIONS, Artifact, TensorSpec, is_quantized
from .code_bits import describe_weights
from .coreml_few_bits import FORMS, add_palettes, named_bits
from .coreml_package import add_classifier, describe, modules, name_values, write_package
from .coreml_program import add_probabilities, lower, prepare
from .quiet import quiet

TARGETS = ("iOS15", "iOS16", "iOS17", "iOS18")
_OLDEST, _OLDEST_PACKED = "iOS17", "iOS18"  # for int8 activations; for weights of fewer bits as well
# In order: turns int8 codes with zero point -128 into uint8 with 0; rescales the operands of additions; reshapes codes
# instead of real values, under names of its own; drops the names of equal constants, by which weights are read back.
_RECODING_PASSES = {
    "common::nullify_redundant_quantization_zero_point",
    "common::distributive_quantized_binary_op_scale_normalization",
    "common::int_op_canonicalization",
    "common::const_deduplication",
}
_PROBABILITIES = "probabilities"
# Words of the ML program's own language; coremltools would rename what is called so.
_RESERVED = {
    *("any", "bool", "dict", "false", "func", "list", "program", "state", "string", "tensor", "true", "tuple", "bf16"),
    *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    *("fp16", "fp32", "fp64"),
}


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
    minimum_target: str | None = None,
) -> Artifact:
    """Writes `program` as a Core ML package; the same program gives the same bytes.

    Args:
        program: an ATen program, float or in the canonical quantized form.
        path: the package, ending in `.mlpackage`.
        input_names, output_names: one for each user input and output, in order.
        precision: `float32`, `float16` (weights and arithmetic; inputs and outputs stay float32), or the scheme's name
            of a quantized program (what is not quantized stays float32, so that scales are exact).
        labels: one per class. Adds `classLabel` and `classLabel_probs`, the softmax of the only output, (1, classes).
        image_input: the only input, (1, 1 or 3, H, W), is a grey or RGB image of raw pixels 0 to 255.
        metadata: `author`, `license`, `version` and `description` go to the fields of that name, others beside them.
        minimum_target: oldest system, `iOS15` to `iOS18`; int8 activations need `iOS17`, which is the default unless
            weights have 4 bits or fewer: `iOS18` packs them, older systems are given int8.

    Raises:
        BadInput: names, labels, shapes or options that do not fit the program.
        UnsupportedOperator: Core ML or coremltools lacks an operator; it names the operator and its module.
    """
    path = Path(path)
    bits = named_bits(program) if is_quantized(precision) else {}
    minimum_target = minimum_target or (_OLDEST_PACKED if any(b in FORMS for b in bits.values()) else _OLDEST)
    _check_options(program, path, input_names, output_names, precision, minimum_target)
    with quiet():
        import coremltools as ct

        lowered = lower(program)
    biases = prepare(lowered)
    packed = minimum_target == _OLDEST_PACKED
    inputs = [_value_of(lowered, name) for name in lowered.graph_signature.user_inputs]
    outputs = [_value_of(lowered, name) for name in lowered.graph_signature.user_outputs]
    if labels is not None:
        add_probabilities(lowered, outputs, labels)
    results = [_value_of(lowered, name) for name in lowered.graph_signature.user_outputs]
    names = [*output_names, *([_PROBABILITIES] if labels is not None else [])]
    pipeline = ct.PassPipeline()
    pipeline.remove_passes(_RECODING_PASSES)
    if packed:
        add_palettes(pipeline, named_bits(lowered))
    try:
        with quiet():
            model = ct.convert(
                lowered,
                convert_to="mlprogram",
                inputs=[_input_type(ct, name, value, image_input) for name, value in zip(input_names, inputs)],
                outputs=[ct.TensorType(name=name, dtype=_numpy_type(value)) for name, value in zip(names, results)],
                compute_precision=ct.precision.FLOAT16 if precision == "float16" else ct.precision.FLOAT32,
                minimum_deployment_target=getattr(ct.target, minimum_target),
                pass_pipeline=pipeline,
                skip_model_load=True,
            )
    except Exception as error:
        raise _refused(error, lowered, path) from error
    spec = model.get_spec()
    name_values(spec, lowered)
    if labels is not None:
        add_classifier(spec, _PROBABILITIES, [str(label) for label in labels])
    describe(spec, metadata or {})
    write_package(path, spec, Path(model.weights_dir))
    details = {"coremltools": ct.__version__, "minimum_target": minimum_target}
    if any(count < 8 for count in bits.values()):
        details["weights"] = describe_weights(bits, FORMS if packed else {})
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
        modules=modules(spec, lowered, dict(zip(names, lowered.graph_signature.user_outputs))),
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
    if minimum_target not in TARGETS:
        faults.append(f"minimum target must be one of {', '.join(TARGETS)}, got {minimum_target}")
    if not _is_precision(precision):
        faults.append(
            f"precision must be {', '.join(FLOAT_PRECISIONS)} or a scheme's name (int8, w4a8), got {precision}"
        )
    signature = program.graph_signature
    for what, names, values in (
        ("input", input_names, signature.user_inputs),
        ("output", output_names, signature.user_outputs),
    ):
        if len(names) != len(values):
            faults.append(f"the program has {len(values)} {what}s, got {len(names)} names ({', '.join(names)})")
        faults += [
            f"{what} name {n!r} must be letters, digits and _, a letter first"
            for n in names
            if not re.fullmatch(r"[A-Za-z]\w*", n)
        ]
        faults += [f"{what} name {n!r} is a word of Core ML's own; choose another" for n in names if n in _RESERVED]
    if len({*input_names, *output_names}) != len(input_names) + len(output_names):
        faults.append(f"names must differ, got {', '.join([*input_names, *output_names])}")
    if is_quantized(precision) and minimum_target in ("iOS15", "iOS16"):
        faults.append(f"int8 activations need iOS17, got {minimum_target}; pass minimum_target='iOS17'")
    if faults:
        raise BadInput(f"{path}: " + "; ".join(faults))


def _is_precision(name: str) -> bool:
    if name in (*FLOAT_PRECISIONS, "mixed"):
        return True
    try:
        return bool(bits_named(name))
    except BadInput:
        return False


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


def _refused(error: Exception, program: ExportedProgram, path: Path) -> Exception:
    """The error as one line: what coremltools was reading or converting is the `node` of these two functions of its."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in ("from_exir_node", "convert_single_node"):
            name = trace.tb_frame.f_locals["node"].name
            node = next((n for n in program.graph.nodes if n.name == name), None)
            if node is not None:
                return UnsupportedOperator(str(node.target), module_path(node), "coreml", _mend(error))
        trace = trace.tb_next
    if isinstance(error, BadInput):
        return error
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return BadInput(f"{path}: coremltools could not convert the program ({first}); export another target, or report it")


def _mend(error: Exception) -> str:
    first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    lacking = isinstance(error, NotImplementedError) or first.startswith("Unsupported fx node")
    why = "" if lacking else f" (coremltools: {first})"
    return f"write it with other operators{why}"

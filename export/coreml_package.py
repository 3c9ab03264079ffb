"""The Core ML specification after conversion: classifier, metadata, module paths, and writing it as a package."""

import hashlib
import json
import shutil
import uuid
from collections.abc import Sequence
from operator import getitem
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node

from ..quant.graph import module_path
from ..storage import atomic_folder

_METADATA_FIELDS = {
    "author": "author",
    "license": "license",
    "version": "versionString",
    "description": "shortDescription",
}
_CONVERSION_DATE = "com.github.apple.coremltools.conversion_date"


def add_classifier(spec: Any, probabilities: str, labels: Sequence[str]) -> None:
    """Puts `classLabel` and `classLabel_probs` in place of the output `probabilities`, (1, classes).

    coremltools' own `ClassifierConfig` fails beside named outputs when the network has another output, as here, where
    the logits stay; the operation and the features are the same that it writes.
    """
    from coremltools.converters.mil.backend.mil import helper

    label, scores = "classLabel", "classLabel_probs"
    block = _block(spec)
    string = helper.create_scalar_value("").type
    operation = block.operations.add(type="classify")
    operation.inputs["probabilities"].arguments.add(name=probabilities)
    operation.inputs["classes"].arguments.add(value=helper.create_list_scalarvalue(list(labels), str))
    operation.attributes["name"].CopyFrom(helper.create_scalar_value("classify_0"))
    operation.outputs.add(name=label, type=string)
    dictionary = operation.outputs.add(name=scores).type.dictionaryType
    dictionary.keyType.CopyFrom(string)
    dictionary.valueType.tensorType.dataType = 12  # FLOAT64 in MIL.proto
    block.outputs[:] = [label, scores, *(name for name in block.outputs if name != probabilities)]
    features = [feature for feature in spec.description.output if feature.name != probabilities]
    del spec.description.output[:]
    spec.description.output.add(name=label).type.stringType.SetInParent()
    spec.description.output.add(name=scores).type.dictionaryType.stringKeyType.SetInParent()
    spec.description.output.extend(features)
    spec.description.predictedFeatureName = label
    spec.description.predictedProbabilitiesName = scores


def describe(spec: Any, metadata: dict[str, str]) -> None:
    """Fills in the metadata; the date of conversion goes, as it would make every day's bytes differ."""
    fields = spec.description.metadata
    fields.userDefined.pop(_CONVERSION_DATE, None)
    for key, value in metadata.items():
        if key in _METADATA_FIELDS:
            setattr(fields, _METADATA_FIELDS[key], value)
        else:
            fields.userDefined[key] = value


def write_package(path: Path, spec: Any, weights: Path) -> None:
    """Writes the package with identifiers drawn from its content, where coremltools draws random ones."""
    with atomic_folder(path) as folder:
        content = folder / "Data" / "com.apple.CoreML"
        content.mkdir(parents=True)
        model = spec.SerializeToString(deterministic=True)
        (content / "model.mlmodel").write_bytes(model)
        items = {"model.mlmodel": ("Specification", model)}
        if (weights / "weight.bin").is_file():  # a network without large constants has none
            shutil.copytree(weights, content / "weights")
            items["weights"] = ("Weights", (content / "weights" / "weight.bin").read_bytes())
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


def name_values(spec: Any, program: ExportedProgram) -> None:
    """Gives values the names of the fx nodes they come from where coremltools chose others.

    1. The parts of a split, `split_0`, `split_1`, ..., become the `getitem` nodes that take them.
    2. A name that no value has goes to the last value of the same shape that descends from its node: `relu_cast_fp16`,
       which is `relu` computed in float16, becomes `relu`.
    3. What was quantized to be dequantized as `x_real` is `x`: coremltools numbers clamps on its own.
    """
    operations = _block(spec).operations
    fixed = {value.name for value in [*spec.description.input, *spec.description.output]}
    taken = fixed | {value.name for operation in operations for value in operation.outputs}
    splits = {value.name for operation in operations if operation.type == "split" for value in operation.outputs}
    nodes = _nodes(program)
    names: dict[str, str] = {}
    for operation in reversed(operations):
        node = None if operation.type in ("const", "quantize") else _origin(_name(operation), nodes)
        if node is None:
            continue
        parts = {user.args[1]: user for user in node.users if user.target is getitem}
        for index, value in enumerate(operation.outputs):
            wanted = parts.get(index) if operation.type == "split" else node
            settled = value.name in fixed or (value.name in nodes and operation.type != "split")
            if wanted is None or settled or wanted.name in taken - splits:
                continue
            value_of = wanted.meta["val"][0] if isinstance(wanted.meta["val"], tuple) else wanted.meta["val"]
            if _shape(value) == [size if isinstance(size, int) else None for size in value_of.shape]:
                names[value.name] = wanted.name
                taken.add(wanted.name)
    quantized = {op.outputs[0].name: _first_input(op) for op in operations if op.type == "quantize"}
    for operation in operations:
        source = quantized.get(_first_input(operation)) if operation.type == "dequantize" else None
        wanted_name = operation.outputs[0].name.removesuffix("_real") if source else ""
        free = source not in {*fixed, *nodes, *names} and wanted_name not in taken
        if source and free and wanted_name in nodes:
            names[source] = wanted_name
            taken.add(wanted_name)
    for operation in operations:
        for value in operation.outputs:
            value.name = names.get(value.name, value.name)
        for argument in operation.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name":
                    binding.name = names.get(binding.name, binding.name)


def _first_input(operation: Any) -> str:
    """Name of what a quantize or dequantize reads."""
    return operation.inputs["input"].arguments[0].name


def _shape(value: Any) -> list[int | None]:
    dimensions = value.type.tensorType.dimensions
    return [d.constant.size if d.WhichOneof("dimension") == "constant" else None for d in dimensions]


def modules(spec: Any, program: ExportedProgram, outputs: dict[str, str]) -> dict[str, str]:
    """Value name -> module path ("" for the network itself) of what is computed.

    By the longest name of an fx node that begins the operation's name; `quantize`, which coremltools numbers on its
    own, belongs to the module whose value it quantizes.
    """
    nodes = _nodes(program)
    found: dict[str, str] = {}
    for operation in _block(spec).operations:
        for value in operation.outputs if operation.type != "const" else ():
            node = nodes.get(value.name) or _origin(outputs.get(value.name, _name(operation)), nodes)
            if node is not None:
                found[value.name] = module_path(node)
            elif operation.type == "quantize":
                found[value.name] = found.get(operation.inputs["input"].arguments[0].name, "")
    return found


def _block(spec: Any) -> Any:
    body = spec.mlProgram.functions["main"]
    return body.block_specializations[body.opset]


def _name(operation: Any) -> str:
    return operation.attributes["name"].immediateValue.tensor.strings.values[0]


def _nodes(program: ExportedProgram) -> dict[str, Node]:
    return {node.name: node for node in program.graph.nodes if node.op == "call_function"}


def _origin(name: str, nodes: dict[str, Node]) -> Node | None:
    while name and name not in nodes:
        name = name.rpartition("_")[0]
    return nodes.get(name)

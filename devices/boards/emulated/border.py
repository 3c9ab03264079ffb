"""`Border`: how a network's C is called, as its header declares it.

The header decides on the element types: a quantized network may take and give int8 codes where every other target has
real numbers.
"""

import re
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from ....errors import BadInput
from ....export.artifact import Artifact, TensorSpec

C_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int32": "int32_t"}
_DTYPES = {c_type: dtype for dtype, c_type in C_TYPES.items()}
_ENTRY = re.compile(r"^\s*void\s+(\w+_run)\s*\(([^)]*)\)", re.MULTILINE)
_PARAMETER = re.compile(r"(?:const\s+)?(\w+)\s*\*\s*(\w+)")


@dataclass(frozen=True)
class Border:
    """How a network is called.

    Attributes:
        path: of the C file.
        entry: the function that runs it.
        inputs, outputs: in the order of the function's parameters, with the element types that it takes and gives.
        parameters: their names in C, inputs first.
    """

    path: Path
    entry: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: tuple[str, ...]


def read_border(artifact: Artifact) -> Border:
    """The border of a network that was exported to C.

    Raises:
        BadInput: the C file or its header is missing, or the header does not declare one function for these inputs and
            outputs.
    """
    header = artifact.path.with_suffix(".h")
    for path in (artifact.path, header):
        if not path.is_file():
            raise BadInput(f"{path}: no such file; NAME.c and NAME.h are written together, export them again")
    entries = _ENTRY.findall(header.read_text(encoding="utf-8", errors="replace"))
    if len(entries) != 1:
        raise BadInput(
            f"{header}: expected one `void NAME_run(...)`, found {', '.join(e[0] for e in entries) or 'none'}"
        )
    ((entry, declared),) = entries
    specs = (*artifact.inputs, *artifact.outputs)
    parameters = [_PARAMETER.fullmatch(text.strip()) for text in declared.split(",")]
    if len(parameters) != len(specs) or not all(found and found[1] in _DTYPES for found in parameters):
        wanted = ", ".join(spec.name for spec in specs)
        raise BadInput(f"{header}: {entry} must take an array each for {wanted}, got ({' '.join(declared.split())})")
    found = [match for match in parameters if match]
    typed = tuple(replace(spec, dtype=_DTYPES[match[1]]) for spec, match in zip(specs, found))
    count = len(artifact.inputs)
    return Border(artifact.path, entry, typed[:count], typed[count:], tuple(match[2] for match in found))


def sample_shape(spec: TensorSpec) -> tuple[int, ...]:
    """Shape of one sample: without the batch, which is the first dimension where that is 1 or free.

    Raises:
        BadInput: another size is free, or there is nothing in it.
    """
    shape = spec.shape[1:] if spec.shape and spec.shape[0] in (None, 1) else spec.shape
    if any(size is None for size in shape) or not prod(size or 0 for size in shape):
        raise BadInput(f"{spec.name}: C has tensors of fixed sizes above 0 only, got {spec.shape}; export it with such")
    return tuple(size or 0 for size in shape)

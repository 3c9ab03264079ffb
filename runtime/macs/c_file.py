"""Counts on a C source: from the structures that its calls read."""

from collections.abc import Mapping
from pathlib import Path

from ..c_source import Call, read_c_source
from .count import CountedOperation, MacCount

_LAYERS = {
    "run_conv_int8": 8,
    "run_depthwise_int8": 8,
    "run_conv_binary_bits": 1,
    "run_conv_binary_int8": 1,
    "run_conv_float": 32,
}


def count_c(path: Path, modules: Mapping[str, str] | None = None) -> MacCount:
    """MACs of one run of a C network; products of padding count, as everywhere.

    Args:
        path: NAME.c, with its header beside it.
        modules: value name -> PyTorch module path; where not given, what the source says.
    """
    operations = []
    parameters = bits = 0
    for call in read_c_source(path).calls:
        counted = _counted(call)
        if counted is None:
            continue
        macs, width, weights, outputs = counted
        module = (modules or {}).get(call.value, call.module)
        operations.append(CountedOperation(call.value, call.operation, module, macs, width))
        parameters += weights + outputs
        bits += weights * width
    return MacCount(tuple(operations), (), parameters, -(-bits // 8), bits)


def _counted(call: Call) -> tuple[int, int, int, int] | None:
    """(products, their bits, weights, biases) of one operation; None for one that multiplies nothing."""
    fields = call.fields
    kernel = call.kernel.replace("share_", "run_", 1)
    if kernel in _LAYERS:
        shape = [int(number) for number in fields["shape"].strip("{}").split(", ")]
        _, _, channels, out_height, out_width, outputs, height, width = shape[:8]
        weights = outputs * height * width * channels // int(fields.get("groups", "1"))
        has_bias = fields.get("bias", "NULL") != "NULL"
        return call.times * out_height * out_width * weights, _LAYERS[kernel], weights, outputs * has_bias
    if call.kernel == "run_linear_int8":
        inputs, outputs = int(fields["inputs"]), int(fields["outputs"])
        return call.numbers[0] * inputs * outputs, 8, inputs * outputs, outputs
    if call.kernel == "run_linear_float":
        rows, inputs, outputs = call.numbers[:3]
        return rows * inputs * outputs, 32, inputs * outputs, outputs
    if call.kernel == "run_matrix_product_int8":
        return call.times * int(fields["rows"]) * int(fields["depth"]) * int(fields["columns"]), 8, 0, 0
    if call.kernel == "run_matrix_product_float":
        rows, depth, columns = call.numbers[:3]
        return call.times * rows * depth * columns, 32, 0, 0
    return None

"""ELU as TFLite's own operator, where LiteRT's converter spells it out.

The converter writes `select(x >= 0, x, exp(x) - 1)`, and between codes the exponential in float: seven operators, and
changes of scale that round twice. The kernel of ELU reads a table of all 256 codes.
"""

from typing import Any

import numpy as np

from .tflite_rewrites import builtin_of, opcode_of, remove_unread


def restore_elu(model: Any) -> None:
    """Puts ELU in place of every select of that form; one with another alpha than 1 does not have it, and stays."""
    from ai_edge_litert import schema_py_generated as schema

    graph = model.subgraphs[0]
    makers = {index: operator for operator in graph.operators for index in operator.outputs}
    found = {id(operator): _input_of_elu(model, makers, operator) for operator in graph.operators}
    for operator in [step for step in graph.operators if found[id(step)] is not None]:
        operator.opcodeIndex = opcode_of(model, schema.BuiltinOperator.ELU, version=1)
        operator.inputs, operator.builtinOptions = [found[id(operator)]], None
        operator.builtinOptionsType = schema.BuiltinOptions.NONE
        _take_over_scale(model, operator)
    if any(x is not None for x in found.values()):
        remove_unread(model)


def _take_over_scale(model: Any, operator: Any) -> None:
    """Gives at once what a QUANTIZE alone makes of the result."""
    graph, result = model.subgraphs[0], operator.outputs[0]
    readers = [step for step in graph.operators if result in step.inputs]
    if len(readers) == 1 and builtin_of(model, readers[0]) == "QUANTIZE" and result not in graph.outputs:
        operator.outputs = readers[0].outputs
        graph.operators.remove(readers[0])


def _input_of_elu(model: Any, makers: dict[int, Any], operator: Any) -> int | None:
    if builtin_of(model, operator) not in ("SELECT", "SELECT_V2"):
        return None
    condition, positive, negative = operator.inputs
    x = _behind(model, makers, positive, "QUANTIZE")
    compared = makers.get(condition)
    less_one = makers.get(_behind(model, makers, negative, "QUANTIZE"))
    power = makers.get(less_one.inputs[0]) if less_one is not None and len(less_one.inputs) == 2 else None
    if compared is None or less_one is None or power is None:
        return None
    spelled = [builtin_of(model, step) for step in (compared, less_one, power)]
    if spelled[0] not in ("GREATER", "GREATER_EQUAL") or spelled[1:] != ["SUB", "EXP"]:
        return None
    same = compared.inputs[0] == x == _behind(model, makers, power.inputs[0], "DEQUANTIZE")
    return x if same and _is(model, compared.inputs[1], 0.0) and _is(model, less_one.inputs[1], 1.0) else None


def _behind(model: Any, makers: dict[int, Any], index: int, name: str) -> int:
    """What the named operator made the tensor of; the tensor itself if another did."""
    maker = makers.get(index)
    return maker.inputs[0] if maker is not None and builtin_of(model, maker) == name else index


def _is(model: Any, index: int, value: float) -> bool:
    """Whether a tensor is one number, in float32 or as a code of int8."""
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or len(data) not in (1, 4):
        return False
    stored = np.asarray(data, dtype=np.uint8)
    if len(stored) == 4:
        return float(stored.view(np.float32)[0]) == value
    scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
    return bool((int(stored.view(np.int8)[0]) - zero_point) * scale == value)

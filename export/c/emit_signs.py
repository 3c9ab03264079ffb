"""Layers on packed signs, and the ways between codes and signs, as calls of kernels."""

import numpy as np

from ...quant.integer.operations import Sign, SignConvolution, SignLinear, Window
from .emission import Emission, emit, images
from .emit_layers import geometry_of
from .packing_binary import pack_limits, pack_signs

_SIGNS_AT_ONCE = 8  # products of signs that take as long as one of codes


@emit.register
def _(operation: Sign, out: Emission) -> None:
    x = operation.inputs[0]
    out.need("binary_sign")
    least = out.array("int16_t", f"{operation.output.name}_least", operation.least)
    channels = x.shape[operation.axis]
    pointers = f"{out.pointer(x)}, {x.size // channels}, {channels}, {least}, {out.pointer(operation.output)}"
    out.lines.append(f"    run_sign({pointers});")


@emit.register
def _(operation: SignConvolution, out: Emission) -> None:
    x, y = operation.inputs[0], operation.output
    shape = geometry_of(x.shape, y.shape, operation.window)
    name, run = _layer(operation, out, shape, operation.weight)
    out.lines += images(x, y, out, f"{run}(&{name}, {{a}}, {{y}});")


@emit.register
def _(operation: SignLinear, out: Emission) -> None:
    """A 1x1 convolution over an image of one row."""
    x, y = operation.inputs[0], operation.output
    outputs, inputs = operation.weight.shape
    rows = x.size // inputs
    shape = geometry_of((1, inputs, rows), (1, outputs, rows), Window((1, 1)))
    name, run = _layer(operation, out, shape, operation.weight.reshape(outputs, inputs, 1, 1))
    out.lines.append(f"    {run}(&{name}, {out.pointer(x)}, {out.pointer(y)});")


def _layer(operation: SignConvolution | SignLinear, out: Emission, shape: str, weight: np.ndarray) -> tuple[str, str]:
    """The structure of a layer, and the function that runs it: to signs or to codes."""
    y = operation.output
    weights = out.array("uint64_t", f"{y.name}_weights", pack_signs(weight))
    fields = {"shape": shape, "weights": weights}
    products = 0 if isinstance(operation, SignLinear) else y.size * weight[0].size // _SIGNS_AT_ONCE
    if operation.at_least is not None:
        out.need("conv_binary_bits")
        limits = pack_limits(operation.at_least, int(weight[0].size))
        fields["limit"] = out.array("int32_t", f"{y.name}_limit", limits)
        return out.structure("conv_binary_bits", f"{y.name}_layer", fields), out.runner("conv_binary_bits", products)
    out.need("conv_binary_int8")
    fields |= {
        "bias": out.array("int32_t", f"{y.name}_bias", operation.bias),
        "multiplier": out.array("float", f"{y.name}_multiplier", operation.multiplier),
        "zero": str(y.meaning.zero_point),
        "low": str(operation.low),
        "high": str(operation.high),
    }
    return out.structure("conv_binary_int8", f"{y.name}_layer", fields), out.runner("conv_binary_int8", products)

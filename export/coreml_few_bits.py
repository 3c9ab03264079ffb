"""Weights of few bits in a Core ML package, in the forms that iOS 18 knows.

Codes of 3 and 4 bits are `int4` under `constexpr_blockwise_shift_scale`, one scale per output channel; coremltools
packs them by itself. Codes of 2 bits (-1, 0, +1) and of 1 bit (-1, +1) are `uint2` and `uint1` indices of a palette
under `constexpr_lut_to_dense`. The palette holds the codes themselves, as int8 under one scale per output channel, so
that integers and scales read back as they are in the program.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.export import ExportedProgram

from .code_bits import Form, bits_of_codes

_INT4 = Form(4, "int4")
FORMS = {4: _INT4, 3: _INT4, 2: Form(2, "2-bit indices of a palette"), 1: Form(1, "1-bit indices of a palette")}
# The codes that indices 0, 1, ... stand for; +1 stands at 1 in both. -2 is never used: two's complement of 2 bits.
PALETTES = {2: (0, 1, -2, -1), 1: (-1, 1)}
_PASS = "offramp::palettes"


def named_bits(program: ExportedProgram) -> dict[str, int]:
    """Bits of each weight, by the name of its dequantize, which the value has in the package."""
    buffers = program.graph_signature.inputs_to_buffers
    found = {}
    for node in program.graph.nodes:
        if str(node.target).startswith("quantized_decomposed.dequantize_per_channel") and node.args[0].name in buffers:
            codes = program.state_dict[buffers[node.args[0].name]].numpy()
            if codes.dtype == np.int8:
                found[node.name] = bits_of_codes(codes, *node.args[4:6])
    return found


def add_palettes(pipeline: Any, bits: Mapping[str, int]) -> None:
    """Makes coremltools' pass pipeline put the weights of 1 and 2 bits into palettes, last of all."""
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    if _PASS not in PASS_REGISTRY:
        _register()
    pipeline.append_pass(_PASS)
    pipeline.set_options(_PASS, {"bits": bits})


def _register() -> None:
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import register_pass

    @register_pass(namespace="offramp", name="palettes")
    class Palettes(AbstractGraphPass):
        bits: Mapping[str, int] = {}  # coremltools sets it from the pipeline's options

        def apply(self, prog: Any) -> None:
            for function in prog.functions.values():
                for operation in list(function.operations):
                    bits = self.bits.get(operation.outputs[0].name, 8) if operation.outputs else 8
                    if operation.op_type == "constexpr_blockwise_shift_scale" and bits in PALETTES:
                        with function:
                            _put_in_palette(operation, bits)


def _put_in_palette(operation: Any, bits: int) -> None:
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    name, codes, scale = operation.outputs[0].name, operation.data.val.astype(np.int8), operation.scale.val
    entries = np.asarray(PALETTES[bits], np.int8).reshape(-1, 1)
    palette = mb.constexpr_blockwise_shift_scale(
        data=np.broadcast_to(entries, (*scale.shape, *entries.shape)).copy(),
        scale=scale.reshape(*scale.shape, 1, 1),
        name=f"{name}_palette",
        before_op=operation,
    )
    narrow = {2: types.np_uint2_dtype, 1: types.np_uint1_dtype}[bits]
    dense = mb.constexpr_lut_to_dense(
        indices=indices_of(codes, bits).astype(narrow), lut=palette, name=name, before_op=operation
    )
    block = operation.enclosing_block
    block.replace_uses_of_var_after_op(
        anchor_op=operation, old_var=operation.outputs[0], new_var=dense, force_replace=True
    )
    block.remove_ops([operation])


def indices_of(codes: np.ndarray, bits: int) -> np.ndarray:
    """Places of codes in their palette, uint8."""
    return ((codes + 1) // 2 if bits == 1 else codes & 3).astype(np.uint8)

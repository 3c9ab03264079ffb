"""The C that networks call: fragments in the order in which a file must have them, each for the processors it knows."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from ..packing_int8 import VARIANTS as INT8_VARIANTS

# Kernels whose rows threads may share.
SHARED = ("conv_int8", "depthwise_int8", "conv_binary_bits", "conv_binary_int8")
BINARY_VARIANTS = {
    "avx512": "defined(__AVX512VPOPCNTDQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)",
    "avx2": "defined(__AVX2__) && defined(__GNUC__)",
    "neon": "defined(__ARM_NEON) && defined(__aarch64__) && !defined(__AARCH64EB__)",
    "portable": "",
}

# In the order of a file. A star stands for the instruction set; a fragment comes after those that it needs.
ORDER = (
    *("types", "math", "smaller", "requantize", "quantize", "slope"),
    *("conv_int8_types", "conv_int8_*", "conv_int8_rows", "conv_int8_run", "linear_int8_run", "depthwise_int8_*"),
    *("conv_binary_types", "conv_binary_regions", "conv_binary_table_*", "conv_binary_count_*"),
    *("conv_binary_bits_*", "conv_binary_bits", "conv_binary_int8_*", "conv_binary_int8"),
    *("threads", "share_conv_int8", "share_depthwise_int8", "share_conv_binary_bits", "share_conv_binary_int8"),
    *("binary_sign", "binary_max_pool"),
    *("average_pool_int8", "max_pool_int8", "matrix_product_int8", "softmax_int8"),
    *("conv_float", "linear_float", "matrix_product_float", "average_pool_float", "max_pool_float"),
    *("softmax_float", "layer_norm", "group_norm"),
)
_BINARY = ("conv_binary_types", "conv_binary_regions", "conv_binary_table_*", "conv_binary_count_*")
_NEEDS = {
    **dict.fromkeys((f"share_{kernel}" for kernel in SHARED), ("threads",)),
    "max_pool_float": ("math",),
    "average_pool_int8": ("smaller",),
    "average_pool_float": ("smaller",),
    "conv_binary_bits": (*_BINARY, "conv_binary_bits_*"),
    "conv_binary_int8": (*_BINARY, "requantize", "conv_binary_int8_*"),
}
_VARIANTS = {
    **dict.fromkeys(("conv_int8_*", "depthwise_int8_*"), INT8_VARIANTS),
    **dict.fromkeys((*_BINARY[2:], "conv_binary_bits_*", "conv_binary_int8_*"), BINARY_VARIANTS),
}


def source_of(fragments: Sequence[str]) -> str:
    """The text of some fragments and all that they need, in order."""
    wanted = {"types", *fragments}
    for name in fragments:
        wanted |= set(_NEEDS.get(name, ()))
    unknown = wanted - set(ORDER)
    if unknown:
        raise ValueError(f"no kernels named {', '.join(sorted(unknown))}")
    return "\n".join(_chosen(name) for name in ORDER if name in wanted)


def _chosen(name: str) -> str:
    """A fragment; one for each instruction set, of which the compiler takes the first that it has."""
    if name not in _VARIANTS:
        return _text(name)
    parts = [(c, name.replace("*", variant)) for variant, c in _VARIANTS[name].items()]
    if name.endswith("table_*"):
        (condition,) = (c for c, file in parts if _exists(file))
        return f"#if {condition} && !({parts[0][0]})\n\n{_text(parts[1][1])}\n#endif\n"
    lines: list[str] = []
    for condition, file in parts:
        if _exists(file):
            lines += [f"{'#elif' if lines else '#if'} {condition}" if condition else "#else", "", _text(file)]
    return "\n".join([*lines, "#endif", ""])


def _exists(name: str) -> bool:
    return (files(__name__) / f"{name}.c").is_file()


@cache
def _text(name: str) -> str:
    return (files(__name__) / f"{name}.c").read_text(encoding="utf-8")

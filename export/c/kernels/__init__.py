"""The C that networks call: fragments in the order in which a file must have them, each for the processors it knows."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from string import Template

from ..text import by_condition

# In the order of a file. A star stands for the instruction set; a fragment comes after those that it needs.
ORDER = (
    *("types", "math", "requantize", "quantize", "slope", "saturate_*"),
    *("conv_int8_types", "conv_int8_*", "conv_int8_rows", "conv_int8_run", "linear_int8_run", "depthwise_int8_*"),
    *("conv_binary_types", "conv_binary_regions", "conv_binary_table_*", "conv_binary_count_*"),
    *("conv_binary_bits_*", "conv_binary_bits", "conv_binary_int8_*", "conv_binary_int8"),
    *("threads", "share_conv_int8", "share_depthwise_int8", "share_conv_binary_bits", "share_conv_binary_int8"),
    *("binary_sign", "binary_max_pool"),
    *("pool_window", "average_pool_int8", "max_pool_int8", "matrix_product_int8", "softmax_int8"),
    *("conv_float", "linear_float", "matrix_product_float", "average_pool_float", "max_pool_float"),
    *("softmax_float", "layer_norm", "group_norm"),
)
_INT8 = ("requantize", "saturate_*", "conv_int8_types")
_COUNTS = ("conv_binary_types", "conv_binary_regions", "conv_binary_table_*", "conv_binary_count_*")
_NEEDS = {
    "quantize": ("requantize",),
    "slope": ("requantize",),
    "conv_int8_*": _INT8,
    "conv_int8_rows": ("conv_int8_*",),
    "conv_int8_run": ("conv_int8_rows",),
    "linear_int8_run": ("conv_int8_rows",),
    "depthwise_int8_*": _INT8,
    "conv_binary_bits": (*_COUNTS, "conv_binary_bits_*"),
    "conv_binary_int8": (*_COUNTS, "requantize", "conv_binary_int8_*"),
    "share_conv_int8": ("threads", "conv_int8_run"),
    "share_depthwise_int8": ("threads", "depthwise_int8_*"),
    "share_conv_binary_bits": ("threads", "conv_binary_bits"),
    "share_conv_binary_int8": ("threads", "conv_binary_int8"),
    "average_pool_int8": ("requantize", "pool_window"),
    "matrix_product_int8": ("requantize",),
    "softmax_int8": ("requantize",),
    "average_pool_float": ("pool_window",),
    "max_pool_float": ("math",),
    "softmax_float": ("math",),
    "layer_norm": ("math",),
    "group_norm": ("math",),
}

# What a compiler may offer, in the order in which the file asks for it; the last takes whatever is left.
_INT8_SETS = {
    "avx512": "defined(__GNUC__) && defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__)",
    "avx2": "defined(__GNUC__) && defined(__AVX2__)",
    "neon": "defined(__GNUC__) && defined(__ARM_NEON) && defined(__aarch64__)",
    "dsp": "defined(__GNUC__) && defined(__ARM_FEATURE_DSP) && defined(__thumb2__)",
    "portable": "",
}
_BINARY_SETS = {
    "avx512": "defined(__AVX512VPOPCNTDQ__) && defined(__AVX512BW__) && defined(__AVX512VL__)",
    "avx2": "defined(__AVX2__) && defined(__GNUC__)",
    "neon": "defined(__ARM_NEON) && defined(__aarch64__) && !defined(__AARCH64EB__)",
    "portable": "",
}
_SETS = {
    **dict.fromkeys(("saturate_*", "conv_int8_*", "depthwise_int8_*"), _INT8_SETS),
    **dict.fromkeys((*_COUNTS[2:], "conv_binary_bits_*", "conv_binary_int8_*"), _BINARY_SETS),
}

# Fragments that are one text with other words: the text, and the words.
_SIGNS = "((own.shape.{} + 63) / 64)"
_MADE_OF = {
    "max_pool_int8": ("max_pool", {"name": "int8", "element": "int8_t", "least": "-128"}),
    "max_pool_float": ("max_pool", {"name": "float", "element": "float", "least": "-INFINITY"}),
    **{
        f"share_{kernel}": (
            "share_rows",
            {
                "kernel": kernel,
                "layer": layer,
                "in": element,
                "out": made,
                "in_pixel": _SIGNS.format("channels") if element == "uint64_t" else "own.shape.channels",
                "out_pixel": _SIGNS.format("out_channels") if made == "uint64_t" else "own.shape.out_channels",
            },
        )
        for kernel, layer, element, made in (
            ("depthwise_int8", "conv_int8", "int8_t", "int8_t"),
            ("conv_binary_bits", "conv_binary_bits", "uint64_t", "uint64_t"),
            ("conv_binary_int8", "conv_binary_int8", "uint64_t", "int8_t"),
        )
    },
}


def source_of(fragments: Sequence[str]) -> str:
    """The text of some fragments and all that they need, in order.

    Raises:
        ValueError: there is no such fragment.
    """
    wanted, asked = {"types"}, list(fragments)
    while asked:
        name = asked.pop()
        if name not in ORDER:
            raise ValueError(f"no kernels named {name}")
        if name not in wanted:
            wanted.add(name)
            asked += _NEEDS.get(name, ())
    return "\n".join(_written(name) for name in ORDER if name in wanted)


def _written(name: str) -> str:
    """A fragment; one for each instruction set, of which the compiler takes the first that it has."""
    if name in _MADE_OF:
        text, words = _MADE_OF[name]
        return Template(_text(text)).substitute(words)
    if name not in _SETS:
        return _text(name)
    return by_condition([(condition, _text(name.replace("*", s))) for s, condition in _SETS[name].items()])


@cache
def _text(name: str) -> str:
    """A file's text; none where an instruction set needs no such fragment."""
    file = files(__name__) / f"{name}.c"
    return file.read_text(encoding="utf-8") if file.is_file() else ""

"""C's identifiers, numbers, arrays and files as text, the same for the same input."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ...storage import atomic_path

_WIDTH = 118
_RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        auto break case char const continue default do double else enum extern float for goto if inline int long
        register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
        asm bool true false main errno stdin stdout arena geometry scratch i j k l m n int8_t uint8_t int16_t uint16_t
        int32_t uint32_t int64_t uint64_t size_t ALIGNED TRACE class new delete this template namespace private public
        protected virtual operator try catch throw
        """,
    )
)


def identifier(name: str) -> str:
    """A C identifier close to a name: `stages.0-conv` as `stages_0_conv`."""
    plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "value"
    if plain[0].isdigit():
        plain = f"net_{plain}"
    return f"{plain}_" if plain in _RESERVED else plain


def real(value: float | np.floating) -> str:
    """A float32 number exactly, as short as C reads it back: `0.1f`, `0x1p-20f`."""
    number = np.float32(value)
    if np.isnan(number):
        return "NAN"
    if np.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"
    if number != 0 and np.frexp(number)[0] in (0.5, -0.5) and not 1e-3 < abs(number) < 1e4:
        return f"{'-' if number < 0 else ''}0x1p{int(np.frexp(number)[1]) - 1}f"
    text = np.format_float_positional(number, unique=True, trim="0")
    if len(text) > 14:
        text = np.format_float_scientific(number, unique=True, trim="0")
    return f"{text}f"


def array(kind: str, name: str, values: np.ndarray | Sequence, comment: str = "") -> str:
    """A constant array: `static const int32_t NAME[3] ALIGNED = {1, 2, 3};`."""
    flat = np.asarray(values).ravel()
    words = list(map(real, flat)) if kind == "float" else _whole(kind, flat)
    lines = _filled(words)
    note = f" /* {comment} */" if comment else ""
    return f"static const {kind} {name}[{len(words)}] ALIGNED = {{{note}\n" + "\n".join(lines) + "\n};"


def words_of(codes: np.ndarray) -> np.ndarray:
    """int8 values eight to a uint64, the first in the lowest byte, zeros at the end where some are missing."""
    flat = np.asarray(codes, np.int8).ravel()
    return np.pad(flat, (0, -len(flat) % 8)).view("<u8")


def comment_safe(text: str) -> str:
    """Text that cannot end the comment it stands in, on one line."""
    return " ".join(text.split()).replace("*/", "* /").replace("/*", "/ *")


def guarded(title: str, macro: str, lines: Sequence[str]) -> str:
    """A header of these lines, for C and C++, that may be included more than once; `macro` begins its guard."""
    return "\n".join(
        [
            f"/* {title} */",
            f"#ifndef {macro}_H",
            f"#define {macro}_H",
            "",
            *("#include <stddef.h>", "#include <stdint.h>", ""),
            *("#ifdef __cplusplus", 'extern "C" {', "#endif", ""),
            *lines,
            *("", "#ifdef __cplusplus", "}", "#endif", "", "#endif", ""),
        ]
    )


def by_condition(parts: Sequence[tuple[str, str]]) -> str:
    """Texts of which a compiler takes the first whose condition holds; one without a condition takes what is left."""
    lines: list[str] = []
    for condition, text in parts:
        lines += [f"{'#elif' if lines else '#if'} {condition}" if condition else "#else", "", text]
    return "\n".join([*lines, "#endif", ""])


def write_source(path: Path, header: str, source: str) -> None:
    """Writes NAME.h and NAME.c, each whole or not at all; `path` is that of NAME.c."""
    for place, text in ((path.with_suffix(".h"), header), (path, source)):
        with atomic_path(place) as beside:
            beside.write_text(text, encoding="utf-8")


def _whole(kind: str, flat: np.ndarray) -> list[str]:
    if kind == "uint64_t":
        return [f"0x{int(v):016x}u" for v in flat]
    if kind == "uint32_t":
        return [f"0x{int(v):08x}u" for v in flat]
    return [_int32(int(v)) for v in flat]


def _int32(value: int) -> str:
    return "-2147483647 - 1" if value == -(2**31) else str(value)


def _filled(words: Iterable[str]) -> list[str]:
    lines, line = [], "   "
    for word in words:
        if len(line) + len(word) + 2 > _WIDTH:
            lines.append(line)
            line = "   "
        line += f" {word},"
    return [*lines, line]

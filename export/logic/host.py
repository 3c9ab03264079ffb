"""A netlist as a table of gates and a loop over it: C whose compile time does not grow with the gates.

A gate is one word of the table: the places of its operands and of its value. Neighbours with the same truth table are
one run, and each truth table has a function of its own, so that nothing is decided gate by gate. A value is as wide as
the processor's vectors, a bit for each sample.
"""

from importlib.resources import files

import numpy as np

from ..c.text import by_condition, comment_safe, guarded, identifier
from .netlist import Netlist
from .schedule import WINDOW, Schedule, schedule
from .tables import calls, used_operands

VARIANTS = {
    "avx512": "defined(__AVX512F__)",
    "avx2": "defined(__AVX2__)",
    "neon": "defined(__ARM_NEON) && defined(__aarch64__)",
    "portable": "",
}
_LONGEST_RUN = (1 << 24) - 1
_HEADER = """\
#define {macro}_INPUTS {inputs}
#define {macro}_OUTPUTS {outputs}
#define {macro}_GATES {gates}

/* Computes 64 samples for each word. A bit is 1 for +1 and 0 for -1: bit s of in[i * words + w] is input i of sample
   64 * w + s, bit s of out[o * words + w] is output o of that sample. `in` and `out` do not overlap. It is not to be
   called while it runs. */
void {name}_run(const uint64_t *in, uint64_t *out, size_t words);

/* rows[s * {macro}_INPUTS + i], above 0 for +1, into {macro}_INPUTS * ((samples + 63) / 64) words for {name}_run.
   Bits behind the last sample are 0. */
void {name}_pack(const int8_t *rows, size_t samples, uint64_t *in);

/* {macro}_OUTPUTS * ((samples + 63) / 64) words of {name}_run into rows[s * {macro}_OUTPUTS + o], +1 or -1. */
void {name}_unpack(const uint64_t *out, size_t samples, int8_t *rows);"""
_KERNEL = """\
static value gate_{table}({parameters})
{{
#if defined(__AVX512F__)
    return _mm512_ternarylogic_epi64({three}, 0x{table});
#else
    return {formula};
#endif
}}

static void run_{table}(const uint64_t *gate, size_t count)
{{
    for (size_t i = 0; i < count; i++) {{
        {word}
        values[{to}] = gate_{table}({read});
    }}
}}
"""
_LOOP = """\
static void run_gates(void)
{{
    const uint64_t *gate = gates;
    for (size_t r = 0; r < {runs}; r++) {{
        const size_t count = runs[r] >> 8;
        switch (runs[r] & 255u) {{
{cases}        }}
        gate += {words};
    }}
}}
"""
_RUN = """\
void {name}_run(const uint64_t *in, uint64_t *out, size_t words)
{{
    for (size_t w = 0; w < words; w += VALUE_WORDS) {{
        const size_t held = words - w < VALUE_WORDS ? words - w : VALUE_WORDS;
        for (size_t i = 0; i < {macro}_INPUTS; i++)
            load(values + 1 + i, in + i * words + w, held);
        run_gates();
        for (size_t o = 0; o < {macro}_OUTPUTS; o++)
            store(out + o * words + w, values + (outputs[o] >> 1), held, 0u - (uint64_t)(outputs[o] & 1u));
    }}
}}

void {name}_pack(const int8_t *rows, size_t samples, uint64_t *in)
{{
    pack(rows, samples, {macro}_INPUTS, in);
}}

void {name}_unpack(const uint64_t *out, size_t samples, int8_t *rows)
{{
    unpack(out, samples, {macro}_OUTPUTS, rows);
}}
"""


def host_source(netlist: Netlist, stem: str, window: int = WINDOW) -> tuple[str, str]:
    """The text of NAME.h and NAME.c for processors with memory and vectors."""
    planned = schedule(netlist, window)
    name = identifier(stem).lower()
    title = comment_safe(f"{stem}: {netlist.gates} gates, {netlist.inputs} inputs, {len(netlist.outputs)} outputs")
    words = {"name": name, "macro": name.upper()}
    sizes = {"inputs": netlist.inputs, "outputs": len(netlist.outputs), "gates": netlist.gates}
    literals = 2 * planned.slots[netlist.outputs] + netlist.inverted
    parts = [
        f"/* {title} */",
        f'#include "{stem}.h"\n\n#include <string.h>\n',
        _text("start"),
        _variants("values", VARIANTS),
        f"enum {{ PLACES = {planned.size} }};\n",
        _text("loop"),
        *_gates(netlist, planned),
        "/* Twice the place of each output, and 1 more for its inverse. */",
        _words("outputs", "uint32_t", literals),
        _variants("bits", {"avx512": "defined(__AVX512BW__)", "portable": ""}),
        _text("pack"),
        _RUN.format(**words),
    ]
    return guarded(title, name.upper(), [_HEADER.format(**words, **sizes)]), "\n".join(parts)


def _gates(netlist: Netlist, planned: Schedule) -> list[str]:
    """The functions of the truth tables, the table of the gates, and the function that goes through it."""
    if not planned.runs:
        return ["static void run_gates(void)\n{\n}\n"]
    wide = planned.size > 1 << 16
    tables = sorted({table for table, _ in planned.runs})
    number = {table: k for k, table in enumerate(tables)}
    runs = [number[table] | part << 8 for table, length in planned.runs for part in _parts(length)]
    cases = "".join(
        f"        {f'case {k}' if k + 1 < len(tables) else 'default'}:\n            run_{table:02x}(gate, count);\n"
        "            break;\n"
        for table, k in number.items()
    )
    return [
        *(_kernel(table, wide) for table in tables),
        "/* Neighbours with one truth table: its number, and 256 times how many they are. */",
        _words("runs", "uint32_t", np.array(runs)),
        f"/* Places of each gate's value and operands, {32 if wide else 16} bits each, the lowest first. */",
        _words("gates", "uint64_t", _gate_words(netlist, planned, wide)),
        _LOOP.format(runs=len(runs), cases=cases, words="2 * count" if wide else "count"),
    ]


def _gate_words(netlist: Netlist, planned: Schedule, wide: bool) -> np.ndarray:
    """A gate's own place and its operands', from the lowest bits up: 16 bits each in one word, or 32 each in two.

    The lowest bits are those that differ most: GCC finds a number that it has met by the lower 32 bits alone, and takes
    many times as long where thousands share them.
    """
    places = planned.slots[netlist.operands[planned.gates]].astype(np.uint64)
    to, (a, b, c) = planned.slots[netlist.first_gate + planned.gates].astype(np.uint64), places.T
    if wide:
        return np.stack([to | a << np.uint64(32), b | c << np.uint64(32)], axis=1).ravel()
    return to | a << np.uint64(16) | b << np.uint64(32) | c << np.uint64(48)


def _kernel(table: int, wide: bool) -> str:
    """The functions of one truth table: of a gate, and of a run of gates."""
    places = _PLACES[wide]
    names = "abc"[: len(used_operands(table))]
    # The instruction takes three operands, the last of the table first; it ignores what the table ignores.
    three = ", ".join(reversed((names + "aa")[:3]))
    word = "const uint64_t g = gate[2 * i], h = gate[2 * i + 1];" if wide else "const uint64_t g = gate[i];"
    return _KERNEL.format(
        table=f"{table:02x}",
        parameters=", ".join(f"value {name}" for name in names),
        three=three,
        formula=calls(table),
        word=word,
        to=places[0],
        read=", ".join(f"values[{place}]" for place in places[1 : 1 + len(names)]),
    )


# Of a gate's value and of its operands.
_PLACES = {
    False: ("g & 0xffffu", "g >> 16 & 0xffffu", "g >> 32 & 0xffffu", "g >> 48"),
    True: ("g & 0xffffffffu", "g >> 32", "h & 0xffffffffu", "h >> 32"),
}


def _parts(length: int) -> list[int]:
    return [min(_LONGEST_RUN, length - start) for start in range(0, length, _LONGEST_RUN)]


def _words(name: str, kind: str, words: np.ndarray) -> str:
    # Decimal numbers marked as unsigned: of all forms without a warning, the one that compilers read fastest.
    lines = [",".join(f"{w}u" for w in words[k : k + 8].tolist()) for k in range(0, len(words), 8)]
    return f"static const {kind} {name}[{len(words)}] = {{\n" + ",\n".join(lines) + "\n};\n"


def _variants(name: str, conditions: dict[str, str]) -> str:
    """A fragment for each instruction set."""
    return by_condition([(condition, _text(f"{name}_{variant}")) for variant, condition in conditions.items()])


def _text(name: str) -> str:
    return (files(__package__) / f"{name}.c").read_text(encoding="utf-8")

"""The part of docs/results.md that shows logic networks in C."""

from typing import Any

from ..estimate import short_cell

_SIZES = {"1k": "1,000 gates", "10k": "10,000", "100k": "100,000", "1m": "1,000,000"}
_FORMS = {
    "portable": "gate table, 64 samples a word",
    "avx2": "gate table, 256, AVX2",
    "avx512": "gate table, 512, AVX-512",
    "with packing": "the same with packing from bytes and back",
    "straight": "straight-line C, one function, 64",
    "chunked": "straight-line C, 128 gates a function, 64",
    "onnxruntime float32": "ONNX Runtime, float32 matrices",
    "onnxruntime int8": "ONNX Runtime, int8 matrices",
}


def section(record: dict[str, Any]) -> str:
    """Time a sample and time to compile, by size and form."""
    sizes = {size: words for size, words in _SIZES.items() if size in record["networks"]}
    lines = [
        "## Logic networks in C\n",
        f"`python -m offramp.benchmarks.logic` on {record['machine']}, {record['compiler']}, one thread, the least of",
        "many runs. Nanoseconds a sample, and in brackets the compiler's processor seconds; – where it took more than",
        "60, or was not tried. Random layered networks of majorities, ANDs and ORs. The straight-line C is our own",
        "stand-in for what other generators write. ONNX Runtime multiplies whole matrices, almost all of whose weights",
        "are 0: what a network costs that is not taken for logic.\n",
        f"| form | {' | '.join(sizes.values())} |",
        "| --- |" + " --- |" * len(sizes),
    ]
    for form, words in _FORMS.items():
        cells = [_cell(record["networks"][size], form) for size in sizes]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    board = record["cortex_m4"]
    lines += [
        "",
        f"Checked on every input: {'; '.join(f'{name}, {what}' for name, what in record['circuits'].items())}.",
    ]
    if isinstance(board, str):
        lines.append(f"Straight-line C on an emulated Cortex-M4: {board}.")
    else:
        lines += [
            f"On an emulated Cortex-M4 the straight-line form of 1,000 gates takes {board['instructions_a_gate']:.1f}",
            f"instructions a gate for 32 samples, {board['instructions_a_sample']:.0f} a sample, and",
            f"{board['flash_bytes_a_gate']:.0f} bytes of flash a gate, {board['ram_bytes']:,} bytes of RAM and",
            f"{board['stack_bytes']:,} of stack.",
        ]
    return "\n".join([*lines, ""])


def _cell(network: dict[str, Any], form: str) -> str:
    time = network["nanoseconds_a_sample"].get(form)
    if time is None:
        return "–"
    seconds = network["compile_seconds"].get(form)
    return short_cell(time) + ("" if seconds is None else f" ({seconds:.2f})")

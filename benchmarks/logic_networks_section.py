"""The part of docs/results.md that shows networks of ±1 as bitwise C against their ONNX artifacts."""

from typing import Any

from ..estimate import short_cell

_FORMS = {
    "c portable": "C, 64 samples a word",
    "c avx2": "C, 256, AVX2",
    "c avx512": "C, 512, AVX-512",
    "c from bytes": "C with packing from bytes and back",
}
_PEERS = {f"onnx {precision}": f"ONNX Runtime, {precision}" for precision in ("float32", "int8")}


def section(record: dict[str, Any]) -> str:
    """Sizes before and after, and evaluations a second by form."""
    count, networks = record["samples"], record["networks"]
    lines = [
        "## Networks of ±1 as logic\n",
        f"`python -m offramp.benchmarks.logic_networks` on {record['machine']}, {record['compiler']}, ONNX Runtime",
        f"{record['onnxruntime']}, one thread, medians of one interleaved run, {count:,} samples a call but where the",
        "table says otherwise. Each netlist is proved equal to its neurons, and every form gave its outputs on all",
        f"samples. The first {len(record['trained'])} networks were trained, the others have random neurons of three",
        "weights. Where ONNX Runtime's int8 products would saturate, it multiplies exactly.\n",
        f"| | {' | '.join('`' + row['name'] + '`' for row in networks)} |",
        "| --- |" + " --- |" * len(networks),
    ]
    for key, words in (
        ("neurons", "neurons"),
        ("dense_macs", "MACs as matrices"),
        ("nonzero_weights", "weights that are not 0"),
        ("gates", "gates"),
        ("depth", "depth"),
    ):
        lines.append(f"| {words} | {' | '.join(f'{row[key]:,}' for row in networks)} |")
    lines.append(f"| proved by | {' | '.join(_method(row['proof']) for row in networks)} |")
    peers = {f"{key} {batch}": f"{words}, batch {batch:,}" for key, words in _PEERS.items() for batch in (count, 1)}
    for form, words in (_FORMS | peers).items():
        if all(form in row["evaluations_per_second"] for row in networks):
            cells = [_millions(row, form) for row in networks]
            lines.append(f"| {words}, million evaluations/s | {' | '.join(cells)} |")
    for key, words in _PEERS.items():
        for ours, rate in (("C", _best), ("C from bytes", _from_bytes)):
            ratios = [rate(row) / row["evaluations_per_second"][f"{key} {count}"] for row in networks]
            lines.append(f"| {ours} over {words}, batch {count:,} | {' | '.join(map(short_cell, ratios))} |")
    if any(row["noisy"] for row in networks):
        lines += ["", "\\* noisy: the median is more than 1.3 times the minimum."]
    return "\n".join([*lines, ""])


def _method(proof: dict[str, Any]) -> str:
    return f"all 2^{proof['inputs']} inputs" if proof["method"] == "all inputs" else proof["method"]


def _millions(row: dict[str, Any], form: str) -> str:
    return short_cell(row["evaluations_per_second"][form] / 1e6) + ("*" if form in row["noisy"] else "")


def _best(row: dict[str, Any]) -> float:
    return max(rate for form, rate in row["evaluations_per_second"].items() if form.startswith("c "))


def _from_bytes(row: dict[str, Any]) -> float:
    return row["evaluations_per_second"]["c from bytes"]

"""The parts of docs/results.md that show C: ±1 convolutions, and whole networks against ONNX Runtime and LiteRT."""

from collections import defaultdict
from typing import Any

_PEERS = {
    "ort_float32": "ONNX Runtime float32",
    "ort_int8": "ONNX Runtime int8",
    "litert_float32": "LiteRT float32",
    "litert_int8": "LiteRT int8",
}


def binary_conv(record: dict[str, Any]) -> str:
    """±1 convolutions, packed in and packed out."""
    lines = [
        "## ±1 convolutions in C\n",
        f"`python -m offramp.benchmarks.binary_conv` on {record['machine']}, {record['compiler']}, one thread,",
        "medians of one interleaved run. 3×3, padding 1, packed bits in and out, against the same convolution of our",
        "own artifacts. The roofline is what one core does on the same instructions in registers alone; for AVX2 that",
        "is the kernel's own table look-up, not a popcount.\n",
        "| convolution | kernels | µs | GMAC/s | share of roofline | "
        + " | ".join(f"× {p}" for p in _PEERS.values())
        + " |",
        "| --- | --- | --- | --- | --- |" + " --- |" * len(_PEERS),
    ]
    for row in record["layers"]:
        channels, size = row["channels"], row["size"]
        for isa, ours in row["ours"].items():
            share = record["ratios"][_ratio("share_of_roofline", row, isa)]
            times = [f"{record['ratios'][_ratio(f'binary_vs_{peer}', row, isa)]:.1f}" for peer in _PEERS]
            lines.append(
                f"| {channels} → {channels}, {size} × {size} | {_ISA[isa]} | {1e3 * ours['ms']:.1f} | "
                f"{ours['gmac_per_second']:,.0f} | {share:.0%} | {' | '.join(times)} |"
            )
    return "\n".join([*lines, ""])


_ISA = {"avx512": "AVX-512", "avx2": "AVX2"}


def _ratio(name: str, row: dict[str, Any], isa: str) -> str:
    shape = {(256, 14): "", (64, 56): "_64x56", (512, 7): "_512x7"}[row["channels"], row["size"]]
    return f"{name}{shape}{'' if isa == 'avx512' else f'_{isa}'}"


def c_networks(record: dict[str, Any]) -> str:
    """Whole networks."""
    lines = [
        "## Whole networks in C\n",
        f"`python -m offramp.benchmarks.c_networks` on {record['machine']}, one thread, medians, all variants of a",
        "network interleaved in one run. ±1: every convolution but the stem and the shortcuts, against the same",
        "network in float32 and int8.\n",
        "| network | C ms | " + " | ".join(f"{name} ms" for name in _PEERS.values()) + " | LiteRT int8 / C |",
        "| --- | --- |" + " --- |" * len(_PEERS) + " --- |",
    ]
    for network in record["networks"]:
        times = {row["variant"].replace(" ", "_"): row["p50_ms"] for row in network["rows"]}
        name = f"{network['network']}, {'±1' if network['bits'] == 1 else 'int8'}"
        cells = [f"{times[key]:.4g}" for key in ("c", *_PEERS)]
        lines.append(f"| {name} | {' | '.join(cells)} | {times['litert_int8'] / times['c']:.2f} |")
    for network in record["networks"]:
        if network["layers"]:
            lines += ["", *_layers(network)]
    return "\n".join([*lines, ""])


def _layers(network: dict[str, Any]) -> list[str]:
    """What each kind of layer of a ±1 network costs."""
    spent: dict[str, float] = defaultdict(float)
    count: dict[str, int] = defaultdict(int)
    for layer in network["layers"]:
        kind = _kind_of(layer)
        spent[kind] += layer["ms"]
        count[kind] += 1
    whole = sum(spent.values())
    rows = [f"| {kind} | {count[kind]} | {ms:.4f} | {ms / whole:.1%} |" for kind, ms in spent.items()]
    return [
        f"Where {network['network']} spends its time (a clock read after each operation):\n",
        "| operations | count | ms | share |",
        "| --- | --- | --- | --- |",
        *rows,
    ]


def _kind_of(layer: dict[str, Any]) -> str:
    module = layer["module"]
    if layer["operation"] == "Convolution":
        return "first convolution, int8" if module.startswith("stem") else "shortcuts that change the shape, int8"
    if layer["operation"] == "AveragePool":
        return "averages on shortcuts"
    return {
        "SignConvolution": "±1 convolutions",
        "Add": "sums with shortcuts, int8",
        "Sign": "signs of sums",
        "Linear": "last layer, int8",
        "MaxPool": "max pool",
        "Mean": "mean",
        "Quantize": "input to codes",
        "Dequantize": "output to real numbers",
    }.get(layer["operation"], layer["operation"])


def mcu(record: dict[str, Any]) -> str:
    """The MLPerf Tiny networks on an emulated Cortex-M4, next to a peer."""
    lines = [
        "## C on an emulated Cortex-M4, next to a peer\n",
        f"`python -m offramp.benchmarks.mcu`: {record['compiler']}, {record['emulator']}. The peer is",
        f"{record['peer']}, given our codes and scales. It is compiled several ways; each figure beside ours is the",
        "least of them, and those with one scale for all weights of a linear layer are of another network, whose",
        "weights are rounded once more.",
        "Flash is code and constants, RAM the memory computed in and other statics. Instructions are no time.\n",
        "| network | instructions ours | peer | flash ours | peer | RAM ours | peer |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for network in record["networks"]:
        ours = next(row for row in network["rows"] if row["who"] == "ours")
        peers = [row for row in network["rows"] if row["who"] != "ours"]
        cells = []
        for figure in ("instructions", "flash", "ram"):
            cells += [f"{ours[figure]:,}", f"{min(row[figure] for row in peers):,}"]
        lines.append(f"| {network['network']} | {' | '.join(cells)} |")
    behind = sorted(name for name, ratio in record["ratios"].items() if ratio < 1)
    if behind:
        less = ", ".join(f"{name} ({record['ratios'][name]:.3f})" for name in behind)
        lines += ["", f"Where the peer takes less: {less}."]
    return "\n".join([*lines, ""])


def c_exact(record: dict[str, Any]) -> str:
    """The same bits everywhere."""
    engines = list(dict.fromkeys(row["engine"] for row in record["rows"]))
    networks = list(dict.fromkeys((row["network"], row["scheme"]) for row in record["rows"]))
    found = {(row["network"], row["scheme"], row["engine"]): row for row in record["rows"]}
    lines = [
        "## C: the same bits everywhere\n",
        f"`python -m offramp.benchmarks.c_exact`: of {record['rows'][0]['inputs']:,} random inputs, how many give the",
        "very output bits of the arithmetic in whole numbers, with each kernel set on",
        f"{record['machine']}, and on emulated boards.\n",
        f"| network | {' | '.join(engines)} |",
        "| --- |" + " --- |" * len(engines),
    ]
    for name, scheme in networks:
        rows = [found.get((name, scheme, engine)) for engine in engines]
        cells = ["not run" if row is None or row["equal"] is None else f"{row['equal']:,}" for row in rows]
        lines.append(f"| {name}, {scheme} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def zoo(recorded: dict[str, dict[str, Any]]) -> str:
    """Every system of the zoo as int8 C."""
    lines = [
        "## The zoo as C, int8\n",
        "`python -m offramp.benchmarks.zoo --c`. Constants and memory of the generated source; of the held-out samples",
        "(digits where the system was trained, random inputs elsewhere), how many give the output bits of the",
        "arithmetic in whole numbers, which networks with operators in float do not owe; and on how many PyTorch's",
        "float32 run of the same program gives them. Untrained networks have batch norms measured on random inputs:",
        "their outputs depend on the input, and a rounding that differs grows on its way through them.\n",
        "| system | constants | memory | equal samples | PyTorch's | operators in float | verified |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, entry in recorded.items():
        c = entry.get("c")
        if c is not None:
            exact = f"{c['exact_samples']} of {c['samples']} | {c.get('program_exact_samples', '–')}"
            lines.append(
                f"| {name} | {c['constant_bytes'] / 1024:,.0f} KiB | {c['arena_bytes'] / 1024:,.1f} KiB "
                f"| {exact} | {c['float_operators']} | {'yes' if c['verified'] else 'no'} |"
            )
    return "\n".join([*lines, ""])

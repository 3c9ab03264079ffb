"""The part of docs/results.md that has a row for each paper: its first claim, and its network on every target."""

from typing import Any

from ..models.system import all_systems
from ..runtime.report.page import TARGET_NAMES
from .synapse_section import shown_estimate


def section(recorded: dict[str, dict[str, Any]], reproduced: list[dict[str, Any]]) -> str:
    """One row for each trained network of a paper whose claims are recorded."""
    lines = [
        "## The papers\n",
        "A row for each trained network of a paper: the paper's first claim (`offramp reproduce PAPER`; all of them",
        "stand further down), and its network on every target (`python -m offramp.benchmarks.zoo NETWORK`, for ±1 with",
        "`--binary`). The figure is accuracy, or what is named; of ±1, it is told for how many epochs the float",
        "network was trained on, which share of multiplications became signs, and which target was not verified.",
        "Bytes are of int8 files; agreement is the least over targets and engines; latency is the median on one",
        "thread of the machine.\n",
        "| paper | claim | baseline | ours | holds | network | float → int8 | ±1 | MACs "
        "| int8 KiB: ONNX, Core ML, TFLite, C | agreement | p50 ms, float → int8: ONNX, TFLite | verified |",
        "| " + "--- | " * 13,
    ]
    for document in reproduced:
        names = [name for name, system in all_systems().items() if system.paper == document["slug"]]
        claims = [*_claim(document), *[["", "", "", ""]] * len(names)]
        trained = [name for name in names if recorded.get(name, {}).get("trained_on")]
        for name, claim in zip(trained or [""], claims):
            cells = [document["slug"], *claim, *_network(name, recorded.get(name, {}))]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(line.rstrip(" ") for line in lines) + "\n"


def _claim(document: dict[str, Any]) -> list[list[str]]:
    first = document["claims"][0]
    sides = (shown_estimate(first["metric"], first[side]) for side in ("baseline", "ours"))
    count = f"{sum(claim['holds'] for claim in document['claims'])} of {len(document['claims'])} claims hold"
    return [[first["claim"], *sides, f"{'yes' if first['holds'] else '**no**'}; {count}"]]


def _network(name: str, entry: dict[str, Any]) -> list[str]:
    if not entry:
        return ["–"] * 8
    rows = {(row["target"], row["precision"]): row for row in entry["artifacts"]}
    integer = [row for row in entry["artifacts"] if row["precision"] == "int8"]
    metrics = entry.get("float_metrics")
    figure = next(iter(metrics or {}), "accuracy")
    sizes = [*(row["bytes"] for row in integer), entry["c"]["constant_bytes"]]
    return [
        f"`{name}`",
        f"{_shown(figure, entry['float_accuracy'], metrics)} → "
        f"{_shown(figure, integer[0]['accuracy'], integer[0].get('metrics'))}",
        _signs(figure, entry.get("binary")),
        f"{entry['macs']:,}",
        ", ".join(f"{size / 1024:,.0f}" for size in sizes),
        f"{min(row['agreement'] for row in integer):.1%}",
        ", ".join(
            f"{rows[target, 'float32']['p50_ms']:.3g} → {rows[target, 'int8']['p50_ms']:.3g}"
            for target in ("onnx", "tflite")
        ),
        "yes" if all(row["verified"] for row in rows.values()) and entry["c"]["verified"] else "**no**",
    ]


def _signs(figure: str, binary: dict[str, Any] | None) -> str:
    """What training on for ±1 came to, on which share of the products, and which target was not verified."""
    if binary is None:
        return "–"
    share = f"{binary['epochs']} epochs more, {binary['mac_share']:.0%} of MACs"
    doubts = (
        f"; {TARGET_NAMES[target]} not verified, {binary['agreement'][target]:.1%} agree"
        for target in binary["not_verified_because"]
    )
    return f"{_shown(figure, binary['accuracy'], binary['metrics'])} ({share}{''.join(doubts)})"


def _shown(figure: str, accuracy: float | None, metrics: dict[str, float] | None) -> str:
    if accuracy is not None:
        return f"{accuracy:.1%}"
    return "–" if metrics is None else f"{figure.replace('_', ' ')} {metrics[figure]:.4g}"

"""The section of docs/results.md about training for the precision, from the record of `benchmarks.qat`."""

from statistics import mean
from typing import Any

from ..runtime.report.page import TARGET_NAMES

_SMALL_BINARY, _REFERENCE = "bireal_xs", "resnet8"


def section(document: dict[str, Any]) -> str:
    """Markdown: a table of means with their spread over the seeds, and which claims hold."""
    rows = document["rows"]
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        "## Training for the precision\n",
        f"`python -m offramp.benchmarks.qat` on {document['machine']}: digits,",
        f"{len(seeds)} seed{'s' * (len(seeds) > 1)} (of weights, order and augmentation), top-1 on all 500",
        "held-out samples as mean (least to most). PTQ quantizes after training, with learned rounding and corrected",
        "biases as is the default, or without either (nearest); QAT trains on from the same float weights. First and",
        "last layers keep 8 bits in every scheme. How long QAT trains was chosen for each scheme in trials on the same",
        "digits, which leans its figures to the good side.",
        f"Verified: artifacts of trained programs that hold their verification, on {document['verified_on']} samples.",
        "",
        "| network | scheme | float | PTQ, nearest | PTQ | QAT | ONNX | Core ML | TFLite |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["scheme"]), []).append(row)
    for (network, scheme), group in groups.items():
        figures = ("float", "nearest", "ptq", "qat")
        cells = [network, scheme, *(_spread([row[figure] for row in group]) for figure in figures)]
        cells += [_targets(group, target) for target in TARGET_NAMES if target in group[0]["targets"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", *_claims(groups), *_distances(rows), *_unverified(rows), ""])


def _claims(groups: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    lines = []
    for (network, scheme), group in groups.items():
        floating, nearest, ptq, qat = (mean(row[name] for row in group) for name in ("float", "nearest", "ptq", "qat"))
        if scheme == "int8":
            lines.append(
                _claim(f"{network}: QAT at int8 within 0.2 points of float", qat >= floating - 0.002, qat - floating)
            )
        if scheme == "w4a8":
            lines.append(_claim(f"{network}: QAT at w4a8 above PTQ at w4a8", qat > ptq, qat - ptq))
            lines.append(_claim(f"{network}: the same above PTQ to nearest", qat > nearest, qat - nearest))
    small, reference = groups.get((_SMALL_BINARY, "binary")), groups.get((_REFERENCE, "int8"))
    if small and reference:
        change = mean(row["qat"] for row in small) - mean(row["float"] for row in reference)
        lines.append(
            _claim(f"{_SMALL_BINARY}, all ±1, within 3 points of {_REFERENCE} in float", change >= -0.03, change)
        )
    return lines


def _claim(text: str, holds: bool, change: float) -> str:
    return f"- {text}: {'holds' if holds else 'does not hold'} ({100 * change:+.2f} points)."


def _distances(rows: list[dict[str, Any]]) -> list[str]:
    """How far lowered programs are from the networks that were trained."""
    off = max(row["distance"]["evaluation_most"] for row in rows)
    brevitas = max(row["distance"]["brevitas_most"] for row in rows)
    within = mean(row["distance"]["brevitas_within"] for row in rows)
    return [
        f"- Lowered programs against the trained networks as these evaluate, all held-out samples: at most {off:.2g}",
        f"  output steps apart. With Brevitas' own rounding of activations {within:.2%} of them are within one output",
        f"  step, the most is {brevitas:.2g}.",
    ]


def _unverified(rows: list[dict[str, Any]]) -> list[str]:
    """How many artifacts hold their verification, and why each of the others does not."""
    counts = [
        f"{name} {sum(row['targets'][target]['verified'] for row in rows)}"
        for target, name in TARGET_NAMES.items()
        if target in rows[0]["targets"]
    ]
    lines = [f"- Verified of {len(rows)} trained programs: {', '.join(counts)}. Not verified:"]
    for row in rows:
        for target, verdict in row["targets"].items():
            name = f"{row['network']} {row['scheme']}, seed {row['seed']}, {TARGET_NAMES[target]}"
            lines += [f"  - {name}: {reason}." for reason in verdict["reasons"]]
    return lines if len(lines) > 1 else [lines[0].replace(" Not verified:", "")]


def _targets(group: list[dict[str, Any]], target: str) -> str:
    verified = sum(row["targets"][target]["verified"] for row in group)
    size = mean(row["targets"][target]["bytes"] for row in group) / 1024
    return f"{verified} of {len(group)} verified, {size:,.0f} KiB"


def _spread(values: list[float]) -> str:
    spread = f" ({min(values):.1%} to {max(values):.1%})" if len(values) > 1 else ""
    return f"{mean(values):.1%}{spread}"

"""The results page's section on accuracy after post-training quantization, from its record."""

from typing import Any


def section(document: dict[str, Any]) -> str:
    seeds = max(row["seeds"] for row in document["means"])
    lines = [
        "## Accuracy after post-training quantization, against three peers\n",
        f"`python -m offramp.benchmarks.ptq` on {document['machine']}: means over {seeds} training seeds, 500 held-out",
        "digits, the same 256 calibration samples for all. Of each peer, the variant with the best mean accuracy.",
        "Agreement is with the float network's top class; dB is the signal to noise of the logits. Brevitas quantizes",
        "layers alone: its sums, norms and attention stay in float.\n",
        "| network | scheme | quantizer | float | accuracy | agreement | dB | ours / peer |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = {"ours": "ours", "onnxruntime": "ONNX Runtime", "ai_edge": "ai-edge-quantizer", "brevitas": "Brevitas"}
    for row in document["means"]:
        ratio = document["ratios"].get(f"{row['network']}_{row['precision']}_over_{row['who']}")
        cells = [
            row["network"],
            row["precision"],
            names[row["who"]] + (f", {row['variant']}" if row["variant"] else ""),
            *(f"{row[key]:.2%}" for key in ("float", "accuracy", "agreement")),
            f"{row['sqnr_db']:.1f}",
            "–" if ratio is None else f"{ratio:.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    ratios = document["ratios"].values()
    behind = [ratio for ratio in ratios if ratio < 1]
    lines += ["", f"Ours is at least as accurate in {len(ratios) - len(behind)} of {len(ratios)} comparisons."]
    if behind:
        lines.append(f"In the others ours reaches {min(behind):.4f} of a peer's accuracy or more.")
    ours = [row for row in document["means"] if row["who"] == "ours"]
    below = sum(row["accuracy"] < row["float"] - 1e-9 for row in ours)
    lines.append(f"Ours is less accurate than the float network in {below} of {len(ours)} rows.")
    return "\n".join(lines) + "\n"

"""The results page's section on mixed precision, from its record."""

from math import comb
from typing import Any


def section(document: dict[str, Any]) -> str:
    means = document["means"]
    networks = list(dict.fromkeys(row["network"] for row in means))
    ratios = document["ratios"]
    told = "; ".join(
        f"{name} {ratios[f'{name}_accuracy_gain'] * 100:+.2f} points, {ratios[f'{name}_divergence_left']:.2f}"
        for name in networks
    )
    lines = [
        "## Mixed precision against uniform precision of the same size\n",
        f"`python -m offramp.benchmarks.mixed` on {document['machine']}: means over {document['seeds']} training "
        f"seeds, {document['held_out']} held-out digits.",
        "`--scheme auto` is given the bytes of the uniform scheme's packed weights. Both have 8-bit activations;",
        "the uniform scheme keeps 8 bits in the first and the last layer, auto need not. Divergence is that of the",
        "class probabilities from the float network's, in nats. Won and lost are predictions that only auto, or only",
        "uniform, got right, over all seeds; p is that of an exact sign test.",
        f"Accuracy gained, and share of the divergence left, over all sizes below 8 bits: {told}.\n",
        "| network | uniform | bytes uniform → auto | float | accuracy uniform → auto | won, lost | p "
        "| divergence uniform → auto |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in means:
        size, accuracy, divergence = row["bytes"], row["accuracy"], row["divergence"]
        cells = [
            row["network"],
            row["uniform"],
            f"{size['uniform']:,.0f} → {size['auto']:,.0f}",
            f"{row['float_accuracy']:.2%}",
            f"{accuracy['uniform']:.2%} → {accuracy['auto']:.2%}",
            f"{row['won']}, {row['lost']}",
            f"{sign_test(row['won'], row['lost']):.2g}",
            f"{divergence['uniform']:.5f} → {divergence['auto']:.5f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def sign_test(won: int, lost: int) -> float:
    """Two-sided p of so unequal counts, were both equally likely (McNemar's exact test)."""
    count = won + lost
    tail = sum(comb(count, place) for place in range(min(won, lost) + 1)) / 2**count
    return min(1.0, 2 * tail)

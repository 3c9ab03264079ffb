"""`python -m offramp.benchmarks.mixed`: each layer's own bits against uniform precision of the same size.

For each network, trained from several seeds, the search is given the bytes that uniform weights of 8, 6, 4, 3 and
2 bits take (8 bits in the first and the last layer, as schemes have it), with 8-bit activations. Both are quantized on
all calibration samples with the post-training tools that schemes have by default, and measured on the held-out ones.
The search never sees those: it judges on half of the calibration samples.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..devices.boards.host import describe_host
from ..mixed import tensors_of
from ..options import Options
from ..pipeline import trained_source
from ..quant.capture import capture
from ..quant.mixed.budget import Budget, size_of
from ..quant.mixed.codings import Codings
from ..quant.mixed.layers import WIDE, Assignment, uniform
from ..quant.mixed.outcome import Outcome, outcome_of
from ..quant.mixed.search import WEIGHT_BITS, Search, choices_for
from ..quant.scheme import Scheme
from ..sources import find_samples, find_source
from .results import keep

NETWORKS = ("resnet8", "mobilenet_v2_xs", "care_xxs")
_HELD_OUT = 500


def measure(name: str, seed: int, runs: Path) -> list[dict[str, Any]]:
    """One row for each uniform precision of one training."""
    options = Options(seed=seed, runs=runs / f"seed{seed}", held_out=_HELD_OUT)
    source = trained_source(find_source(name, seed), options)
    samples = find_samples(source, None, options.scheme.samples, _HELD_OUT)
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    inputs, held_out = tensors_of(samples.calibration, captured), tensors_of(samples.held_out, captured)
    search = Search(source.network, captured, inputs, samples.calibration.labels, Scheme(), choices_for(()))
    whole = Codings(source.network, captured, inputs, Scheme(), choices_for(()))
    floats = whole.emulation.outputs(held_out, None)

    def figures(assignment: Assignment) -> tuple[Outcome, np.ndarray]:
        return _figures(whole, assignment, held_out, floats, samples.held_out.labels)

    rows = []
    for bits in sorted(WEIGHT_BITS, reverse=True):
        plain = uniform(search.layers, (bits, 8), WIDE)
        size = size_of(plain, search.layers)
        found = search.find([Budget("size", size, is_bytes=True)])
        (ours, right), (theirs, theirs_right) = figures(found.assignment), figures(plain)
        rows.append(
            {
                "network": name,
                "seed": seed,
                "uniform": f"w{bits}a8",
                "bytes": {"uniform": size, "auto": found.size},
                "float_accuracy": outcome_of(floats, floats, samples.held_out.labels).accuracy,
                "accuracy": {"uniform": theirs.accuracy, "auto": ours.accuracy},
                "divergence": {"uniform": theirs.error, "auto": ours.error},
                "sqnr_db": {"uniform": theirs.sqnr_db, "auto": ours.sqnr_db},
                "won": int((right & ~theirs_right).sum()),
                "lost": int((~right & theirs_right).sum()),
                "chosen": found.name,
                "weight_bits": [weight for _, weight, _ in found.assignment],
            }
        )
        _show(rows[-1])
    return rows


def _figures(
    codings: Codings, assignment: Assignment, inputs: Sequence[tuple[Tensor, ...]], floats: list[Tensor], labels: Any
) -> tuple[Outcome, np.ndarray]:
    """The outcome on held-out samples, and which of them are right."""
    outputs = codings.emulation.outputs(inputs, codings.operands(assignment))
    return outcome_of(outputs, floats, labels), outputs[0].flatten(1).argmax(1).numpy() == labels


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds, a row for each network and precision in the order of the measurements."""
    found = []
    for network, name in dict.fromkeys((row["network"], row["uniform"]) for row in rows):
        same = [row for row in rows if (row["network"], row["uniform"]) == (network, name)]
        means = {
            key: {side: float(np.mean([row[key][side] for row in same])) for side in ("uniform", "auto")}
            for key in ("bytes", "accuracy", "divergence", "sqnr_db")
        }
        counts = {key: sum(row[key] for row in same) for key in ("won", "lost")}
        floating = float(np.mean([row["float_accuracy"] for row in same]))
        found.append({"network": network, "uniform": name, "float_accuracy": floating, **means, **counts})
    return found


def ratios_of(means: list[dict[str, Any]]) -> dict[str, float]:
    """By network: points of accuracy gained, and the share of uniform's divergence left (8 bits cannot be improved)."""
    ratios = {}
    for network in dict.fromkeys(row["network"] for row in means):
        own = [row for row in means if row["network"] == network and row["uniform"] != "w8a8"]
        gains = [row["accuracy"]["auto"] - row["accuracy"]["uniform"] for row in own]
        left = [np.log(max(row["divergence"]["auto"], 1e-9) / max(row["divergence"]["uniform"], 1e-9)) for row in own]
        ratios[f"{network}_accuracy_gain"] = round(float(np.mean(gains)), 5) + 0.0  # no minus before a zero
        ratios[f"{network}_divergence_left"] = round(float(np.exp(np.mean(left))), 3)
    return ratios


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="training runs; made where they are missing")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each network")
    parser.add_argument("--keep", action="store_true", help="record the result for docs/results.md")
    arguments = parser.parse_args(argv)
    rows = [
        row
        for name in arguments.networks
        for seed in range(arguments.seeds)
        for row in measure(name, seed, arguments.runs)
    ]
    means = summary(rows)
    print("\nmeans over the seeds")
    for row in means:
        _show(row)
    document = {
        "benchmark": "mixed",
        "ratios": ratios_of(means),
        "machine": str(describe_host()),
        "seeds": arguments.seeds,
        "held_out": _HELD_OUT,
        "means": means,
        "rows": rows,
    }
    if arguments.keep:
        keep(document)
    print(json.dumps(document))
    return 0


def _show(row: dict[str, Any]) -> None:
    sizes, accuracy, divergence = row["bytes"], row["accuracy"], row["divergence"]
    seed = f" seed {row['seed']}" if "seed" in row else ""
    print(
        f"{row['network']}{seed} {row['uniform']}  bytes {sizes['uniform']:,.0f} → {sizes['auto']:,.0f}  "
        f"accuracy {accuracy['uniform']:.2%} → {accuracy['auto']:.2%} (+{row['won']} -{row['lost']})  "
        f"divergence {divergence['uniform']:.5f} → {divergence['auto']:.5f}  {row.get('weight_bits', '')}",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m offramp.benchmarks.boolean_threshold`: Boolean threshold networks found by projections, seed by seed.

    python -m offramp.benchmarks.boolean_threshold multiplier_2 --seeds 20 --keep
    python -m offramp.benchmarks.boolean_threshold --device cuda --seconds 100 --gradients without --keep
    python -m offramp.benchmarks.boolean_threshold --gradients only --keep

All seeds of a task run as one batch, those that are solved leave it. A seed's start is drawn on the CPU from a
generator of its own. Beside them, networks of the same widths are trained by gradients straight through their signs,
over the same seeds and several rates, of which the best is kept. Each task is written as soon as it is done, with the
whole-number rows of every network that was found, so that it can be evaluated again.
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from ..models.boolean_tasks import TASKS
from ..models.data import Data
from ..models.learning.boolean_search import Layers, evaluate_layers
from ..models.learning.boolean_solving import Limits, Outcome, solve
from ..models.learning.boolean_threshold import BooleanThreshold
from ..reproductions._boolean_networks import Descent, descend, items
from ..storage import read_json
from .results import _RECORDS, keep

NAME = "boolean_threshold"
RATES = (0.003, 0.01, 0.03, 0.1)


@dataclass(frozen=True)
class Task:
    """What is searched for.

    Attributes:
        data: a table's name in `models.boolean_tasks`, drawn from seed 0.
        widths: of inputs and layers.
        rule: its settings; every `iterations` steps are looked at.
        steps: the most of each seed.
        descent_steps: of the training by gradients.
        most_seeds: that fit into the time of one run.
    """

    data: str
    widths: tuple[int, ...]
    rule: BooleanThreshold
    steps: int
    descent_steps: int = 3000
    most_seeds: int = 1000


BENCHMARKS = {
    "multiplier_2": Task("multiplier-2", (4, 4, 4, 4), BooleanThreshold(iterations=200), 10_000),
    "autoencoder": Task(
        "codes-16", (16, 4, 16, 16), BooleanThreshold(stiffening=1e-4, gap_stop=0.05, iterations=1000), 100_000
    ),
    "multiplier_3": Task(
        "multiplier-3", (6, 12, 12, 12, 6), BooleanThreshold(stiffening=1e-4, iterations=1000), 200_000
    ),
    "majority_logic": Task("majority-logic", (16, 16, 16), BooleanThreshold(gap_stop=0.05, iterations=500), 20_000),
    "rule30_ring6": Task(
        "rule-30-ring-6", (6, 18, 18, 6), BooleanThreshold(stiffening=1e-4, gap_stop=0.05, iterations=500), 200_000
    ),
    "rule30_ring8": Task(
        "rule-30-ring-8", (8, 24, 24, 8), BooleanThreshold(stiffening=1e-4, gap_stop=0.05, iterations=500), 200_000
    ),
    "rule30": Task(
        "rule-30", (16, 32, 32, 16), BooleanThreshold(gap_stop=0.1, iterations=500), 1_000_000, most_seeds=8
    ),
    "rule30_wide": Task(
        "rule-30", (16, 48, 48, 16), BooleanThreshold(gap_stop=0.1, iterations=500), 1_000_000, most_seeds=4
    ),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(BENCHMARKS)}; all without any")
    parser.add_argument("--seeds", type=int, default=20, help="how many starts, from seed 0")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--limit", type=int, help="most steps of each start, in place of the task's own")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="most of each task's search")
    parser.add_argument(
        "--gradients", choices=("with", "without", "only"), default="with", help="only: adds them to what is recorded"
    )
    parser.add_argument("--out", help="a file to write to in place of the record")
    parser.add_argument("--keep", action="store_true", help=f"record as benchmarks/recorded/{NAME}.json")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.tasks if name not in BENCHMARKS]:
        parser.error(f"{', '.join(unknown)}: no such task; known: {', '.join(BENCHMARKS)}")
    path = _RECORDS / f"{NAME}.json"
    kept = read_json(path)["tasks"] if args.keep and path.is_file() else {}
    document: dict[str, Any] = {"benchmark": NAME, "tasks": kept}
    for name in args.tasks or BENCHMARKS:
        task = BENCHMARKS[name]
        task = replace(task, steps=args.limit or task.steps)
        seeds = list(range(min(args.seeds, task.most_seeds)))
        say(f"{name}: {len(seeds)} seeds, at most {task.steps:,} steps and {args.seconds:g} s")
        if args.gradients != "only":
            document["tasks"][name] = measure(task, seeds, args.device, args.seconds)
            _write(document, args.keep, args.out)  # before gradients, which may be cut off
        elif name not in kept:
            parser.error(f"{name}: not recorded; search first, with --keep")
        row = document["tasks"][name]
        if args.gradients != "without":
            row["gradients"] = gradients(task, [each["seed"] for each in row["outcomes"]], args.device)
            _write(document, args.keep, args.out)
        print_row(name, row)
    print(json.dumps(document))
    return 0


def say(line: str) -> None:
    """A line for people, on standard error."""
    print(line, file=sys.stderr, flush=True)


def _write(document: dict[str, Any], recorded: bool, out: str | None) -> None:
    if recorded:
        keep(document)
    if out:
        from pathlib import Path

        from ..storage import write_json

        write_json(Path(out), document)


def measure(task: Task, seeds: Sequence[int], device: str, seconds: float) -> dict[str, Any]:
    """Every seed's outcome."""
    data = TASKS[task.data](0)
    began = time.perf_counter()

    def tell(found: Outcome) -> None:
        what = "solved" if found.solved else "exact" if found.exact else "not solved"
        say(f"  seed {found.seed}: {what} after {found.steps:,} steps, gap {found.gap:.4f}, {found.seconds:.0f} s")

    limits = Limits(task.steps, seconds)
    found = solve(*items(data.train), task.widths[1:-1], task.rule, seeds, limits, device, tell)
    return {
        "data": task.data,
        "widths": list(task.widths),
        "rule": task.rule.to_json(),
        "machine": _machine(device),
        "limit": task.steps,
        "items": len(data.train),  # type: ignore[arg-type]
        "seconds": time.perf_counter() - began,
        "outcomes": [outcome_row(each, data) for each in found],
    }


def outcome_row(found: Outcome, data: Data) -> dict[str, Any]:
    """An outcome as it is recorded; rows of whole numbers alone."""
    shares = bit_shares(found.layers, data)
    rows = [row for layer in found.layers for row in layer]
    return {
        "seed": found.seed,
        "solved": found.solved,
        "steps": found.steps,
        "exact_steps": found.exact_steps,
        "gap": found.gap,
        "seconds": round(found.seconds, 1),
        "train_bits": shares[0],
        "test_bits": shares[1],
        "ternary": bool(max(float(row.abs().max()) for row in rows) == 1 and found.exact),
        "most_weights": max(int((row != 0).sum()) for row in rows),
        "layers": texts_of(found.layers) if found.exact else None,
    }


def texts_of(layers: Layers) -> list[list[str]]:
    """Rows of whole numbers as a line of text each."""
    return [[" ".join(map(str, row)) for row in layer.int().tolist()] for layer in layers]


def layers_of(texts: list[list[str]]) -> Layers:
    """What `texts_of` wrote, as float64 (out, in + 1)."""
    return [torch.tensor([list(map(int, row.split())) for row in layer]).double() for layer in texts]


def bit_shares(layers: Layers, data: Data) -> tuple[float, float]:
    """Shares of right bits, of the items and of those held out."""
    train, test = (
        float((evaluate_layers(layers, inputs) == outputs).double().mean())
        for inputs, outputs in (items(data.train), items(data.test))
    )
    return train, test


def gradients(task: Task, seeds: Sequence[int], device: str) -> dict[str, Any]:
    """Training straight through signs at the best rate, by how many seeds fitted all items and then by right bits."""
    data = TASKS[task.data](0)
    ways = [Descent(rate=rate, steps=task.descent_steps) for rate in RATES]
    found = {way.rate: descend(task.widths, items(data.train), items(data.test), seeds, way, device) for way in ways}
    best = max(found, key=lambda rate: (sum(r.fitted for r in found[rate]), sum(r.train_bits for r in found[rate])))
    fitted = {f"{rate:g}": sum(r.fitted for r in rows) for rate, rows in found.items()}
    return {"steps": task.descent_steps, "rate": best, "fitted": fitted, "outcomes": [asdict(r) for r in found[best]]}


def _machine(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    from ..devices.boards.host import describe_host

    return describe_host().cpu


def print_row(name: str, row: dict[str, Any]) -> None:
    """A task's sum, for people."""
    found = row["outcomes"]
    solved = sorted(each["steps"] for each in found if each["solved"])
    middle = f", median {solved[len(solved) // 2]:,} steps" if solved else ""
    say(
        f"{name}: {len(solved)} of {len(found)} solved{middle}; {sum(e['exact_steps'] is not None for e in found)} fit "
        f"exactly, {sum(e['ternary'] for e in found)} of them with -1, 0, 1; held-out bits "
        f"{sum(e['test_bits'] for e in found) / len(found):.2%}; {row['seconds']:.0f} s"
    )
    if "gradients" in row:
        fitted = sum(each["fitted"] for each in row["gradients"]["outcomes"])
        bits = sum(each["test_bits"] for each in row["gradients"]["outcomes"]) / len(found)
        say(f"  by gradients: {fitted} of {len(found)} fit exactly, held-out bits {bits:.2%}")


if __name__ == "__main__":
    sys.exit(main())

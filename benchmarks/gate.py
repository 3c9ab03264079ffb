"""`python -m offramp.benchmarks.gate`: does the gate fail where it must, and keep still where it must?

One system is trained on the digits, deployed, and its figures are kept as the baseline. Against it are held
- damaged dists: in each target, one channel's weight scale doubled in the last block of the int8 file, hashes mended;
- worse ones that agree with their own program: trained for a quarter of the epochs, quantized with ranges cut off;
- clean ones: other training seeds and other calibration samples, on the same held-out samples.
Of the clean ones it also counts what a fixed tolerance of 0.5% on accuracy would have called a regression.
"""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..devices.boards.host import describe_host
from ..gate.check import check_dist
from ..models.system import find_system
from ..options import Options
from ..pipeline import deploy
from ..quant.program import load_program
from ..quant.scheme import Scheme
from .faults import change_constant, rehash
from .results import keep

_TARGETS = {"onnx": ".onnx", "coreml": ".mlpackage", "tflite": ".tflite"}
_FIXED = 0.005  # the tolerance that the paired test is set beside
_QUICK = {"measure": False, "older_runtime": False}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", default="resnet_xs")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--runs", type=int, default=20, help="clean ones")
    parser.add_argument("--keep", action="store_true", help="record the result for docs/results.md")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        document = measure(arguments.system, arguments.epochs, arguments.runs, Path(folder))
    if arguments.keep:
        keep(document)
    print(json.dumps(document))
    return 0


def measure(system: str, epochs: int, runs: int, folder: Path) -> dict[str, Any]:
    """The benchmark's document; prints a line for each dist."""
    first = _deployed(system, epochs, 0, Scheme(), folder)
    baseline = folder / "baseline.json"
    check_dist(first, baseline, update=True, recorded=True)
    damaged = [_damaged(first, target, baseline, folder) for target in _TARGETS]
    worse = [
        _held("trained for a quarter of the epochs", _deployed(system, epochs // 4, 0, Scheme(), folder), baseline),
        *(
            _held(
                f"ranges cut off at {share}% of the values", _deployed(system, epochs, 0, _cut(share), folder), baseline
            )
            for share in (60, 75)
        ),
    ]
    # Spread over the training split, another number of samples is another choice of them.
    clean = [
        _held(f"seed {seed}", _deployed(system, epochs, seed, Scheme(samples=128 + 4 * seed), folder), baseline)
        for seed in range(1, runs + 1)
    ]
    found = sum(not row["holds"] for row in (*damaged, *worse))
    return {
        "benchmark": "gate",
        "ratios": {
            "regressions_found": found / len((*damaged, *worse)),
            "clean_runs_alarmed": sum(not row["holds"] for row in clean) / max(len(clean), 1),
            "clean_comparisons_alarmed_by_fixed_tolerance": sum(r["fixed_alarms"] for r in clean)
            / max(sum(r["accuracies"] for r in clean), 1),
        },
        "machine": str(describe_host()),
        "system": system,
        "epochs": epochs,
        "damaged": damaged,
        "worse": worse,
        "clean": clean,
    }


def _cut(share: float) -> Scheme:
    return Scheme(calibration="percentile", percentile=share)


def _deployed(system: str, epochs: int, seed: int, scheme: Scheme, folder: Path) -> Path:
    """A dist of the system, trained anew; the last one of its kind makes room for it."""
    place = Path(tempfile.mkdtemp(dir=folder))
    recipe = replace(find_system(system).recipe, epochs=epochs)
    deploy(system, Options(scheme=scheme, seed=seed, runs=place / "runs", out=place / "dist", **_QUICK), recipe)  # type: ignore[arg-type]
    return place / "dist" / system


def _damaged(dist: Path, target: str, baseline: Path, folder: Path) -> dict[str, Any]:
    """A copy with one scale doubled, executed again; whether the gate names the artifact and the layer."""
    copy = Path(shutil.copytree(dist, folder / f"damaged-{target}" / dist.name))
    quantized = load_program(copy / "program")
    name = [name for name, tensor in quantized.constants().items() if tensor.codes.ndim == 4][-1]
    change_constant(copy / f"{dist.name}{_TARGETS[target]}", name, 2.0)
    rehash(copy)
    row = _held(f"{target}: scale of {name} doubled", copy, baseline, executed=True)
    faults = row["faults"]
    named = [fault["artifact"] for fault in faults] == [f"{target} int8"]
    layer = named and f"{faults[0]['module'].replace('.', '_')}_weight" == name
    return row | {"artifact_named": named, "layer_named": bool(layer)}


def _held(what: str, dist: Path, baseline: Path, executed: bool = False) -> dict[str, Any]:
    """What the gate says of a dist. One that was just deployed was executed a moment ago."""
    document = check_dist(dist, baseline, recorded=not executed)
    accuracies = [entry for entry in document["compared"] if entry["figure"] == "accuracy"]
    changes = [entry["paired"]["change"] for entry in accuracies]
    row = {
        "what": what,
        "holds": document["holds"],
        "moved": [f"{entry['artifact']} {entry['figure']}" for entry in document["moved"]],
        "faults": document["faults"],
        "accuracies": len(accuracies),
        "fixed_alarms": sum(change < -_FIXED for change in changes),
        "change": {"low": min(changes), "high": max(changes)},
        "least_p": min(entry["paired"]["p"] for entry in accuracies),
    }
    print(
        f"{what:45} {'holds' if row['holds'] else 'FAILS':6} accuracy {min(changes):+.1%} to {max(changes):+.1%}, "
        f"least p {row['least_p']:.2g} {', '.join([*row['moved'], *(_place(fault) for fault in row['faults'])])}",
        flush=True,
    )
    return row


def _place(fault: dict[str, Any]) -> str:
    return f"{fault['artifact']} at {fault['module']}"


if __name__ == "__main__":
    raise SystemExit(main())

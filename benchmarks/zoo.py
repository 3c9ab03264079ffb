"""`python -m offramp.benchmarks.zoo`: every system through training, int8 and three targets; records what works.

Systems with bundled data are trained on it (unless `--runs` holds the run), the others keep random weights; each is
deployed in float32 and int8 and executed. As C, where every bit is owed, random weights get batch norms measured on
random inputs: outputs depend on the input then, and rounding grows on its way to them. The result goes to
`models/recorded.json`, which `offramp list` reads, and is printed as a table with one JSON document as the last line.
`--counts` records only parameters and MACs, `--c` only what the int8 network does as C, `--without-c` all but that, and
`--binary` only what training for ±1 comes to.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..catalogue import count_system
from ..devices.boards.host import describe_host
from ..finetune import Finetuning
from ..models.recorded import recorded_results
from ..models.system import all_systems, find_system
from ..options import Options
from ..pipeline import deploy
from ..quant.archive import save_exported
from ..quant.scheme import Scheme
from ..storage import write_json
from .untrained import enlivened

RECORDED = Path(__file__).resolve().parent.parent / "models" / "recorded.json"
_TARGETS = ("onnx", "coreml", "tflite")


def _was_recorded(name: str, what: str) -> bool:
    """What other benchmarks have recorded of it: `reproductions --keep`, and `qat --keep` for ±1."""
    return bool(recorded_results().get(name, {}).get("works", {}).get(what))


def record(name: str, runs: Path, random_samples: int) -> dict[str, Any]:
    """Deploys one system to all targets but C and says what worked; untrained networks see so many random samples."""
    system = find_system(name)
    trained = system.dataset is not None
    options = Options(
        scheme=Scheme(samples=256 if trained else random_samples),
        held_out=500 if trained else random_samples,
        measure=True,
        runs=runs,
    )
    with tempfile.TemporaryDirectory() as folder:
        document = deploy(name, replace(options, out=Path(folder)), say=_say)
    rows = document["artifacts"]
    works = {target: all(row["verified"] for row in rows if row["target"] == target) for target in _TARGETS}
    works |= {"train": trained, "int8": all(row["verified"] for row in rows if row["precision"] == "int8")}
    return {
        **{key: value for key, value in recorded_results().get(name, {}).items() if key in ("binary", "c")},
        **count_system(name),
        "works": works | {key: _was_recorded(name, key) for key in ("reproduce", "binary")},
        "trained_on": system.dataset,
        "machine": describe_host().processor,
        "float_accuracy": document["float"]["accuracy"],
        "float_metrics": document["float"]["metrics"],
        "samples": document["data"]["samples"],
        "artifacts": [
            {
                "target": row["target"],
                "precision": row["precision"],
                "bytes": row["bytes"],
                "accuracy": row["accuracy"],
                "metrics": row["metrics"],
                "agreement": row["agreement"],
                "max_step_difference": row["max_step_difference"],
                "integer_mac_share": row["integer_mac_share"],
                "p50_ms": (row["latency_ms"] or {}).get("p50"),
                "noisy": row["noisy"],
                "verified": row["verified"],
                "not_verified_because": row["not_verified_because"],
            }
            for row in rows
        ],
    }


def record_c(name: str, runs: Path, random_samples: int) -> dict[str, Any]:
    """Deploys one system as int8 C: whether it is verified, what it takes, and on how many samples it is exact."""
    trained = find_system(name).dataset is not None
    options = Options(
        targets=("c",),
        precisions=("int8",),
        scheme=Scheme(samples=256 if trained else random_samples),
        held_out=500 if trained else random_samples,
        measure=False,  # how fast C is: benchmarks/c_networks.py
        runs=runs,
    )
    with tempfile.TemporaryDirectory() as folder:
        reference = name if trained else str(_enlivened(name, Path(folder)))
        document = deploy(reference, replace(options, out=Path(folder)), say=_say)
    (row,) = document["artifacts"]
    return {
        "c": {
            "verified": row["verified"],
            "not_verified_because": row["not_verified_because"],
            "constant_bytes": int(row["details"]["constant_bytes"]),
            "arena_bytes": int(row["details"]["arena_bytes"]),
            "samples": document["data"]["samples"],
            "exact_samples": row["exact_samples"],
            "program_exact_samples": row["program_exact_samples"],
            "accuracy": row["accuracy"],
            "float_operators": len(document["float_operators"]),
        }
    }


def record_binary(name: str, runs: Path) -> dict[str, Any]:
    """Trains one system on for ±1 weights and activations, and deploys it to three targets."""
    options = Options(precisions=("int8",), scheme=Scheme(1, 1), tuning=Finetuning(), measure=False, runs=runs)
    with tempfile.TemporaryDirectory() as folder:
        document = deploy(name, replace(options, out=Path(folder)), say=_say)
    rows, layers = document["artifacts"], document["layers"]
    signs = sum(layer["macs"] for layer in layers if layer["precision"] == "binary")
    return {
        "binary": {
            "accuracy": document["program"]["accuracy"],
            "metrics": document["program"]["metrics"],
            "mac_share": round(signs / sum(layer["macs"] for layer in layers), 4),
            "epochs": document["training"]["recipe"]["epochs"],
            "agreement": {row["target"]: row["agreement"] for row in rows},
            "not_verified_because": {row["target"]: row["not_verified_because"] for row in rows if not row["verified"]},
        }
    }


def _enlivened(name: str, folder: Path) -> Path:
    """The file of a system's program, with random weights, as it goes to devices."""
    system = find_system(name)
    network = enlivened(system)
    path = folder / f"{name}.pt2"
    save_exported(torch.export.export(network, system.example_inputs()), path)
    return path


def _say(line: str) -> None:
    print(f"  {line}", flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", help="all by default")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--random-samples", type=int, default=32, metavar="N", help="for networks without training")
    parser.add_argument("--counts", action="store_true", help="record parameters and MACs only")
    parser.add_argument("--binary", action="store_true", help="record only what training for ±1 comes to")
    parser.add_argument("--c", action="store_true", help="record only what the int8 network does as C")
    parser.add_argument("--without-c", action="store_true", help="for networks that take a C compiler too long")
    arguments = parser.parse_args(argv)
    recorded = recorded_results()
    for name in arguments.systems or all_systems():
        print(name, flush=True)
        if arguments.counts:
            recorded[name] = {"works": {}, **recorded.get(name, {}), **count_system(name)}
        elif arguments.binary:
            recorded[name] = {"works": {}, **recorded.get(name, {}), **record_binary(name, arguments.runs)}
            recorded[name]["works"]["binary"] = not recorded[name]["binary"]["not_verified_because"]
        elif arguments.c:
            recorded[name] = {
                "works": {},
                **recorded.get(name, {}),
                **record_c(name, arguments.runs, arguments.random_samples),
            }
        else:
            recorded[name] = record(name, arguments.runs, arguments.random_samples)
            if not arguments.without_c:
                recorded[name] |= record_c(name, arguments.runs, arguments.random_samples)
        if "c" in recorded[name]:
            recorded[name]["works"]["c"] = recorded[name]["c"]["verified"]
        write_json(RECORDED, {key: recorded[key] for key in sorted(recorded)})
    sizes = {name: _ratio(entry) for name, entry in recorded.items() if _ratio(entry)}
    print(json.dumps({"benchmark": "zoo", "ratios": sizes, "machine": str(describe_host())}))
    return 0


def _ratio(entry: dict[str, Any]) -> float | None:
    """Bytes of the int8 ONNX file over those of the float32 one."""
    sizes = {row["precision"]: row["bytes"] for row in entry.get("artifacts", ()) if row["target"] == "onnx"}
    return round(sizes["int8"] / sizes["float32"], 3) if {"int8", "float32"} <= sizes.keys() else None


if __name__ == "__main__":
    raise SystemExit(main())

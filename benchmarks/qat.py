"""`python -m offramp.benchmarks.qat`: float, post-training and trained accuracy of each scheme, over several seeds.

Each network is trained in float on the digits, once a seed; from there it is quantized after training, and trained for
each scheme. Every trained program is written for three targets and verified. A cut-off benchmark goes on where it was:
runs lie in `--runs`, finished rows in `--rows`.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..devices.boards.host import describe_host
from ..export.artifact import SUFFIX
from ..export.write import write_artifact
from ..finetune import Finetuning, finetune
from ..models.recorded import recorded_results
from ..options import Options
from ..pipeline import programs_of, references_of, trained_source
from ..quant.capture import Captured, capture
from ..quant.program import QuantizedProgram
from ..quant.qat.network import QuantizedNetwork, Stages
from ..quant.qat.quantizers import ValueQuantizer
from ..quant.qat.start import trainable
from ..quant.scheme import Scheme, bits_named
from ..runtime.reference import Reference, run_reference
from ..runtime.samples import Samples
from ..runtime.verify import accuracy_of, verify_artifact
from ..sources import SampleSets, Source, find_samples, find_source, load_data
from ..storage import read_json, write_json
from .results import keep
from .zoo import RECORDED

NETWORKS = ("care_xxs", "resnet8", "mobilenet_v2_xs")
SMALL_BINARY = "bireal_xs"
SCHEMES = ("int8", "w4a8", "w4a4", "w2a4", "binary-weights", "binary")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS, SMALL_BINARY])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=200, help="held-out samples that artifacts are verified on")
    parser.add_argument("--runs", type=Path, default=Path("runs/qat"))
    parser.add_argument("--keep", action="store_true", help="record the result for docs/results.md")
    arguments = parser.parse_args(argv)
    rows = []
    for seed in arguments.seeds:
        for network in arguments.networks:
            for scheme in SCHEMES if network != SMALL_BINARY else ("binary",):
                rows.append(_row(network, scheme, seed, arguments.runs / f"seed{seed}", arguments.samples))
    document = {
        "benchmark": "qat",
        "ratios": {},
        "machine": str(describe_host()),
        "verified_on": arguments.samples,
        "rows": rows,
    }
    if arguments.keep:
        keep(document)
        _keep_what_works(rows)
    print(json.dumps(document))
    return 0


def _keep_what_works(rows: list[dict[str, Any]]) -> None:
    """Says in the zoo's record which systems were trained to ±1 and verified in every target, at every seed."""
    recorded = recorded_results()
    for network in {row["network"] for row in rows if row["scheme"] == "binary"}:
        verdicts = [row["targets"].values() for row in rows if (row["network"], row["scheme"]) == (network, "binary")]
        recorded[network]["works"]["binary"] = all(verdict["verified"] for targets in verdicts for verdict in targets)
    write_json(RECORDED, recorded)


def _row(network: str, name: str, seed: int, runs: Path, samples: int) -> dict[str, Any]:
    """One network, scheme and seed: three accuracies, and the verdicts of three targets."""
    scheme = Scheme(*bits_named(name))
    options = Options(scheme=scheme, runs=runs, seed=seed)
    source = trained_source(find_source(network, seed), options)
    sets = find_samples(source, None, scheme.samples, 10**6, seed)
    row: dict[str, Any] = {"network": network, "scheme": name, "seed": seed}
    row |= _kept(runs / "rows" / f"{network}.{name}.ptq.json", lambda: _after_training(source, sets, options))
    row |= _kept(runs / "rows" / f"{network}.{name}.qat.json", lambda: _in_training(source, sets, options, samples))
    verified = [target for target, verdict in row["targets"].items() if verdict["verified"]]
    print(
        f"{network:16} {name:15} seed {seed}  float {row['float']:.3f}  PTQ {row['ptq']:.3f}  QAT {row['qat']:.3f}  "
        f"off by {row['distance']['evaluation_most']:.2g} steps, {row['distance']['brevitas_most']:.2g} in Brevitas  "
        f"verified {', '.join(verified) or 'nowhere'}",
        flush=True,
    )
    return row


def _kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured before, or what is measured now and kept beside the runs."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, measure())
    found: dict[str, Any] = read_json(path)
    return found


def _after_training(source: Source, sets: SampleSets, options: Options) -> dict[str, Any]:
    """Of the float network, of its quantization, and of one that rounds to nearest and leaves biases alone."""
    plain = replace(options, scheme=replace(options.scheme, rounding="nearest", correct_bias=False))
    floating, learned = references_of(programs_of(source, sets, options), sets)
    _, nearest = references_of(programs_of(source, sets, plain), sets)
    assert learned is not None and nearest is not None
    first, labels = floating.output_names[0], sets.held_out.labels
    named = {"float": floating, "ptq": learned, "nearest": nearest}
    return {name: accuracy_of(reference.outputs[first], labels) for name, reference in named.items()}


def _in_training(source: Source, sets: SampleSets, options: Options, samples: int) -> dict[str, Any]:
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    trained, network = _trained(source, captured, sets, options)
    names = captured.input_names, captured.output_names
    reference = run_reference(trained.program, *names, sets.held_out)
    fewer = sets.held_out.first(samples)
    on_fewer = replace(reference, outputs={name: values[:samples] for name, values in reference.outputs.items()})
    targets = {}
    with tempfile.TemporaryDirectory() as folder:
        for target, suffix in SUFFIX.items():
            artifact = write_artifact(
                target,
                trained.program,
                Path(folder) / f"{source.name}{suffix}",
                precision=options.scheme.name,
                input_names=names[0],
                output_names=names[1],
            )
            verdict = verify_artifact(artifact, on_fewer, fewer, trained, older_runtime=False)
            targets[target] = {
                "verified": verdict.verified,
                "reasons": list(verdict.reasons),
                "bytes": artifact.size_bytes,
                "agreement": min(result.agreement for result in verdict.engines if result.agreement is not None),
            }
    accuracy = accuracy_of(reference.outputs[names[1][0]], sets.held_out.labels)
    return {"qat": accuracy, "distance": _distance(network, reference, sets.held_out), "targets": targets}


def _trained(
    source: Source, captured: Captured, sets: SampleSets, options: Options
) -> tuple[QuantizedProgram, QuantizedNetwork]:
    """The trained program, and the trained network for one sample at a time."""
    scheme = options.scheme
    inputs = [tuple(torch.from_numpy(sample[name]) for name in captured.input_names) for sample in sets.calibration]
    data = load_data(source, None)
    folder = options.runs / f"{source.name}.{scheme.name}"
    program, run = finetune(source, captured, inputs, data, scheme, Finetuning(), folder, options.seed)
    network = trainable(source.network, captured, inputs[:2], scheme, 1, Stages(0))  # its numbers come with the run
    network.load_state_dict(run.weights)
    return program, network.eval()


def _distance(network: QuantizedNetwork, reference: Reference, held_out: Samples) -> dict[str, float]:
    """In steps of the output: the most that any is off, and the share of samples within one step.

    `evaluation` is the trained network as it evaluates. `brevitas` rounds every activation with Brevitas' arithmetic,
    which differs from the program's where a value lies, within float rounding, half-way between two codes.
    """
    name = reference.output_names[0]
    step = reference.steps[name] or 1.0
    found: dict[str, float] = {}
    _read_once(network)
    for arithmetic in ("evaluation", "brevitas"):
        for module in network.modules():
            if isinstance(module, ValueQuantizer):
                module.train(arithmetic == "brevitas")
        off = []
        with torch.no_grad():
            for sample, wanted in zip(held_out, reference.outputs[name]):
                given = network(torch.from_numpy(next(iter(sample.values())))).numpy()
                off.append(float(np.abs(given[0] - wanted).max()) / step)
        found |= {f"{arithmetic}_most": max(off), f"{arithmetic}_within": float(np.mean(np.array(off) <= 1.001))}
    return found


def _read_once(network: QuantizedNetwork) -> None:
    """Reads the numbers of a trained network that will not change, in place of reading them at every sample."""
    for layer in network.layers.values():
        layer.integers = partial(_same, layer.integers())  # type: ignore[method-assign]
    for module in network.modules():
        if isinstance(module, ValueQuantizer):
            module.affine = partial(_same, module.affine())  # type: ignore[method-assign]


def _same(value: Any) -> Any:
    return value


if __name__ == "__main__":
    raise SystemExit(main())

"""Looks again at a dist that lies on disk: verifies and profiles it, and writes its report anew."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from .devices.boards.host import measure_on_host
from .dist import artifact_row, figures_of, timing_figures
from .errors import BadInput
from .export.artifact import SUFFIX, Artifact, TensorSpec, is_quantized
from .foreign import describe_file
from .manifest import read_manifest, write_manifest
from .models.data import Preprocessing
from .models.system import find_system
from .options import Options, Say
from .quant.program import load_exported, load_program
from .runtime.reference import run_reference
from .runtime.report import write_report
from .runtime.samples import Samples
from .runtime.verify import verify_artifact
from .sources import SampleSets, Source, baked_samples, find_samples


def is_dist(path: Path) -> bool:
    """Whether a path is a folder, and no Core ML package, which is one too."""
    return path.is_dir() and path.suffix != SUFFIX["coreml"]


def verify_dist(folder: Path, options: Options, say: Say) -> dict[str, Any]:
    """Executes every artifact of a dist again and compares it with the dist's own programs; the dist stays as it is.

    Raises:
        BadInput: the manifest, a hash or a program does not hold.
    """
    document = read_manifest(folder)
    samples = samples_of(document, options)
    floating_program = load_exported(folder / "program" / "float.pt2")
    quantized = load_program(folder / "program") if document["scheme"] else None
    inputs = tuple(entry["name"] for entry in document["inputs"])
    outputs = tuple(entry["name"] for entry in document["outputs"])
    say(f"running the program on {len(samples)} samples ({samples.name})")
    references = {"float32": run_reference(floating_program, inputs, outputs, samples)}
    references["float16"] = references["float32"]
    if quantized is not None:
        references[quantized.scheme.name] = run_reference(quantized.program, inputs, outputs, samples)
    rows = []
    for row in document["artifacts"]:
        say(f"verifying {row['path']}")
        artifact = artifact_of(folder, document, row)
        program = quantized if is_quantized(row["precision"]) else None
        reference = references[row["precision"]]
        verdict = verify_artifact(artifact, reference, samples, program, options.older_runtime)
        kept = {key: row[key] for key in ("latency_ms", "noisy", "load_ms", "board", "details")}
        rows.append(artifact_row(artifact, verdict, folder) | kept)
    integer = references[quantized.scheme.name] if quantized else None
    return document | {"artifacts": rows} | figures_of(samples, options, references["float32"], integer)


def options_for(
    folder: Path,
    data: str | None = None,
    samples: int | None = None,
    seed: int | None = None,
    older_runtime: bool = True,
) -> Options:
    """Options that find the held-out samples of a dist again, as its manifest tells, but for what is given.

    Raises:
        BadInput: the manifest does not hold, or the number of samples is below 1.
    """
    manifest = read_manifest(folder, check_hashes=False)
    kept = manifest["data"] or {}
    options = Options(
        data=kept.get("given") if data is None else data,
        held_out=kept.get("samples", Options.held_out) if samples is None else samples,
        seed=kept.get("seed", 0) if seed is None else seed,
        older_runtime=older_runtime,
    )
    if manifest["calibration"]:  # the held-out arrays of an .npz begin behind those for calibration
        options = replace(options, scheme=replace(options.scheme, samples=manifest["calibration"]["samples"]))
    return options


def profile_path(path: Path, threads: int, runs: int, seconds: float) -> dict[str, Any]:
    """Counts, memory, islands and latency of every artifact of a dist, or of one file.

    Raises:
        BadInput: the manifest does not hold, or a file is missing, damaged or of an unknown kind.
    """
    if is_dist(path):
        document = read_manifest(path)
        rows = {row["path"]: row for row in document["artifacts"]}
        folder = path
    else:
        document = {"name": path.stem, "float": {"accuracy": None}}
        rows = {path.name: describe_file(path)}
        document["artifacts"] = list(rows.values())
        folder = path.parent
    timed = {name: folder / name for name, row in rows.items() if row["target"] != "coreml"}
    for name, (latency, load) in measure_on_host(timed, threads, runs=runs, seconds=seconds).items():
        rows[name].update(timing_figures(latency, load))
    return document


def rewrite_report(folder: Path) -> dict[str, Any]:
    """Writes `report.html` again from the manifest.

    Raises:
        BadInput: the manifest or a hash does not hold.
    """
    document = read_manifest(folder)
    write_report(document, folder / "report.html")
    return write_manifest(folder, document) | {"report": str(folder / "report.html")}


def artifact_of(folder: Path, document: dict[str, Any], row: dict[str, Any]) -> Artifact:
    """An artifact's value from the manifest, its value names read anew from the program."""
    program = "program.pt2" if is_quantized(row["precision"]) else "float.pt2"
    from .quant.capture import module_paths

    paths = module_paths(load_exported(folder / "program" / program))
    specs = [
        tuple(TensorSpec(entry["name"], tuple(entry["shape"]), entry["dtype"]) for entry in document[side])
        for side in ("inputs", "outputs")
    ]
    return Artifact(
        row["target"], row["precision"], folder / row["path"], specs[0], specs[1], paths, dict(row["details"])
    )


def samples_of(document: dict[str, Any], options: Options) -> Samples:
    """Held-out samples for a dist: those the user names, or those that its source has."""
    return sample_sets_of(document, options).held_out


def sample_sets_of(document: dict[str, Any], options: Options) -> SampleSets:
    """Samples for a dist, to choose ranges on and to measure on."""
    source, data, counts = _source_of(document), options.data, (options.scheme.samples, options.held_out)
    is_baked = document["preprocessing"] and document["preprocessing"]["baked"]
    try:
        return baked_samples(source, data, *counts) if is_baked else find_samples(source, data, *counts, options.seed)
    except BadInput as fault:
        if data is None or Path(data).exists():
            raise
        raise BadInput(f"{fault}; name with --data where the deployment's samples are now") from fault


def _source_of(document: dict[str, Any]) -> Source:
    """As much of the source as samples need: inputs and preprocessing from the manifest, data from the zoo."""
    import torch

    network = document["network"]
    dataset = find_system(network["system"]).dataset if network["system"] else None
    preprocessing = document["preprocessing"]
    examples = tuple(torch.zeros(entry["shape"], dtype=getattr(torch, entry["dtype"])) for entry in document["inputs"])
    return Source(
        name=document["name"],
        network=torch.nn.Identity(),
        example_inputs=examples,
        input_names=tuple(entry["name"] for entry in document["inputs"]),
        output_names=None,
        origin=network["source"],
        preprocessing=Preprocessing.from_json(preprocessing) if preprocessing else None,
        dataset=dataset,
    )

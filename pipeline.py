"""The main job, in the order of the rooms: train, quantize, export, verify, measure, report."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .devices.boards.host import describe_host, measure_on_host
from .dist import artifact_row, artifact_stem, document_of, timing_figures
from .errors import BadInput
from .export.artifact import SUFFIX, Artifact, is_quantized, offers
from .export.write import write_artifact
from .finetune import finetune
from .illustration import illustrate
from .manifest import write_manifest
from .mixed import find_scheme, tensors_of
from .models.data import Preprocessing
from .models.learning import LearningRule
from .models.recipe import Recipe
from .models.run import Run, load_run
from .models.training import train
from .options import Options, Say
from .quant.archive import save_exported
from .quant.capture import capture, to_program
from .quant.program import save_program
from .quant.programs import Programs
from .quant.quantize import quantize
from .quant.scheme import Scheme
from .runtime.layers import layer_table, with_errors
from .runtime.reference import Reference, run_reference
from .runtime.report import write_report
from .runtime.verify import Verification, accuracy_of, agreement_of, verify_artifact
from .sources import SampleSets, Source, baked_samples, find_samples, find_source, load_data, with_preprocessing
from .storage import atomic_folder, write_json

_ERRORS_ON = 8  # samples over which the per-layer error is summed


def deploy(reference: str, options: Options, recipe: Recipe | None = None, say: Say = lambda _: None) -> dict[str, Any]:
    """Ships a network: every artifact written, executed, measured and reported in `dist/NAME/`.

    A system of the zoo with data is trained first, unless `runs/NAME` holds it already. The previous `dist/NAME`
    stays until the new one is complete.

    Args:
        reference: a system, a run's folder, `package.module:build`, or a `.pt2` file.
        recipe: training recipe; None for the system's own.
        say: told of each step.

    Returns:
        The manifest's document.
    """
    source = trained_source(find_source(reference, options.seed), options, recipe, say)
    source, samples = _with_samples(source, options)
    with atomic_folder(options.out / source.name) as folder:
        document = _build(source, samples, options, folder, say)
    return document


def trained_source(source: Source, options: Options, recipe: Recipe | None = None, say: Say = lambda _: None) -> Source:
    """The source itself, or for a bare system with data, its trained run."""
    if source.trained or source.system is None or not (options.data or source.dataset):
        return source
    folder = options.runs / source.name
    if not (folder / "config.json").is_file():
        say(f"training {source.name} on {options.data or source.dataset}")
        train_source(source, options, recipe)
    else:
        _check_run(load_run(folder), source, folder)
    return find_source(str(folder), options.seed)


def train_source(
    source: Source,
    options: Options,
    recipe: Recipe | None = None,
    resume: bool = False,
    device: str = "cpu",
    rule: LearningRule | None = None,
) -> Run:
    """Trains a system into `runs/NAME`.

    Raises:
        BadInput: the source is no system of the zoo.
    """
    if source.system is None:
        raise BadInput(
            f"{source.origin}: training takes a system of the zoo; deploy takes your trained network as it is"
        )
    data = load_data(source, options.data)
    return train(source.system, data, recipe, options.runs / source.name, options.seed, resume, device, rule=rule)


def programs_of(source: Source, samples: SampleSets, options: Options, say: Say = lambda _: None) -> Programs:
    """Captures the network once, and quantizes it once if the scheme is among the precisions, trained if so asked."""
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    floating = to_program(captured.module, captured.example_inputs)
    if not any(map(is_quantized, options.precisions)):
        return Programs(captured, floating, None)
    scheme = _scheme_for(source, options.scheme)
    inputs, mixed = tensors_of(samples.calibration, captured), None
    if options.mixed is not None:
        say(f"choosing bits layer by layer for {', '.join(map(str, options.mixed.budgets))}")
        scheme, mixed = find_scheme(source, captured, samples, scheme, options.mixed)
    if options.tuning is None:
        say(f"quantizing to {scheme.name} on {len(inputs)} samples ({samples.calibration.name})")
        return Programs(captured, floating, quantize(captured, inputs, scheme), mixed=mixed)
    data = load_data(source, options.data)
    data = replace(data, preprocessing=Preprocessing() if options.bake else source.preprocessing or data.preprocessing)
    folder = options.runs / f"{source.name}.{scheme.name}"
    say(f"training {source.name} for {scheme.name} on {data.name}")
    program, run = finetune(source, captured, inputs, data, scheme, options.tuning, folder, options.seed)
    training = {"recipe": asdict(run.recipe), "tuning": asdict(options.tuning), "data": run.dataset, "seed": run.seed}
    return Programs(captured, floating, program, training, mixed)


def _scheme_for(source: Source, scheme: Scheme) -> Scheme:
    """The scheme, with what the system itself wants to be kept in int8 where others become ±1."""
    if source.system is None or 1 not in (scheme.weight_bits, scheme.activation_bits):
        return scheme
    return replace(scheme, keep_int8=tuple(dict.fromkeys((*scheme.keep_int8, *source.system.keep_int8))))


def export_all(
    source: Source, programs: Programs, options: Options, folder: Path, say: Say = lambda _: None
) -> list[Artifact]:
    """Writes one artifact for each target and precision into `folder`."""
    captured = programs.captured
    artifacts = []
    for target in options.targets:
        for precision in options.precisions:
            if not offers(target, precision):
                say(f"leaving out {target} {precision}: it has no such form")
                continue
            say(f"writing {target} {precision}")
            quantized = programs.quantized if is_quantized(precision) else None
            program = quantized.program if quantized else programs.floating
            path = folder / f"{artifact_stem(source.name, precision, options.precisions)}{SUFFIX[target]}"
            artifacts.append(
                write_artifact(
                    target,
                    program,
                    path,
                    input_names=captured.input_names,
                    output_names=captured.output_names,
                    precision=precision,
                    labels=source.labels if options.class_labels else (),
                    metadata=_metadata(source, precision, options),
                    dynamic_batch=options.dynamic_batch,
                    integer_io=options.integer_io,
                    image_input=options.image_input,
                    ram=options.ram,
                    flash=options.flash,
                )
            )
    return artifacts


def references_of(programs: Programs, samples: SampleSets) -> tuple[Reference, Reference | None]:
    """Outputs of the float program, and of the quantized one, on the held-out samples."""
    names = programs.captured.input_names, programs.captured.output_names
    floating = run_reference(programs.floating, *names, samples.held_out)
    quantized = programs.quantized
    return floating, run_reference(quantized.program, *names, samples.held_out) if quantized else None


def quantize_to(reference: str, out: Path, options: Options, say: Say = lambda _: None) -> dict[str, Any]:
    """Quantizes a network into `out/NAME/` (`program.pt2`, `scheme.json`) and compares it with the float network.

    Returns:
        `{"name", "program", "samples", "float": {"accuracy"}, "scheme", "quantized": {"accuracy", "agreement"},
        "layers", "float_operators", "mixed"}`, the last as `find_scheme` says, or null.
    """
    source, samples = _with_samples(trained_source(find_source(reference, options.seed), options, None, say), options)
    programs = programs_of(source, samples, options, say)
    quantized = programs.quantized
    assert quantized is not None
    with atomic_folder(out / source.name) as folder:
        _save_quantized(programs, folder)
    floating, ours = references_of(programs, samples)
    assert ours is not None
    first, labels = programs.captured.output_names[0], samples.held_out.labels
    return {
        "name": source.name,
        "program": str(out / source.name / "program.pt2"),
        "samples": samples.held_out.name,
        "float": {"accuracy": accuracy_of(floating.outputs[first], labels)},
        "scheme": quantized.scheme.name,
        "quantized": {
            "accuracy": accuracy_of(ours.outputs[first], labels),
            "agreement": agreement_of(ours.outputs[first], floating.outputs[first], samples.held_out.by_value),
        },
        "layers": [vars(layer) for layer in quantized.layers],
        "float_operators": [vars(operator) for operator in quantized.float_operators],
        "mixed": None if programs.mixed is None else dict(programs.mixed),
    }


def export_to(reference: str, options: Options, say: Say = lambda _: None) -> dict[str, Any]:
    """Writes artifacts into `dist/NAME/` without training, verification or measurement.

    Returns:
        `{"name", "folder", "artifacts": [{"target", "precision", "path", "bytes", "sha256"}], "bytes_ratio"}`, the last
        by target: bytes of the quantized file over bytes of the float32 one.
    """
    source, samples = _with_samples(find_source(reference, options.seed), options)
    programs = programs_of(source, samples, options, say)
    with atomic_folder(options.out / source.name) as folder:
        artifacts = export_all(source, programs, options, folder, say)
        _save_programs(programs, folder / "program")
        rows = [
            {
                "target": artifact.target,
                "precision": artifact.precision,
                "path": artifact.path.name,
                "bytes": artifact.size_bytes,
                "sha256": artifact.sha256,
            }
            for artifact in artifacts
        ]
        sizes = {(artifact.target, artifact.precision): artifact.size_bytes for artifact in artifacts}
    ratios = {
        target: round(sizes[target, options.quantized] / sizes[target, "float32"], 4)
        for target in options.targets
        if {(target, options.quantized), (target, "float32")} <= sizes.keys()
    }
    return {"name": source.name, "folder": str(options.out / source.name), "artifacts": rows, "bytes_ratio": ratios}


def _with_samples(source: Source, options: Options) -> tuple[Source, SampleSets]:
    """The source, its preprocessing baked in if asked, and samples as it then takes them."""
    counts = options.scheme.samples, options.held_out
    if options.bake:
        source = with_preprocessing(source, options.data)
        return source, baked_samples(source, options.data, *counts)
    return source, find_samples(source, options.data, *counts, options.seed)


def _build(source: Source, samples: SampleSets, options: Options, folder: Path, say: Say) -> dict[str, Any]:
    programs = programs_of(source, samples, options, say)
    artifacts = export_all(source, programs, options, folder, say)
    _save_programs(programs, folder / "program")
    say(f"running the program on {len(samples.held_out)} samples ({samples.held_out.name})")
    floating, quantized = references_of(programs, samples)
    rows = []
    for artifact in artifacts:
        say(f"verifying {artifact.path.name} ({artifact.precision})")
        verdict = _verify(artifact, programs, floating, quantized, samples, options)
        rows.append(artifact_row(artifact, verdict, folder))
    if options.measure:
        say("measuring latency")
        _add_latency(rows, folder)
    layers = layer_table(programs.quantized.program if programs.quantized else programs.floating)
    if quantized is not None:
        layers = with_errors(layers, floating, quantized, samples.held_out.first(_ERRORS_ON))
    document = document_of(source, samples, options, programs, floating, quantized, rows, layers)
    document["environment"] = _environment()
    document["pictures"] = illustrate(source, rows, samples.held_out, folder)
    write_report(document, folder / "report.html")
    return write_manifest(folder, document)


def _verify(
    artifact: Artifact,
    programs: Programs,
    floating: Reference,
    quantized: Reference | None,
    samples: SampleSets,
    options: Options,
) -> Verification:
    program = programs.quantized if is_quantized(artifact.precision) else None
    reference = quantized if program is not None and quantized is not None else floating
    return verify_artifact(artifact, reference, samples.held_out, program, options.older_runtime)


def _save_programs(programs: Programs, folder: Path) -> None:
    """`program/`: the quantized program, and the float one that it came from."""
    save_exported(programs.floating, folder / "float.pt2")
    _save_quantized(programs, folder)


def _save_quantized(programs: Programs, folder: Path) -> None:
    if programs.quantized is not None:
        save_program(programs.quantized, folder)
    if programs.mixed is not None:
        write_json(folder / "mixed.json", dict(programs.mixed))


def _add_latency(rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """Times every artifact that has a speed here, all in one interleaved run; Core ML has one only on a Mac."""
    timed = {row["path"]: row for row in rows if row["target"] != "coreml"}
    found = measure_on_host({path: folder / path for path in timed})
    for path, (latency, load_time) in found.items():
        timed[path].update(timing_figures(latency, load_time))


def _check_run(run: Run, source: Source, folder: Path) -> None:
    if run.system != source.name:
        raise BadInput(
            f"{folder}: holds a run of {run.system}, not of {source.name}; move it away or name another --runs"
        )


def _metadata(source: Source, precision: str, options: Options) -> dict[str, str]:
    """Facts that travel inside each artifact."""
    facts = {"name": source.name, "precision": precision, "source": source.origin, "task": source.task}
    if source.preprocessing is not None:
        state = "baked in" if options.bake else "to be applied to the raw input: (raw * scale - mean) / std"
        facts["preprocessing"] = f"{source.preprocessing.to_json()} {state}"
    if source.labels:
        facts["labels"] = ",".join(source.labels)
    return {key: value for key, value in facts.items() if value}


def _environment() -> dict[str, str]:
    host = describe_host()
    return {"cpu": host.cpu, "isa": " ".join(host.isa), "cores": str(host.cores), "system": host.system, **host.engines}

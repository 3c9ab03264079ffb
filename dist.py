"""The document of a dist: every figure of a deployment in the shape that `manifest.json` and `--json` show."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .export.artifact import FLOAT_PRECISIONS, Artifact, TensorSpec, is_quantized
from .options import Options
from .quant.programs import Programs
from .runtime.fingerprint import fingerprint_of
from .runtime.islands import find_islands
from .runtime.layers import Layer
from .runtime.macs import MacCount, count_file, count_program
from .runtime.measurement import Measurement
from .runtime.memory import peak_of_file
from .runtime.reference import Reference
from .runtime.samples import Samples
from .runtime.verify import Verification, accuracy_of, agreement_of, top_classes
from .sources import SampleSets, Source


def primary_precision(precisions: tuple[str, ...]) -> str:
    """The precision whose artifacts carry the bare name: the narrowest of those made."""
    quantized = [precision for precision in precisions if is_quantized(precision)]
    return quantized[0] if quantized else max(precisions, key=FLOAT_PRECISIONS.index)


def artifact_stem(name: str, precision: str, precisions: tuple[str, ...]) -> str:
    """`NAME` for the narrowest precision, `NAME-float32` and so on for the others."""
    return name if precision == primary_precision(precisions) else f"{name}-{precision}"


def artifact_row(artifact: Artifact, verdict: Verification, folder: Path) -> dict[str, Any]:
    """One artifact's entry, without latency; of several engines the default gives the accuracy, the worst the rest."""
    macs = count_file(artifact.path, artifact.modules)
    main, ran = verdict.engines[0], [result for result in verdict.engines if result.ran]
    islands = find_islands(artifact.path, artifact.modules) if is_quantized(artifact.precision) else None
    constants = verdict.constants
    first = verdict.first_difference
    return {
        "target": artifact.target,
        "precision": artifact.precision,
        "path": artifact.path.relative_to(folder).as_posix(),
        "bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "verified": verdict.verified,
        "not_verified_because": "; ".join(verdict.reasons) or None,
        "engines": [vars(result) for result in verdict.engines],
        "accuracy": main.accuracy,
        "metrics": main.metrics,
        "agreement": min((r.agreement for r in ran if r.agreement is not None), default=None),
        "max_step_difference": max(
            (r.max_step_difference for r in ran if r.max_step_difference is not None), default=None
        ),
        "classes": _numbers(verdict.classes),
        "first_difference": None if first is None else vars(first),
        "exact_samples": None if verdict.exact is None else verdict.exact.equal,
        "program_exact_samples": None if verdict.exact is None else verdict.exact.program_equal,
        "constants": None
        if constants is None
        else {
            "compared": constants.compared,
            "identical": constants.identical,
            "differing": [*constants.differing, *constants.missing],
        },
        "integer_mac_share": None if islands is None else islands.integer_mac_share,
        "islands": [] if islands is None else [vars(island) for island in islands.islands],
        "macs": bits_of(macs),
        "uncounted": list(macs.uncounted),
        "parameters": macs.parameters,
        "latency_ms": None,
        "noisy": None,
        "load_ms": None,
        "peak_activation_bytes": peak_of_file(artifact.path).size_bytes,
        "board": None,
        "details": artifact.details,
    }


def timing_figures(latency: Measurement, load: Measurement | None) -> dict[str, Any]:
    """What a measurement on the host adds to an artifact's entry."""
    spread = latency.spread or {}
    return {
        "latency_ms": {"p50": latency.value, **{key: spread[key] for key in ("p90", "p99", "min")}},
        "noisy": bool(spread["noisy"]),
        "load_ms": None if load is None else load.value,
        "board": latency.where,
    }


def document_of(
    source: Source,
    samples: SampleSets,
    options: Options,
    programs: Programs,
    floating: Reference,
    quantized: Reference | None,
    rows: list[dict[str, Any]],
    layers: list[Layer],
) -> dict[str, Any]:
    """The whole document but for `files` and `environment`."""
    counted = count_program(programs.floating)
    preprocessing = source.preprocessing
    return {
        "schema": 1,
        "name": source.name,
        "network": {
            "system": source.system.name if source.system else None,
            "source": source.origin,
            "paper": source.paper,
            "task": source.task,
            "trained": source.trained,
            "parameters": counted.parameters,
            "macs": bits_of(counted),
        },
        "inputs": [_spec(spec) for spec in source.inputs],
        "outputs": [
            _spec(TensorSpec(name, (1, *values.shape[1:]), str(values.dtype)))
            for name, values in floating.outputs.items()
        ],
        "labels": list(source.labels),
        "preprocessing": None if preprocessing is None else preprocessing.to_json() | {"baked": options.bake},
        "scheme": programs.quantized.scheme.to_json() if programs.quantized else None,
        "calibration": {"data": samples.calibration.name, "samples": len(samples.calibration)}
        if programs.quantized
        else None,
        "training": None if programs.training is None else dict(programs.training),
        "mixed": None if programs.mixed is None else dict(programs.mixed),
        "float_operators": [vars(op) for op in programs.quantized.float_operators] if programs.quantized else [],
        "layer_bits": [vars(layer) for layer in programs.quantized.layers] if programs.quantized else [],
        **figures_of(samples.held_out, options, floating, quantized),
        "artifacts": rows,
        "layers": [vars(layer) for layer in layers],
    }


def figures_of(held_out: Samples, options: Options, floating: Reference, quantized: Reference | None) -> dict[str, Any]:
    """What the programs make of the held-out samples: `data`, `float` and `program` of the document.

    `classes` are the labels of `data`, and the top classes of `float`, sample by sample. With `given` and `seed` of the
    options the samples are found again.
    """
    first = floating.output_names[0]
    outputs = None if quantized is None else quantized.outputs[first]
    top = top_classes(floating.outputs[first], held_out.by_value)
    return {
        "data": {
            "name": held_out.name,
            "samples": len(held_out),
            "given": options.data,
            "seed": options.seed,
            "sha256": fingerprint_of(held_out),
            "classes": None if held_out.labels is None else _numbers(held_out.labels.tolist()),
        },
        "float": {
            "accuracy": accuracy_of(floating.outputs[first], held_out.labels),
            "metrics": _metrics(held_out, floating),
            "classes": _numbers(top),
        },
        "program": None
        if quantized is None or outputs is None
        else {
            "accuracy": accuracy_of(outputs, held_out.labels),
            "metrics": _metrics(held_out, quantized),
            "agreement": agreement_of(outputs, floating.outputs[first], held_out.by_value),
        },
    }


def _metrics(held_out: Samples, reference: Reference) -> dict[str, float] | None:
    return None if held_out.measure is None else held_out.measure(reference.outputs)


def bits_of(macs: MacCount) -> dict[str, int]:
    """MACs by operand bits, with text keys as JSON wants them."""
    return {str(bits): count for bits, count in sorted(macs.by_bits.items())}


def _numbers(values: Iterable[int] | None) -> str | None:
    """One line of text: as a list, JSON would give each sample a line of its own."""
    return None if values is None else " ".join(map(str, values))


def _spec(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": list(spec.shape), "dtype": spec.dtype}

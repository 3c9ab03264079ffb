"""A single artifact, from wherever: what it says of itself, and whether it does what another file does."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .dist import bits_of
from .errors import BadInput
from .export.artifact import Artifact, TensorSpec
from .models.data import load_arrays
from .options import Options, Say
from .quant.archive import load_exported
from .runtime.c_session import CSession
from .runtime.islands import find_islands
from .runtime.macs import count_file
from .runtime.memory import peak_of_file
from .runtime.reference import run_reference
from .runtime.samples import Samples, fit_samples, random_samples
from .runtime.session import Session, open_session
from .runtime.verify import EngineResult, agreement_of, closeness_of, is_enough

_MOST_RANDOM = 64  # random inputs that a file is held against another on, where no data are given


def verify_file(path: Path, against: Path | None, options: Options, say: Say) -> dict[str, Any]:
    """Holds one artifact against another file, or its optimized engine against its plain one.

    Raises:
        BadInput: a file is missing, damaged, or takes and gives other tensors than the one it is held against.
    """
    session = open_session(path)
    samples = _samples(session, options)
    say(f"running {path.name} on {len(samples)} samples ({samples.name})")
    outputs = _collected(map(session.run, samples))
    name = "its plain engine" if against is None else against.name
    others = _plain_outputs(path, session, samples) if against is None else _outputs_of(against, session, samples)
    result = _compared(session, outputs, _paired(path, outputs, name, others))
    verified = result.max_abs_difference is not None and is_enough(result.agreement or 0.0, len(samples))
    agreement = f"agrees with {name} on {result.agreement:.1%} of the samples"
    reason = agreement if result.max_abs_difference is not None else "an output is NaN or infinite"
    row = describe_file(path) | {
        "verified": verified,
        "not_verified_because": None if verified else reason,
        "engines": [vars(result)],
        "agreement": result.agreement,
        "against": name,
    }
    return {"name": path.stem, "float": {"accuracy": None}, "artifacts": [row]}


def describe_file(path: Path) -> dict[str, Any]:
    """What a file without a manifest says of itself; it counts as not verified until it is held against something."""
    session = open_session(path)
    count = count_file(path)
    narrow = min(count.by_bits, default=32)
    islands = find_islands(path)
    artifact = Artifact(session.target, "", path, session.inputs, session.outputs)
    unmeasured = ("accuracy", "agreement", "max_step_difference", "latency_ms", "noisy", "load_ms", "board")
    return {
        **dict.fromkeys(unmeasured),
        "target": session.target,
        "precision": f"float{narrow}" if narrow > 8 else "binary" if narrow == 1 else f"int{narrow}",
        "path": path.name,
        "bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "verified": False,
        "not_verified_because": "it was held against nothing",
        "macs": bits_of(count),
        "uncounted": list(count.uncounted),
        "parameters": count.parameters,
        "integer_mac_share": islands.integer_mac_share,
        "islands": [vars(island) for island in islands.islands] if narrow <= 8 else [],
        "peak_activation_bytes": peak_of_file(path).size_bytes,
    }


def _samples(session: Session, options: Options) -> Samples:
    if options.data is None:
        return random_samples(session.inputs, min(options.held_out, _MOST_RANDOM), options.seed)
    arrays, labels = load_arrays(Path(options.data))
    samples = Samples(arrays, labels, Path(options.data).name).first(options.held_out)
    return fit_samples(samples, session.inputs)


def _collected(runs: Iterable[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Outputs by name, (N, ...), from those of one sample after the other."""
    found: dict[str, list[np.ndarray]] = {}
    for run in runs:
        for name, value in run.items():
            found.setdefault(name, []).append(np.asarray(value))
    return {name: np.concatenate(values) for name, values in found.items()}


def _plain_outputs(path: Path, session: Session, samples: Samples) -> dict[str, np.ndarray]:
    """The same file without the engine's optimizations; C in its portable kernels."""
    if session.target == "tflite":
        from .runtime.tflite_session import TfliteSession

        return _collected(map(TfliteSession(path, xnnpack=False).run, samples))
    if session.target == "c":
        return _collected(map(CSession(path, kernels="portable").run, samples))
    return _collected(map(partial(_from_intermediates, session), samples))


def _from_intermediates(session: Session, sample: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    values = session.intermediates(sample)
    return {spec.name: values[spec.name] for spec in session.outputs if spec.name in values}


def _outputs_of(against: Path, session: Session, samples: Samples) -> dict[str, np.ndarray]:
    """Outputs of another file on the same samples; its inputs are taken in order, whatever their names."""
    if against.suffix != ".pt2":
        other = open_session(against)
        return _collected(map(other.run, _renamed(against, samples, session, other.inputs)))
    program = load_exported(against)
    nodes = [node for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    values = [(node.name, node.meta["val"]) for node in nodes]
    specs = tuple(TensorSpec(n, tuple(v.shape), str(v.dtype).removeprefix("torch.")) for n, v in values)
    renamed = _renamed(against, samples, session, specs)
    outputs = tuple(f"output_{index}" for index in range(len(program.graph_signature.user_outputs)))
    return run_reference(program, tuple(spec.name for spec in specs), outputs, renamed).outputs


def _renamed(against: Path, samples: Samples, session: Session, inputs: tuple[TensorSpec, ...]) -> Samples:
    values = [samples.inputs[spec.name] for spec in session.inputs]
    if len(values) != len(inputs):
        raise BadInput(f"{against}: takes {len(inputs)} inputs, the other file {len(values)}")
    try:
        return fit_samples(replace(samples, inputs=dict(zip((spec.name for spec in inputs), values))), inputs)
    except BadInput as error:
        raise BadInput(f"{against}: takes other inputs ({error})") from error


def _paired(
    path: Path, outputs: dict[str, np.ndarray], name: str, others: dict[str, np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Outputs of both files, in order, in one shape."""
    if [value.size for value in outputs.values()] != [value.size for value in others.values()]:
        shapes = [", ".join(str(value.shape[1:]) for value in values.values()) for values in (outputs, others)]
        raise BadInput(f"{path}: gives outputs of {shapes[0]}, {name} of {shapes[1]}; they are other networks")
    return [(mine, theirs.reshape(mine.shape)) for mine, theirs in zip(outputs.values(), others.values())]


def _compared(
    session: Session, outputs: dict[str, np.ndarray], pairs: list[tuple[np.ndarray, np.ndarray]]
) -> EngineResult:
    """Least agreement, in top class and in values, and largest difference over all outputs; none where not finite."""
    agreement = min(min(agreement_of(mine, theirs), closeness_of(mine, theirs)) for mine, theirs in pairs)
    differences = [float(np.abs(mine - theirs.astype(np.float64)).max(initial=0.0)) for mine, theirs in pairs]
    is_finite = all(np.isfinite(values).all() for values in outputs.values()) and np.isfinite(differences).all()
    return EngineResult(session.engine, True, None, agreement, None, None, max(differences) if is_finite else None)

"""The C networks of a dist on emulated boards: the same bits as here, and what they take there."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .devices.boards.emulated import EmulatedRun, run_on
from .errors import BadInput
from .export.artifact import Artifact, is_quantized
from .inspection import artifact_of, is_dist, options_for, samples_of
from .manifest import read_manifest
from .options import Say
from .quant.archive import load_exported
from .runtime.c_source import read_c_source
from .runtime.exact import ExactCheck, compare_exactly
from .runtime.samples import Samples
from .runtime.session import open_session
from .runtime.verify import TOLERANCE, closeness_of, is_enough

_FEW = 8  # samples, where the user names no number: an emulator is slow


def profile_on(board: str, path: Path, count: int | None, say: Say) -> dict[str, Any]:
    """Runs every C network of a dist on an emulated board and holds its outputs to those computed here.

    Args:
        board: its name; see `devices.boards.emulated.boards`.
        path: a dist.
        count: held-out samples to run, at most.

    Returns:
        `{"name", "board", "samples", "networks": [{"path", "precision", "equal_samples", "exact_samples", "fault",
        "instructions", "instructions_range", "flash_bytes", "ram_bytes", "stack_bytes", "by_function", "by_object",
        "compiler", "emulator", "flags"}]}`. `equal_samples` give the host's outputs bit for bit, and `exact_samples`
        those of the program's arithmetic in whole numbers (null for float networks). `fault` says what does not hold:
        every sample must be exact where only whole numbers are computed, and near the host's outputs elsewhere.

    Raises:
        BadInput: it is no dist, or has no C network.
        EmulatorUnavailable: a tool is missing.
    """
    if not is_dist(path):
        raise BadInput(f"{path}: --on takes a dist, whose samples and program it needs; name its folder")
    document = read_manifest(path)
    rows = [row for row in document["artifacts"] if row["target"] == "c"]
    if not rows:
        raise BadInput(f"{path}: holds no C network; deploy again with --target c")
    samples = samples_of(document, options_for(path)).first(count or _FEW)
    networks = []
    for row in rows:
        say(f"running {row['path']} on {board} on {len(samples)} samples ({samples.name})")
        networks.append(_network(board, path, artifact_of(path, document, row), samples))
    return {"name": document["name"], "board": board, "samples": len(samples), "networks": networks}


def holds(document: dict[str, Any]) -> bool:
    """Whether no network has a fault."""
    return not any(network["fault"] for network in document["networks"])


def _network(board: str, folder: Path, artifact: Artifact, samples: Samples) -> dict[str, Any]:
    source = read_c_source(artifact.path)
    given = {value.name: value.codes(samples.inputs[value.name]) for value in source.inputs}
    run = run_on(board, artifact, given)
    outputs = {value.name: value.real(run.outputs[value.name]) for value in source.outputs}
    session = open_session(artifact.path)
    runs = [session.run(sample) for sample in samples]
    here = {name: np.concatenate([run[name] for run in runs]) for name in outputs}
    equal = [all(np.array_equal(outputs[n][i].ravel(), here[n][i].ravel()) for n in here) for i in range(len(runs))]
    exact = _exact(folder, artifact, samples, outputs)
    return {
        "path": artifact.path.relative_to(folder).as_posix(),
        "precision": artifact.precision,
        "equal_samples": sum(equal),
        "exact_samples": exact.equal if exact else None,
        "fault": exact.fault if exact and exact.is_owed else fault_of(outputs, here, bool(exact)),
        **_figures(run),
    }


def _exact(folder: Path, artifact: Artifact, samples: Samples, outputs: dict[str, np.ndarray]) -> ExactCheck | None:
    if not is_quantized(artifact.precision):
        return None
    program = load_exported(folder / "program" / "program.pt2")
    names = tuple(s.name for s in artifact.inputs), tuple(s.name for s in artifact.outputs)
    return compare_exactly(program, *names, samples, outputs)


def fault_of(outputs: dict[str, np.ndarray], here: dict[str, np.ndarray], is_quantized: bool) -> str:
    """How the board's real numbers part from the host's, in words; empty where they are as near as `verify` asks.

    Args:
        outputs, here: of the board and of the host, by name, (N, ...).
        is_quantized: a code may fall to either side of a limit, so samples are held to 20 dB instead of every value.
    """
    for name, wanted in here.items():
        found = outputs[name].reshape(wanted.shape)
        if not np.isfinite(found).all():
            return f"{name} is NaN or infinite"
        if is_quantized:
            near = closeness_of(found, wanted)
            if not is_enough(near, len(wanted)):
                return f"{name} is near the host's on {near:.1%} of the samples"
        else:
            difference = float(np.abs(found - wanted).max(initial=0.0))
            size = float(np.abs(wanted).max(initial=0.0))
            if difference > TOLERANCE["float32"] * max(size, 1e-6):
                return f"{name} differs from the host's by {difference:.3g} where it reaches {size:.3g}"
    return ""


def _figures(run: EmulatedRun) -> dict[str, Any]:
    figures = asdict(run)
    return {key: value for key, value in figures.items() if key not in ("board", "outputs")}

"""The gate: runs a dist again, holds it to its programs and to a baseline, and says what moved."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..inspection import options_for, verify_dist
from ..manifest import read_manifest
from ..options import Options
from .baseline import Baseline, Tolerances, default_path, write_baseline
from .compare import check_name, compare
from .figures import artifact_name, figures_of
from .reading import read_baseline


def check_dist(
    folder: Path,
    baseline: Path | None = None,
    update: bool = False,
    recorded: bool = False,
    options: Options | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Holds a dist to its hashes, its programs and its baseline.

    Args:
        baseline: the file; None takes `baselines/NAME.json`, and where that is missing, holds the dist to itself alone.
        update: write the figures to the baseline instead; its tolerances stay. Nothing is written unless every
            artifact is verified.
        recorded: take the figures of the manifest and run nothing.
        options: data, seed and engines; None takes the samples that the manifest speaks of (`options_for`).

    Returns:
        The document of `offramp check --json`: `name`, `holds`, `moved` (comparisons that fail), `compared` (all of
        them), `not_verified` (paths), `faults` (why, and the first layer), `new` (artifacts that the baseline lacks),
        `artifacts`, `samples`, `baseline` (its path, or None), `looked_for` and `updated`.

    Raises:
        BadInput: the manifest or a hash does not hold; the baseline is missing, damaged, another network's or of other
            samples.
    """
    manifest = read_manifest(folder)
    path = baseline or default_path(manifest["name"])
    kept = _kept(path, manifest["name"], must_exist=baseline is not None and not update, update=update)
    document = manifest if recorded else verify_dist(folder, options or options_for(folder), say)
    now = figures_of(document, kept.tolerances if kept else Tolerances())
    faults = _faults(document)
    compared = _compared(path, kept, now) if kept and not update else []
    moved = [comparison for comparison in compared if not comparison["holds"]]
    written = update and not faults
    if written:
        write_baseline(path, now)
    return {
        "name": document["name"],
        "holds": not moved and not faults,
        "moved": moved,
        "compared": compared,
        "artifacts": [
            {key: row[key] for key in ("target", "precision", "path", "verified")} for row in document["artifacts"]
        ],
        "not_verified": [fault["path"] for fault in faults],
        "faults": faults,
        "new": sorted(now.artifacts.keys() - kept.artifacts.keys()) if kept and not update else [],
        "samples": asdict(now.samples),
        "baseline": str(path) if kept or written else None,
        "looked_for": str(path),
        "updated": written,
    }


def _kept(path: Path, name: str, must_exist: bool, update: bool) -> Baseline | None:
    """The baseline that stands, if any. One that is to be replaced may be damaged, but not another network's."""
    if not path.exists():
        if must_exist:
            raise BadInput(f"{path}: no such file; write it with --update")
        return None
    try:
        kept = read_baseline(path)
    except BadInput:
        if update and path.is_file():
            return None
        raise
    try:
        check_name(kept, name)
    except BadInput as fault:
        raise BadInput(f"{path}: {fault}") from fault
    return kept


def _compared(path: Path, kept: Baseline, now: Baseline) -> list[dict[str, Any]]:
    try:
        return [asdict(comparison) for comparison in compare(kept, now)]
    except BadInput as fault:
        raise BadInput(f"{path}: {fault}") from fault


def _faults(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Every artifact that is not verified, with the reason and the first layer or constant that differs."""
    faults = []
    for row in document["artifacts"]:
        if not row["verified"]:
            first = row.get("first_difference") or {}
            faults.append(
                {
                    "artifact": artifact_name(row),
                    "path": row["path"],
                    "because": row["not_verified_because"],
                    "module": first.get("module"),
                    "value": first.get("value"),
                }
            )
    return faults

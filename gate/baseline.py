"""What a baseline holds: the figures of a dist, sample by sample where they are counted, and how far each may move."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BadInput
from ..storage import write_json

VERSION = 1
RIGHT, WRONG = ".", "x"
_LINE = 100  # samples in one line of a file, so that a diff shows where they changed


@dataclass(frozen=True)
class Tolerances:
    """How far each figure may move to its bad side.

    Attributes:
        accuracy: largest drop of the share of right samples that is let pass however sure it is, 0 to 1.
        alpha: chance, 0 to 1, at most, of calling a drop significant that is none; for one artifact.
        float_agreement: largest drop of the share of samples with the float network's top class, 0 to 1.
        bytes: largest growth, relative.
        macs: largest change of the multiply-accumulates of any bit width to either side, relative.
        max_step_difference: largest growth of the largest output difference, in output steps.
    """

    accuracy: float = 0.01
    alpha: float = 1e-4
    float_agreement: float = 0.02
    bytes: float = 0.02
    macs: float = 0.0
    max_step_difference: float = 4.0


@dataclass(frozen=True)
class SampleSet:
    """Which held-out samples the figures are of: where from, how many, and their fingerprint."""

    name: str
    count: int
    sha256: str


@dataclass(frozen=True)
class FloatFigures:
    """The float network: its accuracy and hits, None without labels."""

    accuracy: float | None
    hits: str | None


@dataclass(frozen=True)
class Figures:
    """One artifact.

    Attributes:
        accuracy: share of right samples; None without labels or class scores.
        float_agreement: share of samples with the float network's top class; None without class scores.
        bytes: of the file.
        macs: by operand bits.
        max_step_difference: largest output difference from the program in output steps; None for float outputs.
        hits: `.` for each right sample and `x` for each wrong one, in order; None as accuracy.
    """

    accuracy: float | None
    float_agreement: float | None
    bytes: int
    macs: dict[str, int]
    max_step_difference: float | None
    hits: str | None


@dataclass(frozen=True)
class Baseline:
    """The figures of one network's dist; artifacts by target and precision, as `onnx int8`."""

    name: str
    samples: SampleSet
    floating: FloatFigures
    artifacts: dict[str, Figures]
    tolerances: Tolerances = field(default_factory=Tolerances)


def default_path(name: str, folder: Path = Path("baselines")) -> Path:
    """Where the baseline of a network lies unless another file is named: `baselines/NAME.json`.

    Raises:
        BadInput: the name, which a manifest may give, would lead out of the folder.
    """
    if not name.isprintable() or "/" in name or "\\" in name:
        raise BadInput(f"{name!r}: no name for a file of baselines; name one with --baseline")
    return folder / f"{name}.json"


def write_baseline(path: Path, baseline: Baseline) -> None:
    """Writes the file whole or not at all; equal baselines give equal bytes.

    Raises:
        BadInput: it cannot be written.
    """
    write_json(path, to_json(baseline))


def to_json(baseline: Baseline) -> dict[str, Any]:
    """The document of the file; `reading.from_json` gives the equal baseline back."""
    return {
        "version": VERSION,
        "name": baseline.name,
        "samples": asdict(baseline.samples),
        "tolerances": asdict(baseline.tolerances),
        "float": _in_lines(asdict(baseline.floating)),
        "artifacts": {name: _in_lines(asdict(figures)) for name, figures in baseline.artifacts.items()},
    }


def _in_lines(figures: dict[str, Any]) -> dict[str, Any]:
    hits = figures["hits"]
    lines = None if hits is None else [hits[start : start + _LINE] for start in range(0, len(hits), _LINE)]
    return figures | {"hits": lines}

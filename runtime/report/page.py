"""A manifest document rendered as `report.html`: one file that asks for nothing from anywhere.

Everything in the page is escaped, and its content security policy allows no request at all and no script but the one
below the layer table, by hash: a layer may be named `<script>` and stays a name.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from ...manifest import check_document
from ...storage import atomic_path
from . import emulation, wording
from .charts import Chart, Point, accuracy_axis, latency_axis, scatter, size_axis
from .emulation import emulation_section
from .mixed import mixed_charts, mixed_summary, sensitivity_table
from .task import read_pictures, shown_pictures, task_figures

LOW_SQNR_DB = 20.0  # noise power above 1 % of the signal's
VERY_LOW_SQNR_DB = 10.0  # above 10 %
TARGET_NAMES = {"onnx": "ONNX", "coreml": "Core ML", "tflite": "TFLite", "c": "C"}
_FLOAT = ("float32", "float16")
_HERE = Path(__file__).parent


def write_report(document: dict[str, Any], path: Path) -> None:
    """Writes a manifest as one self-contained page, atomically; equal documents give equal bytes.

    Args:
        document: a manifest, with or without its `files`.
        path: `dist/NAME/report.html`, written before the manifest so that the manifest can hold its hash.

    Raises:
        BadInput: the document breaks the manifest's schema, a picture is missing, or `path` cannot be written.
    """
    check_document({**document, "files": {}}, "the report's manifest")
    page = render(document, read_pictures(document, path.parent)).encode("utf-8", "replace")
    with atomic_path(path) as beside:
        beside.write_bytes(page)


def render(document: dict[str, Any], pictures: dict[str, bytes] | None = None) -> str:
    """The page's HTML for a valid manifest, and the PNG of each of its pictures by path."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    document = json.loads(json.dumps(document, sort_keys=True))  # the page of a dist read back is the page written
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"n": wording, "e": emulation, "target_names": TARGET_NAMES}
    environment.filters["plain"] = _plain
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    artifacts = document["artifacts"]
    return environment.get_template("page.html.j2").render(
        document=document,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=digest,
        rows=[artifact_row(artifact, document["float"]["accuracy"]) for artifact in artifacts],
        summary=summary(artifacts, document["data"]),
        boards=boards(artifacts),
        margin=accuracy_margin(document),
        charts=charts(document),
        unplotted=unplotted(artifacts),
        mixed=mixed_section(document),
        task=task_figures(document, {artifact["path"]: _name(artifact) for artifact in artifacts}),
        pictures=shown_pictures(document, pictures or {}),
        emulations=emulation_section(document),
        layers=layer_rows(document["layers"]),
        low_sqnr_db=LOW_SQNR_DB,
        sqnr_top_db=sqnr_top_db(document["layers"]),
    )


@dataclass(frozen=True)
class Row:
    """An artifact with the words for it.

    Attributes:
        name: target and precision.
        verdict: `verified`, `disagrees` or `not verified`.
        why: what the verdict rests on.
        difference: the largest difference from the program, in steps or, for float artifacts, in absolute terms.
        change: accuracy against the float network in percentage points, signed.
        engines: those that ran.
    """

    artifact: dict[str, Any]
    name: str
    verdict: str
    why: str
    difference: str
    change: str
    engines: tuple[str, ...]

    @property
    def quantized(self) -> bool:
        return self.artifact["precision"] not in _FLOAT


def artifact_row(artifact: dict[str, Any], float_accuracy: float | None) -> Row:
    """Puts an artifact's outcome into words."""
    accuracy = artifact["accuracy"]
    change = None if accuracy is None or float_accuracy is None else accuracy - float_accuracy
    word = verdict(artifact)
    return Row(
        artifact,
        _name(artifact),
        word,
        _why(artifact, word),
        _difference(artifact),
        wording.points_text(change),
        tuple(engine["engine"] for engine in artifact["engines"] if engine["ran"]),
    )


def verdict(artifact: dict[str, Any]) -> str:
    """`disagrees` only where an engine ran and its outputs were compared; what was not compared is `not verified`."""
    if artifact["verified"]:
        return "verified"
    compared = ("agreement", "max_step_difference", "max_abs_difference")
    ran = [engine for engine in artifact["engines"] if engine["ran"]]
    return "disagrees" if any(engine[key] is not None for engine in ran for key in compared) else "not verified"


def summary(artifacts: list[dict[str, Any]], data: dict[str, Any] | None) -> str:
    """One sentence: how many artifacts hold what the program promises."""
    if not artifacts:
        return "No artifact was written."
    words = [verdict(artifact) for artifact in artifacts]
    on = f" on {data['samples']:,} held-out samples" if data else ""
    if words.count("verified") == len(words):
        which = "The only artifact was" if len(words) == 1 else f"All {len(words)} artifacts were"
        return f"{which} executed and agrees with its program{on}." if len(words) == 1 else (
            f"{which} executed and agree with their program{on}."
        )  # fmt: skip
    parts = [f"{words.count('verified')} of {len(words)} artifacts verified{on}"]
    if disagreeing := words.count("disagrees"):
        parts.append(f"{disagreeing} disagree{'s' if disagreeing == 1 else ''} with the program")
    if unverified := words.count("not verified"):
        parts.append(f"{unverified} not verified")
    return "; ".join(parts) + "."


def boards(artifacts: list[dict[str, Any]]) -> list[str]:
    """Where latencies were taken: the board's name, or each with its artifacts where there are several."""
    found: dict[str, list[str]] = {}
    for artifact in artifacts:
        if artifact["latency_ms"] is not None:
            found.setdefault(artifact["board"] or "an unnamed board", []).append(_name(artifact))
    return list(found) if len(found) < 2 else [f"{board} ({', '.join(names)})" for board, names in found.items()]


def accuracy_margin(document: dict[str, Any]) -> str | None:
    """Half the 95 % interval of an accuracy on this many samples, in percentage points (normal approximation)."""
    share, data = document["float"]["accuracy"], document["data"]
    if share is None or not data or not data["samples"]:
        return None
    return f"{1.96 * sqrt(share * (1 - share) / data['samples']) * 100:.1f}"


def charts(document: dict[str, Any]) -> list[Chart]:
    """Accuracy against size and latency against size, each where something was measured."""
    artifacts, float_accuracy = document["artifacts"], document["float"]["accuracy"]
    found = []
    accurate = [a for a in artifacts if a["accuracy"] is not None]
    if accurate:
        points = [_point(a, a["accuracy"]) for a in accurate]
        line = None if float_accuracy is None else (float_accuracy, "PyTorch float")
        y = accuracy_axis([p.y for p in points] + ([] if line is None else [line[0]]))
        found.append(scatter("accuracy", "Accuracy against size", points, size_axis([p.x for p in points]), y, line))
    timed = [a for a in artifacts if a["latency_ms"] is not None]
    if timed:
        points = [_point(a, a["latency_ms"]["p50"], a["latency_ms"], bool(a["noisy"])) for a in timed]
        y = latency_axis([time for p in points for time in (p.low, p.y, p.high) if time is not None])
        found.append(scatter("latency", "Latency against size", points, size_axis([p.x for p in points]), y))
    return found


def mixed_section(document: dict[str, Any]) -> dict[str, Any] | None:
    """What the section on mixed precision shows; None where the scheme was given."""
    mixed = document.get("mixed")
    if not mixed:
        return None
    columns, rows = sensitivity_table(mixed)
    found = mixed_charts(mixed, document["float"]["accuracy"])
    return {"summary": mixed_summary(mixed), "charts": found, "columns": columns, "rows": rows}


def unplotted(artifacts: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Names of the artifacts that each plot lacks, for want of a measurement."""
    return {
        slug: [_name(artifact) for artifact in artifacts if artifact[key] is None]
        for slug, key in (("accuracy", "accuracy"), ("latency", "latency_ms"))
    }


@dataclass(frozen=True)
class LayerRow:
    """A layer with its share of all MACs, its bar's length and how its SQNR is rated."""

    layer: dict[str, Any]
    place: int
    share: str
    bar_percent: float
    rating: str
    sqnr_percent: float | None


def layer_rows(layers: list[dict[str, Any]]) -> list[LayerRow]:
    """Bars are relative to the largest layer, or a network of many layers shows none."""
    total = sum(layer["macs"] for layer in layers)
    largest = max((layer["macs"] for layer in layers), default=0)
    top = sqnr_top_db(layers)
    return [
        LayerRow(
            layer,
            place,
            wording.percent_text(layer["macs"] / total) if total else "",
            round(100 * layer["macs"] / largest, 1) if largest else 0.0,
            sqnr_rating(layer["sqnr_db"]),
            _part(layer["sqnr_db"], top),
        )
        for place, layer in enumerate(layers, 1)
    ]


def sqnr_top_db(layers: list[dict[str, Any]]) -> float:
    """The upper end of the plot along the network: the highest SQNR, but never below the line that marks low ones."""
    return max([LOW_SQNR_DB, *(layer["sqnr_db"] for layer in layers if layer["sqnr_db"] is not None)])


def sqnr_rating(value_db: float | None) -> str:
    """`very low`, `low`, or nothing to say."""
    if value_db is None or value_db >= LOW_SQNR_DB:
        return ""
    return "very low" if value_db < VERY_LOW_SQNR_DB else "low"


def _part(value_db: float | None, top: float) -> float | None:
    return None if value_db is None else round(100 * min(max(value_db / top, 0.0), 1.0), 1)


def _name(artifact: dict[str, Any]) -> str:
    return f"{TARGET_NAMES[artifact['target']]} {artifact['precision']}"


def _point(artifact: dict[str, Any], y: float, times: dict[str, float] | None = None, hollow: bool = False) -> Point:
    low, high = (times["min"], times["p90"]) if times else (None, None)
    name, kind = _name(artifact), artifact["target"]
    return Point(name, kind, artifact["precision"], float(max(artifact["bytes"], 1)), y, low, high, hollow)


def _why(artifact: dict[str, Any], word: str) -> str:
    parts = [artifact["not_verified_because"]] if artifact["not_verified_because"] else []
    ran = [engine["engine"] for engine in artifact["engines"] if engine["ran"]]
    if word != "not verified":
        outcome = [f"executed in {' and '.join(ran)}"]
        if artifact["agreement"] is not None:
            outcome.append(f"agreement {wording.percent_text(artifact['agreement'], 2)}")
        if (difference := _difference(artifact)) != wording.NOT_MEASURED:
            outcome.append(f"largest difference {difference}")
        if artifact.get("exact_samples") is not None:
            outcome.append(f"{artifact['exact_samples']} samples equal the whole-number arithmetic bit for bit")
        parts.append(", ".join(outcome))
    parts += [f"not executed in {e['engine']}: {e['reason']}" for e in artifact["engines"] if not e["ran"]]
    return ". ".join(part[:1].upper() + part[1:].rstrip(".") for part in parts) + "."


def _difference(artifact: dict[str, Any]) -> str:
    if artifact["max_step_difference"] is not None:
        return wording.steps_text(artifact["max_step_difference"])
    found = [e["max_abs_difference"] for e in artifact["engines"] if e["max_abs_difference"] is not None]
    return wording.three_digits(max(found)) if found else wording.NOT_MEASURED


def _plain(value: Any) -> str:
    """A value of free form (a scheme, a preprocessing) as text."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(part, str | int | float) for part in value):
        return ", ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)

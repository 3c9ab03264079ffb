"""Mixed precision in the report: what was tried against the size of weights, and what each layer's bits do alone."""

from typing import Any

from .charts import Chart, Point, accuracy_axis, decibel_axis, scatter, size_axis
from .wording import bytes_text


def mixed_charts(mixed: dict[str, Any], float_accuracy: float | None) -> list[Chart]:
    """Accuracy, where it was measured, and signal to noise of the outputs against the size of the weights."""
    points = mixed["points"]
    x = size_axis([point["bytes"] for point in points])
    found = [
        scatter(
            "mixed-noise",
            "Signal to noise against size of the weights",
            _marks(points, "sqnr_db"),
            x,
            decibel_axis([point["sqnr_db"] for point in points]),
        )
    ]
    if all(point["accuracy"] is not None for point in points):
        line = None if float_accuracy is None else (float_accuracy, "PyTorch float")
        y = accuracy_axis([point["accuracy"] for point in points] + ([] if line is None else [line[0]]))
        found.insert(
            0, scatter("mixed", "Accuracy against size of the weights", _marks(points, "accuracy"), x, y, line)
        )
    return found


def _marks(points: list[dict[str, Any]], key: str) -> list[Point]:
    """Those chosen are drawn last, over what they beat."""
    ordered = sorted(points, key=lambda point: (point["chosen"], point["name"] == "auto"))
    return [
        Point(
            f"{point['name']} (chosen)" if point["chosen"] else point["name"],
            "chosen" if point["chosen"] else ("auto" if point["name"] == "auto" else "uniform"),
            "int8" if point["name"] == "auto" else "float32",
            float(max(point["bytes"], 1)),
            point[key],
            hollow=not (point["chosen"] or point["front"]),
        )
        for point in ordered
    ]


def sensitivity_table(mixed: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: module, weights, bits chosen, and signal to noise in dB with that layer alone at so many bits.

    The choice that was taken is in brackets; a dash is one that the layer cannot have.
    """
    kinds = sorted({(choice["weight"], choice["activation"]) for row in mixed["layers"] for choice in row["choices"]})
    rows = []
    for row in mixed["layers"]:
        found = {(choice["weight"], choice["activation"]): choice["sqnr_db"] for choice in row["choices"]}
        taken = row["weight"], row["activation"]
        cells = [_cell(found.get(kind), kind == taken) for kind in kinds]
        rows.append([row["module"], f"{row['weights']:,}", _bits(*taken), *cells])
    return ["module", "weights", "bits", *(_bits(*kind) for kind in kinds)], rows


def mixed_summary(mixed: dict[str, Any]) -> str:
    """One sentence: what was asked, what was found."""
    chosen = next(point for point in mixed["points"] if point["chosen"])
    share = f"{chosen['share'] * 100:.1f} % of float32"
    return (
        f"Bits were chosen layer by layer within {', '.join(mixed['budgets'])}: weights of "
        f"{bytes_text(chosen['bytes'])}, {share}."
    )


def _bits(weight: int, activation: int) -> str:
    return f"w{weight}a{activation}"


def _cell(sqnr_db: float | None, is_taken: bool) -> str:
    if sqnr_db is None:
        return "–"
    return f"[{sqnr_db:.1f}]" if is_taken else f"{sqnr_db:.1f}"

"""The gate's document in words: rows of a table that a terminal, a failed test and a CI system show alike."""

from typing import Any

COLUMNS = ("artifact", "figure", "baseline", "now", "allowed", "change", "95% interval", "p", "can show", "verdict")


def rows_of(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every accuracy, and every other figure that changed, under `COLUMNS`."""
    return [
        cells_of(entry)
        for entry in document["compared"]
        if entry["figure"] == "accuracy" or not entry["holds"] or entry["baseline"] != entry["now"]
    ]


def cells_of(entry: dict[str, Any]) -> tuple[str, ...]:
    """One comparison, a text for each of `COLUMNS`."""
    figure = entry["figure"]
    return (
        entry["artifact"],
        figure,
        value_text(figure, entry["baseline"]),
        value_text(figure, entry["now"]),
        _allowed_text(figure, entry["allowed"]),
        *_paired_cells(entry["paired"]),
        "holds" if entry["holds"] else "moved",
    )


def lines_of(document: dict[str, Any]) -> list[str]:
    """What stands beside the table: faults with their layer, artifacts that are new, and where the baseline is."""
    lines = [fault_text(fault) for fault in document["faults"]]
    lines += [f"{name}: not in the baseline; add it with --update" for name in document["new"]]
    if document["updated"]:
        lines.append(f"written: {document['baseline']}")
    elif document["baseline"] is None and document["faults"]:
        lines.append("no baseline was written or compared with")
    elif document["baseline"] is None:
        lines.append(f"no baseline at {document['looked_for']}; write one with --update")
    return lines


def fault_text(fault: dict[str, Any]) -> str:
    """One artifact that is not verified: its file, why, and where it starts."""
    text = f"{fault['artifact']}, {fault['path']}: not verified: {fault['because']}"
    if fault["value"] is None:
        return text
    return f"{text}; starts at {fault['module'] or 'the network itself'} ({fault['value']})"


def text_of(document: dict[str, Any]) -> str:
    """The whole in plain text, for a failed test."""
    table = [COLUMNS, *rows_of(document)] if document["compared"] else []
    widths = [max(len(row[place]) for row in table) for place in range(len(COLUMNS))] if table else []
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in table]
    verdict = "holds" if document["holds"] else "does not hold"
    return "\n".join([f"{document['name']} {verdict}", *lines_of(document), *lines])


def value_text(figure: str, value: Any) -> str:
    """A figure in its unit; `unknown` where there is none."""
    if value is None:
        return "unknown"
    if figure in ("accuracy", "float_agreement"):
        return f"{value:.2%}"
    if figure == "macs":
        return ", ".join(f"{count:,} of {bits} bit" for bits, count in sorted(value.items())) or "none"
    if figure == "bytes":
        return f"{value:,}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _allowed_text(figure: str, allowed: float) -> str:
    if figure in ("accuracy", "float_agreement"):
        return f"-{allowed:.2%}"
    if figure == "bytes":
        return f"+{allowed:,.0f}"
    if figure == "macs":
        return f"±{allowed:.2%}" if allowed else "equal"
    return "" if figure == "artifact" else f"+{allowed:g}"


def _paired_cells(paired: dict[str, Any] | None) -> tuple[str, str, str, str]:
    """Change, its interval, its p, and the smallest drop that so many samples could show to be one."""
    if paired is None:
        return "", "", "", ""
    smallest = paired["smallest"]
    return (
        f"{paired['change']:+.2%}",
        f"{paired['low']:+.2%} to {paired['high']:+.2%}",
        f"{paired['p']:.2g}",
        "too few samples" if smallest is None else f"-{smallest:.2%}",
    )

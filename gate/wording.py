"""The gate's document in words: tables and lines that a terminal, a failed test and a CI system show alike."""

from typing import Any

ACCURACY = ("accuracy of", "before", "now", "change", "95% interval", "p", "can show", "verdict")
OTHERS = ("artifact", "figure", "baseline", "now", "allowed", "verdict")

Row = tuple[str, ...]


def tables_of(document: dict[str, Any]) -> list[tuple[Row, list[Row]]]:
    """(columns, rows) of two tables, each for a terminal of 80: every accuracy, and the other figures that changed."""
    compared = document["compared"]
    accuracies = [_accuracy_cells(entry) for entry in compared if entry["figure"] == "accuracy"]
    others = [
        _cells(entry)
        for entry in compared
        if entry["figure"] != "accuracy" and (not entry["holds"] or entry["baseline"] != entry["now"])
    ]
    return [(columns, rows) for columns, rows in ((ACCURACY, accuracies), (OTHERS, others)) if rows]


def entry_text(entry: dict[str, Any]) -> str:
    """One comparison in one line, without its name and verdict."""
    if entry["figure"] == "accuracy":
        pairs = zip(ACCURACY[1:-1], _accuracy_cells(entry)[1:-1])
    else:
        pairs = zip(OTHERS[2:-1], _cells(entry)[2:-1])
    return "; ".join(f"{column}: {cell}" for column, cell in pairs if cell)


def _accuracy_cells(entry: dict[str, Any]) -> Row:
    """Change, its interval, its p, and the smallest drop that so many samples could show to be one."""
    before, now = (value_text("accuracy", entry[key]) for key in ("baseline", "now"))
    pairs = entry["paired"]
    if pairs is None:
        return entry["artifact"], before, now, "", "", "", "", _verdict(entry)
    return (
        entry["artifact"],
        before,
        now,
        f"{pairs['change']:+.2%}",
        f"{100 * pairs['low']:+.2f} to {pairs['high']:+.2%}",
        f"{pairs['p']:.2g}" if pairs["p"] >= 1e-4 else f"{pairs['p']:.0e}",
        "too few" if pairs["smallest"] is None else f"-{pairs['smallest']:.2%}",
        _verdict(entry),
    )


def _cells(entry: dict[str, Any]) -> Row:
    figure = entry["figure"]
    values = (value_text(figure, entry[key]) for key in ("baseline", "now"))
    return entry["artifact"], figure, *values, _allowed_text(figure, entry["allowed"]), _verdict(entry)


def _verdict(entry: dict[str, Any]) -> str:
    return "holds" if entry["holds"] else "moved"


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
    lines = [f"{document['name']} {'holds' if document['holds'] else 'does not hold'}", *lines_of(document)]
    for columns, rows in tables_of(document):
        widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
        lines += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (columns, *rows)]
    return "\n".join(lines)


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

"""What people see in the terminal: one function a verb, each printing tables from the verb's JSON document."""

import sys
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .gate.wording import lines_of, tables_of
from .runtime.report.mixed import sensitivity_table
from .runtime.report.wording import bytes_text, count_text, milliseconds, percent_text, steps_text

_DEAREST = 8  # functions shown of a network

# Into a file or a pipe, lines are as long as they need to be.
_console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


def _literally(show: Callable[[Any], None]) -> Callable[[Any], None]:
    """Shows the document's texts as they are: what stands in brackets, as in a shape, is no markup."""

    def escaped(value: Any) -> Any:
        if isinstance(value, str):
            return escape(value)
        if isinstance(value, dict):
            return {key: escaped(inner) for key, inner in value.items()}
        return [escaped(inner) for inner in value] if isinstance(value, list) else value

    @wraps(show)
    def shown(document: Any) -> None:
        show(escaped(document))

    return shown


@_literally
def show_dist(document: dict[str, Any]) -> None:
    """One line per artifact: size, accuracy, agreement, output steps, latency, verdict; then what does not hold."""
    accuracy = (document.get("float") or {}).get("accuracy")
    _console.print(f"[bold]{document['name']}[/]  float accuracy {percent_text(accuracy)}")
    table = _table("target", "precision", "size", "accuracy", "agreement", "steps", "p50 ms", "integer MACs", "verdict")
    for row in document["artifacts"]:
        latency = (row.get("latency_ms") or {}).get("p50")
        table.add_row(
            row["target"],
            row["precision"],
            bytes_text(row["bytes"]),
            _short(percent_text(row["accuracy"])),
            _short(percent_text(row["agreement"])),
            _short(steps_text(row["max_step_difference"])).split("\N{NO-BREAK SPACE}")[0].split(" ")[0],
            _short(milliseconds(latency)) + (" noisy" if row.get("noisy") else ""),
            _short(percent_text(row.get("integer_mac_share"))),
            "[green]verified[/]" if row["verified"] else "[red]not verified[/]",
        )
    _console.print(table)
    read_back = [
        f"{row['target']} {row['constants']['identical']} of {row['constants']['compared']}"
        for row in document["artifacts"]
        if row.get("constants")
    ]
    if read_back:
        _console.print(f"integers and scales read back identical: {', '.join(read_back)}")
    samples = (document.get("data") or {}).get("samples")
    exact = [
        f"{row['path']} {row['exact_samples']} of {samples}"
        for row in document["artifacts"]
        if row.get("exact_samples") is not None
    ]
    if exact:
        _console.print(f"samples equal to the whole-number arithmetic, bit for bit: {', '.join(exact)}")
    for row in document["artifacts"]:
        if row["not_verified_because"]:
            _console.print(f"[red]{row['path']}[/]: {row['not_verified_because']}", soft_wrap=True)
        first = row.get("first_difference")
        if first:
            where = first["module"] or "the network itself"
            _console.print(f"  starts at [bold]{where}[/] (value {first['value']})", soft_wrap=True)
        for engine in row.get("engines", ()):
            if not engine["ran"]:
                _console.print(f"  {row['path']}: {engine['engine']} was not run: {engine['reason']}", soft_wrap=True)


@_literally
def show_board(document: dict[str, Any]) -> None:
    """What each C network computed and takes on a board, and its dearest functions."""
    count = document["samples"]
    _console.print(f"[bold]{document['name']}[/] on [bold]{document['board']}[/], {count} samples")
    table = _table("network", "precision", "flash", "RAM", "stack", "instructions", "as here", "as the program")
    for network in document["networks"]:
        exact = network["exact_samples"]
        table.add_row(
            network["path"],
            network["precision"],
            *(bytes_text(network[key]) for key in ("flash_bytes", "ram_bytes", "stack_bytes")),
            count_text(network["instructions"]),
            f"{network['equal_samples']} of {count}",
            "–" if exact is None else f"{exact} of {count}",
        )
    _console.print(table)
    for network in document["networks"]:
        if network["fault"]:
            _console.print(f"[red]{network['path']}[/]: {network['fault']}", soft_wrap=True)
        table = _table(f"instructions of {network['path']}", "count", "share")
        for function, instructions in list(network["by_function"].items())[:_DEAREST]:
            table.add_row(function, count_text(instructions), percent_text(instructions / network["instructions"]))
        _console.print(table)
    first = document["networks"][0]
    _console.print(f"{first['compiler']} {' '.join(first['flags'])}; {first['emulator']}. Instructions are no time.")


@_literally
def show_systems(rows: Iterable[dict[str, Any]]) -> None:
    """The zoo."""
    table = _table("system", "paper", "task", "parameters", "MACs", "works")
    for row in rows:
        works = ", ".join(name for name, holds in row["works"].items() if holds)
        table.add_row(
            row["name"],
            row["paper"],
            row["task"],
            count_text(row["parameters"]),
            count_text(row["macs"]),
            works or "not recorded",
        )
    _console.print(table)


@_literally
def show_run(document: dict[str, Any]) -> None:
    """A training's last figures."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in document["metrics"].items())
    _console.print(f"[bold]{document['run']}[/]  {figures}", soft_wrap=True)


@_literally
def show_program(document: dict[str, Any]) -> None:
    """A quantized program against its float network."""
    floating, integer, scheme = document["float"]["accuracy"], document["quantized"], document["scheme"]
    _console.print(f"[bold]{document['program']}[/]  on {document['samples']}")
    _console.print(
        f"float accuracy {percent_text(floating)}, {scheme} {percent_text(integer['accuracy'])}, "
        f"agreement {percent_text(integer['agreement'])}"
    )
    if document.get("mixed"):
        _show_mixed(document["mixed"])
    kept = [layer for layer in document["layers"] if layer["reason"]]
    if kept:
        table = _table("layer", "weight bits", "input bits", "why not as the scheme says")
        for layer in kept:
            table.add_row(layer["module"], str(layer["weight"]), str(layer["activation"]), layer["reason"])
        _console.print(table)
    table = _table("stays in float", "module", "why")
    for entry in document["float_operators"]:
        table.add_row(entry["operator"], entry["module"] or "(network)", entry["reason"])
    if document["float_operators"]:
        _console.print(table)


def _show_mixed(mixed: dict[str, Any]) -> None:
    """Each layer's bits with what fewer or more would do to the outputs, and accuracy against size."""
    columns, rows = sensitivity_table(mixed)
    table = _table(*columns)
    for cells in rows:
        table.add_row(*cells)
    _console.print(f"bits chosen for {', '.join(mixed['budgets'])}; beside them dB of signal to noise of the network's")
    _console.print("outputs with that layer alone at so many bits, all others at 8")
    _console.print(table)
    table = _table("choice", "weights", "of float32", "dB", mixed["judge"], "accuracy", "")
    for point in mixed["points"]:
        marks = ["chosen"] * point["chosen"] + ["front"] * point["front"]
        table.add_row(
            point["name"],
            bytes_text(point["bytes"]),
            percent_text(point["share"]),
            f"{point['sqnr_db']:.1f}",
            f"{point['error']:.2g}",
            _short(percent_text(point["accuracy"])),
            ", ".join(marks),
        )
    _console.print(f"dB and {mixed['judge']} on {mixed['samples']} calibration samples, accuracy on held-out ones")
    _console.print(table)


@_literally
def show_files(document: dict[str, Any]) -> None:
    """Files that were written."""
    table = _table("file", "target", "precision", "size")
    for row in document["artifacts"]:
        table.add_row(row["path"], row["target"], row["precision"], bytes_text(row["bytes"]))
    _console.print(f"[bold]{document['folder']}[/]")
    _console.print(table)
    for target, ratio in document["bytes_ratio"].items():
        _console.print(f"{target}: quantized is {ratio:.3f} of float32")


def show_check(document: dict[str, Any]) -> None:
    """What moved, every accuracy with what its samples say, faults with their layer, and the verdict."""
    for line in lines_of(document):
        _console.print(escape(line), soft_wrap=True)
    for columns, rows in tables_of(document):
        table = _table(*columns)
        for cells in rows:
            table.add_row(*map(escape, cells), style=None if cells[-1] == "holds" else "red")
        _console.print(table)
    verdict = "[green]holds[/]" if document["holds"] else "[red]does not hold[/]"
    _console.print(f"[bold]{escape(document['name'])}[/] {verdict}")


@_literally
def show_report(document: dict[str, Any]) -> None:
    """Where the page is."""
    _console.print(document["report"])


@_literally
def show_doctor(document: dict[str, Any]) -> None:
    """What works here."""
    host = document["host"]
    _console.print(f"{host['cpu']}, {host['cores']} cores, {host['system']}")
    table = _table("", "what", "detail", "to enable it")
    for finding in document["findings"]:
        mark = "[green]yes[/]" if finding["works"] else "[yellow]no[/]"
        table.add_row(mark, finding["name"], finding["detail"], finding["mend"])
    _console.print(table)


def _short(text: str) -> str:
    """A dash where nothing was measured: a terminal has no room for the words."""
    return "–" if text == "not measured" else text


_PROSE = {
    "detail",
    "to enable it",
    "what",
    "what the samples say",
    "why",
    "works",
    "paper",
}  # columns that may break over lines


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=len(column) > 0 and column not in _PROSE)
    return table

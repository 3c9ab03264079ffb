"""What people see in the terminal: one function a verb, each printing tables from the verb's JSON document.

`screen_devices.py` has the verbs whose subject is a device.
"""

from collections.abc import Iterable
from typing import Any

from rich.markup import escape

from .gate.wording import lines_of, tables_of
from .runtime.report.mixed import sensitivity_table
from .runtime.report.wording import bytes_text, count_text, milliseconds, percent_text, steps_text
from .terminal import console, literally, short, table


@literally
def show_dist(document: dict[str, Any]) -> None:
    """One line per artifact: size, accuracy, agreement, output steps, latency, verdict; then what does not hold."""
    accuracy = (document.get("float") or {}).get("accuracy")
    console.print(f"[bold]{document['name']}[/]  float accuracy {percent_text(accuracy)}")
    shown = table("target", "precision", "size", "accuracy", "agreement", "steps", "p50 ms", "integer MACs", "verdict")
    for row in document["artifacts"]:
        latency = (row.get("latency_ms") or {}).get("p50")
        shown.add_row(
            row["target"],
            row["precision"],
            bytes_text(row["bytes"]),
            short(percent_text(row["accuracy"])),
            short(percent_text(row["agreement"])),
            short(steps_text(row["max_step_difference"])).split("\N{NO-BREAK SPACE}")[0].split(" ")[0],
            short(milliseconds(latency)) + (" noisy" if row.get("noisy") else ""),
            short(percent_text(row.get("integer_mac_share"))),
            "[green]verified[/]" if row["verified"] else "[red]not verified[/]",
        )
    console.print(shown)
    _show_metrics(document)
    read_back = [
        f"{row['target']} {row['constants']['identical']} of {row['constants']['compared']}"
        for row in document["artifacts"]
        if row.get("constants")
    ]
    if read_back:
        console.print(f"integers and scales read back identical: {', '.join(read_back)}")
    samples = (document.get("data") or {}).get("samples")
    exact = [
        f"{row['path']} {row['exact_samples']} of {samples}"
        for row in document["artifacts"]
        if row.get("exact_samples") is not None
    ]
    if exact:
        console.print(f"samples equal to the whole-number arithmetic, bit for bit: {', '.join(exact)}")
    for row in document["artifacts"]:
        if row["not_verified_because"]:
            console.print(f"[red]{row['path']}[/]: {row['not_verified_because']}", soft_wrap=True)
        first = row.get("first_difference")
        if first:
            where = first["module"] or "the network itself"
            console.print(f"  starts at [bold]{where}[/] (value {first['value']})", soft_wrap=True)
        for engine in row.get("engines", ()):
            if not engine["ran"]:
                console.print(f"  {row['path']}: {engine['engine']} was not run: {engine['reason']}", soft_wrap=True)


def _show_metrics(document: dict[str, Any]) -> None:
    """The task's own figures, where it has any: of the float network, and of each artifact."""
    measured = [("float", "", (document.get("float") or {}).get("metrics"))]
    measured += [(row["target"], row["precision"], row.get("metrics")) for row in document["artifacts"]]
    names = list(dict.fromkeys(name for *_, metrics in measured for name in metrics or ()))
    if not names:
        return
    shown = table("target", "precision", *(name.replace("_", " ") for name in names))
    for target, precision, metrics in measured:
        shown.add_row(target, precision, *(f"{metrics[name]:.4g}" if metrics else "–" for name in names))
    console.print(shown)


@literally
def show_systems(rows: Iterable[dict[str, Any]]) -> None:
    """The zoo."""
    shown = table("system", "paper", "task", "parameters", "MACs", "works")
    for row in rows:
        works = ", ".join(name for name, holds in row["works"].items() if holds)
        shown.add_row(
            row["name"],
            row["paper"],
            row["task"],
            count_text(row["parameters"]),
            count_text(row["macs"]),
            works or "not recorded",
        )
    console.print(shown)


@literally
def show_run(document: dict[str, Any]) -> None:
    """A training's last figures, and whether it arrived."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in document["metrics"].items())
    console.print(f"[bold]{document['run']}[/]  {figures}", soft_wrap=True)
    if not document["converged"]:
        left = " and ".join(f"{name} {value:.3g}" for name, value in document["left"].items())
        console.print(f"did not converge{f': {left}' if left else ''}; the run is marked", style="yellow")


@literally
def show_rules(document: dict[str, Any]) -> None:
    """Learning rules, and which of them train a system."""
    if document["system"] is None:
        shown = table("rule", "what it trains", "settings")
        for rule in document["rules"]:
            shown.add_row(rule["name"], rule["trains"], _settings(rule))
    else:
        shown = table("rule", f"trains {document['system']}", "settings, or why not")
        for rule in document["rules"]:
            admitted = ("yes, its own" if rule["own"] else "yes") if rule["admitted"] else "no"
            shown.add_row(rule["name"], admitted, rule["because"] or _settings(rule))
    console.print(shown)


def _settings(rule: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in rule["settings"].items()) or "–"


@literally
def show_program(document: dict[str, Any]) -> None:
    """A quantized program against its float network."""
    floating, integer, scheme = document["float"]["accuracy"], document["quantized"], document["scheme"]
    console.print(f"[bold]{document['program']}[/]  on {document['samples']}")
    console.print(
        f"float accuracy {percent_text(floating)}, {scheme} {percent_text(integer['accuracy'])}, "
        f"agreement {percent_text(integer['agreement'])}"
    )
    if document.get("mixed"):
        _show_mixed(document["mixed"])
    kept = [layer for layer in document["layers"] if layer["reason"]]
    if kept:
        shown = table("layer", "weight bits", "input bits", "why not as the scheme says")
        for layer in kept:
            shown.add_row(layer["module"], str(layer["weight"]), str(layer["activation"]), layer["reason"])
        console.print(shown)
    shown = table("stays in float", "module", "why")
    for entry in document["float_operators"]:
        shown.add_row(entry["operator"], entry["module"] or "(network)", entry["reason"])
    if document["float_operators"]:
        console.print(shown)


def _show_mixed(mixed: dict[str, Any]) -> None:
    """Each layer's bits with what fewer or more would do to the outputs, and accuracy against size."""
    columns, rows = sensitivity_table(mixed)
    shown = table(*columns)
    for cells in rows:
        shown.add_row(*cells)
    console.print(f"bits chosen for {', '.join(mixed['budgets'])}; beside them dB of signal to noise of the network's")
    console.print("outputs with that layer alone at so many bits, all others at 8")
    console.print(shown)
    shown = table("choice", "weights", "of float32", "dB", mixed["judge"], "accuracy", "")
    for point in mixed["points"]:
        marks = ["chosen"] * point["chosen"] + ["front"] * point["front"]
        shown.add_row(
            point["name"],
            bytes_text(point["bytes"]),
            percent_text(point["share"]),
            f"{point['sqnr_db']:.1f}",
            f"{point['error']:.2g}",
            short(percent_text(point["accuracy"])),
            ", ".join(marks),
        )
    console.print(f"dB and {mixed['judge']} on {mixed['samples']} calibration samples, accuracy on held-out ones")
    console.print(shown)


@literally
def show_files(document: dict[str, Any]) -> None:
    """Files that were written."""
    shown = table("file", "target", "precision", "size")
    for row in document["artifacts"]:
        shown.add_row(row["path"], row["target"], row["precision"], bytes_text(row["bytes"]))
    console.print(f"[bold]{document['folder']}[/]")
    console.print(shown)
    for target, ratio in document["bytes_ratio"].items():
        console.print(f"{target}: quantized is {ratio:.3f} of float32")


def show_check(document: dict[str, Any]) -> None:
    """What moved, every accuracy with what its samples say, faults with their layer, and the verdict."""
    for line in lines_of(document):
        console.print(escape(line), soft_wrap=True)
    for columns, rows in tables_of(document):
        shown = table(*columns)
        for cells in rows:
            shown.add_row(*map(escape, cells), style=None if cells[-1] == "holds" else "red")
        console.print(shown)
    verdict = "[green]holds[/]" if document["holds"] else "[red]does not hold[/]"
    console.print(f"[bold]{escape(document['name'])}[/] {verdict}")


@literally
def show_report(document: dict[str, Any]) -> None:
    """Where the page is."""
    console.print(document["report"])


@literally
def show_doctor(document: dict[str, Any]) -> None:
    """What works here."""
    host = document["host"]
    console.print(f"{host['cpu']}, {host['cores']} cores, {host['system']}")
    shown = table("", "what", "detail", "to enable it")
    for finding in document["findings"]:
        mark = "[green]yes[/]" if finding["works"] else "[yellow]no[/]"
        shown.add_row(mark, finding["name"], finding["detail"], finding["mend"])
    console.print(shown)

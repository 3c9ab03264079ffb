"""What people see in the terminal of devices: boards, synapses, networks on arrays, and papers reproduced on them."""

from collections.abc import Iterable
from typing import Any

from rich.markup import escape

from .runtime.report.emulation import converter_text, joules_text, read_text, spread_text, write_text
from .runtime.report.sweep import Sweep, break_text, sweep_of, value_text
from .runtime.report.wording import bytes_text, count_text, percent_text, points_text
from .terminal import console, literally, table

_DEAREST = 8  # functions shown of a network


@literally
def show_board(document: dict[str, Any]) -> None:
    """What each C network computed and takes on a board, and its dearest functions."""
    count = document["samples"]
    console.print(f"[bold]{document['name']}[/] on [bold]{document['board']}[/], {count} samples")
    shown = table("network", "precision", "flash", "RAM", "stack", "instructions", "as here", "as the program")
    for network in document["networks"]:
        exact = network["exact_samples"]
        shown.add_row(
            network["path"],
            network["precision"],
            *(bytes_text(network[key]) for key in ("flash_bytes", "ram_bytes", "stack_bytes")),
            count_text(network["instructions"]),
            f"{network['equal_samples']} of {count}",
            "–" if exact is None else f"{exact} of {count}",
        )
    console.print(shown)
    for network in document["networks"]:
        if network["fault"]:
            console.print(f"[red]{network['path']}[/]: {network['fault']}", soft_wrap=True)
        shown = table(f"instructions of {network['path']}", "count", "share")
        for function, instructions in list(network["by_function"].items())[:_DEAREST]:
            shown.add_row(function, count_text(instructions), percent_text(instructions / network["instructions"]))
        console.print(shown)
    first = document["networks"][0]
    console.print(f"{first['compiler']} {' '.join(first['flags'])}; {first['emulator']}. Instructions are no time.")


def show_emulation(document: dict[str, Any]) -> None:
    """What a network does on emulated arrays and what they take; then every point of a sweep, and where it breaks."""
    count, accuracy, agreement = document["chips"], document["accuracy"], document["agreement"]
    head = f"[bold]{escape(document['name'])}[/] on [bold]{escape(document['synapse'])}[/]"
    console.print(f"{head}, {count} chip{'' if count == 1 else 's'}, {document['samples']} samples", soft_wrap=True)
    if accuracy:
        digital = document["digital_accuracy"]
        console.print(
            f"accuracy {percent_text(accuracy['mean'])} ({spread_text(accuracy, count)}), "
            f"digital {percent_text(digital)}, difference {points_text(accuracy['mean'] - digital)} points",
            soft_wrap=True,
        )
    console.print(f"agreement {percent_text(agreement['mean'])} ({spread_text(agreement, count)})", soft_wrap=True)
    console.print(
        f"{document['arrays']} arrays, {count_text(document['cells'])} cells, "
        f"{joules_text(document['energy_joules'])} a sample (ADCs {converter_text(document)}; DACs and the digital "
        f"part not counted), written with {write_text(document)}",
        soft_wrap=True,
    )
    console.print(read_text(document), soft_wrap=True)
    sweep = sweep_of(document)
    if sweep:
        _show_sweep(sweep)


def _show_sweep(sweep: Sweep) -> None:
    measure = sweep.measure
    shown = table(*map(escape, sweep.names), measure.key, "low", "high", "points from digital", "")
    for point in sweep.points:
        found, broken = point[measure.key], measure.is_broken(point)
        shown.add_row(
            *(value_text(name, point["settings"][name]) for name in sweep.names),
            *(percent_text(found[end]) for end in ("mean", "low", "high")),
            points_text(measure.change(point)),
            "below" if broken else "",
            style="red" if broken else None,
        )
    console.print(shown)
    console.print(escape(break_text(sweep)), soft_wrap=True)


@literally
def show_synapses(rows: Iterable[dict[str, Any]]) -> None:
    """The catalogue."""
    shown = table("synapse", "title", "response", "pulses", "labels", "on/off", "cycle noise")
    for row in rows:
        shown.add_row(
            row["name"],
            row["title"],
            row["response"],
            _of_both(f"{row['pulses_up']:,}", f"{row['pulses_down']:,}"),
            _of_both(f"{row['nonlinearity_up']:g}", f"{row['nonlinearity_down']:g}"),
            "–" if row["on_off"] is None else f"{row['on_off']:.3g}",
            percent_text(row["cycle_noise"]),
        )
    console.print(shown)
    console.print("`offramp synapse NAME` shows all figures of one, `offramp synapse FILE.csv` fits your own.")


@literally
def show_synapse(document: dict[str, Any]) -> None:
    """Every figure of one device, with the interval of those that were fitted."""
    device, fit = document["device"], document["fit"]
    console.print(f"[bold]{device['name']}[/]  {device['title']}", soft_wrap=True)
    console.print(device["source"], soft_wrap=True)
    if fit is not None:
        console.print(
            f"{fit['sweeps']} sweeps, off by {percent_text(fit['residual'], 2)} of the range (root mean square); "
            f"intervals of 95 % by {fit['method']}",
            soft_wrap=True,
        )
    shown = table("figure", "value", "from", "to")
    for name, value in device.items():
        if name in ("name", "title", "source", "curve_up", "curve_down") or value is None:
            continue
        low, high = document["intervals"].get(name, (None, None))
        shown.add_row(name, _figure(value), *("" if end is None else _figure(end) for end in (low, high)))
    console.print(shown)
    for what in ("plot", "out"):
        if document.get(what):
            console.print(f"{what}: {document[what]}", soft_wrap=True)


@literally
def show_claims(claims: list[dict[str, Any]]) -> None:
    """Each claim of a paper with both figures and whether it holds; then the tables."""
    shown = table("what the paper says", "baseline", "ours", "")
    for claim in claims:
        verdict = "[green]holds[/]" if claim["holds"] else "[red]does not hold[/]"
        shown.add_row(
            claim["claim"], *(_estimate(claim["metric"], claim[side]) for side in ("baseline", "ours")), verdict
        )
    console.print(shown)
    for claim in claims:
        if claim["table"]:
            found = table(*claim["table"]["columns"])
            for row in claim["table"]["rows"]:
                found.add_row(*row)
            console.print(f"[bold]{claim['table']['title']}[/]")
            console.print(found)
        if claim["note"]:
            console.print(f"{claim['claim']}: {claim['note']}", soft_wrap=True)
    seeds = claims[0]["seeds"] if claims else 0
    console.print(f"mean and 95 % interval over {seeds} seed{'' if seeds == 1 else 's'}")


def _estimate(metric: str, estimate: dict[str, float]) -> str:
    if metric == "accuracy":
        shown = percent_text(estimate["mean"]), *(f"{estimate[end] * 100:.1f}" for end in ("low", "high"))
    else:
        digits = ",.0f" if abs(estimate["mean"]) >= 1000 else ".3g"
        shown = tuple(format(estimate[end], digits) for end in ("mean", "low", "high"))
    return shown[0] if estimate["low"] == estimate["high"] else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _of_both(up: str, down: str) -> str:
    return up if up == down else f"{up} / {down}"


def _figure(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(part)}" for name, part in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)

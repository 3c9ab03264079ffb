"""The results page's sections on synapse devices: speed beside the peer, networks on arrays, papers reproduced."""

from typing import Any

from ..estimate import CONFIDENCE, short_cell


def speed(document: dict[str, Any]) -> str:
    """Pulsed updates and noisy products."""
    ratios = document["ratios"]
    plain = ", ".join(f"{ratios[f'product_over_plain_{batch}']:.1f} (batch {batch})" for batch in (1, 64))
    lines = [
        "## Synapse devices: pulsed updates and noisy products\n",
        f"`python -m offramp.benchmarks.synapse` on {document['machine']}, "
        f"{document['size']}x{document['size']} devices, one thread, medians of one interleaved run.",
        "An update draws trains, finds coincidences and gives each pulse noise of its own; a noisy product deviates",
        "every cell at every read, aihwkit's has its default noise, converters and bounds. Noisy product over the",
        f"plain one: {plain}.\n",
        "| what | batch | variant | µs | aihwkit / ours |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in document["rows"]:
        kind = row["who"].removeprefix("ours ")
        ratio = ratios.get(f"update_{kind}_{row['batch']}") if row["what"] == "update" else None
        cells = [
            row["what"],
            str(row["batch"]),
            row["who"],
            f"{row['us']:,.1f}",
            "" if ratio is None else f"{ratio:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if document["agreement"]:
        lines += [
            "",
            f"65,536 devices each, of either side, after so many pulses up from zero ({document['peer']}); errors are",
            "standard errors of the difference.\n",
            "| device | pulses | mean, ours | peer | errors apart | variance, ours | peer | errors apart |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
    for row in document["agreement"]:
        cells = [row["kind"], str(row["pulses"])]
        for name, form in (("mean", ".5f"), ("variance", ".3e")):
            cells += [
                f"{row[f'{name}_ours']:{form}}",
                f"{row[f'{name}_peer']:{form}}",
                f"{row[f'{name}_errors_apart']:.1f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def networks(document: dict[str, Any]) -> str:
    """Networks on arrays, what training for them gives, and a sweep."""
    sweep = document["sweep"]
    lines = [
        "## Networks on emulated arrays of synapse devices\n",
        f"`python -m offramp.benchmarks.emulation` on {document['machine']}: int8 programs on 500 held-out digits, "
        f"{document['chips']} chips,",
        "arrays of 256x256, 8-bit ADCs, each weight a pair of devices that are written once, pulse by pulse where the",
        "device's pulses are published; `pcm-ibm` is read a day later with its mean drift made up for. *Aware* is the",
        f"network trained on with `--aware synapse=DEVICE`. Mean and {CONFIDENCE:.0%} interval of the mean over chips;",
        "energy is of devices and ADCs for one digit, time of 1,000 digits on one chip.\n",
        "| network | device | digital | on chips | aware | arrays | energy, nJ | of which cells, pJ | s for 1,000 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["rows"]:
        cells = [
            row["network"],
            row["device"],
            f"{row['digital_accuracy']:.1%}",
            shown_estimate("accuracy", row["accuracy"]),
            "" if row["aware"] is None else shown_estimate("accuracy", row["aware"]),
            f"{row['arrays']:,}",
            f"{row['joules'] * 1e9:,.0f}",
            short_cell(row["cell_joules"] * 1e12),
            f"{row['seconds_per_1000']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    columns = sorted({point["settings"]["d2d"] for point in sweep["points"]})
    lines += [
        "",
        f"{sweep['network']} on devices that are ideal but for their number of states and a spread of their ends "
        f"(`--sweep {' --sweep '.join(sweep['axes'])}`):\n",
        "| states | " + " | ".join(f"spread {value:g}" for value in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for states in dict.fromkeys(point["settings"]["levels"] for point in sweep["points"]):
        found = {p["settings"]["d2d"]: p["accuracy"] for p in sweep["points"] if p["settings"]["levels"] == states}
        lines.append(
            f"| {states:g} | " + " | ".join(shown_estimate("accuracy", found[value]) for value in columns) + " |"
        )
    learned = document["learned"]
    lines += [
        "",
        f"{learned['network']}, trained in arrays of a device (`offramp train {learned['network']} --rule in-array "
        "--synapse DEVICE`), then deployed like any other run:\n",
        "| device | accuracy in the arrays | deployed, least to most | int8 agreement, least | verified |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in learned["rows"]:
        accuracies = [artifact["accuracy"] for artifact in row["artifacts"]]
        agreement = min(a["agreement"] for a in row["artifacts"] if a["precision"] == "int8")
        verified = sum(artifact["verified"] for artifact in row["artifacts"])
        cells = [row["device"], f"{row['trained_accuracy']:.1%}", f"{min(accuracies):.1%} to {max(accuracies):.1%}"]
        lines.append(f"| {' | '.join([*cells, f'{agreement:.1%}', f'{verified} of {len(accuracies)}'])} |")
    return "\n".join(lines) + "\n"


def reproduction(document: dict[str, Any]) -> str:
    """A paper's claims and tables."""
    holding = sum(claim["holds"] for claim in document["claims"])
    lines = [
        f"## Reproduced: {document['slug']}\n",
        f"`offramp reproduce {document['slug']}` on {document['machine']}, {document['seeds']} seeds, "
        f"{document['seconds']:.0f} s: {holding} of {len(document['claims'])} claims hold. "
        f"Mean and {CONFIDENCE:.0%} interval over seeds.\n",
        "| claim | metric | baseline | ours | holds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for claim in document["claims"]:
        note = f" ({claim['note']})" if claim["note"] else ""
        cells = [
            f"{claim['claim']}{note}",
            claim["metric"],
            *(shown_estimate(claim["metric"], claim[side]) for side in ("baseline", "ours")),
        ]
        lines.append(f"| {' | '.join(cells)} | {'yes' if claim['holds'] else '**no**'} |")
    for table in (claim["table"] for claim in document["claims"] if claim["table"]):
        lines += [
            "",
            f"{table['title']}:\n",
            f"| {' | '.join(table['columns'])} |",
            "| --- " * len(table["columns"]) + "|",
        ]
        lines += [f"| {' | '.join(row)} |" for row in table["rows"]]
    return "\n".join(lines) + "\n"


def shown_estimate(metric: str, estimate: dict[str, float]) -> str:
    """Mean and interval, in percent where the metric is an accuracy; the mean alone where it is exact."""
    mean, low, high = (estimate[end] for end in ("mean", "low", "high"))
    if metric == "accuracy":
        return f"{mean:.1%}" if low == high else f"{mean:.1%} ({low * 100:.1f}–{high * 100:.1f})"
    decimals = 0 if abs(mean) >= 1000 else 2 if abs(mean) >= 0.1 else 4
    shown = [f"{value:,.{decimals}f}" for value in (mean, low, high)]
    return shown[0] if low == high else f"{shown[0]} ({shown[1]} to {shown[2]})"

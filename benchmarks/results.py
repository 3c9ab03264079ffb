"""`python -m offramp.benchmarks.results`: writes docs/results.md from recorded results; nothing in it is typed.

    python -m offramp.benchmarks.int8 | python -m offramp.benchmarks.results --keep    keeps a benchmark's last line
    python -m offramp.benchmarks.results                                               writes the page

Records lie in `benchmarks/recorded/NAME.json`, and for the zoo in `models/recorded.json`; a test holds the page to
them.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..models.recorded import recorded_results
from ..runtime.report.page import TARGET_NAMES
from ..storage import atomic_path, read_json, write_json
from . import (
    boolean_threshold_section,
    c_section,
    learning_rules_section,
    logic_networks_section,
    logic_section,
    mixed_section,
    overlap_plot,
    papers_section,
    ptq_section,
    qat_section,
    synapse_section,
)

_ROOT = Path(__file__).resolve().parent.parent
_RECORDS = _ROOT / "benchmarks" / "recorded"
_PAGE = _ROOT / "docs" / "results.md"
_README = _ROOT / "README.md"
_PLOTS = {"multitasking-hebbian": overlap_plot.overlaps_svg}  # of reproductions, from their records
_BEGIN, _END = "<!-- figures: python -m offramp.benchmarks.results -->", "<!-- end of figures -->"
_IN_README = ("care_xxs", "resnet8", "mobilenet_v2_xs", "care_s0", "mobilenet_v2")


def page() -> str:
    """The whole page as Markdown."""
    parts = [
        "# Results\n",
        "Written by `python -m offramp.benchmarks.results` from recorded runs; not edited by hand.\n",
    ]
    reproduced = [read_json(path) for path in sorted(_RECORDS.glob("reproduction-*.json"))]
    parts += [papers_section.section(recorded_results(), reproduced)]
    parts += [_zoo(recorded_results()), c_section.zoo(recorded_results())]
    for name, render in (
        ("int8", _int8),
        ("ptq", ptq_section.section),
        ("export_time", _export_time),
        ("gate", _gate),
        ("qat", qat_section.section),
        ("mixed", mixed_section.section),
        ("binary_conv", c_section.binary_conv),
        ("c_networks", c_section.c_networks),
        ("mcu", c_section.mcu),
        ("c_exact", c_section.c_exact),
        ("boolean_threshold", boolean_threshold_section.section),
        ("learning_rules", learning_rules_section.section),
        ("rules_elsewhere", learning_rules_section.elsewhere),
        ("logic", logic_section.section),
        ("logic_networks", logic_networks_section.section),
        ("synapse", synapse_section.speed),
        ("emulation", synapse_section.networks),
        *((path.stem, _reproduction) for path in sorted(_RECORDS.glob("reproduction-*.json"))),
    ):
        path = _RECORDS / f"{name}.json"
        if path.is_file():
            parts.append(render(read_json(path)))
    return "\n".join(parts)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="read a benchmark's output and keep its last line")
    if parser.parse_args(argv).keep:
        keep(json.loads(sys.stdin.read().strip().splitlines()[-1]))
        return 0
    for path, text in ((_PAGE, page()), (_README, readme(_README.read_text(encoding="utf-8"))), *plots().items()):
        with atomic_path(path) as beside:
            beside.write_text(text, encoding="utf-8")
    return 0


def plots() -> dict[Path, str]:
    """The page's plots: the text of each file."""
    return {
        _PAGE.parent / "plots" / f"{slug}.svg": draw(read_json(_RECORDS / f"reproduction-{slug}.json"))
        for slug, draw in _PLOTS.items()
    }


def command(about: str, record: Callable[[], dict[str, Any]], argv: list[str] | None = None) -> int:
    """Runs a benchmark that has no settings: its document is the last line, and with `--keep` its record.

    Args:
        about: the benchmark's docstring.
        record: makes the document.
        argv: None for the command line's.
    """
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="also record the document")
    chosen = parser.parse_args(argv)
    document = record()
    print(json.dumps(document, sort_keys=True))
    if chosen.keep:
        keep(document)
    return 0


def keep(document: dict[str, Any]) -> None:
    """Records a benchmark's document, from which the page is written."""
    write_json(_RECORDS / f"{document['benchmark']}.json", document)


def readme(text: str) -> str:
    """The README with the table between its two marks written anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = [
        "| network | target | int8 size | of float32 | accuracy float → int8 | p50 float → int8 | verified |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    recorded = recorded_results()
    for name in _IN_README:
        rows = {(row["target"], row["precision"]): row for row in recorded.get(name, {}).get("artifacts", ())}
        for target, title in TARGET_NAMES.items():
            if (target, "int8") in rows and (target, "float32") in rows:
                floating, integer = rows[target, "float32"], rows[target, "int8"]
                lines.append(
                    f"| `{name}` | {title} | {_kib(integer['bytes'])} | {integer['bytes'] / floating['bytes']:.2f} "
                    f"| {_accuracies(floating, integer)} | {_times(floating, integer)} "
                    f"| {'yes' if floating['verified'] and integer['verified'] else 'no'} |"
                )
    return f"{before}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}{after}"


def _reproduction(document: dict[str, Any]) -> str:
    slug = document["slug"]
    plot = f"\n![{slug}, plotted](plots/{slug}.svg)\n" if slug in _PLOTS else ""
    return synapse_section.reproduction(document) + plot


def _zoo(recorded: dict[str, dict[str, Any]]) -> str:
    lines = [
        "## The zoo: int8 against float32 in every target\n",
        "`python -m offramp.benchmarks.zoo`. Accuracy, or the task's first figure, on up to 500 held-out samples where",
        "the system has data; the others keep random weights and are held to their program by signal to noise.",
        "Agreement is with the quantized program, the least over all engines; steps are the largest output difference",
        "in quantization steps; latency on one thread, with a * where the run was noisy (median above 1.3 minima), on",
        "the machine that is named; both that and the number of samples where the record holds them.\n",
        "| system | parameters | MACs | target | float32 | int8 | size | accuracy float → int8 | agreement | samples "
        "| steps | p50 float → int8 | on | verified |",
        "| " + "--- | " * 14,
    ]
    for name, entry in recorded.items():
        rows = {(row["target"], row["precision"]): row for row in entry.get("artifacts", ())}
        for target, title in TARGET_NAMES.items():
            if (target, "int8") in rows and (target, "float32") in rows:
                lines.append(_zoo_row(name, entry, title, rows[target, "float32"], rows[target, "int8"]))
    return "\n".join(lines) + "\n"


def _zoo_row(name: str, entry: dict[str, Any], title: str, floating: dict[str, Any], integer: dict[str, Any]) -> str:
    cells = [
        name,
        f"{entry['parameters']:,}",
        f"{entry['macs']:,}",
        title,
        _kib(floating["bytes"]),
        _kib(integer["bytes"]),
        f"{integer['bytes'] / floating['bytes']:.2f}",
        _accuracies(floating, integer),
        _percent(integer["agreement"]),
        str(entry.get("samples", "–")),
        _number(integer["max_step_difference"], ".0f"),
        _times(floating, integer),
        entry.get("machine", "–"),
        "yes" if floating["verified"] and integer["verified"] else "no",
    ]
    return f"| {' | '.join(cells)} |"


def _int8(document: dict[str, Any]) -> str:
    lines = [
        "## int8 against two static quantizers\n",
        f"`python -m offramp.benchmarks.int8` on {document['machine']}, one thread, medians, all variants of a network "
        "interleaved in one run.",
        "The peer is ONNX Runtime's `quantize_static` of the same float ONNX file, or ai-edge-quantizer's static",
        "recipe on the same float TFLite file, each calibrated on the same samples. dB: signal to noise of outputs.\n",
        "| network | runtime | float32 ms | ours ms | peer ms | float32 / ours | peer / ours "
        "| accuracy float, ours, peer "
        "| dB ours, peer |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for network in document["networks"]:
        for runtime in ("ONNX Runtime", "LiteRT"):
            floating, ours, peer = (row for row in network["rows"] if row["runtime"] == runtime)
            cells = [
                network["network"],
                runtime,
                *(f"{row['p50_ms']:.3f}{'*' if row['noisy'] else ''}" for row in (floating, ours, peer)),
                f"{floating['p50_ms'] / ours['p50_ms']:.2f}",
                f"{peer['p50_ms'] / ours['p50_ms']:.2f}",
                ", ".join(_percent(row["accuracy"]) for row in (floating, ours, peer)),
                ", ".join(f"{row['sqnr_db']:.1f}" for row in (ours, peer)),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", "\\* noisy: the median is more than 1.3 times the minimum.", ""])


def _export_time(document: dict[str, Any]) -> str:
    (ratio,) = document["ratios"].values()
    lines = [
        "## Time to export and verify\n",
        f"`python -m offramp.benchmarks.export_time` on {document['machine']}: {ratio:.2f} times the three converters "
        "alone.\n",
        "| step | seconds |",
        "| --- | --- |",
        *(f"| {name} | {seconds:.2f} |" for name, seconds in document["seconds"].items()),
    ]
    return "\n".join(lines) + "\n"


def _gate(document: dict[str, Any]) -> str:
    clean = document["clean"]
    rows = [*document["damaged"], *document["worse"]]
    alarms, compared = sum(not row["holds"] for row in clean), sum(row["accuracies"] for row in clean)
    fixed = sum(row["fixed_alarms"] for row in clean)
    lines = [
        "## The regression gate\n",
        f"`python -m offramp.benchmarks.gate` on {document['machine']}: `{document['system']}`, {document['epochs']} "
        "epochs on digits,",
        "float32 and int8 in three targets, on the same 500 held-out samples, under the default tolerances.",
        f"{len(clean)} clean repetitions with other training seeds and calibration samples: {alarms} alarms. On their "
        f"{compared} accuracies a fixed",
        f"tolerance of 0.5% would have raised {fixed}; their accuracy moved by "
        f"{min(row['change']['low'] for row in clean):+.1%} to {max(row['change']['high'] for row in clean):+.1%}.\n",
        "| regression | gate | accuracy | least p | what it names |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        named = [*row["moved"], *(f"{f['artifact']} at `{f['module']}`" for f in row["faults"])]
        lines.append(
            f"| {row['what']} | {'holds' if row['holds'] else 'fails'} | {row['change']['low']:+.1%} to "
            f"{row['change']['high']:+.1%} | {row['least_p']:.2g} | {', '.join(named)} |"
        )
    return "\n".join(lines) + "\n"


def _accuracies(floating: dict[str, Any], integer: dict[str, Any]) -> str:
    if floating["accuracy"] is None:
        figure = next(iter(floating.get("metrics") or {}), None)
        if figure is None:
            return "–"
        return f"{figure.replace('_', ' ')} {floating['metrics'][figure]:.3g} → {integer['metrics'][figure]:.3g}"
    return f"{_percent(floating['accuracy'])} → {_percent(integer['accuracy'])}"


def _times(floating: dict[str, Any], integer: dict[str, Any]) -> str:
    if floating["p50_ms"] is None:
        return "not measured here"
    before, after = (f"{row['p50_ms']:.3g}{'*' if row['noisy'] else ''}" for row in (floating, integer))
    return f"{before} → {after} ms"


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:,.0f} KiB"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


if __name__ == "__main__":
    raise SystemExit(main())

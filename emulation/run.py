"""`offramp emulate`: a dist, a run or any network on sampled chips, and sweeps over devices and arrays."""

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..devices.synapse.ageing import aged
from ..devices.synapse.catalogue import find_device
from ..devices.synapse.design import ArrayDesign
from ..devices.synapse.device import SynapseDevice
from ..devices.synapse.draws import Draws
from ..errors import BadInput
from ..inspection import is_dist, options_for, sample_sets_of
from ..manifest import MANIFEST, read_manifest, write_manifest
from ..options import Options, Say
from ..pipeline import programs_of, trained_source
from ..quant.integer.lowering import integer_program
from ..quant.integer.operations import IntegerProgram
from ..quant.program import QuantizedProgram, load_program
from ..runtime.report import write_report
from ..sources import SampleSets, find_samples, find_source
from .accuracy import Emulated, Task, emulate, task_of
from .chip import ASSUMED_READ
from .plot import check_plot_path, write_plot
from .settings import Axis, Hardware, grid, with_settings

_CALIBRATION = 32  # samples that ranges of ADCs are set on


@dataclass(frozen=True)
class WantedArrays:
    """What is to be emulated.

    Attributes:
        synapse: a device of the catalogue, or a .toml of the user's own.
        design: of the arrays.
        settings: figures that differ from the device's and the design's, in order.
        axes: what is swept.
        chips: sampled for each combination.
        seed: of the first chip.
    """

    synapse: str
    design: ArrayDesign = field(default_factory=ArrayDesign)
    settings: tuple[tuple[str, float], ...] = ()
    axes: tuple[Axis, ...] = ()
    chips: int = 5
    seed: int = 0


def options_like(reference: str, data: str | None, held_out: int | None, seed: int, runs: Path) -> Options:
    """Options for `emulate_network`: those that find a dist's own samples again, but for what is given."""
    if _is_deployed(reference):
        return options_for(Path(reference), data, held_out)
    return Options(data=data, held_out=held_out or Options.held_out, seed=seed, runs=runs, precisions=("int8",))


def _is_deployed(reference: str) -> bool:
    return is_dist(Path(reference)) and (Path(reference) / MANIFEST).exists()


def emulate_network(
    reference: str, wanted: WantedArrays, options: Options, plot: Path | None = None, say: Say = lambda _: None
) -> dict[str, Any]:
    """Runs a network's quantized program on emulated arrays.

    A dist keeps what is found in its manifest and report, one entry for each synapse.

    Args:
        reference: a dist, or what `find_source` takes, which is then quantized.
        options: how to quantize, and which data; a dist's own where nothing was given.
        plot: where to write a sweep's plot; a dist has a place of its own.

    Returns:
        `{"name", "synapse", "digital_accuracy", "accuracy": {"mean", "low", "high"}, "agreement", "accuracies",
        "chips", "seed", "samples", "arrays", "cells", "energy_joules", "cell_joules", "converter_joules",
        "write_pulses", "write_joules", "read": {"volts", "seconds", "assumed"}, "device", "design",
        "sweep": {"axes", "points", "plot"}}`. Accuracies are null without labels, `sweep` is null without axes; the
        other figures are then those of the combination as the device and the design are.

    Raises:
        BadInput: the synapse, a setting, the dist or the data cannot be used.
    """
    if plot is not None:
        check_plot_path(plot)
        if not wanted.axes:
            raise BadInput(f"--plot {plot}: draws a sweep; add --sweep")
    hardware = [_hardware(wanted, point) for point in ({}, *grid(wanted.axes))]  # faults first
    device, design = hardware[0]
    is_kept = _is_deployed(reference)
    name, program, samples = _of_dist(Path(reference), options) if is_kept else _of_network(reference, options, say)
    say(f"running the digital program on {len(samples.held_out)} samples ({samples.held_out.name})")
    task = task_of(program, samples.calibration.first(_CALIBRATION), samples.held_out)
    seeds = range(wanted.seed, wanted.seed + wanted.chips)
    base = emulate(task, device, design, seeds, say)
    document = _document(name, wanted, device, design, task, base)
    if wanted.axes:
        document["sweep"] = _swept(task, wanted, hardware[1:], seeds, say)
        place = _plot_of(Path(reference), device.name) if is_kept else plot
        if place is not None:
            write_plot(document, place)
            document["sweep"]["plot"] = place.name
        if is_kept and plot is not None:
            write_plot(document, plot)
    if is_kept:
        _keep(Path(reference), document, say)
    return document


def _hardware(wanted: WantedArrays, point: dict[str, float]) -> Hardware:
    """The device and the arrays of one combination, held to what its law of retention and the draws reach."""
    settings = {**dict(wanted.settings), **point}
    device, design = with_settings(find_device(wanted.synapse), wanted.design, settings.items())
    try:
        Draws(wanted.seed)
        last = Draws(wanted.seed + wanted.chips - 1)
        aged(device, torch.tensor([device.g_max], dtype=torch.float64), design.seconds, last)
    except BadInput as fault:
        raise BadInput(
            f"{device.name}, {design.seconds:g} seconds after writing, chips from seed {wanted.seed}: {fault}"
        ) from fault
    return device, design


def _of_dist(folder: Path, options: Options) -> tuple[str, IntegerProgram, SampleSets]:
    document = read_manifest(folder)
    if not document["scheme"]:
        raise BadInput(f"{folder}: holds no quantized program; deploy again with --precision int8")
    return document["name"], _integers(load_program(folder / "program")), sample_sets_of(document, options)


def _of_network(reference: str, options: Options, say: Say) -> tuple[str, IntegerProgram, SampleSets]:
    source = trained_source(find_source(reference, options.seed), options, None, say)
    samples = find_samples(source, options.data, options.scheme.samples, options.held_out, options.seed)
    quantized = programs_of(source, samples, options, say).quantized
    assert quantized is not None
    return source.name, _integers(quantized), samples


def _integers(quantized: QuantizedProgram) -> IntegerProgram:
    return integer_program(quantized.program, quantized.input_names, quantized.output_names)


def _document(
    name: str, wanted: WantedArrays, device: SynapseDevice, design: ArrayDesign, task: Task, base: Emulated
) -> dict[str, Any]:
    read = device.read or ASSUMED_READ
    return {
        "name": name,
        "synapse": device.name,
        "digital_accuracy": task.digital_accuracy,
        **base.to_json(),
        "chips": wanted.chips,
        "seed": wanted.seed,
        "samples": len(task.held_out),
        "read": {**asdict(read), "assumed": device.read is None},
        "device": device.to_json(),
        "design": asdict(design),
        "sweep": None,
    }


def _swept(task: Task, wanted: WantedArrays, points: list[Hardware], seeds: range, say: Say) -> dict[str, Any]:
    """Every combination, one after the other; chips of one seed are alike but for what is swept."""
    rows = []
    for number, (settings, hardware) in enumerate(zip(grid(wanted.axes), points)):
        found = emulate(task, *hardware, seeds)
        words = ", ".join(f"{key}={value:g}" for key, value in settings.items())
        share = found.accuracy or found.agreement
        say(f"{number + 1} of {len(points)}: {words}: {share.mean:.1%} ({share.low:.1%} to {share.high:.1%})")
        rows.append({"settings": settings, **found.to_json()})
    return {"axes": [{"name": a.name, "values": list(a.values)} for a in wanted.axes], "points": rows, "plot": None}


def _plot_of(folder: Path, synapse: str) -> Path:
    """Where a dist keeps the plot of a synapse, whatever characters its name has."""
    return folder / f"emulation-{re.sub(r'[^A-Za-z0-9_.-]', '_', synapse)}.svg"


def _keep(folder: Path, document: dict[str, Any], say: Say) -> None:
    """Puts the document into manifest and report, in place of an earlier one of the same synapse."""
    manifest = read_manifest(folder, check_hashes=False)
    others = [entry for entry in manifest.get("emulations", []) if entry["synapse"] != document["synapse"]]
    if len(others) < len(manifest.get("emulations", [])):
        say(f"what the manifest had of {document['synapse']} is replaced")
    manifest["emulations"] = [*others, document]
    if document["sweep"] is None:
        _plot_of(folder, document["synapse"]).unlink(missing_ok=True)  # of an earlier sweep
    write_report(manifest, folder / "report.html")
    write_manifest(folder, manifest)

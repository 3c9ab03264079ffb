"""`python -m offramp.benchmarks.emulation`: networks trained on digits, in int8, on arrays of published devices.

Five chips of each device, arrays of 256x256, 8-bit ADCs, each weight a pair of devices that are written once; pcm-ibm
is read a day later with its mean drift made up for. `aware` is the network trained further on weights as that device
gives them. A sweep takes an otherwise ideal device to few states and to devices that differ. Time is of 1,000 digits on
one chip that is written already. Last, perceptrons that learned in arrays are deployed like any other run.
"""

import argparse
import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..devices.boards.host import describe_host
from ..devices.synapse.catalogue import find_device
from ..devices.synapse.design import ArrayDesign
from ..emulation.accuracy import Task, emulate, inputs_of, task_of
from ..emulation.chip import Chip
from ..emulation.settings import grid, parse_axis, with_setting
from ..export.artifact import TARGETS
from ..hardware_aware import train_aware
from ..models.learning import find_rule
from ..options import Options
from ..pipeline import deploy, programs_of, train_source, trained_source
from ..quant.integer.lowering import integer_program
from ..sources import find_samples, find_source
from .results import keep

NETWORKS = ("resnet8", "care_xxs")
DESIGN = ArrayDesign(adc_bits=8)
AGED = replace(DESIGN, seconds=86_400.0, compensates_drift=True)
DESIGNS = {"pcm-ibm": AGED}
DEVICES = ("ideal", "hzo-fefet", "epiram", "gst-pcm", "ag-asi", "rram-wan2022", "pcm-ibm")
AWARE = ("epiram", "gst-pcm", "pcm-ibm")
SWEEP = ("levels=2,4,8,16,64", "d2d=0,0.1,0.2")
SWEPT, CHIPS, TIMED = "resnet8", 5, 1000
LEARNER, LEARNED = "synapse_mlp", ("ideal", "epiram", "gst-pcm", "ag-asi")


def task(reference: str, runs: Path) -> Task:
    """The int8 program of a trained network, and its digits."""
    options = Options(runs=runs, precisions=("int8",))
    source = trained_source(find_source(reference), options)
    samples = find_samples(source, None, options.scheme.samples, options.held_out)
    quantized = programs_of(source, samples, options).quantized
    assert quantized is not None
    program = integer_program(quantized.program, quantized.input_names, quantized.output_names)
    return task_of(program, samples.calibration.first(32), samples.held_out)


def row(network: str, name: str, subject: Task, aware: Task | None) -> dict[str, Any]:
    """One device under one network."""
    device, design = find_device(name), DESIGNS.get(name, DESIGN)
    found = emulate(subject, device, design, range(CHIPS))
    assert found.accuracy is not None
    trained = None if aware is None else emulate(aware, device, design, range(CHIPS)).accuracy
    assert aware is None or trained is not None
    return {
        "network": network,
        "device": name,
        "digital_accuracy": subject.digital_accuracy,
        "accuracy": asdict(found.accuracy),
        "aware": None if trained is None else asdict(trained),
        "aware_digital": None if aware is None else aware.digital_accuracy,
        "arrays": found.cost.arrays,
        "cells": found.cost.cells,
        "joules": found.cost.joules,
        "cell_joules": found.cost.cell_joules,
        "seconds_per_1000": seconds_of(subject, name),
    }


def seconds_of(subject: Task, name: str) -> float:
    """1,000 digits on a chip that is written."""
    chip = Chip(subject.program, find_device(name), DESIGNS.get(name, DESIGN), 0)
    chip.calibrate(inputs_of(subject.program, subject.calibration))
    inputs = [np.concatenate([part, part])[:TIMED] for part in inputs_of(subject.program, subject.held_out)]
    began = time.perf_counter()
    chip.run(inputs)
    return (time.perf_counter() - began) * TIMED / len(inputs[0])


def sweep(subject: Task) -> list[dict[str, Any]]:
    """An ideal device but for its states and its spread."""
    rows = []
    for settings in grid([parse_axis(text) for text in SWEEP]):
        device, design = find_device("ideal"), DESIGN
        for name, value in settings.items():
            device, design = with_setting(device, design, name, value)
        found = emulate(subject, device, design, range(CHIPS)).accuracy
        assert found is not None
        rows.append({"settings": settings, "accuracy": asdict(found)})
        print(f"  {settings}: {found.mean:.1%}", flush=True)
    return rows


def learned(name: str, runs: Path) -> dict[str, Any]:
    """A perceptron trained in arrays of a device, in float and int8 on every target."""
    options = Options(targets=TARGETS, measure=False, runs=runs / f"learned-{name}", out=runs / f"learned-{name}-dist")
    trained = train_source(find_source(LEARNER), options, rule=find_rule("in-array", {"synapse": name}))
    document = deploy(str(options.runs / LEARNER), options)
    return {
        "device": name,
        "trained_accuracy": trained.metrics["accuracy"],
        "artifacts": [
            {key: row[key] for key in ("target", "precision", "accuracy", "agreement", "verified")}
            for row in document["artifacts"]
        ],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="trained networks; what is missing is trained")
    parser.add_argument("--keep", action="store_true", help="also record the document")
    chosen = parser.parse_args(argv)
    rows, swept = [], []
    for network in NETWORKS:
        subject = task(network, chosen.runs)
        for name in DEVICES:
            aware = None
            if name in AWARE:
                train_aware(network, f"synapse={name}", Options(runs=chosen.runs), None, True, "cpu", print)
                aware = task(str(chosen.runs / f"{network}.{name}"), chosen.runs)
            rows.append(row(network, name, subject, aware))
            print(json.dumps(rows[-1]), flush=True)
        if network == SWEPT:
            swept = sweep(subject)
    with tempfile.TemporaryDirectory() as folder:
        in_arrays = [learned(name, Path(folder)) for name in LEARNED]
    document = {
        "learned": {"network": LEARNER, "rows": in_arrays},
        "benchmark": "emulation",
        "chips": CHIPS,
        "rows": rows,
        "sweep": {"network": SWEPT, "axes": list(SWEEP), "points": swept},
        "ratios": {},
        "machine": describe_host().processor,
    }
    print(json.dumps(document, sort_keys=True))
    if chosen.keep:
        keep(document)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

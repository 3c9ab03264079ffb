"""`python -m offramp.benchmarks.logic_networks`: networks of ±1 as bitwise C, against their ONNX artifacts.

Small circuits are trained here, in seconds; larger networks have random neurons of three inputs, of ±1 each, the
constant among them: what training with a support of three leads to. Of each, the netlist is proved equal to its
neurons, and the C and both ONNX artifacts give its outputs on every sample that is timed. One thread, medians, all
variants of a network interleaved in one run. ONNX Runtime is called with its inputs in place, for one sample and for
as many as the C.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

from ..c_compiler import compiler_version, runnable_kernels
from ..devices.boards.host import describe_host
from ..export.logic import evaluate, pack, plain_netlist, prove, read_program, unpack, write_netlist
from ..export.logic.program import Reading
from ..models.boolean_network import Sign
from ..netlists import sizes_of
from ..options import Options
from ..pipeline import export_all, programs_of, trained_source
from ..quant.scheme import Scheme
from ..runtime.latency import Latency, measure_latency
from ..runtime.logic_session import LogicSession
from ..runtime.onnx_session import OnnxSession
from ..runtime.samples import Samples
from ..sources import SampleSets, Source, find_source
from .bare import bare_call
from .results import keep

TRAINED = ("btf_adder", "btf_multiplier_2")
WIDTHS = ((6, 12, 12, 12, 6), (16, 32, 32, 16), (64, 256, 256, 64))
SAMPLES = 4096  # of one call
SUPPORT = 3  # weights of a random neuron, the constant's among them
PRECISIONS = ("float32", "int8")


def random_source(widths: tuple[int, ...], seed: int = 0) -> Source:
    """A network whose neurons have three weights of ±1 each."""
    draws = np.random.default_rng(seed)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        rows = np.zeros((after, before + 1), np.float32)
        for row in rows:
            row[draws.choice(before + 1, SUPPORT, replace=False)] = draws.choice((-1, 1), SUPPORT)
        linear = nn.Linear(before, after)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(rows[:, :-1]))
            linear.bias.copy_(torch.from_numpy(rows[:, -1]))
        layers += [linear, Sign()]
    name = "-".join(map(str, widths))
    return Source(name, nn.Sequential(*layers).eval(), (torch.ones(1, widths[0]),), ("x",), ("y",), name)


def trained(name: str, folder: Path) -> Source:
    """A system, trained into `folder`."""
    return trained_source(find_source(name), Options(runs=folder))


def figures_of(reading: Reading) -> dict[str, Any]:
    """Sizes before and after, and how they were proved to be the same."""
    netlist = reading.netlist
    before = plain_netlist(netlist.inputs, reading.layers, reading.inverse)
    assert before is not None
    proof = prove(netlist, before)
    assert proof.proved, f"{proof}"
    ports = {"inputs": netlist.inputs, "outputs": len(netlist.outputs)}
    return {**ports, **sizes_of(netlist, reading.layers), "proof": proof.to_json()}


def peer_call(path: Path, x: np.ndarray, wanted: np.ndarray) -> Callable[[], Any]:
    """ONNX Runtime on one thread, its inputs in place, once its outputs were found to be right.

    Where the processor would saturate sums of products, it multiplies exactly: on ±1 they saturate always.
    """
    (port,) = OnnxSession(path).inputs
    call: Callable[[], Any] = bare_call(path, {port.name: np.ascontiguousarray(x, np.float32)})
    assert ((call()[0] > 0) == wanted).all(), f"{path.name}: is wrong"
    return call


def measure(source: Source, folder: Path, seconds: float) -> dict[str, Any]:
    """Sizes of one network, and the distribution of every form's time."""
    draws = np.random.default_rng(1)
    count = source.example_inputs[0].shape[1]
    bits = draws.integers(0, 2, (SAMPLES, count), np.uint8).astype(bool)
    signs = np.where(bits, np.int8(1), np.int8(-1))
    samples = Samples({source.input_names[0]: signs.astype(np.float32)}, None, "random ±1", drawn=True)
    options = Options(targets=("onnx",), dynamic_batch=True, scheme=Scheme(samples=256))
    programs = programs_of(source, SampleSets(samples.first(256), samples), options)
    reading = read_program(programs.floating)
    wanted = evaluate(reading.netlist, bits)
    calls: dict[str, Callable[[], object]] = {}
    path = write_netlist(reading.netlist, folder / "bits.c").path
    for kernels in runnable_kernels():
        session = LogicSession(path, kernels)
        calls[f"c {kernels}"], out = session.call(pack(bits))
        calls[f"c {kernels}"]()
        assert (unpack(out, SAMPLES) == wanted).all(), f"{source.name}, {kernels}: is wrong"
    calls["c from bytes"], rows = session.call_rows(signs)
    calls["c from bytes"]()
    assert ((rows > 0) == wanted).all(), f"{source.name}: is wrong"
    for artifact in export_all(source, programs, options, folder):
        calls[f"onnx {artifact.precision} {SAMPLES}"] = peer_call(artifact.path, signs, wanted)
        calls[f"onnx {artifact.precision} 1"] = peer_call(artifact.path, signs[:1], wanted[:1])
    latencies = measure_latency(calls, runs=20, seconds=seconds, warmup_seconds=0.1)
    rates = {name: evaluations(name, latency) for name, latency in latencies.items()}
    noisy = [name for name, latency in latencies.items() if latency.noisy]
    return {"name": source.name, **figures_of(reading), "evaluations_per_second": rates, "noisy": noisy}


def evaluations(name: str, latency: Latency) -> float:
    """Evaluations a second in the median run."""
    return (1 if name.endswith(" 1") else SAMPLES) / latency.p50_ms * 1e3


def ratios_of(row: dict[str, Any]) -> dict[str, float]:
    """Evaluations a second of the C, with the widest vectors, over those of ONNX Runtime."""
    rates = row["evaluations_per_second"]
    best = rates[f"c {runnable_kernels()[-1]}"]
    found = {}
    for precision in PRECISIONS:
        for batch in (SAMPLES, 1):
            peer = rates[f"onnx {precision} {batch}"]
            found[f"c_over_onnx_{precision}_batch_{batch}"] = best / peer
        found[f"c_from_bytes_over_onnx_{precision}_batch_{SAMPLES}"] = (
            rates["c from bytes"] / rates[f"onnx {precision} {SAMPLES}"]
        )
    return {f"{name}_{row['name']}": round(value, 3) for name, value in found.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds per form and network, at least")
    parser.add_argument("--systems", nargs="*", default=list(TRAINED), help="systems of the zoo to train and time")
    parser.add_argument("--keep", action="store_true", help="record the result for docs/results.md")
    arguments = parser.parse_args(argv)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        sources = [trained(system, Path(name) / "runs") for system in arguments.systems]
        for source in (*sources, *map(random_source, WIDTHS)):
            folder = Path(name) / source.name
            folder.mkdir()
            rows.append(measure(source, folder, arguments.seconds))
            _show(rows[-1])
    document = {
        "benchmark": "logic_networks",
        "ratios": {key: value for row in rows for key, value in ratios_of(row).items()},
        "machine": str(describe_host()),
        "compiler": compiler_version(),
        "onnxruntime": onnxruntime.__version__,
        "samples": SAMPLES,
        "trained": arguments.systems,
        "networks": rows,
    }
    if arguments.keep:
        keep(document)
    print(json.dumps(document))
    return 0


def _show(row: dict[str, Any]) -> None:
    print(f"\n{row['name']}: {row['neurons']} neurons, {row['dense_macs']} dense MACs, {row['gates']} gates")
    for name, rate in row["evaluations_per_second"].items():
        print(f"  {name:20}{rate:16,.0f} evaluations a second{'  noisy' if name in row['noisy'] else ''}")


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m offramp.benchmarks.c_networks`: whole networks in C against ONNX Runtime and LiteRT, in one run.

int8 networks against XNNPACK's int8, and ±1 networks against the same network in float32 and int8; one thread, medians,
every variant of a network interleaved. Every engine is called with its inputs in place. Weights are random: their cost
does not depend on what they know. For ±1 networks a table says what the layers outside the ±1 ones cost.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..devices.boards.host import describe_host
from ..export.c.program import to_c
from ..options import Options
from ..pipeline import export_all, programs_of
from ..quant.scheme import Scheme
from ..runtime.c_layers import LayerTime, layer_times
from ..runtime.c_session import CSession
from ..runtime.latency import Latency, measure_latency
from ..runtime.samples import random_samples
from ..sources import SampleSets, find_source
from .bare import bare_call

INT8 = ("resnet8", "ds_cnn", "mobilenet_v1_025", "fc_autoencoder")
BINARY = ("birealnet18",)
_QUICK: dict[str, Any] = {"calibration": "minmax", "rounding": "nearest", "correct_bias": False}


def variants(name: str, bits: int, folder: Path) -> tuple[dict[str, Callable[[], object]], CSession, dict[str, Any]]:
    """What is timed: engine and precision -> one inference; the C network with its input is among them."""
    source = find_source(name)
    samples = random_samples(source.inputs, 4, seed=0)
    options = Options(targets=("onnx", "tflite"), precisions=("float32", "int8"), scheme=Scheme(samples=4, **_QUICK))
    sets = SampleSets(samples, samples)
    first = next(iter(samples))
    calls: dict[str, Callable[[], object]] = {}
    programs = programs_of(source, sets, options)
    for artifact in export_all(source, programs, options, folder):
        engine = {"onnx": "ort", "tflite": "litert"}[artifact.target]
        calls[f"{engine} {artifact.precision}"] = bare_call(artifact.path, first)
    if bits == 1:
        programs = programs_of(source, sets, Options(precisions=("binary",), scheme=Scheme(1, 1, samples=4, **_QUICK)))
    assert programs.quantized is not None
    names = programs.captured.input_names, programs.captured.output_names
    path = folder / f"{name}.c"
    to_c(programs.quantized.program, path, input_names=names[0], output_names=names[1], precision="int8")
    ours = CSession(path)
    calls["c"] = ours.call(first)
    return calls, ours, first


def measure(name: str, bits: int, seconds: float) -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios and figures of one network."""
    with tempfile.TemporaryDirectory() as folder:
        calls, ours, first = variants(name, bits, Path(folder))
        latencies = measure_latency(calls, seconds=seconds)
        layers = layer_times(ours, first) if bits == 1 else []
    own = latencies["c"].p50_ms
    short = "" if bits == 8 else "_binary"
    ratios = {
        f"{name}{short}_vs_{key.replace(' ', '_')}": latency.p50_ms / own
        for key, latency in latencies.items()
        if key != "c"
    }
    return ratios, {"network": name, "bits": bits, "rows": _rows(latencies), "layers": _shares(layers)}


def _rows(latencies: dict[str, Latency]) -> list[dict[str, Any]]:
    return [
        {"variant": key, "p50_ms": found.p50_ms, "min_ms": found.min_ms, "noisy": found.noisy}
        for key, found in latencies.items()
    ]


def _shares(layers: list[LayerTime]) -> list[dict[str, Any]]:
    """Each operation with its time, as the source calls it."""
    return [
        {
            "value": layer.call.value,
            "operation": layer.call.operation,
            "module": layer.call.module,
            "kernel": layer.call.kernel,
            "ms": round(layer.ms, 5),
        }
        for layer in layers
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", help=f"of {', '.join((*INT8, *BINARY))}; all by default")
    parser.add_argument("--seconds", type=float, default=2.0, help="timed seconds per variant, at least")
    arguments = parser.parse_args(argv)
    ratios: dict[str, float] = {}
    rows = []
    for name, bits in [*((name, 8) for name in INT8), *((name, 1) for name in BINARY)]:
        if arguments.networks and name not in arguments.networks:
            continue
        found, row = measure(name, bits, arguments.seconds)
        _show(row, found)
        ratios |= {key: round(value, 3) for key, value in found.items()}
        rows.append(row)
    print(json.dumps({"benchmark": "c_networks", "ratios": ratios, "machine": str(describe_host()), "networks": rows}))
    return 0


def _show(row: dict[str, Any], ratios: dict[str, float]) -> None:
    print(f"\n{row['network']}, {row['bits']} bit{'s' * (row['bits'] > 1)} in C")
    for variant in row["rows"]:
        flag = "  noisy" if variant["noisy"] else ""
        print(f"  {variant['variant']:16} p50 {variant['p50_ms']:8.4f} ms  min {variant['min_ms']:8.4f}{flag}")
    for key, value in ratios.items():
        print(f"  {key}: {value:.2f}")
    by_operation: dict[str, float] = defaultdict(float)
    for layer in row["layers"]:
        by_operation[f"{layer['operation']} {layer['kernel']}"] += layer["ms"]
        print(f"    {layer['ms']:8.4f} ms  {layer['operation']:18} {layer['value']} {layer['module']}")
    for operation, ms in sorted(by_operation.items(), key=lambda entry: -entry[1]):
        print(f"  {ms:8.4f} ms  {operation}")


if __name__ == "__main__":
    raise SystemExit(main())

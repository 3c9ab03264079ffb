"""`python -m offramp.benchmarks.int8`: our int8 artifacts against float32 and two static quantizers, in one run.

For each network: latency on one thread in ONNX Runtime and in LiteRT, of float32, of ours, and of a peer's
quantization of the same float artifact on the same samples; accuracy where the network is trained (digits), and the
signal to noise of the outputs against float everywhere. Networks without bundled data get random weights, batch-norm
statistics measured on random inputs, and random calibration inputs: their cost does not depend on what they know.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..devices.boards.host import describe_host
from ..options import Options
from ..pipeline import export_all, programs_of, trained_source
from ..quant.scheme import Scheme
from ..runtime.latency import measure_latency, ratio_of
from ..runtime.samples import Samples
from ..runtime.session import open_session
from ..runtime.verify import accuracy_of
from ..sources import find_samples, find_source
from .peers import quantize_with_ai_edge, quantize_with_onnxruntime
from .untrained import enlivened

NETWORKS = ("care_s0", "mobilenet_v2", "resnet8", "care_xxs", "mobilenet_v2_xs")
_RUNTIMES = {"onnx": ("ONNX Runtime", "ort_static"), "tflite": ("LiteRT", "ai_edge_static")}


def measure(name: str, runs: Path, seconds: float) -> dict[str, Any]:
    """Latencies, ratios and accuracies of one network."""
    options = Options(
        targets=("onnx", "tflite"), precisions=("float32", "int8"), scheme=Scheme(samples=64), held_out=500, runs=runs
    )
    source = trained_source(find_source(name), options)
    if not source.trained and source.system is not None:
        source = replace(source, network=enlivened(source.system))
    held_out = 500 if source.trained else 16
    samples = find_samples(source, None, 64, held_out)
    with tempfile.TemporaryDirectory() as folder:
        programs = programs_of(source, samples, options)
        paths = {(a.target, a.precision): a.path for a in export_all(source, programs, options, Path(folder))}
        paths["onnx", "peer"] = Path(folder) / "peer.onnx"
        paths["tflite", "peer"] = Path(folder) / "peer.tflite"
        quantize_with_onnxruntime(paths["onnx", "float32"], paths["onnx", "peer"], samples.calibration)
        quantize_with_ai_edge(paths["tflite", "float32"], paths["tflite", "peer"], samples.calibration)
        sessions = {key: open_session(path) for key, path in paths.items()}
        outputs = {key: _run(session, samples.held_out) for key, session in sessions.items()}
        first = next(iter(samples.held_out))
        calls = {key: partial(session.run, first) for key, session in sessions.items()}
        latencies = measure_latency({f"{t} {p}": call for (t, p), call in calls.items()}, seconds=seconds)
    result: dict[str, Any] = {"network": name, "trained": source.trained, "rows": [], "ratios": {}}
    for target, (runtime, peer) in _RUNTIMES.items():
        exact = outputs[target, "float32"]
        for precision in ("float32", "int8", "peer"):
            latency = latencies[f"{target} {precision}"]
            values = outputs[target, precision]
            result["rows"].append(
                {
                    "runtime": runtime,
                    "variant": {"float32": "float32", "int8": "ours", "peer": peer}[precision],
                    "p50_ms": latency.p50_ms,
                    "min_ms": latency.min_ms,
                    "noisy": latency.noisy,
                    "accuracy": accuracy_of(values, samples.held_out.labels) if source.trained else None,
                    "sqnr_db": None if precision == "float32" else _sqnr_db(exact, values),
                }
            )
        times = {p: latencies[f"{target} {p}"] for p in ("float32", "int8", "peer")}
        for other, label in (("float32", "float32"), ("peer", peer)):
            ratio = ratio_of(times[other], times["int8"], "median")
            result["ratios"][f"{name}_{target}_{label}_over_int8"] = ratio.value
    return result


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="training runs; made where they are missing")
    parser.add_argument("--seconds", type=float, default=2.0, help="timed seconds per variant, at least")
    arguments = parser.parse_args(argv)
    ratios: dict[str, float] = {}
    rows = []
    for name in arguments.networks:
        result = measure(name, arguments.runs, arguments.seconds)
        _show(result)
        ratios |= {key: round(value, 3) for key, value in result["ratios"].items()}
        rows.append(result)
    print(json.dumps({"benchmark": "int8", "ratios": ratios, "machine": str(describe_host()), "networks": rows}))
    return 0


def _show(result: dict[str, Any]) -> None:
    print(f"\n{result['network']} ({'trained on digits' if result['trained'] else 'random weights'})")
    for row in result["rows"]:
        accuracy = "" if row["accuracy"] is None else f"  accuracy {row['accuracy']:.1%}"
        noise = "" if row["sqnr_db"] is None else f"  {row['sqnr_db']:5.1f} dB"
        flag = "  noisy" if row["noisy"] else ""
        print(f"  {row['runtime']:13} {row['variant']:15} p50 {row['p50_ms']:8.3f} ms{accuracy}{noise}{flag}")
    for key, value in result["ratios"].items():
        print(f"  {key}: {value:.3f}")


def _run(session: Any, samples: Samples) -> np.ndarray:
    return np.concatenate([next(iter(session.run(sample).values())) for sample in samples])


def _sqnr_db(exact: np.ndarray, values: np.ndarray) -> float:
    noise = float(np.sum((exact - values.reshape(exact.shape)) ** 2))
    return float(10 * np.log10(float(np.sum(exact**2)) / max(noise, 1e-30)))


if __name__ == "__main__":
    raise SystemExit(main())

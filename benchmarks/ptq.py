"""`python -m offramp.benchmarks.ptq`: accuracy after post-training quantization, ours against three peers.

The same trained networks, the same calibration samples (256 of the training split) and the same 500 held-out ones, over
several training seeds. The peers are ONNX Runtime's static quantization of our float ONNX file, by each of its three
calibration methods; ai-edge-quantizer's static int8 recipe on our float TFLite file, run in LiteRT; and Brevitas in
PyTorch, with and without GPTQ. Of a peer's variants the best by mean accuracy counts. Agreement is with the float
network's top class; dB is the signal to noise of the logits.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from ..devices.boards.host import describe_host
from ..export.write import write_artifact
from ..options import Options
from ..pipeline import trained_source
from ..quant.capture import Captured, capture, to_program
from ..quant.quantize import quantize
from ..quant.scheme import Scheme, bits_named
from ..runtime.reference import run_reference
from ..runtime.samples import Samples
from ..runtime.session import open_session
from ..runtime.verify import accuracy_of, agreement_of
from ..sources import SampleSets, Source, find_samples, find_source
from .peer_brevitas import quantize_with_brevitas
from .peers import quantize_with_ai_edge, quantize_with_onnxruntime

NETWORKS = ("resnet8", "mobilenet_v2_xs", "care_xxs")
PRECISIONS = ("int8", "w4a8")
_METHODS = ("MinMax", "Percentile", "Entropy")

Variant = tuple[str, str, Callable[[], np.ndarray]]  # peer, its variant, what makes the logits


def measure(name: str, seed: int, runs: Path, precisions: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """One row for each precision and variant of a network trained from `seed`."""
    source = trained_source(find_source(name, seed), Options(seed=seed, runs=runs / f"seed{seed}"))
    samples = find_samples(source, None, 256, 500)
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    program = to_program(captured.module, captured.example_inputs)
    names = captured.input_names, captured.output_names
    wanted = run_reference(program, *names, samples.held_out).outputs[names[1][0]]
    about = {"network": name, "seed": seed, "float": accuracy_of(wanted, samples.held_out.labels)}
    with tempfile.TemporaryDirectory() as folder:
        files = {target: Path(folder) / f"float.{target}" for target in ("onnx", "tflite")}
        for target, path in files.items():
            write_artifact(target, program, path, input_names=names[0], output_names=names[1], precision="float32")
        for precision in precisions:
            for who, variant, run in _variants(precision, source, captured, samples, files):
                start = time.perf_counter()
                with redirect_stdout(StringIO()):  # what the peers print as they work
                    logits = run().reshape(wanted.shape)
                yield about | {
                    "precision": precision,
                    "who": who,
                    "variant": variant,
                    "accuracy": accuracy_of(logits, samples.held_out.labels),
                    "agreement": agreement_of(logits, wanted),
                    "sqnr_db": _sqnr_db(wanted, logits),
                    "seconds": round(time.perf_counter() - start, 1),
                }


def _variants(
    precision: str, source: Source, captured: Captured, samples: SampleSets, files: dict[str, Path]
) -> Iterator[Variant]:
    weight_bits, activation_bits = bits_named(precision)
    held_out, folder = samples.held_out, files["onnx"].parent
    inputs = [tuple(torch.from_numpy(sample[name]) for name in captured.input_names) for sample in samples.calibration]

    def ours() -> np.ndarray:
        program = quantize(captured, inputs, Scheme(weight_bits, activation_bits)).program
        return run_reference(program, captured.input_names, captured.output_names, held_out).outputs[
            captured.output_names[0]
        ]

    def onnxruntime(method: str) -> np.ndarray:
        path = folder / f"{method}.onnx"
        quantize_with_onnxruntime(files["onnx"], path, samples.calibration, method, weight_bits)
        return _run(path, held_out)

    def ai_edge() -> np.ndarray:
        path = folder / "peer.tflite"
        quantize_with_ai_edge(files["tflite"], path, samples.calibration)
        return _run(path, held_out)

    def brevitas(gptq: bool) -> np.ndarray:
        layers = [n for n, m in source.network.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
        border = {layers[0], *(name for name in layers if name.endswith("classify"))}
        calibration = torch.cat([sample[0] for sample in inputs])
        model = quantize_with_brevitas(source.network, calibration, weight_bits, border, gptq)
        (values,) = held_out.inputs.values()
        with torch.no_grad():
            return model(torch.from_numpy(values)).numpy()

    yield "ours", "", ours
    for method in _METHODS:
        yield "onnxruntime", method, partial(onnxruntime, method)
    if weight_bits == 8:
        yield "ai_edge", "", ai_edge
    yield "brevitas", "bias correction", partial(brevitas, False)
    yield "brevitas", "GPTQ, bias correction", partial(brevitas, True)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means over the seeds: ours and the best variant of each peer, by network and precision."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["network"], row["precision"], row["who"], row["variant"]), []).append(row)
    best: dict[tuple[str, ...], dict[str, Any]] = {}
    for (network, precision, who, variant), members in groups.items():
        mean: dict[str, Any] = {
            key: fmean(m[key] for m in members) for key in ("float", "accuracy", "agreement", "sqnr_db", "seconds")
        }
        mean |= {"network": network, "precision": precision, "who": who, "variant": variant, "seeds": len(members)}
        known = best.get((network, precision, who))
        if known is None or (mean["accuracy"], mean["sqnr_db"]) > (known["accuracy"], known["sqnr_db"]):
            best[network, precision, who] = mean
    return list(best.values())


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="holds seedN/NAME; trained where missing")
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--precisions", nargs="*", choices=PRECISIONS, default=PRECISIONS)
    arguments = parser.parse_args(argv)
    rows = []
    for name in arguments.networks:
        for seed in range(arguments.seeds):
            for row in measure(name, seed, arguments.runs, tuple(arguments.precisions)):
                rows.append(row)
                print(_line(row), flush=True)
    means = summary(rows)
    print("\nMeans over seeds; of each peer its best variant")
    for row in means:
        print(_line(row))
    document = {"benchmark": "ptq", "ratios": _ratios(means), "machine": str(describe_host())}
    print(json.dumps(document | {"means": means, "rows": rows}))
    return 0


def _ratios(means: list[dict[str, Any]]) -> dict[str, float]:
    """Our mean accuracy over each peer's."""
    ours = {(row["network"], row["precision"]): row["accuracy"] for row in means if row["who"] == "ours"}
    return {
        f"{row['network']}_{row['precision']}_over_{row['who']}": round(
            ours[row["network"], row["precision"]] / row["accuracy"], 4
        )
        for row in means
        if row["who"] != "ours"
    }


def _line(row: dict[str, Any]) -> str:
    who = f"{row['who']} ({row['variant']})" if row["variant"] else row["who"]
    which = f"{row['network']:16} {row['precision']:5} {who:36}"
    return (
        f"{which} float {row['float']:7.2%}  accuracy {row['accuracy']:7.2%}  agreement {row['agreement']:7.2%}  "
        f"{row['sqnr_db']:5.1f} dB  {row['seconds']:5.1f} s"
    )


def _run(path: Path, samples: Samples) -> np.ndarray:
    session = open_session(path)
    return np.concatenate([next(iter(session.run(sample).values())) for sample in samples])


def _sqnr_db(exact: np.ndarray, values: np.ndarray) -> float:
    noise = float(np.sum((exact - values) ** 2))
    return float(10 * np.log10(float(np.sum(exact**2)) / max(noise, 1e-30)))


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m offramp.benchmarks.binary_conv`: ±1 convolutions in C against ONNX Runtime and LiteRT, in one run.

3x3 convolutions, stride 1, padding 1, as many channels out as in, on one thread. Ours takes packed signs and gives
packed signs. The peers' time of one layer is that of a chain of five of them less that of a chain of one, over four:
what a session costs at its border and per call is not held against them. The roofline is what the same processor does
in the same run when the counting instructions work on registers alone; the share of it counts only the products inside
the image, speeds in GMAC/s count those with the padding too. Float32 multiply-adds on registers are timed as well:
where they fall behind from one shape to the next, the processor slowed its float units, and ratios to float32 are high.
"""

import argparse
import ctypes
import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ..c_compiler import compile_library, compiler_version, runnable_kernels
from ..devices.boards.host import describe_host
from ..export.c.kernels import source_of
from ..export.c.packing_binary import pack_activations, pack_limits, pack_signs
from ..options import Options
from ..pipeline import export_all, programs_of
from ..quant.scheme import Scheme
from ..runtime.latency import Latency, measure_latency
from ..runtime.samples import random_samples
from ..sources import SampleSets, Source
from .bare import bare_call

SHAPES = {"": (256, 14), "_64x56": (64, 56), "_512x7": (512, 7)}  # suffix of the ratios -> channels, height and width
_HARNESS = Path(__file__).with_suffix(".c")
_CHAIN = 5
_TIMES = 8  # layers in one timed call of ours
_REGISTER_TURNS = 4000


def build_library(isa: str, folder: Path) -> ctypes.CDLL:
    """The kernels for one instruction set and the harness around them."""
    source, library = folder / f"{isa}.c", folder / f"{isa}.so"
    text = source_of(["conv_binary_bits"]) + _HARNESS.read_text(encoding="utf-8")
    source.write_text(text, encoding="utf-8")
    compile_library([source], library, isa, flags=["-Wno-unused-function"])
    return ctypes.CDLL(str(library))


def our_layer(library: ctypes.CDLL, channels: int, size: int) -> Callable[[], None]:
    """A call that runs a random layer `_TIMES` times."""
    generator = np.random.default_rng(0)
    signs = np.array([-1, 1], np.int8)
    weights = pack_signs(generator.choice(signs, (channels, channels, 3, 3)))
    image = pack_activations(generator.choice(signs, (size, size, channels)))
    limit = pack_limits(np.zeros(channels, np.int64), 9 * channels)
    shape = np.array([size, size, channels, size, size, channels, 3, 3, 1, 1, 1, 1, 1, 1], np.int32)
    arrays: list[np.ndarray] = [shape, weights, limit, image, np.zeros_like(image)]
    return partial(library.time_layer, *(array.ctypes.data_as(ctypes.c_void_p) for array in arrays), _TIMES)


def peer_calls(channels: int, size: int, folder: Path) -> dict[tuple[str, str, int], Callable[[], object]]:
    """(runtime, precision, layers) -> one inference of our own artifact of such a chain, inputs already in place."""
    options = Options(
        targets=("onnx", "tflite"),
        precisions=("float32", "int8"),
        scheme=Scheme(samples=4, calibration="minmax", rounding="nearest", correct_bias=False),
    )
    calls: dict[tuple[str, str, int], Callable[[], object]] = {}
    for layers in (1, _CHAIN):
        torch.manual_seed(0)
        chain = nn.Sequential(*(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(layers))).eval()
        source = Source(f"chain{layers}", chain, (torch.randn(1, channels, size, size),), ("x",), ("y",), "benchmark")
        samples = random_samples(source.inputs, 4, seed=0)
        programs = programs_of(source, SampleSets(samples, samples), options)
        first = next(iter(samples))
        for artifact in export_all(source, programs, options, folder):
            engine = {"onnx": "ort", "tflite": "litert"}[artifact.target]
            calls[engine, artifact.precision, layers] = bare_call(artifact.path, first)
    return calls


def measure(libraries: dict[str, ctypes.CDLL], suffix: str, seconds: float) -> tuple[dict[str, float], dict[str, Any]]:
    """Ratios and figures of one shape."""
    channels, size = SHAPES[suffix]
    with tempfile.TemporaryDirectory() as folder:
        calls: dict[Any, Callable[[], object]] = dict(peer_calls(channels, size, Path(folder)))
        for isa, library in libraries.items():
            calls["ours", isa] = our_layer(library, channels, size)
            calls["registers", isa] = partial(library.time_registers, _REGISTER_TURNS)
            calls["floats", isa] = partial(library.time_floats, _REGISTER_TURNS)
        keyed = {str(key): call for key, call in calls.items()}
        latencies = measure_latency(keyed, seconds=seconds)
    times = {key: latencies[str(key)] for key in calls}
    layer_ms = {f"{runtime}_{precision}": _layer_ms(times, runtime, precision) for runtime, precision in _PEERS}
    macs, inside = 9 * (channels * size) ** 2, (channels * (3 * size - 2)) ** 2
    ratios: dict[str, float] = {}
    ours = {}
    for isa, library in libraries.items():
        ending = suffix if isa == "avx512" else f"{suffix}_{isa}"
        ours_ms = times["ours", isa].p50_ms / _TIMES
        roofline = library.time_registers(1) * _REGISTER_TURNS / times["registers", isa].p50_ms / 1e6
        floats = library.time_floats(1) * _REGISTER_TURNS / times["floats", isa].p50_ms / 1e6
        ratios |= {f"binary_vs_{peer}{ending}": value / ours_ms for peer, value in layer_ms.items()}
        ratios[f"share_of_roofline{ending}"] = inside / ours_ms / 1e6 / roofline
        ours[isa] = {
            "ms": ours_ms,
            "gmac_per_second": macs / ours_ms / 1e6,
            "roofline_gmac_per_second": roofline,
            "float_gmac_per_second": floats,
        }
    peers = {peer: {"ms": value, "gmac_per_second": macs / value / 1e6} for peer, value in layer_ms.items()}
    noisy = [" ".join(map(str, key)) for key, latency in times.items() if latency.noisy]
    return ratios, {"channels": channels, "size": size, "ours": ours, "peers": peers, "noisy": noisy}


_PEERS = [(runtime, precision) for runtime in ("ort", "litert") for precision in ("float32", "int8")]


def _layer_ms(times: dict[Any, Latency], runtime: str, precision: str) -> float:
    long, short = (times[runtime, precision, layers].p50_ms for layers in (_CHAIN, 1))
    return (long - short) / (_CHAIN - 1)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="timed seconds per variant and shape, at least")
    arguments = parser.parse_args(argv)
    known: list[str] = [kernels for kernels in ("avx512", "avx2") if kernels in runnable_kernels()]
    ratios: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        libraries = {isa: build_library(isa, Path(folder)) for isa in known}
        for suffix in SHAPES:
            found, row = measure(libraries, suffix, arguments.seconds)
            _show(row)
            ratios |= {key: round(value, 3) for key, value in found.items()}
            rows.append(row)
    document = {"benchmark": "binary_conv", "ratios": ratios, "machine": str(describe_host())}
    print(json.dumps({**document, "compiler": compiler_version(), "layers": rows}))
    return 0


def _show(row: dict[str, Any]) -> None:
    print(f"\n{row['channels']} channels, {row['size']} x {row['size']}")
    for isa, ours in row["ours"].items():
        roofline = f"registers alone {ours['roofline_gmac_per_second']:.0f}, float {ours['float_gmac_per_second']:.0f}"
        print(f"  ours, {isa:15} {ours['ms'] * 1e3:9.1f} us {ours['gmac_per_second']:7.0f} GMAC/s   ({roofline})")
    for peer, figures in row["peers"].items():
        print(f"  {peer:21} {figures['ms'] * 1e3:9.1f} us {figures['gmac_per_second']:7.0f} GMAC/s")
    if row["noisy"]:
        print(f"  noisy: {', '.join(row['noisy'])}")


if __name__ == "__main__":
    raise SystemExit(main())

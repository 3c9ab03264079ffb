"""`python -m offramp.benchmarks.logic`: logic networks in C, against straight-line C and ONNX Runtime, in one run.

The networks are random: as many neurons in each layer, half of them majorities of three and half ANDs and ORs, with
inverted inputs among them, every neuron read by at least one of the next layer. Times are the least of many runs on
one thread, compile times the compiler's processor time. Straight-line C is our own, one function of a variable for
each gate and 64 samples a word, compiled by `cc -O1`: it stands in for what other generators of logic networks write,
and is no peer's code. ONNX Runtime runs the same layers as matrices, float32 or int8. A full adder and a multiplier
of 2 by 2 bits, built by hand, are held to arithmetic on every input first.
"""

import argparse
import ctypes
import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from ..c_compiler import compiler, compiler_version, runnable_kernels
from ..devices.boards.emulated import boards, missing_tools, run_on
from ..devices.boards.host import describe_host
from ..export.logic import Netlist, evaluate, from_layers, pack, unpack, write_netlist
from ..export.logic.chunked import CHUNK, chunked_source
from ..runtime.latency import measure_latency
from ..runtime.logic_session import LogicSession
from .results import keep

WIDTHS = {"1k": (250, 4), "10k": (1000, 10), "100k": (5000, 20), "1m": (20_000, 50)}  # neurons in a layer, layers
SAMPLES_PER_WORD = {"portable": 64, "avx2": 256, "avx512": 512}
# Table -> weights of three inputs and of the constant -1.
NEURONS = {0x88: (1, 1, 0, 1), 0x22: (1, -1, 0, 1), 0xEE: (1, 1, 0, -1), 0xE8: (1, 1, 1, 0), 0xD4: (-1, 1, 1, 0)}
SHARES = (1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 4)
SAMPLES = {"1k": 4096}  # of one call; 512 of a larger network, so that a call is short
DENSE = ("1k", "10k")  # whose matrices fit into memory
_LONGEST_COMPILE_S = 60
# What calls straight-line C for several words, so that calls from Python are not in its time.
_MANY = """
#include <stddef.h>

void {name}_many(const uint64_t *in, uint64_t *out, size_t words);
void {name}_many(const uint64_t *in, uint64_t *out, size_t words)
{{
    for (size_t w = 0; w < words; w++)
        {name}_run(in + w * {macro}_IN_LENGTH, out + w * {macro}_OUT_LENGTH);
}}
"""

# Inputs a, b, carry; the constant node last. Outputs sum, carry.
FULL_ADDER = [
    np.array([[1, 1, 1, 0], [1, 1, -1, 0], [0, 0, 1, 0]]),  # carry, majority of a, b and not c, c
    np.array([[-1, 1, 1, 0], [1, 0, 0, 0]]),
]
# Inputs a0, a1, b0, b1. Outputs the four bits of the product, the lowest first.
MULTIPLIER = [
    np.array([[1, 0, 1, 0, 1], [0, 1, 1, 0, 1], [1, 0, 0, 1, 1], [0, 1, 0, 1, 1]]),  # a0 b0, a1 b0, a0 b1, a1 b1
    np.array([[1, 0, 0, 0, 0], [0, 1, 1, 0, -1], [-1, 0, 0, 1, 1], [1, 0, 0, 1, 1]]),  # the middle: either, not both
    np.array([[1, 0, 0, 0, 0], [0, 1, 0, -1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]),
]


def circuit_table(inputs: int, compute: Callable[[np.ndarray], np.ndarray], outputs: int) -> tuple[np.ndarray, ...]:
    """Every input, (2^n, n) bool, and the bits of the number that is computed from each."""
    x = np.arange(1 << inputs)[:, None] >> np.arange(inputs) & 1
    return x > 0, (compute(x)[:, None] >> np.arange(outputs) & 1) > 0


CIRCUITS = {
    "full adder": (FULL_ADDER, circuit_table(3, lambda x: x.sum(axis=1), 2)),
    "2-bit multiplier": (
        MULTIPLIER,
        circuit_table(4, lambda x: (x[:, 0] + 2 * x[:, 1]) * (x[:, 2] + 2 * x[:, 3]), 4),
    ),
}


def random_netlist(width: int, depth: int, seed: int = 0) -> Netlist:
    """`width * depth` neurons in layers, of `width` inputs."""
    generator = np.random.default_rng(seed)
    tables = generator.choice(list(NEURONS), width * depth, p=SHARES)
    operands = []
    for layer in range(depth):
        first = generator.permutation(width)
        # Three different neurons of the layer before.
        second = (first + generator.integers(1, width // 2, width)) % width
        third = (second + generator.integers(1, width // 2, width)) % width
        operands.append(np.stack([first, second, third], axis=1) + 1 + layer * width)
    joined = np.concatenate(operands)
    joined[np.isin(tables, [table for table, weights in NEURONS.items() if not weights[2]]), 2] = 0
    return Netlist(width, tables, joined, 1 + width * depth + np.arange(width), np.zeros(width, bool))


def weights_of(netlist: Netlist, width: int) -> list[np.ndarray]:
    """The same network as layers of weights, (out, in + 1) int64."""
    layers = []
    for start in range(0, netlist.gates, width):
        rows = np.zeros((width, width + 1), np.int64)
        for row, table, operands in zip(rows, netlist.tables[start:].tolist(), netlist.operands[start:].tolist()):
            *weights, row[-1] = NEURONS[table]
            for read, weight in zip(operands, weights):
                if weight:
                    row[read - 1 - start] = weight
        layers.append(rows)
    return layers


def peer(layers: list[np.ndarray], precision: str) -> onnxruntime.InferenceSession:
    """The layers as matrices in ONNX Runtime, on one thread, on bits of 0 and 1, which take it the fewest operations.

    `w·x > c` for x of ±1 is `w·b > (sum of w + c) / 2` for bits b; float32 products, or whole ones of uint8 by int8.
    """
    whole = precision == "int8"
    kind = TensorProto.UINT8 if whole else TensorProto.FLOAT
    weight, sums = (np.int8, np.int32) if whole else (np.float32, np.float32)
    nodes, constants, value = [], [], "x"
    for k, rows in enumerate(layers):
        # Sums are odd, so that no sum of bits is between the two.
        limits = (rows.sum(axis=1) // 2).astype(sums)
        constants += [
            numpy_helper.from_array(np.ascontiguousarray(rows[:, :-1].T).astype(weight), f"w{k}"),
            numpy_helper.from_array(limits, f"l{k}"),
        ]
        nodes.append(helper.make_node("MatMulInteger" if whole else "MatMul", [value, f"w{k}"], [f"p{k}"]))
        nodes.append(helper.make_node("Greater", [f"p{k}", f"l{k}"], [f"g{k}"]))
        nodes.append(helper.make_node("Cast", [f"g{k}"], [f"y{k}"], to=kind))
        value = f"y{k}"
    shapes = [("x", layers[0].shape[1] - 1), (value, layers[-1].shape[0])]
    borders = [helper.make_tensor_value_info(name, kind, ["n", size]) for name, size in shapes]
    graph = helper.make_graph(nodes, "logic", borders[:1], borders[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def straight_line(netlist: Netlist, folder: Path, chunk: int) -> tuple[float | None, Callable[..., None] | None]:
    """Seconds that `cc -O1` takes for functions of `chunk` gates, and the function; None if over a minute."""
    name = f"straight_{netlist.gates}_{chunk}"
    header, source = chunked_source(netlist, name, chunk, 64)
    (folder / f"{name}.h").write_text(header, encoding="utf-8")
    (folder / f"{name}.c").write_text(source + _MANY.format(name=name, macro=name.upper()), encoding="utf-8")
    command = [*compiler(), "-std=c99", "-O1", "-march=native", "-shared", "-fPIC", f"{name}.c", "-o", f"{name}.so"]
    begun = _compiler_seconds()
    limit = partial(resource.setrlimit, resource.RLIMIT_CPU, (_LONGEST_COMPILE_S, _LONGEST_COMPILE_S))
    done = subprocess.run(command, cwd=folder, preexec_fn=limit, capture_output=True, text=True, check=False)
    if done.returncode:
        assert _compiler_seconds() - begun > 0.9 * _LONGEST_COMPILE_S, done.stderr
        return None, None
    return _compiler_seconds() - begun, getattr(ctypes.CDLL(str(folder / f"{name}.so")), f"{name}_many")


def straight_call(function: Callable[..., None], netlist: Netlist, planes: np.ndarray) -> Callable[[], np.ndarray]:
    """The function on all words, one after the other; gives planes of outputs."""
    given = np.ascontiguousarray(planes.T)  # (words, inputs)
    out = np.zeros((len(given), len(netlist.outputs)), np.uint64)
    words = ctypes.c_size_t(len(given))

    def call() -> np.ndarray:
        function(ctypes.c_void_p(given.ctypes.data), ctypes.c_void_p(out.ctypes.data), words)
        return out.T

    return call


def _compiler_seconds() -> float:
    """Processor time of all processes that were started and have ended, which a busy machine changes little."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def check_circuits(folder: Path) -> dict[str, str]:
    """The circuits built by hand, on every input, by NumPy and by every kernel set; gates and depth of each."""
    found = {}
    for name, (layers, (x, wanted)) in CIRCUITS.items():
        netlist = from_layers(layers)
        path = write_netlist(netlist, folder / "circuit.c").path
        results = [evaluate(netlist, x), *(LogicSession(path, kernels).run(x) for kernels in runnable_kernels())]
        assert all((result == wanted).all() for result in results), f"{name}: is wrong"
        found[name] = f"{netlist.gates} gates, depth {netlist.depth}, right on all {len(x)} inputs"
    return found


def measure(size: str, folder: Path, seconds: float) -> dict[str, Any]:
    """One network: compile seconds, and the least microseconds a sample, of every form."""
    width, depth = WIDTHS[size]
    netlist = random_netlist(width, depth)
    samples = SAMPLES.get(size, 512)
    x = np.random.default_rng(1).integers(0, 2, (samples, width)).astype(bool)
    wanted, planes, signs = evaluate(netlist, x), pack(x), np.where(x, np.int8(1), np.int8(-1))
    row: dict[str, Any] = {"gates": netlist.gates, "depth": depth, "compile_seconds": {}}
    compile_s = row["compile_seconds"]
    calls: dict[str, Callable[[], Any]] = {}
    begun = time.perf_counter()
    path = write_netlist(netlist, folder / "table.c").path
    row["write_seconds"], row["source_bytes"] = time.perf_counter() - begun, path.stat().st_size
    for kernels in runnable_kernels():
        begun = _compiler_seconds()
        session = LogicSession(path, kernels)
        compile_s[kernels] = _compiler_seconds() - begun
        calls[kernels], out = session.call(planes)
        calls[kernels]()
        assert (unpack(out, samples) == wanted).all(), f"{size}, {kernels}: is wrong"
    calls["with packing"], _ = session.call_rows(signs)
    for form, chunk in (("straight", netlist.gates), ("chunked", CHUNK)):
        compile_s[form], function = straight_line(netlist, folder, chunk) if size != "1m" else (None, None)
        if function is not None:
            calls[form] = call = straight_call(function, netlist, planes)
            assert (unpack(call(), samples) == wanted).all(), f"{size}, {form}: is wrong"
    if size in DENSE:
        layers = weights_of(netlist, width)
        assert (evaluate(from_layers(layers), x) == wanted).all()
        for precision, given in (("float32", x.astype(np.float32)), ("int8", x.astype(np.uint8))):
            calls[f"onnxruntime {precision}"] = run = partial(peer(layers, precision).run, None, {"x": given})
            assert ((run()[0] > 0) == wanted).all(), f"{size}, {precision}: is wrong"
    latencies = measure_latency(calls, runs=5, seconds=seconds, warmup_runs=1, warmup_seconds=0.1)
    row["nanoseconds_a_sample"] = {k: min(v.samples_ms) * 1e6 / samples for k, v in latencies.items()}
    row["noisy"] = [name for name, latency in latencies.items() if latency.noisy]
    return row


def on_cortex_m4(folder: Path) -> dict[str, float] | str:
    """What straight-line C takes of a small processor, or why that was not run."""
    if missing := missing_tools(boards()["cortex-m4"]):
        return f"not run: {', '.join(tool for tool, _ in missing)}"
    netlist = random_netlist(*WIDTHS["1k"])
    artifact = write_netlist(netlist, folder / "small.c", "chunked")
    x = np.random.default_rng(1).integers(0, 2, (64, netlist.inputs)).astype(bool)
    run = run_on("cortex-m4", artifact, [np.ascontiguousarray(pack(x).view("<i4").T)])
    octets = np.ascontiguousarray(run.outputs["out"].T).view(np.uint8)
    assert (evaluate(netlist, x) == np.unpackbits(octets, axis=1, bitorder="little").T).all()
    return {
        "instructions_a_gate": run.instructions / netlist.gates,
        "instructions_a_sample": run.instructions / 32,
        "flash_bytes_a_gate": run.flash_bytes / netlist.gates,
        "ram_bytes": run.ram_bytes,
        "stack_bytes": run.stack_bytes,
    }


def ratios_of(size: str, row: dict[str, Any]) -> dict[str, float]:
    """Above 1 where ours, or the wider word, is ahead."""
    times, compile_s = row["nanoseconds_a_sample"], row["compile_seconds"]
    best = times[runnable_kernels()[-1]]
    found = {f"speed_{SAMPLES_PER_WORD[k]}_over_64": times["portable"] / times[k] for k in runnable_kernels()[1:]}
    for form in ("straight", "chunked"):
        if compile_s[form]:
            found[f"compile_{form}_over_table"] = compile_s[form] / compile_s[runnable_kernels()[-1]]
            found[f"speed_table_over_{form}"] = times[form] / best
    for precision in ("float32", "int8") if size in DENSE else ():
        found[f"speed_over_onnxruntime_{precision}"] = times[f"onnxruntime {precision}"] / best
        found[f"speed_with_packing_over_onnxruntime_{precision}"] = (
            times[f"onnxruntime {precision}"] / times["with packing"]
        )
    return {f"{name}_{size}": round(value, 3) for name, value in found.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.3, help="timed seconds per form and network, at least")
    parser.add_argument("--sizes", nargs="+", choices=list(WIDTHS), default=list(WIDTHS), help="networks")
    parser.add_argument("--keep", action="store_true", help="record the result for docs/results.md")
    arguments = parser.parse_args(argv)
    ratios: dict[str, float] = {}
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        circuits = check_circuits(Path(name))
        for circuit, said in circuits.items():
            print(f"{circuit}: {said}")
        for size in arguments.sizes:
            rows[size] = measure(size, Path(name), arguments.seconds)
            _show(rows[size])
            ratios |= ratios_of(size, rows[size])
        small = on_cortex_m4(Path(name))
    print(f"\ncortex-m4, 1000 gates: {small}")
    document = {
        "benchmark": "logic",
        "ratios": ratios,
        "machine": str(describe_host()),
        "compiler": compiler_version(),
        "circuits": circuits,
        "networks": rows,
        "cortex_m4": small,
    }
    if arguments.keep:
        keep(document)
    print(json.dumps(document))
    return 0


def _show(row: dict[str, Any]) -> None:
    print(f"\n{row['gates']} gates, depth {row['depth']}, {row['source_bytes'] / 1e6:.1f} MB of C")
    for name, nanoseconds in row["nanoseconds_a_sample"].items():
        seconds = row["compile_seconds"].get(name)
        compiled = f"   compiled in {seconds:6.2f} s" if seconds else ""
        speed = f"{row['gates'] / nanoseconds:8.1f} gates x samples / ns" if "onnx" not in name else ""
        print(f"  {name:22}{nanoseconds:12.2f} ns a sample {speed}{compiled}")
    for name, seconds in row["compile_seconds"].items():
        if seconds is None and row["gates"] < 1_000_000:
            print(f"  {name:22}does not compile in {_LONGEST_COMPILE_S} s")
    if row["noisy"]:
        print(f"  noisy: {', '.join(row['noisy'])}")


if __name__ == "__main__":
    raise SystemExit(main())

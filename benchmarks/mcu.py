"""`python -m offramp.benchmarks.mcu`: MLPerf Tiny's four networks in int8 on an emulated Cortex-M4, next to a peer.

Each network is quantized once. Our C and the peer's (peer_mcu.py) compute that program; both are compiled by the same
compiler with `-O2`, the peer also with `-O3`, and run on the same samples in the same emulator. Counted are the
instructions of one run, and from the linker's map the bytes of flash (code and constants) and of RAM (the memory that
it computes in, and variables). A ratio is the peer's figure over ours, of all variants of the peer the one with the
least: above 1, ours takes less.

Outputs: ours must be the program's codes exactly. The peer rounds in its own way, so that its C must give what its own
reference in Python gives, and both are held against the float network: signal to noise of the outputs. Weights are
random, and batch norms measured on random inputs; no figure but that one depends on them.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..devices.boards.emulated import EmulatedRun, boards, missing_tools, run_on
from ..devices.boards.host import describe_host
from ..errors import BadInput
from ..export.artifact import Artifact
from ..export.c.program import to_c
from ..models.system import System, find_system
from ..quant.capture import capture
from ..quant.integer.evaluate import evaluate
from ..quant.integer.lowering import integer_program
from ..quant.integer.operations import IntegerProgram
from ..quant.quantize import quantize
from ..quant.scheme import Scheme
from .peer_mcu import TITLE, LinearScale, Peer, compile_peer, missing
from .results import keep
from .untrained import measure_norms

NETWORKS = ("resnet8", "ds_cnn", "mobilenet_v1_025", "fc_autoencoder")
BOARD = "cortex-m4"
FIGURES = ("instructions", "flash", "ram")
# What a linear layer's weights have scales for, and the level of the compiler; None is the board's own, -O2.
_VARIANTS: tuple[tuple[LinearScale, str | None], ...] = (("tensor", None), ("tensor", "O3"), ("channel", None))
_SAMPLES = 8
_SHOWN = 4  # functions of a run


@dataclass(frozen=True)
class Subject:
    """A network to measure.

    Attributes:
        name: of the system.
        program: its int8 program, codes at the border.
        artifact: our C of it.
        samples: int8 (N, *shape of the input without the batch), PyTorch's order.
        codes: int8 (N, number of outputs), what the program gives.
        exact: float32 (N, number of outputs), what the float network gives for what the samples mean.
    """

    name: str
    program: IntegerProgram
    artifact: Artifact
    samples: np.ndarray
    codes: np.ndarray
    exact: np.ndarray


def prepare(system: System, folder: Path) -> Subject:
    """Quantizes a system with random weights and writes our C of it."""
    torch.manual_seed(0)
    network = system.build()
    columns = zip(*(system.example_inputs(seed) for seed in range(64)))
    measure_norms(network, [tuple(map(torch.cat, columns))])
    captured = capture(network, system.example_inputs(), None, None)
    quantized = quantize(captured, [system.example_inputs(seed) for seed in range(32)], Scheme())
    inputs, outputs = quantized.input_names, quantized.output_names
    program = integer_program(quantized.program, inputs, outputs, integer_border=True)
    artifact = to_c(
        quantized.program,
        folder / f"{system.name}.c",
        input_names=inputs,
        output_names=outputs,
        precision="int8",
        integer_io=True,
    )
    meaning = program.inputs[0].meaning
    images = [system.example_inputs(100 + place)[0].numpy() for place in range(_SAMPLES)]
    samples = np.concatenate([meaning.codes(values) for values in images])
    codes = np.concatenate([evaluate(program, [sample[None]])[0].reshape(1, -1) for sample in samples])
    with torch.no_grad():
        exact = network(torch.from_numpy(meaning.real(samples))).numpy().reshape(len(samples), -1)
    return Subject(system.name, program, artifact, samples, codes, exact)


def measure(system: System, folder: Path) -> dict[str, Any]:
    """Figures of one network: a row for ours and one for each variant of the peer, and the ratios.

    Raises:
        BadInput: our outputs are not the program's, or the peer's not those of its own reference.
    """
    subject = prepare(system, folder)
    run = run_on(BOARD, subject.artifact, [subject.samples])
    if not np.array_equal(_codes(run), subject.codes):
        raise BadInput(f"{subject.name}: on {BOARD} the C does not compute what its program does")
    rows = [{"who": "ours", "variant": "-O2", "kernels": None, **figures(run, subject)}]
    for scales, level in _VARIANTS:
        place = folder / f"{scales}-{level}"
        place.mkdir()
        peer = compile_peer(subject.program, subject.name, place, scales, level)
        run = run_on(BOARD, peer.artifact, [channels_last(subject.samples)])
        _check_peer(subject, peer, run)
        variant = f"-{level or 'O2'}, linear layers with a scale for each {scales}"
        rows.append({"who": "peer", "variant": variant, "kernels": peer.kernels, **figures(run, subject)})
    return {"network": subject.name, "rows": rows, "ratios": ratios(subject.name, rows)} | {
        "flags": " ".join(run.flags),
        "compiler": run.compiler,
        "emulator": run.emulator,
    }


def figures(run: EmulatedRun, subject: Subject) -> dict[str, Any]:
    """What a run took, and how far its outputs are from the float network's."""
    outputs = subject.program.outputs[0].meaning.real(_codes(run))
    noise = float(np.sum(np.square(outputs - subject.exact, dtype=np.float64)))
    signal = float(np.sum(np.square(subject.exact, dtype=np.float64)))
    return {
        "instructions": run.instructions,
        "flash": run.flash_bytes,
        "ram": run.ram_bytes,
        "stack": run.stack_bytes,
        "same_codes": float(np.mean(_codes(run) == subject.codes)),
        "sqnr_db": 10 * float(np.log10(signal / max(noise, 1e-30))),
        "functions": dict(list(run.by_function.items())[:_SHOWN]),
    }


def ratios(name: str, rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of each figure: the least of any variant of the peer, over ours."""
    (ours,) = (row for row in rows if row["who"] == "ours")
    peers = [row for row in rows if row["who"] == "peer"]
    return {f"{figure}_{name}": min(row[figure] for row in peers) / ours[figure] for figure in FIGURES}


def channels_last(samples: np.ndarray) -> np.ndarray:
    """(N, C, H, W), or (N, C), as (N, numbers of a sample) with the channels of a position side by side."""
    moved = np.moveaxis(samples, 1, -1) if samples.ndim == 4 else samples
    return np.ascontiguousarray(moved).reshape(len(samples), -1)


def document_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The benchmark's document, of at least one network."""
    common = {key: results[0][key] for key in ("flags", "compiler", "emulator")}
    return {
        "benchmark": "mcu",
        "ratios": {key: round(value, 3) for result in results for key, value in result["ratios"].items()},
        "machine": str(describe_host()),
        "board": BOARD,
        "peer": TITLE,
        **common,
        "networks": [{key: result[key] for key in ("network", "rows")} for result in results],
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--keep", action="store_true", help="record the result for docs/results.md")
    arguments = parser.parse_args(argv)
    if reason := missing() or _missing_board():
        parser.exit(1, f"not run: {reason}\n")
    results = []
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(find_system(name), Path(folder)))
        _show(results[-1])
    document = document_of(results)
    if arguments.keep:
        keep(document)
    print(json.dumps(document))
    return 0


def _missing_board() -> str | None:
    found = missing_tools(boards()[BOARD])
    return f"{BOARD}: apt-get install {' '.join(package for _, package in found)}" if found else None


def _codes(run: EmulatedRun) -> np.ndarray:
    """int8 (N, number of outputs)."""
    (values,) = run.outputs.values()
    return values.reshape(len(values), -1)


def _check_peer(subject: Subject, peer: Peer, run: EmulatedRun) -> None:
    """One sample through the peer's own reference, which takes seconds."""
    if not np.array_equal(_codes(run)[0], peer.reference(subject.samples[:1])):
        raise BadInput(f"{subject.name}: the peer's C does not compute what the peer's reference does")


def _show(result: dict[str, Any]) -> None:
    print(f"\n{result['network']}")
    print(f"  {'':5} {'instructions':>13} {'flash':>9} {'RAM':>8} {'stack':>6} {'same codes':>11} {'SQNR':>8}")
    for row in result["rows"]:
        sizes = f"{row['instructions']:13,} {row['flash']:9,} {row['ram']:8,} {row['stack']:6,}"
        print(f"  {row['who']:5} {sizes} {row['same_codes']:11.1%} {row['sqnr_db']:5.1f} dB  {row['variant']}")
        print(f"        {', '.join(f'{name} {count:,}' for name, count in row['functions'].items())}")
    print("  peer over ours: " + ", ".join(f"{key} {value:.3f}" for key, value in result["ratios"].items()))


if __name__ == "__main__":
    raise SystemExit(main())

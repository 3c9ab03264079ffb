"""`python -m offramp.benchmarks.c_exact`: C networks on 1,000 inputs, with every kernel set and on emulated boards.

Each network's outputs are compared, bit for bit, with the program's arithmetic in whole numbers (`quant.integer`).
Weights are random; batch norms have statistics of random inputs, so that codes spread over their range. A board whose
tools are missing is reported as not run. `--keep` writes the record.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..c_compiler import runnable_kernels
from ..devices.boards.emulated import EmulatorUnavailable, boards, run_on
from ..devices.boards.host import describe_host
from ..export.artifact import Artifact
from ..export.c.program import to_c
from ..models.system import find_system
from ..quant.capture import capture
from ..quant.integer.evaluate import evaluate
from ..quant.integer.lowering import integer_program
from ..quant.program import QuantizedProgram
from ..quant.quantize import quantize
from ..quant.scheme import Scheme, bits_named
from ..runtime.c_session import CSession
from .results import keep
from .untrained import enlivened

NETWORKS = (
    *((name, "int8") for name in ("resnet8", "ds_cnn", "mobilenet_v1_025", "fc_autoencoder")),
    ("bireal_xs", "binary"),
    ("resnet8", "w4a4"),
)
BOARDS = tuple(boards())
INPUTS = 1000


def network(name: str, scheme: str) -> QuantizedProgram:
    """A system with random weights that say something, quantized."""
    system = find_system(name)
    captured = capture(enlivened(system), system.example_inputs(), tuple(system.input_shapes), system.output_names)
    chosen = Scheme(*bits_named(scheme), calibration="minmax", rounding="nearest", correct_bias=False)
    return quantize(captured, [system.example_inputs(seed) for seed in range(8)], chosen)


def measure(name: str, scheme: str, count: int, boards: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """How many inputs give the same bits, engine by engine."""
    program = network(name, scheme)
    integers = integer_program(program.program, program.input_names, program.output_names)
    generator = np.random.default_rng(0)
    inputs = {
        value.name: generator.standard_normal((count, *value.shape[1:])).astype(np.float32) for value in integers.inputs
    }
    samples = [{key: array[i : i + 1] for key, array in inputs.items()} for i in range(count)]
    wanted = np.concatenate([evaluate(integers, list(sample.values()))[0] for sample in samples])
    with tempfile.TemporaryDirectory() as folder:
        artifact = to_c(
            program.program,
            Path(folder) / f"{name}.c",
            input_names=program.input_names,
            output_names=program.output_names,
            precision=scheme,
        )
        for kernels in runnable_kernels():
            session = CSession(artifact.path, kernels=kernels)
            found = np.concatenate([next(iter(session.run(sample).values())) for sample in samples])
            yield _row(name, scheme, f"host, {kernels}", _equal(found, wanted), count)
        for board in boards:
            yield _row(name, scheme, board, _on_board(board, artifact, inputs, wanted), count)


def _equal(found: np.ndarray, wanted: np.ndarray) -> int:
    return int((found.reshape(wanted.shape) == wanted).all(axis=tuple(range(1, wanted.ndim))).sum())


def _on_board(board: str, artifact: Artifact, inputs: dict[str, np.ndarray], wanted: np.ndarray) -> int | None:
    try:
        run = run_on(board, artifact, inputs)
    except EmulatorUnavailable as missing:
        print(f"  not run: {missing}", flush=True)
        return None
    return _equal(next(iter(run.outputs.values())), wanted)


def _row(name: str, scheme: str, engine: str, equal: int | None, count: int) -> dict[str, Any]:
    shown = "not run" if equal is None else f"{equal} of {count} equal"
    print(f"  {name:17} {scheme:7} {engine:16} {shown}", flush=True)
    return {"network": name, "scheme": scheme, "engine": engine, "equal": equal, "inputs": count}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=INPUTS, help="random inputs per network")
    parser.add_argument("--board", action="append", choices=BOARDS, help="repeatable; all by default")
    parser.add_argument("--keep", action="store_true", help="write the record that docs/results.md is made of")
    arguments = parser.parse_args(argv)
    chosen = tuple(arguments.board or BOARDS)
    rows = [row for name, scheme in NETWORKS for row in measure(name, scheme, arguments.inputs, chosen)]
    ran = [row for row in rows if row["equal"] is not None]
    share = sum(row["equal"] for row in ran) / max(sum(row["inputs"] for row in ran), 1)
    document = {"benchmark": "c_exact", "ratios": {"equal_share": share}, "machine": str(describe_host()), "rows": rows}
    if arguments.keep:
        keep(document)
    print(json.dumps(document))
    return 0 if all(row["equal"] == row["inputs"] for row in ran) else 1


if __name__ == "__main__":
    raise SystemExit(main())

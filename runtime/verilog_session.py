"""Runs a logic network's Verilog on this machine, in Icarus Verilog."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from ..errors import BadInput, first_line
from ..export.logic.circuit import Circuit
from ..export.logic.verilog import bench_text

_TIMEOUT_S = 300


class NoSimulator(BadInput):
    """No Verilog simulator was found, or it cannot be used."""


def run_verilog(path: Path, circuit: Circuit, inputs: np.ndarray) -> np.ndarray:
    """What a module computes.

    Args:
        path: of the `.v` file.
        circuit: that it was written from, whose names and numbers of bits it has.
        inputs: (N, inputs) bool.

    Returns:
        (N, outputs) bool.

    Raises:
        NoSimulator: `iverilog` is not there.
        BadInput: it refuses the file, or gives other than bits.
    """
    if shutil.which("iverilog") is None:
        raise NoSimulator("no Verilog simulator is found (iverilog); install one, as with apt-get install iverilog")
    with tempfile.TemporaryDirectory(prefix="offramp-verilog-") as name:
        folder = Path(name)
        (folder / "bench.v").write_text(bench_text(circuit, len(inputs)), encoding="utf-8")
        rows = ("".join("01"[int(bit)] for bit in row[::-1]) for row in inputs)
        (folder / "inputs.txt").write_text("\n".join(rows) + "\n", encoding="utf-8")
        _done(["iverilog", "-g2001", "-Wall", "-o", "bench", str(path.resolve()), "bench.v"], folder, path)
        printed = _done(["vvp", "-n", "bench"], folder, path)
    lines = printed.split()
    if len(lines) != len(inputs) or any(set(line) - {"0", "1"} for line in lines):
        raise BadInput(f"{path}: iverilog does not give bits for it; write it again")
    return np.array([[bit == "1" for bit in reversed(line)] for line in lines])


def _done(command: list[str], folder: Path, path: Path) -> str:
    """What a command prints."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoSimulator(f"{command[0]}: cannot be run ({first_line(error)})") from error
    if done.returncode:
        raise BadInput(f"{path}: {command[0]} refuses it ({first_line(ValueError(done.stderr))}); write it again")
    return done.stdout

"""A trained network of ±1 as logic gates: read, proved equal to its neurons, written, and what was written proved too.

`offramp netlist` takes what deploy takes, or a `.blif` file, and fills `OUT/NAME/` with the netlist in BLIF, Verilog
and C, and `netlist.json`, which is the document that it prints.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.fx import GraphModule

from .c_compiler import NoCompiler
from .errors import BadInput
from .export.artifact import Artifact
from .export.logic.blif import write_blif
from .export.logic.blif_reader import read_blif
from .export.logic.builder import simplified
from .export.logic.circuit import Circuit, bits_of
from .export.logic.equivalence import Proof, every_input, prove
from .export.logic.kinds import count_kinds
from .export.logic.netlist import Netlist, evaluate, pack, unpack
from .export.logic.plain import Neurons, plain_netlist
from .export.logic.program import Reading, read_program
from .export.logic.verilog import write_verilog
from .export.logic.verilog_reader import read_verilog
from .export.logic.write import write_netlist
from .options import Options, Say
from .pipeline import trained_source
from .quant.capture import capture, to_program
from .runtime.latency import measure_latency
from .runtime.logic_chunked import run_chunked
from .runtime.logic_reference import run_signs
from .runtime.logic_session import LogicSession
from .runtime.verilog_session import NoSimulator, run_verilog
from .sources import Source, find_samples, find_source
from .storage import atomic_folder, sha256_of, size_bytes_of, write_json

FORMS = ("blif", "verilog", "c", "chunked")
LARGEST = 7  # whole weight
DOCUMENT = "netlist.json"
_PLAIN = {"input": "in", "output": "out"}  # what Verilog takes for its own words
_MOST_WORK = 1 << 32  # multiply-accumulates of PyTorch on all inputs; with more, it runs on random ones
_RANDOM = 1 << 14
_IN_PYTORCH, _IN_C, _IN_SIMULATOR = 18, 16, 10  # inputs of which all combinations are run
_TIMED = 1 << 12  # samples a call


@dataclass(frozen=True, eq=False)
class _Read:
    """A network, or a file of gates, as it was read.

    Attributes:
        circuit: simplified, with names.
        before: what it was simplified from, gate by gate; None where that is too large.
        of: what `before` is, in a few words.
        layers: of neurons; none of a file.
    """

    circuit: Circuit
    before: Netlist | None
    of: str
    layers: tuple[Neurons, ...] = ()


def netlist_of(
    reference: str,
    options: Options,
    forms: Sequence[str] = ("blif", "verilog", "c"),
    ties: str = "refuse",
    say: Say = lambda _: None,
    largest: int = LARGEST,
) -> dict[str, Any]:
    """Reduces a network of ±1 to gates, and writes `OUT/NAME/`.

    Args:
        reference: what `find_source` takes, or a `.blif` file. A system of the zoo is trained first, as by deploy.
        options: of which data, seed, runs, out and measure are read.
        forms: of `FORMS`.
        ties: `refuse` neurons whose sum can be 0, or take 0 as `plus` or `minus`.
        largest: size of a whole weight that real ones may become.

    Returns:
        The document: sizes, proofs, files, evaluations a second, and whether all of it holds (`verified`).

    Raises:
        BadInput: the network is no logic network, the data are not ±1, the file is damaged, or OUT/NAME holds
            something else.
    """
    unknown = [form for form in forms if form not in FORMS]
    if unknown or not forms:
        raise BadInput(f"form {', '.join(unknown) or '(none)'}: unknown; choose from {', '.join(FORMS)}")
    forms = [form for form in FORMS if form in forms]
    proofs: list[dict[str, Any]] = []
    if Path(reference).suffix == ".blif":
        read = _from_file(Path(reference), options, ties)
    else:
        read, proofs = _from_network(reference, options, ties, largest, say)
    # PyTorch on all inputs proves as much as neurons that are too large to be spelled out would.
    if read.before is not None or not any(proof["proved"] for proof in proofs):
        proofs.insert(0, _proved(read, say))
    circuit = read.circuit
    _check_free(options.out / circuit.name)
    with atomic_folder(options.out / circuit.name) as folder:
        rows = [_written(form, circuit, folder, proofs, say) for form in forms]
        document = {
            "name": circuit.name,
            "network": reference,
            "inputs": list(circuit.inputs),
            "outputs": list(circuit.outputs),
            **sizes_of(circuit.netlist, read.layers),
            "proofs": proofs,
            "files": rows,
            "evaluations_per_second": _timed(folder, rows, circuit, say) if options.measure else None,
            "verified": all(row["verified"] for row in rows) and all(proof["equal"] for proof in proofs),
        }
        write_json(folder / DOCUMENT, document)
    return document | {"folder": str(options.out / circuit.name)}


def _from_file(path: Path, options: Options, ties: str) -> _Read:
    if ties != "refuse":
        raise BadInput(f"--ties {ties}: {path} holds gates, which have no sums; leave it out")
    if options.data is not None:
        raise BadInput(f"--data {options.data}: {path} holds gates, which learn from no data; leave it out")
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: is no text ({error.reason}); restore the file") from error
    found = read_blif(text, str(path))
    circuit = Circuit(path.stem, simplified(found.netlist), found.inputs, found.outputs)
    return _Read(circuit, found.netlist, "the gates of the file")


def _from_network(
    reference: str, options: Options, ties: str, largest: int, say: Say
) -> tuple[_Read, list[dict[str, Any]]]:
    source = trained_source(find_source(reference, options.seed), options, None, say)
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    reading = read_program(to_program(captured.module, captured.example_inputs), largest, ties)
    netlist = reading.netlist
    circuit = Circuit(
        re.sub(r"[^!-~]|[#=\\]", "_", source.name),
        netlist,
        bits_of(_PLAIN.get(captured.input_names[0], captured.input_names[0]), netlist.inputs),
        bits_of(_PLAIN.get(captured.output_names[0], captured.output_names[0]), len(netlist.outputs)),
    )
    neurons = sum(len(layer.rows) for layer in reading.layers)
    say(f"read {source.name}: {neurons} neurons as {netlist.gates} gates")
    before = plain_netlist(netlist.inputs, reading.layers, reading.inverse)
    read = _Read(circuit, before, "its neurons, each by its sum", reading.layers)
    return read, _held_to_network(source, captured.module, reading, options, ties, say)


def _proved(read: _Read, say: Say) -> dict[str, Any]:
    """Simplifying has changed nothing."""
    say(f"proving the netlist equal to {read.of}")
    netlist = read.circuit.netlist
    proof = Proof("SAT", None, netlist.inputs) if read.before is None else prove(netlist, read.before)
    return {"what": f"the netlist and {read.of}", **proof.to_json()}


def _held_to_network(
    source: Source, module: GraphModule, reading: Reading, options: Options, ties: str, say: Say
) -> list[dict[str, Any]]:
    """The netlist against PyTorch: on all inputs where that is feasible, and on the network's own samples."""
    netlist, shape = reading.netlist, tuple(source.example_inputs[0].shape)
    work = sum(layer.rows.size for layer in reading.layers) << min(netlist.inputs, 64)
    inputs, method = _inputs(netlist.inputs, _IN_PYTORCH if work <= _MOST_WORK else 0, options.seed)
    cases = [("the network in PyTorch", method, np.where(inputs, np.int8(1), np.int8(-1)))]
    if options.data is not None or source.dataset is not None:
        samples = find_samples(source, options.data, 1, options.held_out, options.seed).held_out
        values = next(iter(samples.inputs.values())).reshape(len(samples), -1)
        if not (np.abs(values) == 1).all():
            raise BadInput(f"{samples.name}: values must all be +1 or -1, as a logic network takes them")
        cases.append((f"the network in PyTorch on {samples.name}", "held-out inputs", values))
    found = []
    for what, method, values in cases:
        say(f"running {what} on {len(values)} inputs")
        wanted = run_signs(module, values, shape, ties)
        ours = np.where(evaluate(netlist, values) > 0, reading.levels[1], reading.levels[0])
        found.append({"what": f"the netlist and {what}", **_compared(method, values, ours, wanted).to_json()})
    return found


def _compared(method: str, values: np.ndarray, ours: np.ndarray, wanted: np.ndarray) -> Proof:
    wrong = np.flatnonzero((np.abs(ours - wanted) > 1e-6).any(axis=1))
    example = tuple(np.where(values[wrong[0]] > 0, 1, -1).tolist()) if wrong.size else None
    return Proof(method, not wrong.size, values.shape[1], len(values), example)


def _inputs(count: int, most: int, seed: int, random: int = _RANDOM) -> tuple[np.ndarray, str]:
    """(N, count) bool: all inputs of up to `most`, else random ones; and what they are called."""
    if count <= most:
        return unpack(every_input(count), 1 << count), "all inputs"
    draws = np.random.default_rng(seed)
    return draws.integers(0, 2, (random, count), np.uint8).astype(bool), "random inputs"


def _written(form: str, circuit: Circuit, folder: Path, proofs: list[dict[str, Any]], say: Say) -> dict[str, Any]:
    """A file, and what came of reading or executing it; proofs go among the others."""
    say(f"writing and checking {form}")
    artifact = _write(form, circuit, folder)
    reason = None
    try:
        for how, proof in _checks(form, artifact.path, circuit, say):
            proofs.append({"what": f"the netlist and {artifact.path.name}{how}", **proof.to_json()})
            if not proof.equal:
                reason = "it was not decided" if proof.equal is None else f"it computes something else{how}"
    except NoCompiler as fault:
        reason = f"not run: {fault}"
    paths = [artifact.path] if form in ("blif", "verilog") else [artifact.path, artifact.path.with_suffix(".h")]
    return {
        "form": form,
        "path": artifact.path.name,
        "bytes": sum(map(size_bytes_of, paths)),
        "sha256": {path.name: sha256_of(path) for path in paths},
        "verified": reason is None,
        "not_verified_because": reason,
    }


def _write(form: str, circuit: Circuit, folder: Path) -> Artifact:
    if form == "blif":
        return write_blif(circuit, folder / f"{circuit.name}.blif")
    if form == "verilog":
        return write_verilog(circuit, folder / f"{circuit.name}.v")
    if form == "c":
        return write_netlist(circuit.netlist, folder / f"{circuit.name}.c")
    return write_netlist(circuit.netlist, folder / f"{circuit.name}_chunked.c", "chunked")


def _checks(form: str, path: Path, circuit: Circuit, say: Say) -> Iterator[tuple[str, Proof]]:
    """Reads a file back and proves it, or runs it on all inputs, or on random ones; and how, where it needs saying."""
    netlist = circuit.netlist
    if form in ("blif", "verilog"):
        read = read_blif if form == "blif" else read_verilog
        found = read(path.read_text(encoding="utf-8"), path.name)
        assert (found.inputs, found.outputs) == (circuit.inputs, circuit.outputs)
        yield "", prove(netlist, found.netlist)
    if form == "verilog":
        try:
            inputs, method = _inputs(netlist.inputs, _IN_SIMULATOR, 0, 1 << _IN_SIMULATOR)
            yield " in Icarus Verilog", _run(method, netlist, inputs, run_verilog(path, circuit, inputs))
        except NoSimulator as fault:
            say(f"not simulated as well: {fault}")
    elif form in ("c", "chunked"):
        inputs, method = _inputs(netlist.inputs, _IN_C, 0)
        results = LogicSession(path).run(inputs) if form == "c" else run_chunked(path, inputs)
        yield "", _run(method, netlist, inputs, results)


def _run(method: str, netlist: Netlist, inputs: np.ndarray, results: np.ndarray) -> Proof:
    return _compared(method, inputs, evaluate(netlist, inputs) * 1.0, results * 1.0)


def sizes_of(netlist: Netlist, layers: Sequence[Neurons]) -> dict[str, Any]:
    """Neurons and weights before, None of each where there are none; gates after."""
    rows = [layer.rows for layer in layers]
    return {
        "neurons": sum(map(len, rows)) if rows else None,
        "nonzero_weights": int(sum(np.count_nonzero(row[:, :-1]) for row in rows)) if rows else None,
        "dense_macs": sum(row[:, :-1].size for row in rows) if rows else None,
        "gates": netlist.gates,
        "gates_by_kind": count_kinds(netlist),
        "depth": netlist.depth,
    }


def _timed(folder: Path, rows: list[dict[str, Any]], circuit: Circuit, say: Say) -> dict[str, Any] | None:
    """Evaluations a second of the C in table form, one thread; None where it was not asked for or does not run."""
    if not any(row["form"] == "c" and row["verified"] for row in rows):
        return None
    say("timing the C")
    session = LogicSession(folder / f"{circuit.name}.c")
    bits = np.random.default_rng(0).integers(0, 2, (_TIMED, circuit.netlist.inputs), np.uint8).astype(bool)
    signs = np.where(bits, np.int8(1), np.int8(-1))
    calls = {"packed": session.call(pack(bits))[0], "bytes": session.call_rows(signs)[0]}
    found = measure_latency(calls, runs=20, seconds=0.2, warmup_seconds=0.1)
    rates = {name: round(_TIMED / latency.p50_ms * 1e3) for name, latency in found.items()}
    noisy = any(latency.noisy for latency in found.values())
    return {**rates, "samples_a_call": _TIMED, "engine": session.engine, "noisy": noisy}


def _check_free(folder: Path) -> None:
    """Raises BadInput where the folder holds other things than an earlier netlist."""
    if folder.exists() and not (folder / DOCUMENT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: holds something that is no netlist; choose another --out")

"""The C of netlists: every form and instruction set computes its bits, cleanly, and the same text each time."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from offramp.c_compiler import KERNEL_SETS, WARNINGS, runnable_kernels
from offramp.devices.boards.emulated import run_on
from offramp.errors import BadInput
from offramp.export.logic import Netlist, evaluate, from_layers, pack, simplified, unpack, write_netlist
from offramp.export.logic.chunked import chunked_source
from offramp.export.logic.host import host_source
from offramp.export.logic.schedule import schedule
from offramp.export.logic.tables import canonical_orders, used_operands
from offramp.runtime.logic_session import LogicSession

sys.path.append(str(Path(__file__).parent))
from needs import need_board

EVERY_TABLE = sorted({canonical_orders(t)[0] for t in range(2, 256, 2) if len(used_operands(t)) > 1})
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
SANITIZERS = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Reads packed inputs and writes packed outputs, in buffers of exactly their size.
MAIN = """\
#include <stdio.h>
#include <stdlib.h>
#include "every.h"
int main(int argc, char **argv)
{
    const size_t samples = (size_t)atoi(argv[argc - 1]), words = (samples + 63) / 64;
    int8_t *rows = malloc(samples * EVERY_INPUTS + 1);
    uint64_t *in = malloc(words * EVERY_INPUTS * 8), *out = malloc(words * EVERY_OUTPUTS * 8);
    int8_t *found = malloc(samples * EVERY_OUTPUTS + 1);
    if (fread(rows, EVERY_INPUTS, samples, stdin) != samples)
        return 2;
    every_pack(rows, samples, in);
    every_run(in, out, words);
    every_unpack(out, samples, found);
    fwrite(found, EVERY_OUTPUTS, samples, stdout);
    free(rows), free(in), free(out), free(found);
    return 0;
}
"""


def netlist_of(gates: int, inputs: int = 13, seed: int = 0) -> Netlist:
    """Random gates of every table that is written, with outputs straight, inverse, of inputs and constant."""
    generator = np.random.default_rng(seed)
    tables = generator.choice(EVERY_TABLE, gates)
    operands = np.zeros((gates, 3), int)
    for gate, table in enumerate(tables.tolist()):
        recent = np.arange(max(1, 1 + inputs + gate - 60), 1 + inputs + gate)
        used = len(used_operands(table))
        operands[gate, :used] = generator.choice(recent, used, replace=False)
    outputs = [*range(inputs + gates - 8, inputs + gates + 1), 0, 0, 1, 2, inputs + gates]
    return Netlist(inputs, tables, operands, outputs, np.arange(len(outputs)) % 2 == 0)


def samples_of(netlist: Netlist, count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 2, (count, netlist.inputs)).astype(bool)


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_netlist(netlist_of(300), tmp_path_factory.mktemp("every") / "every.c").path


@pytest.mark.parametrize("kernels", runnable_kernels())
@pytest.mark.skipif(not COMPILERS, reason="not run: no gcc or clang")
def test_every_vector_width_computes_the_netlist(written, kernels) -> None:
    netlist = netlist_of(300)
    session = LogicSession(written, kernels)
    for count in (1, 63, 64, 65, 513, 1100):
        x = samples_of(netlist, count)
        np.testing.assert_array_equal(session.run(x), evaluate(netlist, x))
        np.testing.assert_array_equal(unpack(session.run_words(pack(x)), count), evaluate(netlist, x))
    signs = np.where(x, 1, -1)
    np.testing.assert_array_equal(session.run(signs), evaluate(netlist, signs))


@pytest.mark.parametrize("kernels", runnable_kernels())
@pytest.mark.skipif(not COMPILERS, reason="not run: no gcc or clang")
def test_the_table_form_stays_inside_its_buffers(written, kernels, tmp_path) -> None:
    netlist = netlist_of(300)
    (tmp_path / "main.c").write_text(MAIN)
    command = [COMPILERS[0], *KERNEL_SETS[kernels], *SANITIZERS, f"-I{written.parent}"]
    subprocess.run([*command, str(tmp_path / "main.c"), str(written), "-o", str(tmp_path / "run")], check=True)
    for count in (1, 130, 600):
        x = samples_of(netlist, count)
        done = subprocess.run([tmp_path / "run", str(count)], input=x.tobytes(), capture_output=True, check=True)
        found = np.frombuffer(done.stdout, np.int8).reshape(count, -1) > 0
        np.testing.assert_array_equal(found, evaluate(netlist, x))


@pytest.mark.parametrize("kernels", runnable_kernels())
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_table_form_is_clean_c(written, kernels, compiler) -> None:
    flags = [*WARNINGS, "-Werror", *KERNEL_SETS[kernels], "-fsyntax-only"]
    subprocess.run([compiler, *flags, str(written)], check=True)


def test_neon_computes_the_netlist(written, tmp_path) -> None:
    need_board("aarch64")
    netlist = netlist_of(300)
    (tmp_path / "main.c").write_text(MAIN)
    command = ["aarch64-linux-gnu-gcc", *WARNINGS, "-Werror", "-O2", "-static", f"-I{written.parent}"]
    subprocess.run([*command, str(tmp_path / "main.c"), str(written), "-o", str(tmp_path / "run")], check=True)
    x = samples_of(netlist, 200)
    done = subprocess.run(["qemu-aarch64", tmp_path / "run", "200"], input=x.tobytes(), capture_output=True, check=True)
    np.testing.assert_array_equal(np.frombuffer(done.stdout, np.int8).reshape(200, -1) > 0, evaluate(netlist, x))


@pytest.mark.parametrize("kernels", runnable_kernels()[-1:])
@pytest.mark.skipif(not COMPILERS, reason="not run: no gcc or clang")
def test_more_places_than_16_bits_can_name_take_two_words_a_gate(kernels, tmp_path) -> None:
    count = 70_000
    gates = np.arange(count)
    operands = np.column_stack([1 + gates % 5, 6 + np.maximum(gates - 1, 0), np.zeros(count, int)])
    operands[0, 1] = 3
    wide = Netlist(5, np.full(count, 0x66), operands, 6 + gates, np.zeros(count, bool))
    assert schedule(wide).size > 1 << 16
    session = LogicSession(write_netlist(wide, tmp_path / "wide.c").path, kernels)
    # Gate g is the parity of input g % 5 and gate g - 1: after ten gates each input came in twice.
    x = samples_of(wide, 70)
    wanted = np.empty((70, count), bool)
    held = x[:, 2]
    for gate in range(count):
        held = wanted[:, gate] = held ^ x[:, gate % 5]
    np.testing.assert_array_equal(session.run(x), wanted)


@pytest.mark.parametrize("chunk", [7, 128, 1000])
def test_chunks_of_straight_line_code_compute_the_netlist_on_a_cortex_m4(chunk, tmp_path) -> None:
    need_board("cortex-m4")
    netlist = netlist_of(300)
    artifact = write_netlist(netlist, tmp_path / "small.c", "chunked", chunk)
    x = samples_of(netlist, 96)
    words = pack(x).view("<i4").T  # (words of 32 samples, inputs)
    run = run_on("cortex-m4", artifact, [np.ascontiguousarray(words[:3])])
    found = np.ascontiguousarray(run.outputs["out"].T).astype("<i4").view(np.uint8)
    bits = np.unpackbits(found, axis=1, bitorder="little").T.astype(bool)
    np.testing.assert_array_equal(bits, evaluate(netlist, x))
    assert run.instructions < 12 * netlist.gates


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("bits", [32, 64])
def test_straight_line_code_is_clean_c(compiler, bits, tmp_path) -> None:
    header, source = chunked_source(simplified(netlist_of(300)), "small", 50, bits)
    (tmp_path / "small.h").write_text(header)
    (tmp_path / "small.c").write_text(source)
    subprocess.run(
        [compiler, *WARNINGS, "-Werror", "-O2", "-c", str(tmp_path / "small.c"), "-o", str(tmp_path / "small.o")],
        check=True,
    )


@pytest.mark.skipif(not COMPILERS, reason="not run: no gcc or clang")
@pytest.mark.parametrize("form", ["table", "chunked"])
def test_a_network_without_gates_is_written_too(form, tmp_path) -> None:
    wires = from_layers([np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])])
    assert wires.gates == 0
    artifact = write_netlist(wires, tmp_path / "wires.c", form)
    for compiler in COMPILERS:
        subprocess.run(
            [compiler, *WARNINGS, "-Werror", "-O2", "-c", str(artifact.path), "-o", str(tmp_path / "wires.o")],
            check=True,
        )
    if form == "table":
        x = samples_of(wires, 5)
        np.testing.assert_array_equal(LogicSession(artifact.path).run(x), evaluate(wires, x))


def test_the_text_is_the_same_each_time_and_grows_by_the_table_alone() -> None:
    first, second = netlist_of(300), netlist_of(300)
    assert host_source(first, "net") == host_source(second, "net")
    assert chunked_source(first, "net") == chunked_source(second, "net")
    lines = [host_source(netlist_of(gates), "net")[1].splitlines() for gates in (1000, 4000)]
    code = [[line for line in text if line.strip(",u0123456789")] for text in lines]
    assert len(code[0]) == len(code[1])


def test_gates_are_ordered_in_runs_and_places_are_used_again() -> None:
    generator = np.random.default_rng(0)
    width, depth = 300, 10
    operands = np.concatenate([generator.integers(0, width, (width, 3)) + 1 + k * width for k in range(depth)])
    tables = generator.choice([0xE8, 0xD4], width * depth)
    outputs = 1 + width * depth + np.arange(width)
    netlist = Netlist(width, tables, operands, outputs, np.zeros(width, bool))
    planned = schedule(netlist)
    assert len(planned.runs) <= 2 * depth
    assert planned.size <= 2.2 * width
    assert sorted(planned.gates.tolist()) == list(range(width * depth))
    done = np.arange(netlist.signals) < netlist.first_gate
    for gate in planned.gates.tolist():
        assert done[netlist.operands[gate]].all()
        done[netlist.first_gate + gate] = True


def test_what_cannot_be_written_or_run_is_refused(tmp_path) -> None:
    netlist = netlist_of(20)
    with pytest.raises(BadInput, match="form loop: unknown; choose from table, chunked"):
        write_netlist(netlist, tmp_path / "net.c", "loop")
    with pytest.raises(BadInput, match=r"net\.onnx: a netlist is written as C; give a path that ends in \.c"):
        write_netlist(netlist, tmp_path / "net.onnx")
    with pytest.raises(BadInput, match="chunk 0: a function needs at least one gate"):
        write_netlist(netlist, tmp_path / "net.c", "chunked", 0)
    with pytest.raises(BadInput, match=r"net\.c: needs net\.h beside it"):
        LogicSession(tmp_path / "net.c")
    chunked = write_netlist(netlist, tmp_path / "net.c", "chunked")
    with pytest.raises(BadInput, match=r"net\.h: is no netlist in table form"):
        LogicSession(chunked.path)


@pytest.mark.skipif(not COMPILERS, reason="not run: no gcc or clang")
def test_inputs_that_do_not_fit_are_refused(written) -> None:
    session = LogicSession(written, "portable")
    with pytest.raises(BadInput, match=r"inputs must have shape \(N, 13\), got \(2, 3\)"):
        session.run(np.ones((2, 3)))
    with pytest.raises(BadInput, match=r"packed inputs must be uint64 \(13, words\), got int64 \(13, 1\)"):
        session.call(np.ones((13, 1), np.int64))


@pytest.mark.skipif(not COMPILERS, reason="not run: no gcc or clang")
@pytest.mark.parametrize(
    ("table", "operands"), [(0xA0, (1, 0, 3)), (0x88, (0, 1, 0)), (0xAA, (1, 0, 0))], ids=["gap", "constant", "wire"]
)
def test_a_gate_that_is_not_in_canonical_form_is_brought_into_it(table, operands, tmp_path) -> None:
    netlist = Netlist(3, np.array([table]), np.array([operands]), np.array([4]), np.array([False]))
    x = samples_of(netlist, 70)
    session = LogicSession(write_netlist(netlist, tmp_path / "gate.c").path, "portable")
    np.testing.assert_array_equal(session.run(x), evaluate(netlist, x))
    chunked = write_netlist(netlist, tmp_path / "chunked.c", "chunked").path
    subprocess.run([COMPILERS[0], *WARNINGS, "-Werror", "-fsyntax-only", str(chunked)], check=True)

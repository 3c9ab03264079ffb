"""Netlists in Verilog: readable, legal, and by two readers, ours and a simulator, what the gates compute."""

import shutil
import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.benchmarks.logic import FULL_ADDER
from offramp.errors import BadInput
from offramp.export.logic import Circuit, Netlist, evaluate, from_layers, read_verilog, write_verilog
from offramp.export.logic.kinds import KINDS, count_kinds, kind_of, verilog_of
from offramp.export.logic.tables import implicants
from offramp.export.logic.verilog import verilog_text
from offramp.runtime.verilog_session import NoSimulator, run_verilog

sys.path.append(str(Path(__file__).parent))
from random_netlists import all_bits, named, netlists

NAMES = ["x{}", "in[{}]", "x[{}]", "n{}", "2.very/odd$name_{}"]
needs_iverilog = pytest.mark.skipif(
    shutil.which("iverilog") is None, reason="not run: iverilog is not installed (apt-get install iverilog)"
)


def every_table() -> Netlist:
    """A gate of each of the 256 tables, on the three inputs, each an output."""
    return Netlist(3, np.arange(256), np.tile([1, 2, 3], (256, 1)), 4 + np.arange(256), np.zeros(256, bool))


def test_every_table_is_written_so_that_it_is_read_as_itself() -> None:
    netlist = every_table()
    found = read_verilog(verilog_text(named(netlist)))
    np.testing.assert_array_equal(evaluate(found.netlist, all_bits(3)), evaluate(netlist, all_bits(3)))


@pytest.mark.parametrize(
    ("table", "kind", "text"),
    [
        (0x88, "and", "a & b"),
        (0x22, "and", "a & ~b"),
        (0x80, "and", "a & b & c"),
        (0xEE, "or", "a | b"),
        (0xDD, "or", "~a | b"),
        (0xFE, "or", "a | b | c"),
        (0x66, "xor", "a ^ b"),
        (0x69, "xor", "~(a ^ b ^ c)"),
        (0xE8, "majority", "(a & b) | (a & c) | (b & c)"),
        (0xB2, "majority", "(a & c) | (a & ~b) | (c & ~b)"),
        (0xCA, "select", "c ? b : a"),
        (0xF8, "other", "c | (a & b)"),
        (0xAA, "wire", "a"),
        (0x33, "inverter", "~b"),
        (0x00, "constant", "1'b0"),
        (0xFF, "constant", "1'b1"),
    ],
)
def test_gates_are_called_and_written_as_people_do(table, kind, text) -> None:
    assert kind_of(table) == kind
    parts = sorted(verilog_of(table, "abc").split(" | "))
    assert parts == sorted(text.split(" | "))  # the order of an or is of no matter


def test_the_kinds_of_all_tables_are_as_many_as_they_must_be() -> None:
    counts = {kind: sum(kind_of(table) == kind for table in range(256)) for kind in KINDS}
    # Of two operands, three pairs: AND or OR of any inverses. Of three: eight inverses of each.
    assert (counts["and"], counts["or"]) == (3 * 4 + 8, 3 * 4 + 8)
    assert counts["xor"] == 3 * 2 + 2
    assert counts["majority"] == 8  # self-dual: its inverse is the majority of inverses
    assert counts["select"] == 3 * 8  # who selects, and inverses of each; swapping both is inverting the first
    assert (counts["wire"], counts["inverter"], counts["constant"]) == (3, 3, 2)
    assert count_kinds(every_table()) == counts


def test_implicants_are_prime_and_cover_their_table() -> None:
    assert set(implicants(0xE8)) == {(1, 1, None), (1, None, 1), (None, 1, 1)}
    rows = all_bits(3)
    for table in range(256):
        cubes = implicants(table)
        fits = [[all(b is None or b == v for b, v in zip(cube, row)) for cube in cubes] for row in rows]
        assert [any(fit) for fit in fits] == [bool(table >> place & 1) for place in range(8)]
        for one, other in permutations(range(len(cubes)), 2):  # none lies in another
            assert any(fit[one] and not fit[other] for fit in fits)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(netlists(), st.sampled_from(NAMES))
def test_any_netlist_survives_the_round_trip(netlist, inputs) -> None:
    circuit = named(netlist, inputs, "y[{}]", "module")
    found = read_verilog(verilog_text(circuit))
    assert (found.name, found.inputs, found.outputs) == (circuit.name, circuit.inputs, circuit.outputs)
    x = all_bits(netlist.inputs)
    np.testing.assert_array_equal(evaluate(found.netlist, x), evaluate(netlist, x))


@needs_iverilog
@pytest.mark.parametrize("inputs", NAMES)
@pytest.mark.parametrize("outputs", ["y[{}]", "wire{}"])
def test_a_simulator_computes_every_table(inputs, outputs, tmp_path) -> None:
    circuit = named(every_table(), inputs, outputs, "every-table")
    path = write_verilog(circuit, tmp_path / "every.v").path
    x = np.concatenate([all_bits(3), all_bits(3)[::-1]])
    np.testing.assert_array_equal(run_verilog(path, circuit, x), evaluate(circuit.netlist, x))


@needs_iverilog
def test_a_simulator_and_our_reader_take_random_netlists_alike(tmp_path) -> None:
    generator = np.random.default_rng(1)
    for number in range(6):
        operands = [generator.integers(0, 6 + gate, 3) for gate in range(120)]
        outputs, inverted = generator.integers(0, 126, 9), generator.random(9) < 0.5
        netlist = Netlist(5, generator.integers(0, 256, 120), np.array(operands), outputs, inverted)
        circuit = named(netlist, "x[{}]", "y{}", f"net{number}")
        path = write_verilog(circuit, tmp_path / f"{number}.v").path
        simulated = run_verilog(path, circuit, all_bits(5))
        np.testing.assert_array_equal(simulated, evaluate(read_verilog(path.read_text()).netlist, all_bits(5)))
        np.testing.assert_array_equal(simulated, evaluate(netlist, all_bits(5)))


def test_bits_of_one_value_are_one_port_and_other_names_are_escaped_where_they_must_be() -> None:
    netlist = from_layers(FULL_ADDER)
    text = verilog_text(Circuit("adder", netlist, ("x[0]", "x[1]", "x[2]"), ("sum", "reg")))
    assert "module adder (\n    input [2:0] x,\n    output sum,\n    output \\reg \n);" in text
    assert "    assign \\reg  = " in text
    text = verilog_text(Circuit("2x", netlist, ("x[1]", "x[0]", "n4"), ("wire[0]", "wire[1]")))
    assert text.splitlines()[1:3] == ["module \\2x  (", "    input \\x[1] ,"]
    assert "n_4 = " in text  # since n4 is an input


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("module m (input a, output y);\n  assign y = b;\nendmodule", "^f, line 2: b is read before it is assigned"),
        ("module m (input a, output y);\n  assign y = a;\n  assign y = a;\nendmodule", "line 3: y is assigned twice"),
        ("module m (input a, output y);\n  assign z = a;\nendmodule", "line 2: z is no wire and no output"),
        ("module m (input a, output y);\n  assign a = 1'b0;\nendmodule", "line 2: a is assigned twice, or an input"),
        ("module m (input a, output y);\nendmodule", "output y is assigned nothing"),
        (
            "module m (input a, output y);\n  always y = a;\nendmodule",
            "line 2: always is not read; a netlist is",
        ),
        ("module m (input a, output y);\n  assign y = a + a;\nendmodule", r"line 2: \+ is not read; give what offramp"),
        ("module m (input a, output y);\n  assign y = (a;\nendmodule", r"line 2: expected \), got ;"),
        ("module m (input a, output y);\n  assign y = a;", "the end is not read"),
        ("module m (inout a);\nendmodule", "line 1: expected input or output, got inout"),
        ("", "expected module, got the end"),
    ],
)
def test_other_verilog_is_refused_by_its_line(text, message) -> None:
    with pytest.raises(BadInput, match=message):
        read_verilog(text, "f")


def test_a_missing_simulator_and_a_wrong_path_are_said(tmp_path, monkeypatch) -> None:
    circuit = named(from_layers(FULL_ADDER))
    with pytest.raises(BadInput, match=r"adder.txt: give a path that ends in .v"):
        write_verilog(circuit, tmp_path / "adder.txt")
    path = write_verilog(circuit, tmp_path / "adder.v").path
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoSimulator, match=r"no Verilog simulator is found \(iverilog\); install one, as with apt-get"):
        run_verilog(path, circuit, all_bits(3))


@needs_iverilog
def test_a_file_that_the_simulator_refuses_is_named(tmp_path) -> None:
    circuit = named(from_layers(FULL_ADDER))
    path = tmp_path / "adder.v"
    path.write_text("module net (input x0);\n")
    with pytest.raises(BadInput, match=r"adder.v: iverilog refuses it \(.*\); write it again"):
        run_verilog(path, circuit, all_bits(3))

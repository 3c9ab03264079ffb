"""Netlists in BLIF: what was written is read back as it was, and anything else is refused by its line."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.benchmarks.logic import FULL_ADDER
from offramp.errors import BadInput
from offramp.export.logic import Circuit, evaluate, from_layers, read_blif, simplified, write_blif
from offramp.export.logic.blif import blif_text
from offramp.export.logic.verilog import write_verilog

sys.path.append(str(Path(__file__).parent))
from random_netlists import all_bits, named, netlists


@settings(max_examples=100, deadline=None, derandomize=True)
@given(netlists(), st.sampled_from(["x{}", "in[{}]", "n{}", "a.very/long$name:for_an_input_{}"]))
def test_any_netlist_survives_the_round_trip(netlist, inputs) -> None:
    circuit = named(netlist, inputs)
    found = read_blif(blif_text(circuit))
    assert (found.name, found.inputs, found.outputs) == (circuit.name, circuit.inputs, circuit.outputs)
    x = all_bits(netlist.inputs)
    np.testing.assert_array_equal(evaluate(found.netlist, x), evaluate(netlist, x))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(netlists())
def test_writing_adds_nothing_that_simplifying_does_not_take_away(netlist) -> None:
    small = simplified(netlist)
    assert simplified(read_blif(blif_text(named(small))).netlist).gates == small.gates


def test_a_full_adder_is_three_majorities_that_people_can_read() -> None:
    circuit = Circuit("adder", from_layers(FULL_ADDER), ("a", "b", "carry_in"), ("sum", "carry"))
    text = blif_text(circuit)
    assert ".inputs a b carry_in\n.outputs sum carry\n.names a b carry_in n4\n-11 1\n1-1 1\n11- 1\n" in text
    assert text.count(".names") == 3 + 2  # gates, and outputs
    assert text.endswith(".end\n")


HAND = """\
# what other tools write
.model hand   # with a name
.inputs a b \\
        c d
.inputs e
.outputs low wide \\
 one same none
.names late e low   # read before it is driven
10 0
01 0
.names a b late
1- 1
-1 1
.names a b c d e wide
11--1 1
0-010 1

.names one
1
.names c same
1 1
.names none
.end
"""


def test_covers_of_ones_and_zeros_of_any_width_in_any_order_are_read() -> None:
    circuit = read_blif(HAND)
    assert (circuit.name, circuit.inputs) == ("hand", ("a", "b", "c", "d", "e"))
    x = all_bits(5)
    a, b, c, d, e = x.T
    late = a | b
    wide = (a & b & e) | (~a & ~c & d & ~e)
    wanted = np.stack([~(late ^ e), wide, np.ones(32, bool), c, np.zeros(32, bool)], axis=1)
    np.testing.assert_array_equal(evaluate(circuit.netlist, x), wanted)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 7), st.booleans())
def test_a_cover_is_one_or_zero_where_a_row_fits(data, width, on) -> None:
    rows = data.draw(st.lists(st.text("01-", min_size=width, max_size=width), min_size=1, max_size=6))
    names = " ".join(f"x{k}" for k in range(width))
    covers = "".join(f"{row} {int(on)}\n" for row in rows)
    circuit = read_blif(f".model m\n.inputs {names}\n.outputs y\n.names {names} y\n{covers}.end\n")
    x = all_bits(width)
    fits = [
        all(bit == "-" or bool(int(bit)) == value for bit, value in zip(row, sample)) for sample in x for row in rows
    ]
    wanted = np.array(fits).reshape(len(x), len(rows)).any(axis=1) == on
    np.testing.assert_array_equal(evaluate(circuit.netlist, x)[:, 0], wanted)


def test_a_row_of_dont_cares_alone_fits_always() -> None:
    text = ".model m\n.inputs a b c d\n.outputs y\n.names a b c d y\n---- {}\n.end\n"
    for value in (0, 1):
        found = evaluate(read_blif(text.format(value)).netlist, all_bits(4))
        assert (found == bool(value)).all()


HEAD = ".model m\n.inputs a b\n.outputs y\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + ".latch a y re clk 0\n.end\n", r"^f, line 4: \.latch holds memory; a netlist is made of \.names alone"),
        (HEAD + ".subckt add a=a\n.end\n", r"line 4: \.subckt is not read; a netlist is made of \.names alone"),
        (HEAD + ".names a b y\n11 1\n.model n\n.end\n", r"line 6: a second \.model; give a file of one model"),
        (
            HEAD + ".names a y\n1 1\n.end\n.names b y\n",
            r"line 7: \.names stands behind \.end; give a file of",
        ),
        (HEAD + ".names a b y\n1 1\n.end\n", "line 5: 1 1: needs 2 of 0, 1 and -, and then 0 or 1"),
        (HEAD + ".names a b y\n12 1\n.end\n", "line 5: 12 1: needs 2 of 0, 1 and -"),
        (HEAD + ".names a b y\n11 -\n.end\n", "line 5: 11 -: a result is 0 or 1, got -"),
        (HEAD + ".names y\n1 1\n.end\n", "line 5: 1 1: needs 0 of 0, 1 and -"),
        (HEAD + ".names a b y\n11 1\n00 0\n.end\n", r"line 6: results of 0 and of 1 in one \.names; give the one or"),
        (HEAD + "11 1\n.end\n", r"line 4: 11 is not part of a \.names"),
        (HEAD + ".names a y\n1 1\n.names b y\n1 1\n.end\n", "line 6: y is driven twice, in line 4 too"),
        (HEAD + ".names b a\n1 1\n.end\n", "line 4: a is an input, and cannot be driven"),
        (".names b a\n1 1\n.inputs a\n.outputs y\n.end\n", "line 3: a is an input, and line 1 drives it"),
        (HEAD + ".names a z y\n11 1\n.end\n", "line 4: z is driven by nothing"),
        (HEAD + ".names a z\n1 1\n.end\n", "line 3: output y is driven by nothing"),
        (HEAD + ".names\n.end\n", r"line 4: \.names without a signal; name what it drives"),
        (HEAD + ".names a z y\n11 1\n.names y z\n1 1\n.end\n", "line 4: y -> z -> y is a cycle; a netlist has none"),
        (HEAD + ".names y y\n1 1\n.end\n", "line 4: y -> y is a cycle"),
        (
            ".inputs a a\n.outputs y\n.end\n",
            "line 1: a is named twice among inputs and outputs; give each",
        ),
        (".inputs a\n.outputs a\n.end\n", "line 2: a is named twice"),
        (".model m\n.outputs y\n.names y\n1\n.end\n", r"^f: no \.inputs; a netlist needs inputs and outputs"),
        (".model m\n.inputs a\n.end\n", r"^f: no \.outputs; a netlist needs inputs and outputs"),
        (HEAD + ".names a y\n1 1\n", r"^f: no \.end, so its end may be missing; restore the file"),
        (".model m\n.inputs a \\ b\n.outputs y\n.end\n", "line 2: .*: a name is printable ASCII without spaces"),
        (".model a=b\n.inputs a\n.outputs y\n.end\n", "line 1: 'a=b': a name is printable ASCII without spaces"),
        ("", r"^f: no \.inputs"),
    ],
)
def test_what_is_no_netlist_is_refused_by_its_line(text, message) -> None:
    with pytest.raises(BadInput, match=message):
        read_blif(text, "f")


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_a_damaged_file_is_read_or_refused_in_one_line(data) -> None:
    place = data.draw(st.integers(0, len(HAND) - 1))
    damaged = HAND[:place] + data.draw(st.text("01-ab.\n# \\", max_size=3)) + HAND[place + 1 :]
    try:
        circuit = read_blif(damaged, "f")
    except BadInput as fault:
        message = str(fault)
    else:
        message = f"f: {circuit.netlist.gates} gates"
    assert re.fullmatch(r"f(, line \d+)?: [^\n]+", message)


def test_names_and_paths_that_no_file_can_hold_are_refused(tmp_path) -> None:
    netlist = from_layers(FULL_ADDER)
    with pytest.raises(BadInput, match="adder: 2 input names for 3 inputs"):
        Circuit("adder", netlist, ("a", "b"), ("s", "c"))
    with pytest.raises(BadInput, match="'a b': a name is printable ASCII without spaces, #, = and backslashes"):
        Circuit("adder", netlist, ("a b", "b", "c"), ("s", "t"))
    with pytest.raises(BadInput, match="a: names two inputs or outputs; give each its own name"):
        Circuit("adder", netlist, ("a", "b", "c"), ("a", "t"))
    with pytest.raises(BadInput, match=r"adder.txt: give a path that ends in .blif"):
        write_blif(named(netlist), tmp_path / "adder.txt")


def test_equal_circuits_give_equal_bytes(tmp_path) -> None:
    circuit = named(from_layers(FULL_ADDER))
    first, second = (write_blif(circuit, tmp_path / name / "adder.blif") for name in ("a", "b"))
    assert first.sha256 == second.sha256
    assert first.details == {"form": "blif", "gates": "3", "depth": "2"}


@pytest.mark.skipif(shutil.which("yosys") is None, reason="not run: yosys is not installed (apt-get install yosys)")
def test_yosys_proves_the_blif_and_the_verilog_of_a_circuit_equal(tmp_path) -> None:
    generator = np.random.default_rng(0)
    rows = generator.integers(-1, 2, (6, 8))
    rows[:, 0] = 1 - (rows[:, 1:].sum(axis=1) % 2)  # odd sums do not tie
    circuit = named(from_layers([rows]), "x[{}]", "y[{}]")
    write_blif(circuit, tmp_path / "net.blif")
    write_verilog(circuit, tmp_path / "net.v")
    script = (
        "read_verilog net.v; rename net gold; proc; flatten; splitnets -ports; read_blif net.blif; rename net gate; "
        "splitnets -ports; miter -equiv -make_outputs -flatten gold gate both; sat -verify -prove trigger 0 both"
    )
    done = subprocess.run(["yosys", "-q", "-p", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr

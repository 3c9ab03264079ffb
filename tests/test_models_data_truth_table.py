"""Truth tables of the user's own: what PLA and CSV files mean, and which line of a bad one is at fault."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.data.truth_table import load_truth_table

ADDER = """# a full adder
.i 3
.o 2
.ilb a b carry
.ob sum carry
.p 7
100 10
010 10
001 10
111 10
11- 01
1-1 01
-11 01
.e
what follows does not count
"""


def table(path):
    """Inputs and outputs as tuples of 0 and 1."""
    data = load_truth_table(path)
    assert data.train is data.test and data.train.samples.unique().tolist() in ([-1.0, 1.0], [1.0], [-1.0])
    rows = zip(data.train.samples.tolist(), data.train.labels.tolist())
    return {tuple(int(v > 0) for v in x): tuple(int(v > 0) for v in y) for x, y in rows}


def write(folder, text, name="t.pla"):
    path = folder / name
    path.write_text(text)
    return path


def test_lines_of_a_pla_set_outputs_and_the_rest_is_0(tmp_path):
    expected = {x: (sum(x) & 1, sum(x) >> 1) for x in product((0, 1), repeat=3)}
    assert table(write(tmp_path, ADDER)) == expected
    assert load_truth_table(tmp_path / "t.pla").name == "t"


def test_overlapping_lines_join_and_write_tildes_and_bars(tmp_path):
    text = ".i 2\n.o 2\n.type f\n1- | 1~\n-1 | 01\n.end\n"
    assert table(write(tmp_path, text)) == {(0, 0): (0, 0), (0, 1): (0, 1), (1, 0): (1, 0), (1, 1): (1, 1)}


def test_of_type_fr_the_lines_alone_are_items(tmp_path):
    text = ".i 20\n.o 1\n.type fr\n" + "1" * 20 + " 1\n" + "0" * 19 + "- 0\n"
    assert table(write(tmp_path, text)) == {(1,) * 20: (1,), (0,) * 20: (0,), (*(0,) * 19, 1): (0,)}


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 3), st.data())
def test_a_table_comes_back_from_either_file(tmp_path_factory, inputs, outputs, data):
    bits = st.tuples(*[st.integers(0, 1)] * outputs)
    wanted = {x: data.draw(bits) for x in product((0, 1), repeat=inputs)}
    folder = tmp_path_factory.mktemp("tables")
    lines = [("".join(map(str, x)), "".join(map(str, y))) for x, y in wanted.items()]
    for kind in ("fr", "fd"):
        rows = [f"{x} {y}" for x, y in lines]
        text = "\n".join([f".type {kind}", f".i {inputs}", f".o {outputs}", *rows, ".e"])
        assert table(write(folder, text)) == wanted
    low = data.draw(st.sampled_from(["0", "-1"]))
    header = [f"in{k}" for k in range(inputs)] + [f"Out{k}" for k in range(outputs)]
    rows = [",".join(low if cell == "0" else " 1 " for cell in x + y) for x, y in lines]
    assert table(write(folder, "\n".join([",".join(header), *rows]), "t.csv")) == wanted


@settings(deadline=None, max_examples=100)
@given(st.text(alphabet="01-.ioetypfrd \n#|~2,a", max_size=60), st.sampled_from(["t.pla", "t.csv"]))
def test_any_text_is_a_table_or_refused_by_its_name(tmp_path_factory, text, name):
    path = write(tmp_path_factory.mktemp("any"), text, name)
    message = ""
    try:
        assert len(load_truth_table(path).train) > 0
    except BadInput as error:
        message = str(error)
    assert not message or (message.startswith(str(path)) and "\n" not in message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.pla: holds no row; write one combination of inputs and its outputs in each line"),
        ("11 1\n", r"line 1: a row before \.i and \.o; say first how many inputs"),
        (".i two\n", r"line 1: \.i two; expected \.i and how many, 1 or more"),
        (".i 2\n.o 0\n", r"line 2: \.o 0; expected \.o and how many"),
        (".mv 3 1 2\n", r"line 1: \.mv is not known; expected \.i, \.o, \.p"),
        (".i 2\n.o 1\n.type fdr\n", r"line 3: \.type fdr; expected f, fd or fr: outputs must be 0 or 1 everywhere"),
        (".i 2\n.o 1\n\n111 1\n", r"line 4 has 4 values, \.i and \.o name 2 and 1; give each input and output one"),
        (".i 2\n.o 1\n1x 1\n", r"line 3: inputs 1x hold 'x'; expected 0, 1 or - for each"),
        (".i 2\n.o 1\n11 -\n", r"line 3: outputs - hold '-'; expected 0 or 1 for each"),
        (".i 2\n.o 1\n11 2\n", r"line 3: outputs 2 hold '2'; expected 0 or 1"),
        (
            ".i 2\n.o 1\n.type fr\n1- 1\n01 0\n-1 0\n",
            r"lines 4 and 6 give inputs 11 other outputs; no network gives both",
        ),
        (".i 17\n.o 1\n" + "1" * 17 + " 1\n", r"17 inputs have 2\^17 combinations, .* at most 65536; .* \.type fr"),
        (".i 17\n.o 1\n.type fr\n" + "-" * 17 + " 1\n", r"-{17} stands for 2\^17 rows; a table has at most 65536"),
    ],
)
def test_the_line_at_fault_is_named(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        load_truth_table(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"t\.csv: the header names 0 outputs among 0 columns; begin the names of outputs with `out`"),
        ("a,b\n0,1\n", r"the header names 0 outputs among 2 columns"),
        ("out,out2\n0,1\n", r"the header names 2 outputs among 2 columns"),
        ("a,out\n", r"t\.csv: holds no row"),
        ("a,out\n0,1\n\n0\n", r"line 4 has 1 columns, the first line names 2; give each a value"),
        ("a,out\n0,x\n", r"line 2, column out: 'x'; expected 0 and 1, or -1 and 1"),
        ("a,b,out\n0,1,1\n1,1,1\n0,1,0\n", r"lines 2 and 4 give inputs 01 other outputs"),
    ],
)
def test_the_line_of_a_csv_at_fault_is_named(tmp_path, text, message):
    with pytest.raises(BadInput, match=message):
        load_truth_table(write(tmp_path, text, "t.csv"))


def test_what_cannot_be_read_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"none\.pla: cannot be read \(.*\); give a truth table as text"):
        load_truth_table(tmp_path / "none.pla")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match=r"bytes\.csv: cannot be read"):
        load_truth_table(tmp_path / "bytes.csv")

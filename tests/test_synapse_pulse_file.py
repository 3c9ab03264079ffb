"""A table of pulses becomes sweeps however it counts; whatever else a file holds ends in one line that says where."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from offramp.devices.synapse import pulse_file
from offramp.devices.synapse.pulse_file import read_pulses
from offramp.devices.synapse.turns import turns
from offramp.errors import BadInput

UP, DOWN = (1.0, 3.0, 4.0, 4.5, 4.75), (4.75, 2.0, 1.5, 1.25, 1.0)
REUSES_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


def written(folder: Path, *lines: str, name="a.csv", mark=",") -> Path:
    path = folder / name
    path.write_text("".join(line.replace(",", mark) + "\n" for line in lines), encoding="utf-8")
    return path


def good(up=UP, down=DOWN):
    """A file of one cycle that counts each sweep from 0."""
    rows = [
        f"{place},{value},{way}" for way, values in (("up", up), ("down", down)) for place, value in enumerate(values)
    ]
    return ("pulse,conductance,direction", *rows)


def shape(trains):
    """What of each sweep is checked most: direction, pulses, conductances."""
    return [(each.direction, each.pulses.tolist(), each.conductance.tolist()) for each in trains]


BOTH = [(1, [0, 1, 2, 3, 4], list(UP)), (-1, [0, 1, 2, 3, 4], list(DOWN))]


def test_sweeps_counted_from_0_with_directions(tmp_path):
    first, second = read_pulses(written(tmp_path, *good()))
    assert shape([first, second]) == BOTH
    assert first.lines.tolist() == [2, 3, 4, 5, 6]
    assert (first.continues, second.continues) == (False, False)


def test_sweeps_counted_from_1(tmp_path):
    rows = [f"{n},{g},{way}" for way, values in ((1, UP), (-1, DOWN)) for n, g in enumerate(values[1:], start=1)]
    trains = read_pulses(written(tmp_path, "Pulse,Conductance,Direction", *rows))
    assert shape(trains) == [(1, [1, 2, 3, 4], list(UP[1:])), (-1, [1, 2, 3, 4], list(DOWN[1:]))]


@pytest.mark.parametrize("direction", [True, False])
def test_pulses_that_run_on_share_the_state_where_a_sweep_ends(tmp_path, direction):
    values, ways = UP + DOWN[1:] + UP[1:], ["LTP"] * 5 + ["LTD"] * 4 + ["LTP"] * 4
    rows = [f"{n},{g},{way}" if direction else f"{n},{g}" for n, (g, way) in enumerate(zip(values, ways))]
    trains = read_pulses(written(tmp_path, "pulse,conductance" + ",direction" * direction, *rows))
    assert shape(trains) == [*BOTH, BOTH[0]]
    assert [each.continues for each in trains] == [False, True, True]
    assert trains[1].lines.tolist() == [6, 7, 8, 9, 10]


def test_a_turning_point_that_is_read_twice_is_pulse_0(tmp_path):
    rows = [f"{n},{g},1" for n, g in enumerate(UP)] + [f"{n + 4},{g},-1" for n, g in enumerate(DOWN)]
    trains = read_pulses(written(tmp_path, "pulse,conductance,direction", *rows))
    assert shape(trains) == BOTH
    assert trains[1].continues


def test_sweeps_that_restart_without_directions(tmp_path):
    rows = [row.rpartition(",")[0] for row in (*good(), *good()[1:])]
    assert shape(read_pulses(written(tmp_path, *rows))) == BOTH * 2


def test_pulses_that_were_not_read_and_a_file_that_starts_late(tmp_path):
    rows = [f"{100 + 10 * n},{g},up" for n, g in enumerate(UP, 1)] + [
        f"{150 + 10 * n},{g},down" for n, g in enumerate(DOWN, 1)
    ]
    trains = read_pulses(written(tmp_path, "pulse,conductance,direction", *rows))
    assert [each.pulses.tolist() for each in trains] == [[10, 20, 30, 40, 50], [0, 10, 20, 30, 40, 50]]
    assert trains[1].conductance.tolist() == [UP[-1], *DOWN]


def test_cycles_and_devices_may_be_mixed(tmp_path):
    rows = [
        f"{n},{value},{way},{cycle},{device}"
        for n in range(5)
        for way, values in (("up", UP), ("down", DOWN))
        for cycle in (1, 2)
        for device, value in (("b", values[n]), ("a", values[n] / 2))
    ]
    rows.sort(key=lambda row: (row.split(",")[2] == "down", row.split(",")[0]))
    trains = read_pulses(written(tmp_path, "pulse,conductance,direction,cycle,device", *rows))
    labels = [(each.device + each.cycle, each.direction) for each in trains]
    assert labels == [(label, direction) for label in ("b1", "b2", "a1", "a2") for direction in (1, -1)]
    assert shape(trains[:2]) == BOTH
    assert trains[5].conductance.tolist() == [value / 2 for value in DOWN]


@pytest.mark.parametrize(
    ("column", "factor"),
    [("conductance_us", 1e6), ("Conductance_uS", 1e6), ("conductance_µS", 1e6), ("conductance_nS", 1e9)],
)
def test_units(tmp_path, column, factor):
    rows = good(up=[value * factor for value in UP], down=[value * factor for value in DOWN])
    trains = read_pulses(written(tmp_path, rows[0].replace("conductance", column), *rows[1:]))
    assert trains[0].conductance == pytest.approx(UP)


def test_currents_are_divided_by_volts(tmp_path):
    rows = good(up=[-value / 10 for value in UP], down=[-value / 10 for value in DOWN])
    path = written(tmp_path, rows[0].replace("conductance", "current"), *rows[1:])
    assert read_pulses(path, read_volts=-0.1)[0].conductance == pytest.approx(UP)
    with_column = written(
        tmp_path, *(f"{row},{'read_volts' if not n else -0.2}" for n, row in enumerate(path.read_text().split()))
    )
    assert read_pulses(with_column, read_volts=5.0)[0].conductance == pytest.approx([value / 2 for value in UP])


def test_marks_blank_lines_comments_and_unknown_columns_do_not_matter(tmp_path):
    plain = shape(read_pulses(written(tmp_path, *good())))
    for mark in (";", "\t"):
        assert shape(read_pulses(written(tmp_path, *good(), mark=mark))) == plain
    rows = [f"{row},note {number}" for number, row in enumerate(good())]
    path = written(tmp_path, "# measured, by hand; twice", "", *rows[:3], "", ",,,", '# "', *rows[3:])
    trains = read_pulses(path)
    assert shape(trains) == plain
    assert trains[0].lines.tolist() == [4, 5, 9, 10, 11]
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(good()).encode())
    assert shape(read_pulses(path)) == plain


def test_noise_may_turn_single_pulses_back_unless_strict(tmp_path):
    path = written(tmp_path, *good(up=(1.0, 3.0, 2.9, 4.5, 4.75)))
    assert len(read_pulses(path)) == 2
    with pytest.raises(BadInput) as fault:
        read_pulses(path, strict=True)
    assert str(fault.value) == (
        f"{path}, line 4, column conductance: must rise with each pulse of a rising sweep where the curve itself is to "
        "be used; average several cycles, or fit the exponential response"
    )
    flat = written(tmp_path, *good(down=(4.75, 2.0, 2.0, 1.25, 1.0)))
    with pytest.raises(BadInput, match="line 9, column conductance: must fall with each pulse of a falling sweep"):
        read_pulses(flat, strict=True)
    assert len(read_pulses(written(tmp_path, *good()), strict=True)) == 2


def test_turns_are_found_through_noise():
    generator = np.random.default_rng(0)
    triangle = np.concatenate([np.arange(50), np.arange(50, 0, -1), np.arange(40), np.arange(40, -1, -1)]) / 50
    assert turns(triangle) == [(0, 1), (50, -1), (100, 1), (140, -1)]
    assert turns(-triangle) == [(0, -1), (50, 1), (100, -1), (140, 1)]
    for _ in range(10):
        found = turns(triangle + 0.03 * generator.standard_normal(len(triangle)))
        assert [way for _, way in found] == [1, -1, 1, -1]
        assert [place for place, _ in found] == pytest.approx([0, 50, 100, 140], abs=4)
    saturating = 1 - np.exp(-np.arange(60) / 15)
    both = np.concatenate([saturating, 1 - saturating])
    for _ in range(10):
        found = turns(both + 0.003 * generator.standard_normal(120))
        assert [place for place, _ in found] == pytest.approx([0, 59], abs=3)
    assert turns(np.ones(5)) == turns(np.ones(1)) == [(0, 1)]


NUMBER = "is no number; write it as 1.5e-6, with a point"
WHOLE = "must be a whole number from 0 to 1000000000"
RANGE = "must be from 0 to 1000 siemens; mend its sign or unit"
ORDER = "pulses must rise within a sweep, or start again from 0 or 1"
TREND = "of its variance, 40% are needed; mend its direction or leave it out"
ONE_OF = "expected one column of conductance, conductance_us, conductance_ns, current; found"
RISING = f"the rising sweep from here does not rise as a whole: the best rising curve explains 0% {TREND}"
FALLING = f"the falling sweep from here does not fall as a whole: the best falling curve explains 17% {TREND}"
HEADER = "pulse,conductance,direction"
VOLTS, MOST = "must be other than 0 volts, which give no conductance", "must be 1000000 or fewer"
BAD = [
    ("line 1", "no column pulse among 'n, conductance'; name the columns in the first row", ["n,conductance", "1,2"]),
    ("line 1", f"{ONE_OF} none among 'pulse, g'", ["pulse,g", "1,2"]),
    ("line 3", f"{ONE_OF} conductance and current", ["", "#", "pulse,current,conductance", "1,2,3"]),
    ("line 1", "2 columns are called pulse; keep one", ["pulse,Pulse,conductance", "1,2,3"]),
    ("line 1", "column current wants a column read_volts beside it, or read_volts given", ["pulse,current", "1,2"]),
    ("line 2", "2 fields where the header has 3", [HEADER, "1,1e-6"]),
    ("line 2", "4 fields where the header has 3", [HEADER, "1,1e-6,up,7"]),
    ("line 2, column pulse", f"'x' {NUMBER}", ["pulse,conductance", "x,1"]),
    ("line 2, column conductance", f"'1,5' {NUMBER}", ["pulse;conductance", "1;1,5"]),
    ("line 2, column conductance", f"'nan' {NUMBER}", ["pulse,conductance", "1,nan"]),
    ("line 3, column pulse", f"'' {NUMBER}", ["pulse,conductance", "1,1", ",1"]),
    ("line 2, column pulse", f"1.5 {WHOLE}", ["pulse,conductance", "1.5,1"]),
    ("line 2, column pulse", f"-1 {WHOLE}", ["pulse,conductance", "-1,1"]),
    ("line 2, column conductance_us", f"-1e-06 siemens {RANGE}", ["pulse,conductance_us", "1,-1"]),
    ("line 2, column conductance", f"2000 siemens {RANGE}", ["pulse,conductance", "1,2000"]),
    ("line 2, column read_volts", VOLTS, ["pulse,current,read_volts", "1,1e-6,0"]),
    ("line 2, column direction", "'side' must be up or down, ltp or ltd, +1 or -1", [HEADER, "1,1e-6,side"]),
    ("line 3, column pulse", f"1 after 1; {ORDER}", ["pulse,conductance", "1,1", "1,2"]),
    ("line 7, column pulse", f"3 after 4; {ORDER}", [HEADER, *(f"{n},{n},up" for n in range(5)), "3,1,down"]),
    ("line 2", "a rising sweep of 2 pulses; 3 or more are needed", good(up=(1, 2, 3))),
    ("line 7", "a falling sweep of 1 pulses; 3 or more are needed", good(down=(2, 1))),
    ("line 2", f"a rising sweep of 2000000 pulses; {MOST}", [HEADER, "0,1,up", "5,2,up", "2000000,3,up"]),
    ("line 2, column conductance", RISING, good(up=DOWN)),
    ("line 7, column conductance", FALLING, good(down=(1, 2, 1, 2, 1))),
    ("line 2, column conductance", RISING, good(up=[2] * 5)),
]  # fmt: skip


@pytest.mark.parametrize(("place", "message", "lines"), BAD)
def test_every_fault_is_one_line_with_file_line_and_column(tmp_path, place, message, lines):
    path = written(tmp_path, *lines)
    with pytest.raises(BadInput) as fault:
        read_pulses(path)
    assert str(fault.value) == f"{path}, {place}: {message}"


def test_whole_files_that_are_no_table(tmp_path):
    path = tmp_path / "a.csv"
    for content, message in (
        (b"", "empty; expected a header with pulse and conductance, and a row for each reading"),
        (b"\n \n# only\n", "empty; expected a header with pulse and conductance, and a row for each reading"),
        (b"pulse,conductance\n\n", "no rows after the header; expected one for each reading"),
        (b"PK\x03\x04\x00\x00", "line 1: not text; save the table as CSV, UTF-8"),
        (b"pulse,conductance\n1,\x00\n", "line 2: not text; save the table as CSV, UTF-8"),
        (b"\x89PNG\r\n\x1a\n", "not text in UTF-8 (invalid start byte); save the table as CSV, UTF-8"),
        (
            "pulse,conductance\n".encode("utf-16"),
            "not text in UTF-8 (invalid start byte); save the table as CSV, UTF-8",
        ),
        (b"p" * 70000, "line 1: 65536 characters or more are no row; save the table as CSV"),
        (b'pulse,conductance\n"1,2', "not a table (unexpected end of data); save it as CSV"),
    ):
        path.write_bytes(content)
        with pytest.raises(BadInput) as fault:
            read_pulses(path)
        assert str(fault.value).removeprefix(str(path)).lstrip(":, ") == message
    for missing, message in (
        (tmp_path / "b.csv", "no such file"),
        (tmp_path, "cannot be read"),
        (Path("a\0b"), "cannot"),
    ):
        with pytest.raises(BadInput, match=message):
            read_pulses(missing)
    with pytest.raises(BadInput, match="read_volts 0: must be a number other than 0"):
        read_pulses(path, read_volts=0.0)


def test_one_direction_alone_is_refused(tmp_path):
    rows = good()
    for kept, word in ((rows[:6], "falling"), ((rows[0], *rows[6:]), "rising")):
        with pytest.raises(BadInput, match=re.escape(f"a.csv: no {word} sweep; expected 3 pulses or more in either")):
            read_pulses(written(tmp_path, *kept))


def test_more_rows_than_allowed_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pulse_file, "MOST_ROWS", 9)
    with pytest.raises(BadInput, match="line 11: more than 9 rows; leave out pulses or split by device"):
        read_pulses(written(tmp_path, *good()))


def outcome(path):
    """Sweeps, or a message of one line; any other error is passed on."""
    try:
        return read_pulses(path)
    except BadInput as fault:
        message = str(fault)
    assert "\n" not in message
    return message


@REUSES_FOLDER
@given(st.binary(max_size=200))
def test_whatever_bytes_end_in_one_line(tmp_path, content):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert isinstance(outcome(path), str)


fields = st.sampled_from(
    ["0", "1", "2", "1e-6", "-1", "nan", "inf", "1e400", "up", "x", "", '"', "#", "1_0", "٣", " 7 "]
)
digits = st.integers(0, 9)
cells = fields | st.text(max_size=3) | st.integers(0, 12).map(str)


@REUSES_FOLDER
@given(st.lists(st.lists(cells, max_size=4), max_size=12), st.sampled_from(["", ",direction", ",direction,cycle"]))
def test_whatever_rows_end_in_sweeps_or_one_line(tmp_path, rows, more):
    path = tmp_path / "a.csv"
    text = "\n".join([f"pulse,conductance{more}", *(",".join(row) for row in rows)])
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    outcome(path)


@REUSES_FOLDER
@given(st.lists(st.tuples(digits, digits, st.sampled_from(["up", "down"])), max_size=40), st.booleans())
def test_whatever_numbers_end_in_whole_sweeps_or_one_line(tmp_path, rows, has_direction):
    lines = [f"{n},{g},{way}" if has_direction else f"{place},{g}" for place, (n, g, way) in enumerate(rows)]
    found = outcome(written(tmp_path, "pulse,conductance" + ",direction" * has_direction, *lines))
    for train in found if isinstance(found, list) else []:
        assert len(train.pulses) == len(train.conductance) == len(train.lines) >= 3
        assert (np.diff(train.pulses) > 0).all()
        assert train.direction in (1, -1)

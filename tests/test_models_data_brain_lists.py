"""Slices as listed: lines as text, rows of a `.csv`, and records of the data set's own files."""

import io
import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.models.data.brain_lists import parse_line, read_csv, read_parquet
from offramp.models.data.brain_slices import load_brain_slices
from PIL import Image

HEAD = "id,modality,volume,depth,x1,y1,x2,y2"
NUMBERS = st.floats(-1e6, 1e6)


def png(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


# Lines


@settings(deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.sampled_from([" ", "", ", ", "\n"]))
def test_a_line_as_the_data_set_writes_it_is_read_back(x1, y1, x2, y2, between):
    text = f'{{"x":{x1!r},"y":{y1!r}}}{between}{{"x": {x2!r}, "y": {y2!r}}}'
    assert parse_line(text) == ((x1, y1), (x2, y2))


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_other_text_is_no_line(text):
    assert parse_line(text) is None


@pytest.mark.parametrize(
    "text",
    ['{"x":1,"y":2}', '{"x":1,"y":2} {"x":3,"y":4} {"x":5,"y":6}', '{"x":nan,"y":2} {"x":3,"y":4}', "__import__('os')"],
)
def test_more_or_fewer_points_and_code_are_no_line(text):
    assert parse_line(text) is None


def test_a_list_may_hold_lines_as_text(tmp_path):
    path = tmp_path / "lines.csv"
    path.write_text('id,line,subject\na,"{""x"":49.1,""y"":143.9} {""x"":243.1,""y"":146.1}",s1\n')
    (row,) = read_csv(path)
    assert row.points == ((49.1, 143.9), (243.1, 146.1)) and row.group == "s1" and row.depth is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"name,x1,y1\na,1,2", r"has the columns name, x1, y1; expected id, x1, y1, x2, y2 \(or line\), and perhaps"),
        (b"", r"has the columns none; expected id"),
        (HEAD.encode(), r"names no slice; write one in each line"),
        (b"\xff\xfe\x00", r"cannot be read .*; write it as UTF-8 text"),
        (b"id,line\na,here", r"line 2 has the line 'here'; expected \{\"x\": 1\.5, \"y\": 2\} \{\"x\": 3, \"y\": 4\}"),
        (b"id,x1,y1,x2,y2,lesion\na,1,2,3,4,2", r"line 2 has the lesion '2'; expected a whole number from 0 to 1"),
    ],
)
def test_a_list_of_another_form_is_refused(tmp_path, content, message):
    (tmp_path / "lines.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"lines\.csv: " + message):
        read_csv(tmp_path / "lines.csv")


# Parquet


def parquet_of(records, fault=None):
    """Stands in for pyarrow, which is no dependency: what of it is called, on given records."""

    class ParquetFile:
        def __init__(self, path):
            if fault:
                raise OSError(fault)

        def iter_batches(self):
            return [types.SimpleNamespace(to_pylist=lambda: records)]

    arrow, files = types.ModuleType("pyarrow"), types.ModuleType("pyarrow.parquet")
    arrow.ArrowException, files.ParquetFile = type("ArrowException", (Exception,), {}), ParquetFile
    return {"pyarrow": arrow, "pyarrow.parquet": files}


def record(number):
    picture = png(np.full((20, 20, 4), (number, number, number, 255), np.uint8))
    return {
        "image": {"bytes": picture, "path": None},
        "line": '{"x":0,"y":9.5} {"x":19,"y":9.5}',
        "volume": number // 3,
    }


def install(monkeypatch, modules):
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)


def test_without_pyarrow_parquet_is_refused_with_what_to_do(tmp_path, monkeypatch):
    (tmp_path / "train.parquet").touch()
    install(monkeypatch, {"pyarrow": None})
    with pytest.raises(BadInput, match=r"parquet needs pyarrow, which is not installed; pip install pyarrow, or exp"):
        load_brain_slices(tmp_path, 20)


def test_records_of_the_data_set_are_read(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000.parquet").touch()
    install(monkeypatch, parquet_of([record(number) for number in range(12)]))
    data = load_brain_slices(tmp_path, 20)
    assert (len(data.train), len(data.test)) == (9, 3)
    (row, *_) = read_parquet([tmp_path / "data" / "train-00000.parquet"])
    assert (row.name, row.group, row.where[-5:]) == ("train-00000-0", "0", "row 0")


def test_records_of_another_form_and_damaged_files_are_refused(tmp_path, monkeypatch):
    install(monkeypatch, parquet_of([{"image": "a.png", "line": "x"}]))
    with pytest.raises(
        BadInput, match=r"a\.parquet: row 0 has the columns image, line; expected image with bytes, and"
    ):
        read_parquet([tmp_path / "a.parquet"])
    install(monkeypatch, parquet_of([], "not parquet"))
    with pytest.raises(BadInput, match=r"a\.parquet: cannot be read as parquet \(not parquet\); copy it again"):
        read_parquet([tmp_path / "a.parquet"])

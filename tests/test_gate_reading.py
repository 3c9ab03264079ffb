"""A baseline file reads back as it was written, and whatever else it holds ends in one line that names the field."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offramp.errors import BadInput
from offramp.gate.baseline import Tolerances, default_path, to_json, write_baseline
from offramp.gate.reading import from_json, read_baseline

sys.path.append(str(Path(__file__).parent))
from gate_samples import baseline, figures, hits

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=5), v, max_size=3))


def places(document, path=()):
    """Path of every value in a document."""
    yield path
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


def changed(document, path, value):
    """A copy with the value at `path` replaced."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = changed(document[path[0]], path[1:], value)
    return copy


def outcome(read, source):
    """(baseline, "") or (None, message); any other error is passed on."""
    try:
        return read(source), ""
    except BadInput as fault:
        return None, str(fault)


DOCUMENT = to_json(baseline())
PLACES = list(places(DOCUMENT))


def test_what_is_written_reads_back_and_equal_baselines_give_equal_bytes(tmp_path):
    for kept in (
        baseline("onnx int8", "c int8"),
        baseline(tolerances=Tolerances(alpha=0.01)),
        baseline(artifacts={"onnx float32": figures(max_step_difference=None, accuracy=None, hits=None)}),
        baseline(artifacts={}),
    ):
        write_baseline(tmp_path / "a.json", kept)
        write_baseline(tmp_path / "b.json", kept)
        assert read_baseline(tmp_path / "a.json") == kept
        assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("a.json", "b.json")] == []


def test_a_sample_that_changed_is_one_line_of_a_diff(tmp_path):
    texts = []
    for row in (hits(1, 20), hits(1, 250)):
        write_baseline(tmp_path / "a.json", baseline(artifacts={"onnx int8": figures(row)}))
        texts.append((tmp_path / "a.json").read_text().splitlines())
    assert sum(one != other for one, other in zip(*texts)) == 2  # the line it left, the line it is in now


def test_the_default_path_lies_in_the_working_directory():
    assert default_path("care_xxs") == Path("baselines/care_xxs.json")
    for name in ("../care_xxs", "/etc/care_xxs", "..\\care_xxs", "care\nxxs"):
        with pytest.raises(BadInput, match="no name for a file of baselines; name one with --baseline"):
            default_path(name)


@given(st.sampled_from(PLACES), values)
def test_any_value_at_any_place_reads_or_is_refused_in_one_line(place, value):
    document = changed(DOCUMENT, place, value)
    kept, said = outcome(from_json, document)
    assert len(said.splitlines()) <= 1
    assert len(said) < 300
    if kept is not None:
        assert from_json(json.loads(json.dumps(to_json(kept)))) == kept


@given(st.sampled_from([place for place in PLACES if place and isinstance(place[-1], str)]))
def test_any_field_that_is_missing_is_named(place):
    document = json.loads(json.dumps(DOCUMENT))
    parent = document
    for key in place[:-1]:
        parent = parent[key]
    del parent[place[-1]]
    if place[:-1] in (("artifacts",), ("artifacts", "onnx int8", "macs")):
        from_json(document)  # as many artifacts, and bit widths, as there are
    else:
        with pytest.raises(BadInput, match=place[-1]):
            from_json(document)


@settings(deadline=None)  # a disk may take its time
@given(st.binary(max_size=40), st.integers(0, 4000))
def test_a_damaged_file_is_refused_by_name(content, at):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kept.json"
        whole = json.dumps(DOCUMENT).encode()
        path.write_bytes(whole[:at] + content + whole[at + len(content) + 1 :])
        kept, said = outcome(read_baseline, path)
        assert kept is not None or str(path) in said
        assert len(said.splitlines()) <= 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[" * 100_000, "not a baseline"),
        ("1" * 5000, "not a baseline"),
        ("{", "not valid JSON"),
        ("3", "holds no baseline of version 1"),
        ('{"name": "net", "artifacts": {"onnx int8": {"accuracy": 0.9}}}', "holds no baseline of version 1"),
        ('{"version": 2}', "version 2, this offramp reads 1; use the offramp that wrote it"),
        ('{"version": true}', "version True, this offramp reads 1"),
    ],
)
def test_a_file_that_is_no_baseline_says_so(tmp_path, content, message):
    path = tmp_path / "kept.json"
    path.write_text(content)
    with pytest.raises(BadInput, match=message) as fault:
        read_baseline(path)
    assert str(path) in str(fault.value)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("tolerances", "alpha"), 0, "tolerances.alpha must lie between 0 and 1, got 0"),
        (("tolerances", "alpha"), 1.0, "tolerances.alpha must lie between 0 and 1"),
        (("tolerances", "accuracy"), -0.01, "tolerances.accuracy must be a number from 0, got -0.01"),
        (("tolerances", "accuracy"), "1%", "tolerances.accuracy must be a number from 0, got '1%'"),
        (("tolerances", "bytes"), float("nan"), "tolerances.bytes must be a number from 0, got nan"),
        (("artifacts", "onnx int8", "accuracy"), 0.5, "accuracy is 0.5, but its hits say 0.98"),
        (("artifacts", "onnx int8", "accuracy"), 1.5, "must be a share from 0 to 1, got 1.5"),
        (("artifacts", "onnx int8", "hits"), ["..x"], r"hits must be 500 times . or x"),
        (("artifacts", "onnx int8", "macs"), {"eight": 3}, "macs must be given by bits, got 'eight'"),
        (("artifacts", "onnx int8", "bytes"), 3.5, "bytes must be a whole number from 0, got 3.5"),
        (("artifacts", "onnx\nint8"), {}, "must be printable"),
        (("samples", "sha256"), "abc", "samples.sha256 must be 64 hexadecimal digits"),
        (("samples", "count"), 0, "samples.count must be 1 or more"),
        (("karma",), 1, "karma is nothing that a baseline holds"),
        (("tolerances", "acuracy"), 1, "tolerances.acuracy is nothing that a baseline holds"),
    ],
)
def test_a_slip_in_a_field_is_named(place, value, message):
    parent = DOCUMENT
    for key in place[:-1]:
        parent = parent[key]
    document = changed(DOCUMENT, place[:-1], {**parent, place[-1]: value})
    with pytest.raises(BadInput, match=message):
        from_json(document)


def test_tolerances_are_the_users():
    document = changed(DOCUMENT, ("tolerances", "accuracy"), 0.05)
    assert from_json(document).tolerances == replace(Tolerances(), accuracy=0.05)

"""Each figure is held by its own rule, to its bad side, under the tolerances that the baseline states."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from offramp.errors import BadInput
from offramp.gate.baseline import FloatFigures, SampleSet, Tolerances
from offramp.gate.compare import compare

sys.path.append(str(Path(__file__).parent))
from gate_samples import COUNT, baseline, figures, hits


def moved(kept, now):
    return [(entry.artifact, entry.figure) for entry in compare(kept, now) if not entry.holds]


def test_equal_figures_hold_and_every_one_of_them_is_compared():
    found = compare(baseline(), baseline())
    assert all(entry.holds for entry in found)
    names = ("accuracy", "float_agreement", "bytes", "max_step_difference", "macs")
    assert [(e.artifact, e.figure) for e in found] == [("float", "accuracy"), *(("onnx int8", n) for n in names)]


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({"float_agreement": 0.996 - 0.021}, "float_agreement"),
        ({"float_agreement": 0.996 - 0.020}, None),
        ({"float_agreement": 1.0}, None),
        ({"float_agreement": None}, "float_agreement"),
        ({"bytes": 102_001}, "bytes"),
        ({"bytes": 102_000}, None),
        ({"bytes": 10}, None),
        ({"macs": {"8": 3_001, "32": 10}}, "macs"),
        ({"macs": {"8": 2_999, "32": 10}}, "macs"),
        ({"macs": {"8": 3_000}}, "macs"),
        ({"macs": {"8": 3_000, "32": 10, "16": 1}}, "macs"),
        ({"max_step_difference": 5.1}, "max_step_difference"),
        ({"max_step_difference": 5.0}, None),
        ({"max_step_difference": None}, "max_step_difference"),
        ({"accuracy": None, "hits": None}, "accuracy"),
    ],
)
def test_a_figure_fails_beyond_its_tolerance_and_to_its_bad_side_only(change, fails):
    now = baseline(artifacts={"onnx int8": figures(**change)})
    assert moved(baseline(), now) == ([("onnx int8", fails)] if fails else [])


@pytest.mark.parametrize(
    ("wrong", "start", "fails"),
    [
        (10, 0, False),
        (23, 0, False),  # 13 lost: 2**-13 is above alpha
        (24, 0, True),  # 14 lost: 2**-14 is not
        (24, 200, False),  # the same accuracy, but 24 lost and 10 gained
        (60, 200, True),
        (0, 0, False),
    ],
)
def test_accuracy_fails_where_the_drop_is_significant_on_the_same_samples(wrong, start, fails):
    now = baseline(artifacts={"onnx int8": figures(hits(wrong, start))})
    assert moved(baseline(), now) == ([("onnx int8", "accuracy")] if fails else [])


def test_a_significant_drop_within_the_tolerance_is_let_pass():
    now = baseline(artifacts={"onnx int8": figures(hits(30))})
    assert moved(baseline(), now)
    assert not moved(baseline(tolerances=Tolerances(accuracy=0.04)), now)


def test_the_float_network_is_held_like_an_artifact():
    row = hits(40)
    now = baseline(floating=FloatFigures(row.count(".") / COUNT, row))
    assert moved(baseline(), now) == [("float", "accuracy")]


def test_without_hits_on_both_sides_the_tolerance_alone_decides():
    kept = baseline(artifacts={"onnx int8": figures(hits=None)})
    assert not moved(kept, baseline(artifacts={"onnx int8": figures(hits(15))}))
    assert moved(kept, baseline(artifacts={"onnx int8": figures(hits(16))}))


def test_what_the_baseline_does_not_know_cannot_move():
    unknown = figures(accuracy=None, hits=None, float_agreement=None, max_step_difference=None)
    kept = baseline(artifacts={"onnx int8": unknown}, floating=FloatFigures(None, None))
    assert [entry.figure for entry in compare(kept, baseline())] == ["bytes", "macs"]


def test_a_missing_artifact_fails_and_a_new_one_does_not():
    (entry,) = (e for e in compare(baseline("onnx int8", "c int8"), baseline()) if not e.holds)
    assert (entry.artifact, entry.figure, entry.baseline, entry.now) == ("c int8", "artifact", "present", "missing")
    assert not moved(baseline(), baseline("onnx int8", "c int8"))


def test_other_samples_and_another_network_are_refused():
    other = SampleSet("mine.npz", 20, "1" * 64)
    with pytest.raises(
        BadInput, match=r"another sample set: its 500 samples \(digits, held out\) are not the 20 of now"
    ):
        compare(baseline(), replace(baseline(), samples=other))
    with pytest.raises(BadInput, match="a baseline of net, not of other"):
        compare(baseline(), baseline(name="other"))

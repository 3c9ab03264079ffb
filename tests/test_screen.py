"""What people see in the terminal: every figure and fault of the document, text as it is, a dash for the unknown."""

import sys
from pathlib import Path

import pytest
from offramp import screen, screen_devices
from offramp.gate.wording import tables_of

sys.path.append(str(Path(__file__).parent))
from report_sample import sample_artifact, sample_emulation

DIFFERENCE = {"value": "conv2d_3", "module": "stages.1.fc1", "difference_steps": 9.0}


def dist(*changes):
    rows = [sample_artifact("onnx", "int8") | change for change in changes]
    return {"name": "care_xxs", "float": {"accuracy": 0.8615}, "artifacts": rows}


@pytest.fixture
def shown(capsys):
    def run(show, document):
        show(document)
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


def test_a_verified_artifact_is_one_line_of_figures(shown):
    text = shown(screen.show_dist, dist({}))
    (line,) = [line for line in text.splitlines() if line.startswith("onnx")]
    for figure in ("int8", "85.9", "99.9", "2.93", "97.3", "verified"):
        assert figure in line
    assert "not verified" not in text
    assert "86.2" in text  # of float


def test_what_was_not_measured_is_a_dash_and_no_zero(shown):
    unknown = dict.fromkeys(("accuracy", "agreement", "max_step_difference", "integer_mac_share", "latency_ms"))
    (line,) = [line for line in shown(screen.show_dist, dist(unknown)).splitlines() if line.startswith("onnx")]
    assert line.count("–") == 5


def test_an_artifact_that_differs_says_why_and_where(shown):
    fault = {
        "verified": False,
        "not_verified_because": "it agrees on 3% of the samples",
        "first_difference": DIFFERENCE,
    }
    text = shown(screen.show_dist, dist(fault))
    assert "not verified" in text
    assert "it agrees on 3% of the samples" in text
    assert "starts at stages.1.fc1 (value conv2d_3)" in text
    root = fault | {"first_difference": DIFFERENCE | {"module": ""}}
    assert "starts at the network itself" in shown(screen.show_dist, dist(root))


def test_an_engine_that_did_not_run_is_named_with_its_reason(shown):
    engines = [*sample_artifact("onnx", "int8")["engines"]]
    engines.append(engines[0] | {"engine": "tflite-runtime 2.14", "ran": False, "reason": "no network"})
    assert "tflite-runtime 2.14 was not run: no network" in shown(screen.show_dist, dist({"engines": engines}))


def test_brackets_are_text_and_no_markup(shown):
    fault = {"verified": False, "not_verified_because": "[1, 3] is not [bold]: [/red]", "path": "[red]net.onnx"}
    text = shown(screen.show_dist, dist(fault))
    assert "[red]net.onnx: [1, 3] is not [bold]: [/red]" in text


def test_the_zoo_names_what_works(shown):
    row = {"name": "a", "paper": "b", "task": "c", "parameters": 198640, "macs": 2803328, "works": {}}
    text = shown(screen.show_systems, [row, row | {"name": "z", "works": {"onnx": True, "c": False, "int8": True}}])
    assert "not recorded" in text
    assert "onnx, int8" in text
    assert text.index("a ") < text.index("z ")


CHECKED = {"name": "n", "holds": True, "compared": [], "faults": [], "new": [], "baseline": "b.json", "updated": False}
PAIRED = {"change": -0.05, "low": -0.07, "high": -0.03, "p": 5.96e-08, "lost": 25, "gained": 0, "smallest": 0.028}


def comparison(figure, before, now, **others):
    kept = {"artifact": "onnx int8", "figure": figure, "baseline": before, "now": now, "allowed": 0.01}
    return kept | {"holds": True, "paired": None} | others


def test_what_moved_is_a_table(shown):
    fault = {
        "artifact": "tflite int8",
        "path": "n.tflite",
        "because": "[1] differs",
        "module": "fc",
        "value": "fc_weight",
    }
    moved = {
        "holds": False,
        "new": ["c int8"],
        "faults": [fault],
        "compared": [
            comparison("accuracy", 0.98, 0.93, holds=False, paired=PAIRED),
            comparison("bytes", 10_000, 12_000, allowed=200.0, holds=False),
            comparison("float_agreement", 1.0, 1.0),
            comparison("macs", {"8": 3000}, {"8": 3000, "32": 1}, allowed=0.0, holds=False),
            comparison("artifact", "present", "missing", holds=False, artifact="coreml int8"),
        ],
    }
    text = shown(screen.show_check, CHECKED | moved)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.startswith(("onnx int8", "coreml"))]
    assert lines == [
        "onnx int8 98.00% 93.00% -5.00% -7.00 to -3.00% 6e-08 -2.80% moved",
        "onnx int8 bytes 10,000 12,000 +200 moved",
        "onnx int8 macs 3,000 of 8 bit 1 of 32 bit, 3,000 of 8 bit equal moved",
        "coreml int8 artifact present missing moved",
    ]
    assert "float_agreement" not in text  # it did not change
    assert "n.tflite: not verified: [1] differs; starts at fc (fc_weight)" in text
    assert "c int8: not in the baseline; add it with --update" in text
    assert "n does not hold" in text


def test_an_accuracy_that_holds_says_what_its_samples_could_show(shown):
    few = PAIRED | {"change": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "smallest": None}
    text = shown(screen.show_check, CHECKED | {"compared": [comparison("accuracy", 1.0, 1.0, paired=few)]})
    assert "too few" in text
    assert "n holds" in text


def test_a_check_without_a_baseline_says_where_it_looked(shown):
    text = shown(screen.show_check, CHECKED | {"baseline": None, "looked_for": "baselines/n.json"})
    assert text == "no baseline at baselines/n.json; write one with --update\nn holds\n"
    written = shown(screen.show_check, CHECKED | {"updated": True})
    assert written == "written: b.json\nn holds\n"


def test_a_program_lists_what_stays_in_float(shown):
    operator = {"name": "div", "operator": "aten.div.Tensor", "module": "", "reason": "no integer division"}
    document = {"program": "programs/n/program.pt2", "samples": "digits", "float": {"accuracy": 0.9}}
    document |= {"scheme": "binary", "quantized": {"accuracy": 0.89, "agreement": 0.99}, "float_operators": [operator]}
    layer = {"name": "conv2d", "module": "stem.0", "weight": 8, "activation": 8, "reason": "the first layer"}
    document["layers"] = [layer, layer | {"module": "body.3", "weight": 1, "activation": 1, "reason": ""}]
    text = shown(screen.show_program, document)
    assert "binary 89.0\N{NO-BREAK SPACE}%" in text
    assert "stem.0" in text and "body.3" not in text
    assert "aten.div.Tensor" in text
    assert "(network)" in text
    assert "no integer division" in text


def test_a_missing_engine_comes_with_its_command(shown):
    finding = {"name": "onnx, executed", "works": False, "detail": "not installed", "mend": "pip install onnxruntime"}
    host = {"cpu": "a processor", "cores": 2, "system": "Linux"}
    text = shown(screen.show_doctor, {"host": host, "findings": [finding]})
    assert "pip install onnxruntime" in text
    assert "a processor, 2 cores, Linux" in text


def test_an_emulation_says_what_chips_do_and_what_was_assumed(shown):
    lines = shown(screen_devices.show_emulation, sample_emulation()).replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert lines == [
        "care_xxs on gst-pcm, 5 chips, 500 samples",
        "accuracy 85.5 % (85.2 to 85.7 %), digital 85.9 %, difference −0.40 points",
        "agreement 99.1 % (99.0 to 99.2 %)",
        "62 arrays, 1.12 M cells, 38.7 nJ a sample (ADCs 19.9 %; DACs and the digital part not counted), "
        "written with 35.8 M pulses, 1.70 µJ",
        "Cells are read with pulses of 0.2 V for 10 ns: an assumption, since the device's entry has none.",
    ]


def test_an_emulation_without_labels_and_of_one_chip_claims_no_more(shown):
    changes = {"name": "[red]n", "chips": 1, "accuracy": None, "digital_accuracy": None}
    text = shown(screen_devices.show_emulation, sample_emulation() | changes).replace("\N{NO-BREAK SPACE}", " ")
    assert "[red]n on gst-pcm, 1 chip, 500 samples" in text
    assert "accuracy" not in text
    assert "agreement 99.1 % (one chip)" in text


def test_a_sweep_is_a_table_of_its_points(shown):
    text = shown(screen_devices.show_emulation, sample_emulation(adc=[0, 4], levels=[64])).replace(
        "\N{NO-BREAK SPACE}", " "
    )
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert "adc levels accuracy low high points from digital" in rows
    assert "ideal 64 85.9 % 85.7 % 86.1 % −0.01" in rows
    assert "4 64 84.4 % 84.0 % 84.8 % −1.48 below" in rows
    assert rows[-1].endswith("below the digital program's 85.9 %) first at adc 4 for levels 64.")


def test_the_tables_of_a_check_fit_a_terminal_of_80():
    worst = {"change": -0.1234, "low": -0.1567, "high": -0.1012, "p": 2.1e-123, "smallest": 0.028}
    compared = [comparison("accuracy", 1.0, 0.8766, artifact="coreml float32", paired=worst)]
    compared.append(comparison("max_step_difference", 1.0, 255.0, artifact="coreml float32", allowed=4.0))
    for columns, rows in tables_of({"compared": compared}):
        widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
        assert sum(widths) + len(widths) - 1 <= 80

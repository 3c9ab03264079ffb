"""Training in arrays and for chips, networks on emulated arrays, devices and papers: the verbs as a user calls them."""

import json
import math
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from offramp.manifest import check_document, read_manifest
from offramp.models.run import load_run
from offramp.reproductions import reproductions
from offramp.storage import sha256_of

sys.path.append(str(Path(__file__).parent))
from command_line import document_of, error_of, offramp, progress_of
from tiny_networks import convnet

QUICK = ("--target", "onnx", "--no-measure", "--no-older-runtime", "--calibration-samples", "16")
TWO_CHIPS = ("--samples", "2", "--tile", "64x32")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder to work in for the whole file."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("hardware")
        patch.chdir(folder)
        yield folder


@pytest.fixture(scope="module")
def trained(home):
    """What `train --rule in-array` prints, and its run."""
    document = document_of("train", "synapse_mlp", "--rule", "in-array", "--synapse", "epiram", "--epochs", 1)
    return document, home / "runs/synapse_mlp"


@pytest.fixture(scope="module")
def deployed(trained, home):
    """What `deploy` prints of that run, and its dist; to be read, never written."""
    document = document_of("deploy", "runs/synapse_mlp", "--samples", 8, *QUICK)
    return document, home / "dist/synapse_mlp"


@pytest.fixture
def dist(deployed, tmp_path):
    """A copy of the dist that a test may write to."""
    return Path(shutil.copytree(deployed[1], tmp_path / "synapse_mlp"))


def saturating(pulse):
    """Share of the range after so many of 32 pulses."""
    return math.expm1(-pulse / 16) / math.expm1(-2)


def pulses_file(folder, dent=0.0):
    """Three cycles between 1 and 11 microsiemens; a dent lowers one reading on the way up."""
    lines = ["pulse,conductance_us,direction,cycle"]
    for cycle in range(3):
        for direction in ("up", "down"):
            for pulse in range(33):
                share = saturating(pulse) if direction == "up" else 1 - saturating(pulse)
                fallen = dent if (direction, pulse) == ("up", 9) else 0.0
                lines.append(f"{pulse},{1 + 10 * share - fallen:.9f},{direction},{cycle}")
    (folder / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "mine.csv"


# Training


def test_a_network_trained_in_arrays_is_a_run_like_any_other(trained):
    document, folder = trained
    assert (document["name"], document["run"]) == ("synapse_mlp", "runs/synapse_mlp")
    assert document["metrics"]["accuracy"] > 0.5
    rule = load_run(folder).rule
    assert (rule["name"], rule["device"]["name"], rule["scheme"]) == ("in-array", "epiram", "unidirectional")


def test_it_is_deployed_like_any_other(deployed):
    document, folder = deployed
    check_document(document, "synapse_mlp")
    assert [row["verified"] for row in document["artifacts"]] == [True, True]
    assert document["network"]["trained"]
    assert {"synapse_mlp.onnx", "synapse_mlp-float32.onnx"} <= {path.name for path in folder.iterdir()}


def test_update_and_counts_are_the_rules(home, tmp_path):
    arguments = ("--synapse", "ideal", "--update", "single", "--counts", "adaptive", "--epochs", 1, "--runs", tmp_path)
    offramp("train", "synapse_mlp", "--rule", "in-array", *arguments)
    rule = json.loads((tmp_path / "synapse_mlp/config.json").read_text())["rule"]
    assert (rule["scheme"], rule["counts"], rule["device"]["name"]) == ("single", "adaptive", "ideal")


def test_training_for_a_device_goes_beside_the_float_run(trained, home):
    before = sha256_of(home / "runs/synapse_mlp")
    arguments = ("train", "runs/synapse_mlp", "--aware", "synapse=gst-pcm", "--epochs", 1)
    document = document_of(*arguments)
    assert document["run"] == "runs/synapse_mlp.gst-pcm"
    run = load_run(home / document["run"])
    assert (run.system, run.rule["name"], run.rule["device"]["name"]) == ("synapse_mlp", "noise-aware", "gst-pcm")
    assert sha256_of(home / "runs/synapse_mlp") == before
    assert "training synapse_mlp on chips of gst-pcm into" in progress_of(*arguments, "--resume")


UNTRAINABLE = {
    "--synapse epiram": "--synapse: belongs to --rule in-array; for fine-tuning write --aware synapse=DEVICE",
    "--counts nearest": "--counts: belongs to --rule in-array",
    "--rule in-array": "--rule in-array: needs the devices to learn in; name them with --synapse",
    "--rule in-array --synapse epirom": "synapse 'epirom' is not known; did you mean epiram?",
    "--rule in-array --synapse epiram --aware synapse=epiram": "--aware: trains on by back-propagation; leave out",
    "--aware foo": "--aware foo: give synapse=NAME, and where wanted time=SECONDS and verify=ROUNDS, as synapse=epiram",
    "--aware synapse=": "--aware synapse=: give synapse=NAME",
    "--aware synapse=epirom": "synapse 'epirom' is not known; did you mean epiram?",
}


@pytest.mark.parametrize("arguments", UNTRAINABLE)
def test_training_that_cannot_be_is_one_line(tmp_path, arguments):
    message = error_of("train", "synapse_mlp", "--runs", tmp_path, *arguments.split())
    assert message.startswith(UNTRAINABLE[arguments])
    assert not any(tmp_path.iterdir())


def test_networks_that_no_array_trains_are_refused(tmp_path):
    message = error_of("train", "resnet8", "--rule", "in-array", "--synapse", "epiram", "--runs", tmp_path)
    assert "is a Conv2d: in-array learning trains chains of Linear layers" in message
    assert not any(tmp_path.iterdir())


# Networks on arrays


def test_a_dist_on_chips_says_what_they_do_and_take(dist):
    found = document_of("emulate", dist, "--synapse", "epiram", *TWO_CHIPS, "--adc", 8)
    assert (found["name"], found["synapse"], found["chips"], found["samples"]) == ("synapse_mlp", "epiram", 2, 8)
    assert found["accuracy"]["low"] <= found["accuracy"]["mean"] <= found["accuracy"]["high"]
    assert len(found["accuracies"]) == 2 and 0 <= found["digital_accuracy"] <= 1
    assert found["arrays"] == 4  # 64 inputs to 32 units, and 32 to 10, on 64x32 in pairs
    assert found["cells"] == 2 * (64 * 32 + 32 * 10)
    assert found["energy_joules"] == pytest.approx(found["cell_joules"] + found["converter_joules"])
    assert found["converter_joules"] > 0 and found["write_pulses"] > 0
    assert (found["design"]["rows"], found["design"]["columns"], found["design"]["adc_bits"]) == (64, 32, 8)
    assert found["device"]["pulses_up"] == 64 and found["sweep"] is None
    text = offramp("emulate", dist, "--synapse", "epiram", *TWO_CHIPS)
    assert "synapse_mlp on epiram, 2 chips, 8 samples" in text and "4 arrays" in text


def test_ideal_devices_give_the_digital_accuracy(dist):
    found = document_of("emulate", dist, "--synapse", "ideal", *TWO_CHIPS, "--held-out", 60)
    assert found["samples"] == 60
    digital = found["digital_accuracy"]
    assert found["accuracy"] == {"mean": digital, "low": digital, "high": digital}
    assert found["agreement"]["low"] == 1.0


def test_manifest_and_report_hold_the_last_of_each_synapse(dist, deployed):
    plot = dist / "emulation-epiram.svg"
    sweep = ("--sweep", "levels=2,64", "--sweep", "d2d=0,.1")
    swept = document_of("emulate", dist, "--synapse", "epiram", *TWO_CHIPS, *sweep)
    manifest = read_manifest(dist)  # which holds every file against its hash
    assert manifest["emulations"] == [swept]
    settings = [point["settings"] for point in swept["sweep"]["points"]]
    assert [(each["levels"], each["d2d"]) for each in settings] == [(2, 0), (2, 0.1), (64, 0), (64, 0.1)]
    assert swept["sweep"]["plot"] == plot.name and plot.name in manifest["files"]
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    other = document_of("emulate", dist, "--synapse", "gst-pcm", *TWO_CHIPS)
    assert read_manifest(dist)["emulations"] == [swept, other]
    page = (dist / "report.html").read_text(encoding="utf-8")
    assert "epiram" in page and "gst-pcm" in page
    again = document_of("emulate", dist, "--synapse", "epiram", *TWO_CHIPS, "--seed", 3)
    manifest = read_manifest(dist)
    assert manifest["emulations"] == [other, again] and again["seed"] == 3
    assert not plot.exists() and plot.name not in manifest["files"]
    check_document(manifest, "manifest.json")
    assert {**manifest, "emulations": 0, "files": 0} == {**deployed[0], "emulations": 0, "files": 0}
    assert "epiram" not in (deployed[1] / "report.html").read_text(encoding="utf-8")


def test_settings_are_the_documents_and_the_plot_goes_where_it_is_asked_for(dist, tmp_path):
    arguments = ("--set", "read_noise=.02", "--set", "wire=1", "--time", 60, "--reference", "column")
    flags = ("--compensate-drift", "--correct-offset", "--sweep", "adc=4,6", "--plot", tmp_path / "mine.svg")
    found = document_of("emulate", dist, "--synapse", "epiram", "--samples", 1, *arguments, *flags)
    assert (found["device"]["read_noise"], found["design"]["wire_ohms"], found["design"]["seconds"]) == (0.02, 1, 60)
    design = found["design"]
    assert design["compensates_drift"] and design["corrects_offset"] and design["reference"] == "column"
    assert (tmp_path / "mine.svg").read_bytes() == (dist / "emulation-epiram.svg").read_bytes()
    assert "chip 3 of 3" in progress_of("emulate", dist, "--synapse", "ideal", "--samples", 3)


def test_a_network_without_labels_is_held_against_the_digital_program(site, tmp_path):
    reference = convnet(site, "array_net")
    arguments = ("--samples", 1, "--held-out", 4, "--sweep", "levels=4", "--plot", tmp_path / "x.svg")
    found = document_of("emulate", reference, "--synapse", "ideal", *arguments)
    assert (found["digital_accuracy"], found["accuracy"], found["accuracies"]) == (None, None, [])
    assert found["agreement"]["mean"] == 1.0 and found["sweep"]["plot"] == "x.svg"
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]


IMPOSSIBLE = {
    "--set levls=4": "levls=4: no figure is named levls; did you mean levels?",
    "--set levels=2,4": "--set levels=2,4: takes one value; several go to --sweep",
    "--sweep levels=1": "levels must be 2 or more",
    "--tile 64": "--tile 64: give rows and columns, as 128x128",
    "--tile 0x8": "rows must be from 1 to 65536, got 0",
    "--tile axb": "--tile axb: give rows and columns",
    "--plot x.png --sweep adc=4": "x.png: a plot is written as SVG; give it that ending, as x.svg",
    "--synapse nothing": "synapse 'nothing' is not known",
    "--held-out 0": "--held-out",
}


@pytest.mark.parametrize("arguments", IMPOSSIBLE)
def test_an_emulation_that_cannot_be_is_one_line_and_changes_nothing(deployed, arguments):
    before = sha256_of(deployed[1])
    assert IMPOSSIBLE[arguments] in error_of("emulate", deployed[1], "--synapse", "epiram", *arguments.split())
    assert sha256_of(deployed[1]) == before


def test_a_dist_without_a_quantized_program_is_refused(trained, tmp_path):
    document_of("deploy", "runs/synapse_mlp", "--precision", "float32", "--samples", 8, *QUICK, "--out", tmp_path)
    message = error_of("emulate", tmp_path / "synapse_mlp", "--synapse", "epiram")
    assert message == f"{tmp_path}/synapse_mlp: holds no quantized program; deploy again with --precision int8"


# Devices


def test_the_catalogue_is_listed():
    rows = document_of("synapse")
    assert len(rows) >= 10 and {"epiram", "gst-pcm", "pcm-ibm", "ideal"} <= {row["name"] for row in rows}
    for row in rows:
        assert row["source"] and 0 <= row["g_min"] < row["g_max"] and row["pulses_up"] >= 1
    assert all(row["name"] in offramp("synapse") for row in rows)


def test_a_device_is_shown_with_its_figures():
    found = document_of("synapse", "epiram")
    assert (found["device"]["levels"], found["device"]["nonlinearity_up"], found["fit"]) == (64, 0.5, None)
    assert found["device"]["on_off"] == pytest.approx(50.2, rel=1e-3)
    assert "cycle_noise" in offramp("synapse", "epiram")


def test_measured_pulses_become_a_device_that_networks_run_on(dist, tmp_path):
    plot, out = tmp_path / "fit.svg", tmp_path / "mine.toml"
    found = document_of("synapse", pulses_file(tmp_path), "--plot", plot, "--out", out)
    assert (found["plot"], found["out"]) == (str(plot), str(out))
    device = found["device"]
    assert (device["name"], device["pulses_up"], device["pulses_down"]) == ("mine", 32, 32)
    assert device["g_min"] == pytest.approx(1e-6, rel=0.01) and device["g_max"] == pytest.approx(11e-6, rel=0.01)
    assert device["nonlinearity_up"] > 0.5 and device["nonlinearity_down"] < -0.5
    low, high = found["intervals"]["nonlinearity_up"]
    assert low <= device["nonlinearity_up"] <= high
    assert ElementTree.parse(plot).getroot().tag.endswith("svg")
    assert document_of("synapse", out)["device"] == device
    emulated = document_of("emulate", dist, "--synapse", out, "--samples", 1)
    assert emulated["synapse"] == "mine" and emulated["device"]["g_max"] == device["g_max"]
    assert "mine" in (dist / "report.html").read_text(encoding="utf-8")


def test_the_measured_curve_itself_can_be_the_response(tmp_path):
    found = document_of("synapse", pulses_file(tmp_path), "--curve", "--name", "own", "--out", tmp_path / "own.toml")
    assert (found["device"]["name"], found["device"]["response"]) == ("own", "measured")
    assert found["device"]["curve_up"] == pytest.approx([saturating(pulse) for pulse in range(33)], abs=1e-6)
    assert document_of("synapse", tmp_path / "own.toml")["device"] == found["device"]


def test_a_curve_that_falls_on_its_way_up_is_refused(tmp_path):
    path = pulses_file(tmp_path, dent=2.0)
    message = error_of("synapse", path, "--curve", "--out", tmp_path / "mine.toml")
    assert message.startswith(str(path)) and "\n" not in message
    assert not (tmp_path / "mine.toml").exists()


def test_a_device_file_that_none_can_be_names_entry_field_and_bound(tmp_path, deployed):
    path = tmp_path / "mine.toml"
    path.write_text('[odd]\ntitle = "x"\nsource = "y"\ng_min = 2e-6\ng_max = 1e-6\n', encoding="utf-8")
    line = f"{path}: synapse odd: g_min must be from 0 to below g_max (1e-06), got 2e-06"
    assert error_of("synapse", path) == line
    assert error_of("emulate", deployed[1], "--synapse", path) == line


def test_files_of_another_ending_or_without_pulses_are_refused(tmp_path):
    for flag in ("--plot", "--out", "--name"):
        assert error_of("synapse", "epiram", flag, "x") == f"{flag}: belongs to a .csv of pulses; name one"
    path = pulses_file(tmp_path)
    assert (
        error_of("synapse", path, "--plot", "fit.png") == "fit.png: the plot is an SVG; name a file that ends in .svg"
    )
    assert "written as TOML" in error_of("synapse", path, "--out", "mine.json")


# Papers


def test_a_paper_that_is_not_reproduced_lists_those_that_are():
    known = ", ".join(reproductions())
    assert "adaptive-learning-rule-synapse" in known
    assert error_of("reproduce", "nonsense") == f"nonsense: no such reproduction; known: {known}"

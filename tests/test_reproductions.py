"""Papers reproduced: what a study gives, by which rule a claim holds, the verb, and a record that it can make again."""

import sys
from dataclasses import asdict
from functools import partial
from operator import mul
from pathlib import Path
from time import sleep

import numpy as np
import pytest
import torch
from offramp import reproductions
from offramp.benchmarks import reproductions as benchmark
from offramp.devices.synapse.catalogue import catalogue, published_accuracies
from offramp.devices.synapse.perceptron import Learning
from offramp.errors import BadInput, UnsupportedOperator
from offramp.estimate import Estimate, share_of
from offramp.models.system import all_systems
from offramp.reproductions import Claim, Study, claims_of, find_reproduction
from offramp.reproductions import adaptive_learning_rule_synapse as study_of_synapses
from offramp.reproductions._artifacts import run_on, ship, side_by_side
from offramp.reproductions._in_arrays import Digits, Training, read_digits, software, trained, written
from offramp.reproductions._trainings import in_two_processes, seeded, two_at_a_time
from offramp.storage import read_json

sys.path.append(str(Path(__file__).parent))
from command_line import document_of, offramp

SLUG = "adaptive-learning-rule-synapse"
RECORD = Path(__file__).resolve().parent.parent / "benchmarks" / "recorded" / f"reproduction-{SLUG}.json"
FIELDS = {"slug", "claim", "metric", "baseline", "ours", "holds", "note", "table", "seeds"}
SMALL = Training(Learning(rates=(0.3,), final=0.3), 8, 8, 4, (1.0, 2.0))


@pytest.fixture(scope="module")
def quick():
    """The claims of one seed at a twentieth of the epochs, and what was said on the way."""
    said = []
    return claims_of(SLUG, Study((0,), effort=0.05, say=said.append)), said


def small_digits(count=60):
    """Ten classes, each with two bright pixels of twenty."""
    labels = torch.arange(count) % 10
    inputs = 0.2 * torch.rand(count, 20, generator=torch.Generator().manual_seed(0))
    for place, label in enumerate(labels):
        inputs[place, 2 * label : 2 * label + 2] += 0.7
    return Digits(inputs, labels, inputs.flip(0), labels.flip(0))


def claim(holds, table=None):
    row = Claim("a claim", "accuracy", Estimate(0.5, 0.4, 0.6), Estimate(0.75, 0.7, 0.8), holds, "a note", table)
    return {"slug": SLUG, **asdict(row), "seeds": 2}


# Studies


def test_studies_are_found_by_the_slug_of_their_paper():
    assert SLUG in reproductions.reproductions()
    assert find_reproduction(SLUG) is study_of_synapses.reproduce
    assert SLUG in {system.paper for system in all_systems().values()}
    with pytest.raises(BadInput, match=f"^adaptive: no such reproduction; known: {SLUG}(, [a-z-]+)*$"):
        find_reproduction("adaptive")


def test_effort_is_a_share_of_the_epochs_and_one_is_the_least():
    assert [Study(effort=effort).epochs(20) for effort in (1.0, 0.5, 0.04, 1e-9)] == [20, 10, 1, 1]
    assert len(Study().seeds) == 5


def test_each_claim_has_both_figures_and_says_whether_it_holds(quick):
    claims, said = quick
    assert len(claims) >= 15 and len(said) >= 8
    assert len({row["claim"] for row in claims}) == len(claims)
    for row in claims:
        assert set(row) == FIELDS
        assert (row["slug"], row["seeds"]) == (SLUG, 1)
        assert isinstance(row["holds"], bool) and row["claim"] and row["metric"]
        for side in (row["baseline"], row["ours"]):
            assert set(side) == {"mean", "low", "high"} and side["low"] == side["mean"] == side["high"]  # one seed
            assert -1 <= side["mean"] <= 1
    assert any(row["ours"]["mean"] > 0.5 for row in claims)


def test_rows_of_tables_have_their_columns(quick):
    tables = [row["table"] for row in quick[0] if row["table"]]
    assert len(tables) >= 4
    for table in tables:
        assert set(table) == {"title", "columns", "rows"} and table["rows"]
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
        assert all(isinstance(cell, str) for row in table["rows"] for cell in row)
    devices = next(table for table in tables if table["title"] == "Published devices")
    names = [row[0] for row in devices["rows"]]
    assert names[0] == "software" and set(names[1:]) == set(published_accuracies()) <= set(catalogue())
    order = [published_accuracies()[name] for name in names[1:]]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("ours", "margin", "holds"),
    [
        ([0.75, 0.75], 0.0, True),
        ([0.5, 0.9], 0.0, False),
        ([0.5, 0.75], -0.125, True),
        ([0.5, 0.625], -0.125, False),
        ([0.75, 1.0], 0.125, True),
        ([0.75, 0.875], 0.125, False),
    ],
)
def test_a_claim_holds_where_our_mean_is_the_baselines_and_a_margin(ours, margin, holds):
    found = study_of_synapses._claim("x", [0.5, 1.0], ours, margin, "why")
    assert found == Claim("x", "accuracy", share_of([0.5, 1.0]), share_of(ours), holds, "why", None)


def test_the_studys_devices_are_what_their_names_say():
    device = study_of_synapses.device(3.0, 32, 10.0, 0.2)
    assert device.on_off == pytest.approx(10) and (device.pulses_up, device.pulses_down) == (32, 32)
    assert (device.response, device.nonlinearity_up, device.nonlinearity_down) == ("exponential", 3.0, -3.0)
    assert (device.high_spread, device.low_spread) == (0.2, pytest.approx(0.02))  # of each end, as a share of g_max
    assert study_of_synapses.device().response == "linear"


# What conditions share


def test_stacks_of_devices_and_seeds_come_back_by_device():
    devices = [study_of_synapses.device(), study_of_synapses.device(4.0, 32)]
    digits = small_digits()
    found, arrays = trained(digits, devices, (0, 1, 2), SMALL)
    assert [len(values) for values in found] == [3, 3] and len(arrays.layers[0].pulses) == 6
    alone, _ = trained(digits, devices[1:], (1,), SMALL)
    assert alone == [[found[1][1]]]
    assert min(found[0]) > 0.9


def test_software_starts_where_arrays_do_and_written_weights_follow_it():
    digits, device = small_digits(), study_of_synapses.device(pulses=1024)
    accuracies, layers = software(digits, (0, 1), SMALL)
    assert min(accuracies) > 0.9
    assert written(digits, layers, device, (0, 1), SMALL) == pytest.approx(accuracies, abs=0.05)
    coarse = written(digits, layers, study_of_synapses.device(pulses=1), (0, 1), SMALL)
    assert max(coarse) < min(accuracies)
    untaught = Training(SMALL.learning, 8, 0, 4, (4.0, 4.0))
    _, first = software(digits, (0, 1), untaught)
    _, arrays = trained(digits, [study_of_synapses.device(on_off=1e6)], (0, 1), untaught)
    for layer, array in zip(first, arrays.layers, strict=True):
        assert torch.allclose(layer.values, array.weights(), atol=1e-5)


def test_the_bundled_digits_are_pixels_from_0_to_1():
    digits = read_digits(None)
    assert digits.inputs.shape[1] == 64 and set(digits.labels.tolist()) == set(range(10))
    assert float(digits.inputs.min()) == 0 and 0.9 < float(digits.inputs.max()) <= 1
    assert set(digits.binary().test_inputs.unique().tolist()) == {0.0, 1.0}


# The verb


def test_the_verb_prints_claims_and_leaves_with_1_if_one_does_not_hold(monkeypatch):
    asked = []
    table = {"title": "Figures", "columns": ["device", "accuracy"], "rows": [["mine", "75.0 ± 5.0"]]}
    for second, code in ((True, 0), (False, 1)):
        rows = [claim(True, table), claim(second)]
        monkeypatch.setattr(reproductions, "claims_of", lambda slug, study, rows=rows: asked.append(study) or rows)
        assert document_of("reproduce", SLUG, "--seeds", 2, "--effort", 0.1, code=code) == rows
        text = offramp("reproduce", SLUG, code=code)
        assert "Figures" in text and "75.0 ± 5.0" in text and "a note" in text
        assert ("does not hold" in text) == (code == 1)
    assert asked[0] == Study((0, 1), None, 0.1) and asked[1] == Study()


# The record


def test_a_record_holds_the_claims_and_takes_three_seeds(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "claims_of", lambda slug, study: [claim(True)] * len(study.seeds))
    document = benchmark.record_of(SLUG, 4)
    assert (document["benchmark"], document["seeds"], document["claims"]) == (RECORD.stem, 4, [claim(True)] * 4)
    with pytest.raises(SystemExit) as ending:
        benchmark.main([SLUG, "--seeds", "2", "--keep"])
    assert ending.value.code == 2 and "--keep takes 3 seeds or more, got 2" in capsys.readouterr().err
    assert benchmark.main([SLUG, "--seeds", "2"]) == 0
    assert capsys.readouterr().out.startswith("holds         a claim\n")


def test_the_record_is_one_that_its_command_makes(quick):
    record = read_json(RECORD)
    assert (record["slug"], record["benchmark"]) == (SLUG, RECORD.stem)
    made = [(row["claim"], row["metric"], row["table"] and row["table"]["title"]) for row in quick[0]]
    assert [(row["claim"], row["metric"], row["table"] and row["table"]["title"]) for row in record["claims"]] == made


@pytest.mark.parametrize("path", sorted(RECORD.parent.glob("reproduction-*.json")), ids=lambda path: path.stem)
def test_every_record_is_of_a_paper_of_the_zoo_and_of_three_seeds_or_more(path):
    record = read_json(path)
    slug = record["slug"]
    assert path.stem == record["benchmark"] == f"reproduction-{slug}"
    assert slug in reproductions.reproductions() and slug in {system.paper for system in all_systems().values()}
    assert record["seeds"] >= benchmark.LEAST_SEEDS >= 3
    assert len({row["claim"] for row in record["claims"]}) == len(record["claims"]) > 0
    for row in record["claims"]:
        assert set(row) == FIELDS and (row["slug"], row["seeds"]) == (slug, record["seeds"])
        assert row["ours"]["low"] <= row["ours"]["mean"] <= row["ours"]["high"]
        table = row["table"] or {"columns": [], "rows": []}
        assert all(len(cells) == len(table["columns"]) for cells in table["rows"])


@pytest.mark.parametrize("slug", reproductions.reproductions())
def test_every_reproduction_is_recorded(slug):
    assert (RECORD.parent / f"reproduction-{slug}.json").is_file()


class _Untranslatable(torch.nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_files_written_in_processes_of_their_own_come_in_order(tmp_path):
    example = {"x": torch.zeros(1, 3)}
    names = ["first", "second", "third"]
    writings = [
        partial(ship, name, torch.nn.Linear(3, size), example, {}, tmp_path, ("onnx",), ("float32",))
        for size, name in enumerate(names, 1)
    ]
    paths = [files["onnx", "float32"] for files in side_by_side(writings)]
    assert [path.stem for path in paths] == [f"{name}-float32" for name in names]
    found = [run_on(path, {"x": np.zeros((2, 3), np.float32)}) for path in paths]
    assert [output.shape for outputs in found for output in outputs.values()] == [(2, 1), (2, 2), (2, 3)]


def test_an_operator_without_a_form_is_named_from_another_process(tmp_path):
    example = {"x": torch.zeros(1, 3)}
    writing = partial(ship, "none", _Untranslatable(), example, {}, tmp_path, ("onnx",), ("float32",))
    with pytest.raises(UnsupportedOperator, match=r"onnx has no form of aten\.special_bessel_j0\.default; ") as raised:
        side_by_side([writing])
    assert (raised.value.operator, raised.value.target) == ("aten.special_bessel_j0.default", "onnx")


def test_values_stay_in_place_while_other_processes_get_copies():
    tensor = torch.arange(3.0)
    array, address = tensor.numpy(), tensor.data_ptr()  # the array reads the tensor's memory
    doubled = in_two_processes(partial(mul, 2), [array, tensor])
    assert (tensor.data_ptr(), tensor.is_shared()) == (address, False)
    assert [found.tolist() for found in doubled] == [[0.0, 2.0, 4.0]] * 2


def test_first_weights_follow_the_seed_beside_other_threads():
    def build():
        sleep(0.01)  # for the other thread to meddle
        return torch.nn.Linear(64, 64)

    def weights(seed):
        return seeded(build, seed).weight

    before = torch.get_rng_state()
    alone = [weights(seed) for seed in range(8)]
    beside = two_at_a_time(weights, range(8))
    assert all(map(torch.equal, alone, beside))
    assert torch.equal(torch.get_rng_state(), before)


def test_two_calls_at_a_time_have_one_thread_each_and_give_them_back():
    before = torch.get_num_threads()
    assert two_at_a_time(lambda _: torch.get_num_threads(), range(4)) == [1] * 4
    assert torch.get_num_threads() == before

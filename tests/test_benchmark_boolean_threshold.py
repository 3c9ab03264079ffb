"""The benchmark of Boolean threshold networks, and every network that it recorded, evaluated again on its table."""

import json

import pytest
import torch
from offramp.benchmarks import boolean_threshold as benchmark
from offramp.benchmarks.boolean_threshold import BENCHMARKS, Task, items, layers_of, main
from offramp.benchmarks.results import _RECORDS
from offramp.models.boolean_tasks import TASKS, full_adder, through_gates
from offramp.models.learning.boolean_threshold import BooleanThreshold
from offramp.storage import read_json

RECORD = _RECORDS / "boolean_threshold.json"
ADDER = Task("full-adder", (3, 3, 3, 2), BooleanThreshold(iterations=50), 600, 30)


def check(name, row):
    """Each recorded network against its whole table, by its rows alone; how many there are."""
    data = TASKS[row["data"]](0)
    checked = 0
    for found in row["outcomes"]:
        assert found["solved"] <= (found["layers"] is not None) == (found["exact_steps"] is not None)
        if found["layers"] is None:
            continue
        layers = [layer.float() for layer in layers_of(found["layers"])]
        assert [layers[0].shape[1] - 1, *map(len, layers)] == row["widths"], name
        for part, share in ((data.train, "train_bits"), (data.test, "test_bits")):
            inputs, outputs = items(part)
            assert (through_gates(layers, inputs) == outputs).double().mean() == pytest.approx(found[share])
        assert found["train_bits"] == 1
        assert found["ternary"] == all(layer.abs().max() <= 1 for layer in layers)
        checked += 1
    return checked


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "found.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(benchmark.BENCHMARKS, "adder", ADDER)
        patch.setattr(benchmark, "RATES", (0.01, 0.03))
        assert main(["adder", "--seeds", "4", "--out", str(path)]) == 0
    return read_json(path)


def test_every_seed_has_an_outcome_that_can_be_checked(document):
    row = document["tasks"]["adder"]
    assert [each["seed"] for each in row["outcomes"]] == [0, 1, 2, 3]
    assert check("adder", row) >= 3 and sum(each["solved"] for each in row["outcomes"]) >= 2
    assert row["items"] == 8 and row["limit"] == 600 and row["rule"]["name"] == "reflect-reflect-relax"
    gradients = row["gradients"]
    assert gradients["rate"] in (0.01, 0.03) and set(gradients["fitted"]) == {"0.01", "0.03"}
    assert len(gradients["outcomes"]) == 4 and gradients["steps"] == 30


def test_a_wrong_network_would_be_found_out(document):
    row = json.loads(json.dumps(document["tasks"]["adder"]))
    found = next(each for each in row["outcomes"] if each["layers"])
    found["layers"][-1][0] = " ".join(str(-int(weight)) for weight in found["layers"][-1][0].split())
    with pytest.raises(AssertionError):
        check("adder", row)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_tasks_have_the_sizes_of_their_networks(name):
    task = BENCHMARKS[name]
    inputs, outputs = items(TASKS[task.data](0).train)
    assert (inputs.shape[1], outputs.shape[1]) == (task.widths[0], task.widths[-1])


def test_recorded_networks_are_what_the_record_says():
    if not RECORD.is_file():
        pytest.skip(f"{RECORD.name} is not recorded; python -m offramp.benchmarks.boolean_threshold --keep")
    tasks = read_json(RECORD)["tasks"]
    assert set(tasks) <= set(BENCHMARKS)
    assert sum(check(name, row) for name, row in tasks.items()) > 0


def test_an_unknown_task_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["divider"])
    assert "divider: no such task; known: multiplier_2" in capsys.readouterr().err


def test_shares_of_bits_are_of_items_and_of_those_held_out():
    data = TASKS["full-adder"](0)
    wrong = [torch.zeros(2, 4, dtype=torch.float64)]  # +1 everywhere
    share = float((full_adder()[1] > 0).double().mean())
    assert benchmark.bit_shares(wrong, data) == (share, share)

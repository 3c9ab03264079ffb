"""What learning rules ask of hardware: every rule is in the table, beside back-propagation on the same network."""

from dataclasses import replace
from functools import partial

import pytest
from offramp.benchmarks import learning_rules, learning_rules_section, rules_elsewhere
from offramp.benchmarks.learning_rules import PLAIN, Case, cases, measure
from offramp.benchmarks.results import _RECORDS
from offramp.models.learning import all_rules
from offramp.models.system import all_systems, find_system
from offramp.options import Options
from offramp.sources import find_source
from offramp.storage import read_json

RECORD = _RECORDS / "learning_rules.json"


def test_every_rule_is_measured_and_back_propagation_beside_it():
    found = cases()
    assert {case.rule for case in found} == set(all_rules())
    assert {case.system for case in found} <= set(all_systems())
    assert len(set(found)) == len(found)


def test_a_footprint_is_of_the_systems_own_batch():
    found = measure(Case(PLAIN, "synapse_mlp"))
    assert found.forward_macs == 64 * 32 + 32 * 10
    assert found.matrix_macs == 2 * found.forward_macs + 32 * 10  # no slope is wanted of the pixels
    assert found.reads_weights_back is True


def test_ratios_are_to_back_propagation_on_the_same_network():
    def row(rule, system, macs):
        return {"rule": rule, "system": system, "matrix_macs": macs, "other_macs": 1.0}

    rows = [row(PLAIN, "a", 9.0), row("x", "a", 19.0), row(PLAIN, "b", 1.0), row("y", "b", 3.0), row("z", "c", 1.0)]
    assert learning_rules._ratios(rows) == {f"x to {PLAIN}": 2.0, f"y to {PLAIN}": 2.0}


@pytest.mark.skipif(not RECORD.is_file(), reason="nothing is recorded")
def test_the_record_holds_what_is_measured_now():
    """Of the cheapest network; figures are counts, the same on every machine."""
    recorded = {(row["rule"], row["system"]): row for row in read_json(RECORD)["rows"]}
    assert {rule for rule, _ in recorded} == set(all_rules())
    row, found = recorded[PLAIN, "synapse_mlp"], measure(Case(PLAIN, "synapse_mlp"))
    assert (row["matrix_macs"], row["other_macs"]) == (found.matrix_macs, found.other_macs)
    assert row["state_bits"] == pytest.approx(found.state_bits)
    page = learning_rules_section.section(read_json(RECORD))
    assert page.count("| `synapse_mlp` |") == 2 and "nothing runs backward" in page


def test_a_rule_elsewhere_trains_and_is_deployed_or_says_why_not(monkeypatch):
    monkeypatch.setattr(rules_elsewhere, "SAMPLES", 8)
    source, system = find_source("ccl_mlp"), find_system("ccl_mlp")
    short = replace(source, system=replace(system, recipe=replace(system.recipe, epochs=1)))
    monkeypatch.setattr(rules_elsewhere, "find_source", lambda name: short)
    monkeypatch.setattr(rules_elsewhere, "Options", partial(Options, targets=("onnx",)))
    found = rules_elsewhere.trained(PLAIN, "ccl_mlp")
    assert (found["epochs"], found["samples"]) == (1, 8)
    assert (list(found["int8"]), found["not_verified_because"]) == (["onnx"], {})
    rows = [
        {"rule": "a", **found, "int8": dict.fromkeys(("onnx", "coreml", "tflite"), 0.5)},
        {"rule": "b", "because": "stem is no b"},
        {"rule": "c", **found, "int8": dict.fromkeys(("onnx", "coreml", "tflite"), 0.4)},
    ]
    rows[2]["not_verified_because"] = {"tflite": "agrees on 40 %"}
    page = learning_rules_section.elsewhere({"system": "ccl_mlp", "machine": "m", "rows": rows})
    assert "| 50.0%, 50.0%, 50.0% | yes | |" in page and "| b | – | – | – | – | stem is no b |" in page
    assert "| 40.0%, 40.0%, 40.0% | all but tflite | |" in page and "- c, tflite: agrees on 40 %" in page


def test_the_record_names_every_rule_and_what_it_came_to():
    rows = read_json(_RECORDS / "rules_elsewhere.json")["rows"]
    assert {row["rule"] for row in rows} == set(all_rules())
    verified = {row["rule"] for row in rows if row.get("not_verified_because") == {}}
    assert verified >= {PLAIN, "counter-current"}
    assert all(row["because"] for row in rows if "float" not in row)

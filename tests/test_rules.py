"""The verb that lists learning rules, and training by one of them from the command line."""

import sys
from dataclasses import replace
from math import isfinite
from pathlib import Path

import pytest
import torch
from offramp.errors import BadInput
from offramp.models.learning import Setup, all_rules
from offramp.models.objectives import objective_of
from offramp.models.system import find_system
from offramp.sources import find_source, load_data

sys.path.append(str(Path(__file__).parent))
from command_line import document_of, error_of, offramp
from small_systems import SMALL, batch_of

ADDER = find_system("btf_adder").rule


def test_every_rule_stands_in_the_table_with_what_it_trains():
    document = document_of("rules")
    assert [row["name"] for row in document["rules"]] == list(all_rules())
    assert all(row["admitted"] is None and row["trains"] and row["source"] for row in document["rules"])
    shown = offramp("rules")
    assert "counter-current" in shown and "strength=0.0" in shown


def test_of_a_system_it_is_said_which_rules_train_it_and_why_others_do_not():
    rows = {row["name"]: row for row in document_of("rules", "resnet8")["rules"]}
    trains = {name for name, row in rows.items() if row["admitted"]}
    assert {"back-propagation", "counter-current", "feedback-alignment", "target-propagation"} <= trains
    assert rows["in-array"]["because"].startswith("stem.0 is a Conv2d: in-array learning trains chains of Linear")
    assert all(row["because"] for row in rows.values() if not row["admitted"])
    assert "no  " in offramp("rules", "resnet8")
    assert not any(row["own"] for row in rows.values())


def test_a_system_with_a_rule_of_its_own_shows_its_settings():
    row = next(row for row in document_of("rules", "btf_adder")["rules"] if row["own"])
    assert row["name"] == "reflect-reflect-relax" and row["settings"]["support"] == ADDER.support
    assert "yes, its own" in offramp("rules", "btf_adder")


@pytest.mark.parametrize("named", [(), ("--rule", "reflect-reflect-relax")])
def test_a_setting_alone_changes_the_systems_own_rule_and_nothing_else_of_it(named, tmp_path):
    arguments = ("train", "btf_adder", *named, "--set", "iterations=2", "--epochs", 1, "--runs", tmp_path)
    rule = document_of(*arguments, code=1)["rule"]
    assert rule == replace(ADDER, iterations=2).to_json()


def test_a_system_is_trained_by_the_rule_that_is_named_with_its_settings(tmp_path):
    arguments = ("--rule", "counter-current", "--set", "strength=0.25", "--epochs", 1, "--runs", tmp_path)
    document = document_of("train", "synapse_mlp", *arguments)
    assert document["rule"] == {"name": "counter-current", "strength": 0.25, "spread": 0.1, "lead": 0.0}
    assert document["metrics"]["accuracy"] > 0.5


def test_a_search_that_did_not_arrive_is_kept_and_marked_and_ends_with_1(tmp_path):
    arguments = ("train", "btf_adder", "--set", "iterations=2", "--rule", "reflect-reflect-relax", "--epochs", 1)
    document = document_of(*arguments, "--runs", tmp_path, code=1)
    assert document["converged"] is False and document["left"] == {"gap": document["metrics"]["gap"]}
    assert (tmp_path / "btf_adder/trace.svg").is_file()
    assert "did not converge: gap" in offramp(*arguments, "--runs", tmp_path, code=1)


def test_an_optimizer_of_another_family_comes_with_its_usual_rate(tmp_path):
    document_of("train", "synapse_mlp", "--optimizer", "muon", "--epochs", 1, "--runs", tmp_path)
    config = (tmp_path / "synapse_mlp/config.json").read_text()
    assert '"optimizer": "muon"' in config and '"learning_rate": 0.002' in config
    document_of("train", "synapse_mlp", "--optimizer", "muon", "--rate", 0.01, "--epochs", 1, "--runs", tmp_path / "b")
    assert '"learning_rate": 0.01' in (tmp_path / "b/synapse_mlp/config.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--rule counter", "--rule counter: no such learning rule; known: back-propagation, "),
        ("--rule counter-current --set speed=1", "--rule counter-current: no setting speed; it has strength, "),
        ("--rule counter-current --set speed", "--set speed: give NAME=VALUE, as nudge=0.5; see `offramp rules`"),
        ("--set strength=1", "--set strength=1: belongs to a learning rule; name it with --rule"),
        ("--rule in-array --synapse epiram --optimizer muon", "--optimizer: in-array uses none; leave it out"),
        ("--rule back-propagation --synapse epiram", "--synapse: belongs to --rule in-array; for fine-tuning write"),
    ],
)
def test_a_wrong_rule_is_one_line(arguments, line, tmp_path):
    assert error_of("train", "synapse_mlp", *arguments.split(), "--runs", tmp_path).startswith(line)
    assert not (tmp_path / "synapse_mlp").exists()


@pytest.mark.parametrize("name", SMALL)
def test_every_rule_that_says_it_trains_a_system_learns_a_batch_of_it(name):
    source = find_source(name, 0)
    system, data = source.system, load_data(source, None)
    batch = batch_of(system, data)
    objective = system.objective or objective_of(system.task)
    learned = set()
    for rule in all_rules().values():
        torch.manual_seed(0)
        module = system.build().train()
        try:
            learner = rule.from_settings(rule.required).learner(
                Setup(name, system.task, module, objective, data, system.recipe)
            )
        except BadInput:
            continue
        before = [parameter.clone() for parameter in module.parameters()]
        assert isfinite(learner.learn(batch, 0.01)), rule.name
        assert any(not torch.equal(*pair) for pair in zip(before, module.parameters())), rule.name
        learned.add(rule.name)
    assert "back-propagation" in learned and (system.rule is None or system.rule.name in learned)


def test_settings_of_a_rule_are_refused_beside_training_by_another(tmp_path):
    line = error_of("train", "btf_adder", "--aware", "synapse=epiram", "--set", "restarts=2", "--runs", tmp_path)
    assert line == "--aware: trains on by back-propagation; leave out --rule, --set, --optimizer and --rate"


@pytest.mark.parametrize("verb", ["train", "deploy"])
@pytest.mark.parametrize(("system", "rule"), [("btf_adder", "reflect-reflect-relax"), ("hopfield_step", "hebbian")])
def test_what_a_systems_own_rule_does_not_go_by_is_refused(verb, system, rule, tmp_path):
    for flag, value in (("--optimizer", "muon"), ("--rate", 0.1)):
        line = error_of(verb, system, flag, value, "--runs", tmp_path / "runs")
        assert line == f"{flag}: {rule} uses none; leave it out"


def test_rules_of_what_is_no_system_are_refused():
    assert error_of("rules", "resnet9").startswith("resnet9: no such system")

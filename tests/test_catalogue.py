"""`offramp list`: recorded counts are those of the networks, and what is not recorded is counted."""

import pytest
from offramp import catalogue
from offramp.catalogue import count_system, systems_table
from offramp.models.recorded import recorded_results
from offramp.models.system import all_systems


@pytest.mark.slow
@pytest.mark.parametrize("name", all_systems())
def test_recorded_counts_are_those_of_the_network(name):
    entry = recorded_results()[name]
    assert {key: entry[key] for key in ("parameters", "macs")} == count_system(name)


def test_recorded_systems_are_not_counted_again(monkeypatch):
    monkeypatch.setattr(catalogue, "count_system", lambda name: pytest.fail(f"{name} was counted"))
    assert [row["name"] for row in systems_table()] == list(all_systems())


def test_a_system_that_is_not_recorded_is_counted(monkeypatch):
    without = {name: entry for name, entry in recorded_results().items() if name != "ds_cnn"}
    monkeypatch.setattr(catalogue, "recorded_results", lambda: without)
    (row,) = (row for row in systems_table() if row["name"] == "ds_cnn")
    recorded = recorded_results()["ds_cnn"]
    assert (row["parameters"], row["macs"], row["works"]) == (recorded["parameters"], recorded["macs"], {})


def test_a_system_of_which_only_the_reproduction_is_recorded_is_counted(monkeypatch):
    recorded = recorded_results()
    monkeypatch.setattr(catalogue, "recorded_results", lambda: recorded | {"ds_cnn": {"works": {"reproduce": True}}})
    (row,) = (row for row in systems_table() if row["name"] == "ds_cnn")
    assert (row["macs"], row["works"]) == (recorded["ds_cnn"]["macs"], {"reproduce": True})

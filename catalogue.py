"""`offramp list`: the zoo's systems with what recorded results say of each."""

from typing import Any

import torch

from .models.recorded import recorded_results
from .models.system import System, all_systems, find_system
from .quant.capture import capture, to_program
from .runtime.macs import count_program
from .sources import find_source


def systems_table() -> list[dict[str, Any]]:
    """One row a system: name, paper, task, parameters, MACs, and what works.

    All of it comes from `models/recorded.json`, which `python -m offramp.benchmarks.zoo` writes; a system that is not
    in it is counted now.
    """
    recorded = recorded_results()
    return [_row(system, recorded.get(system.name)) for system in all_systems().values()]


def count_system(name: str) -> dict[str, int]:
    """Parameters of the network as it is trained, and multiply-accumulates of one sample in the program that ships."""
    source = find_source(name)
    with torch.random.fork_rng(devices=[]):
        parameters = sum(p.numel() for p in find_system(name).build().parameters())
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    count = count_program(to_program(captured.module, captured.example_inputs))
    return {"parameters": parameters, "macs": count.total}


def _row(system: System, entry: dict[str, Any] | None) -> dict[str, Any]:
    entry = entry or {}
    counted = "parameters" in entry  # a reproduction may be recorded before its networks are
    counts = {key: entry[key] for key in ("parameters", "macs")} if counted else count_system(system.name)
    works = entry.get("works", {})
    return {"name": system.name, "paper": system.paper, "task": system.task, **counts, "works": works}

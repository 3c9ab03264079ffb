"""`offramp list`: the zoo's systems, counted, with what recorded results say of each."""

from typing import Any

from .models.recorded import recorded_results
from .models.system import all_systems
from .quant.capture import capture, to_program
from .runtime.macs import count_program
from .sources import find_source


def systems_table() -> list[dict[str, Any]]:
    """One row a system: name, paper, task, parameters, MACs, and what works by `models/recorded.json`."""
    recorded = recorded_results()
    return [
        {
            "name": system.name,
            "paper": system.paper,
            "task": system.task,
            **_counts(system.name),
            "works": recorded.get(system.name, {}).get("works", {}),
        }
        for system in all_systems().values()
    ]


def _counts(name: str) -> dict[str, int]:
    source = find_source(name)
    captured = capture(source.network, source.example_inputs, source.input_names, source.output_names)
    count = count_program(to_program(captured.module, captured.example_inputs))
    return {"parameters": sum(p.numel() for p in source.network.parameters()), "macs": count.total}

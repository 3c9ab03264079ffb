"""Results recorded by the benchmarks: what was seen to work for each system, with the command that showed it."""

import json
from importlib import resources
from typing import Any


def recorded_results() -> dict[str, dict[str, Any]]:
    """System name -> its recorded figures and `works`; written by `python -m offramp.benchmarks.zoo`."""
    source = resources.files(__package__).joinpath("recorded.json")
    return json.loads(source.read_text(encoding="utf-8")) if source.is_file() else {}

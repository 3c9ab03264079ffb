"""`python -m offramp.benchmarks.learning_rules`: what each learning rule asks of hardware, measured on one update.

Bits of state for each weight, multiply-accumulates for each sample of an update, and whether the backward pass reads
the network's own weights. Every rule is measured on a network that it trains, next to back-propagation on the same one.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..devices.boards.host import describe_host
from ..models.batches import each, read_batches, size_of
from ..models.learning import Setup, all_rules
from ..models.learning.footprint import Footprint, footprint
from ..models.objectives import Batch, objective_of
from ..models.system import find_system
from ..sources import find_source, load_data
from .results import command

PLAIN = "back-propagation"
CHAIN = "ccl_mlp"
# A network for each rule that trains no chain of matrices of any kind.
NETWORKS = {
    "in-array": "synapse_mlp",
    "reflect-reflect-relax": "btf_multiplier_2",
    "hebbian": "hopfield_multitask",
    "equilibrium-propagation": "equilibrium_mlp",
}
DRAWN = ("hopfield_multitask",)  # whose weights are counted, not descended to


@dataclass(frozen=True)
class Case:
    """A rule on a network."""

    rule: str
    system: str


def cases() -> list[Case]:
    """Every rule, and back-propagation on each network."""
    rules = [Case(name, NETWORKS.get(name, CHAIN)) for name in all_rules() if name != PLAIN]
    networks = dict.fromkeys(case.system for case in rules)
    plain = [Case(PLAIN, system) for system in networks if system not in DRAWN]
    return sorted([*rules, *plain], key=lambda case: (list(networks).index(case.system), case.rule != PLAIN, case.rule))


def measure(case: Case) -> Footprint:
    """One update of the first batch of the network's own data."""
    system, data = find_system(case.system), load_data(find_source(case.system), None)
    kind = all_rules()[case.rule]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = system.build().train()
        objective = system.objective or objective_of(system.task)
        size = min(system.recipe.batch_size, size_of(data.train))
        rule = kind.from_settings(kind.required)
        learner = rule.learner(Setup(system.name, system.task, module, objective, data, system.recipe, steps=2))
        raw, targets = next(iter(read_batches(data.train, [list(range(size))])))
        samples = each((system.preprocessing or data.preprocessing).apply, raw)
        batch = Batch(samples, targets, system.recipe, torch.Generator().manual_seed(0))
        return footprint(module, learner, batch, system.recipe.learning_rate)


def record() -> dict[str, Any]:
    """All cases."""
    rows = []
    for case in cases():
        rows.append({**asdict(case), **asdict(measure(case))})
        print(json.dumps(rows[-1]), flush=True)
    return {"benchmark": "learning_rules", "rows": rows, "ratios": _ratios(rows), "machine": describe_host().processor}


def _ratios(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of each rule's multiplications to back-propagation's on the same network."""
    plain = {row["system"]: _macs(row) for row in rows if row["rule"] == PLAIN}
    others = [row for row in rows if row["rule"] != PLAIN and row["system"] in plain]
    return {f"{row['rule']} to {PLAIN}": round(_macs(row) / plain[row["system"]], 3) for row in others}


def _macs(row: dict[str, Any]) -> float:
    return row["matrix_macs"] + row["other_macs"]


if __name__ == "__main__":
    raise SystemExit(command(__doc__, record))

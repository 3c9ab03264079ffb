"""`python -m offramp.benchmarks.rules_elsewhere`: learning rules on a network that none of them was made for.

Every rule that admits `resnet8` trains it by the system's own recipe, and the network is deployed in int8 to three
targets; the others say why not. One seed: the table shows that rules work there and roughly how well, not which is
better.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from ..devices.boards.host import describe_host
from ..models.learning import all_rules
from ..models.training import train
from ..options import Options
from ..pipeline import deploy
from ..quant.scheme import Scheme
from ..rules import rules_table
from ..sources import find_source, load_data
from .results import command

SYSTEM = "resnet8"
SAMPLES = 500  # held out, that deployed networks are judged on


def record(system: str = SYSTEM) -> dict[str, Any]:
    """A row for each rule."""
    rows = []
    for said in rules_table(system, Options())["rules"]:
        found = trained(said["name"], system) if said["admitted"] else {"because": said["because"]}
        rows.append({"rule": said["name"], **found})
        print(json.dumps(rows[-1]), flush=True)
    processor = describe_host().processor
    return {"benchmark": "rules_elsewhere", "system": system, "rows": rows, "ratios": {}, "machine": processor}


def trained(rule: str, system: str) -> dict[str, Any]:
    """What a rule's training comes to: share of held-out samples, in float and in the int8 files."""
    kind, source = all_rules()[rule], find_source(system)
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        assert source.system is not None
        run = train(source.system, load_data(source, None), None, runs / system, rule=kind.from_settings(kind.required))
        options = Options(
            out=Path(folder) / "dist",
            precisions=("int8",),
            scheme=Scheme(samples=256),
            held_out=SAMPLES,
            measure=False,
            runs=runs,
        )
        document = deploy(system, options)
    return {
        "epochs": run.metrics["epoch"],
        "samples": document["data"]["samples"],
        "float": document["float"]["accuracy"],
        "int8": {row["target"]: row["accuracy"] for row in document["artifacts"]},
        "not_verified_because": {
            row["target"]: row["not_verified_because"] for row in document["artifacts"] if not row["verified"]
        },
    }


if __name__ == "__main__":
    raise SystemExit(command(__doc__, record))

"""`python -m offramp.benchmarks.reproductions`: every paper's claims over five seeds; `make reproduce` keeps them.

A record holds each claim with both figures and whether it holds. What `offramp list` says of a system's reproduction is
that it is recorded, whatever its claims came to.
"""

import argparse
import json
import time
from typing import Any

from ..devices.boards.host import describe_host
from ..models.recorded import recorded_results
from ..models.system import all_systems
from ..reproductions import Study, claims_of, reproductions
from ..storage import write_json
from .results import keep
from .zoo import RECORDED

LEAST_SEEDS = 3  # of a record


def record_of(slug: str, seeds: int) -> dict[str, Any]:
    """Runs one reproduction: its claims and how long they took."""
    began = time.perf_counter()
    claims = claims_of(slug, Study(tuple(range(seeds)), say=lambda line: print(f"· {line}", flush=True)))
    return {
        "benchmark": f"reproduction-{slug}",
        "slug": slug,
        "seeds": seeds,
        "claims": claims,
        "seconds": round(time.perf_counter() - began, 1),
        "ratios": {},
        "machine": describe_host().processor,
    }


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("slugs", nargs="*", metavar="SLUG", help="all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help=f"record the claims; takes {LEAST_SEEDS} seeds or more")
    chosen = parser.parse_args(argv)
    if chosen.keep and chosen.seeds < LEAST_SEEDS:
        parser.error(f"--keep takes {LEAST_SEEDS} seeds or more, got {chosen.seeds}")
    for slug in chosen.slugs or reproductions():
        document = record_of(slug, chosen.seeds)
        for claim in document["claims"]:
            print(f"{'holds        ' if claim['holds'] else 'DOES NOT HOLD'} {claim['claim']}")
        print(json.dumps(document, sort_keys=True))
        if chosen.keep:
            keep(document)
            _mark(slug)
    return 0


def _mark(slug: str) -> None:
    """Notes for the systems of a paper that its reproduction is recorded."""
    recorded = recorded_results()
    for name, system in all_systems().items():
        if system.paper == slug:
            entry = recorded.setdefault(name, {"works": {}})
            entry["works"]["reproduce"] = True
    write_json(RECORDED, {key: recorded[key] for key in sorted(recorded)})


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m offramp.benchmarks.synapse`: pulsed updates and noisy products on 256x256, beside aihwkit, in one run.

Updates: inputs uniform in ±1, errors in ±0.1, learning rate 0.01: one time slot, and about a quarter of the cells get a
pulse, each with noise of its own. Both count the slots and scale the trains in the same way, which is part of the time.
Products: inputs uniform in ±1; ours with 3 % noise of every cell at every read, the peer's with its own default noise,
converters and bounds. Beside them the plain product of NumPy in float64. Times are medians on one thread, all variants
in turn.

Before that, 65,536 devices of either side get 1, 10 and 100 pulses up: mean and variance must agree within four
standard errors of their difference. Without aihwkit (which is built on demand) the peer's figures are left out.
"""

import argparse
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..devices.boards.host import describe_host
from ..devices.synapse.cells import Cells
from ..devices.synapse.crossbar import Crossbar
from ..devices.synapse.design import ArrayDesign
from ..devices.synapse.device import SynapseDevice
from ..devices.synapse.draws import Draws
from ..devices.synapse.pulse_trains import trains
from ..runtime.latency import measure_latency
from . import peer_aihwkit
from .results import keep

SIZE, BATCHES, PULSES = 256, (1, 64), (1, 10, 100)
KINDS = {"ConstantStep": "constant-step", "SoftBounds": "soft-bounds"}
RATE, STEP, END = 0.01, 0.001, 0.6  # of the peer's default devices: a pulse, and the mean end of the range
SPAN = 2 * END  # weights are SPAN (state - 1/2)
READ_NOISE = 0.03
_STANDARD_ERRORS = 4.0


def device(kind: str) -> SynapseDevice:
    """The peer's default device, in shares of the range."""
    pulses = round(SPAN / STEP)
    return SynapseDevice(
        name=kind,
        title=f"{kind} as aihwkit has it by default",
        source="aihwkit 1.2.0",
        g_min=0.0,
        g_max=1e-4,
        response=KINDS[kind],
        pulses_up=pulses,
        pulses_down=pulses,
        high_spread=0.3 * END / SPAN,
        low_spread=0.3 * END / SPAN,
        step_spread=0.3,
        asymmetry_spread=0.01,
        cycle_step_noise=0.3,
    )


def pulsed(kind: str, pulses: int) -> Tensor:
    """Our weights after so many pulses up from zero, one at each update."""
    cells = Cells([device(kind)], SIZE, SIZE, [Draws(0)], state=0.5)
    for step in range(pulses):
        cells.pulse(torch.ones(1, SIZE, SIZE, dtype=torch.int32), step)
    return SPAN * (cells.state[0] - 0.5)


def compared(ours: Tensor, theirs: Tensor) -> dict[str, Any]:
    """Mean and variance of both, and how many standard errors of the difference lie between."""
    row: dict[str, Any] = {}
    moments = [_moments(values) for values in (ours, theirs)]
    for place, name in enumerate(("mean", "variance")):
        (a, error_a), (b, error_b) = (each[place] for each in moments)
        row |= {f"{name}_ours": a, f"{name}_peer": b, f"{name}_errors_apart": abs(a - b) / math.hypot(error_a, error_b)}
    row["agrees"] = all(row[f"{name}_errors_apart"] < _STANDARD_ERRORS for name in ("mean", "variance"))
    return row


def _moments(values: Tensor) -> tuple[tuple[float, float], tuple[float, float]]:
    """Mean and variance, each with its standard error."""
    x = values.double().flatten()
    mean, variance = float(x.mean()), float(x.var())
    fourth = float((x - mean).pow(4).mean())
    count = x.numel()
    return (mean, math.sqrt(variance / count)), (variance, math.sqrt(max(fourth - variance**2, 0.0) / count))


def our_update(kind: str, batch: int) -> Callable[[], None]:
    """One update of all cells from a batch, trains and all."""
    cells, draws = Cells([device(kind)], SIZE, SIZE, [Draws(1)], state=0.5), Draws(1)
    inputs, errors = _lines(batch)
    done = [0]

    def update() -> None:
        found = trains(inputs, errors, RATE, STEP, draws, done[0])
        cells.pulse_trains(found.rows, found.columns, done[0])
        done[0] += batch

    return update


def their_update(kind: str, batch: int) -> Callable[[], None]:
    """The peer's update of the same batch."""
    made = peer_aihwkit.tile(kind, SIZE)
    made.set_learning_rate(RATE)
    return partial(made.update, *_lines(batch))


def our_product(batch: int) -> Callable[[], object]:
    """A read in which every cell is noisy."""
    noisy = SynapseDevice("noisy", "noisy", "none", 0.0, 1e-4, levels=0, read_noise=READ_NOISE)
    weights = torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    arrays = Crossbar(weights, (-1.0, 1.0), noisy, ArrayDesign(), Draws(1))
    inputs = _lines(batch)[0].double()[:, None]
    return partial(arrays.read, inputs)


def plain_product(batch: int) -> Callable[[], object]:
    """NumPy's in float64."""
    weights = np.random.default_rng(0).standard_normal((SIZE, SIZE))
    inputs = _lines(batch)[0].double().numpy()
    return partial(np.matmul, inputs[0] if batch == 1 else inputs, weights)


def _lines(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs, errors = (torch.rand(batch, SIZE, generator=generator) * 2 - 1 for _ in range(2))
    return inputs, errors * 0.1


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, help="timed runs of each variant, at least")
    parser.add_argument("--no-peer", action="store_true", help="leave aihwkit out")
    parser.add_argument("--keep", action="store_true", help="also record the document")
    chosen = parser.parse_args(argv)
    has_peer = not chosen.no_peer
    if has_peer:
        peer_aihwkit.load(lambda line: print(f"· {line}", flush=True))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        document = measured(chosen.runs, has_peer)
    finally:
        torch.set_num_threads(threads)
    for row in document["agreement"]:
        print(f"{row['kind']:13} {row['pulses']:4} pulses: mean {row['mean_ours']:.5f} and {row['mean_peer']:.5f}, "
              f"variance {row['variance_ours']:.3e} and {row['variance_peer']:.3e}: "
              f"{'agrees' if row['agrees'] else 'DIFFERS'}")  # fmt: skip
    for row in document["rows"]:
        print(f"{row['what']:8} batch {row['batch']:3} {row['who']:22} {row['us']:10.1f} us")
    print(json.dumps(document, sort_keys=True))
    if chosen.keep:
        keep(document)
    return 0


def measured(runs: int, has_peer: bool) -> dict[str, Any]:
    """The benchmark's document."""
    agreement = [
        {"kind": kind, "pulses": pulses, **compared(pulsed(kind, pulses), peer_aihwkit.pulsed(kind, SIZE, pulses))}
        for kind in KINDS
        for pulses in PULSES
        if has_peer
    ]
    rows, ratios = [], {}
    for batch in BATCHES:
        updates = {f"ours {kind}": our_update(kind, batch) for kind in KINDS}
        products = {"ours, noisy": our_product(batch), "NumPy float64": plain_product(batch)}
        if has_peer:
            updates |= {f"aihwkit {kind}": their_update(kind, batch) for kind in KINDS}
            products["aihwkit, default noise"] = partial(
                peer_aihwkit.tile("ConstantStep", SIZE).forward, _lines(batch)[0]
            )
        for what, variants in (("update", updates), ("product", products)):
            found = measure_latency(variants, runs=runs if batch == 1 else max(20, runs // 5))
            rows += [{"what": what, "batch": batch, "who": who, "us": 1e3 * t.p50_ms} for who, t in found.items()]
            times = {who: t.p50_ms for who, t in found.items()}
            if what == "product":
                ratios[f"product_over_plain_{batch}"] = times["ours, noisy"] / times["NumPy float64"]
            elif has_peer:
                for kind in KINDS:
                    ratios[f"update_{kind}_{batch}"] = times[f"aihwkit {kind}"] / times[f"ours {kind}"]
    return {
        "benchmark": "synapse",
        "size": SIZE,
        "peer": peer_aihwkit.TITLE if has_peer else None,
        "agreement": agreement,
        "rows": rows,
        "ratios": ratios,
        "machine": describe_host().processor,
    }


if __name__ == "__main__":
    raise SystemExit(main())

"""Verbs whose subject is a device: networks on arrays of synapse devices, the devices, and papers about them."""

import sys
from pathlib import Path
from typing import Any

import click

from . import flags
from .verbs import examples, finish, say


@click.command(
    epilog=examples(
        "offramp emulate dist/care_xxs --synapse epiram --adc 8 --samples 5",
        "offramp emulate dist/care_xxs --synapse pcmo --sweep levels=2,4,8,16,64 --sweep d2d=0,.1,.2",
        "offramp emulate mypkg.net:build --data x.npz --synapse mine.toml --set read_noise=.01",
    )
)
@click.argument("network")
@flags.synapse
@click.option("--samples", "chips", type=click.IntRange(1, 1000), default=5, show_default=True, help="Chips to sample.")
@click.option("--held-out", type=click.IntRange(1), help="Held-out samples, at most; 500, or a dist's own, by default.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="Where to draw a sweep.")
@flags.together(flags.data, flags.runs, flags.seed, flags.as_json)
def emulate(
    network: str,
    chips: int,
    held_out: int | None,
    plot: Path | None,
    data: str | None,
    runs: Path,
    seed: int,
    as_json: bool,
    **arrays: Any,
) -> None:
    """Runs a network on emulated arrays of synapse devices.

    NETWORK is a dist, or what deploy takes, which is then quantized to int8. Each layer's weights are written into
    devices of the catalogue (see `offramp synapse`) or of your own .toml; all else stays digital. A dist keeps the
    figures in its manifest and report.
    """
    from . import screen_devices
    from .emulation.run import emulate_network, options_like

    wanted = flags.wanted_arrays(chips=chips, seed=seed, **arrays)
    options = options_like(network, data, held_out, seed, runs)
    finish(emulate_network(network, wanted, options, plot, say), as_json, screen_devices.show_emulation)


@click.command(
    epilog=examples(
        "offramp synapse",
        "offramp synapse epiram",
        "offramp synapse pulses.csv --plot fit.svg --out mine.toml",
    )
)
@click.argument("what", required=False)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="Of a .csv: draw points and fit.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.toml", help="Of a .csv: write the device.")
@click.option("--name", help="Of a .csv: what the device is called; the file's name by default.")
@click.option("--curve", is_flag=True, help="Of a .csv: take the measured curve itself instead of a fitted one.")
@click.option("--read-volts", type=click.FloatRange(0, min_open=True), help="Of a .csv with currents.")
@flags.as_json
def synapse(
    what: str | None,
    plot: Path | None,
    out: Path | None,
    name: str | None,
    curve: bool,
    read_volts: float | None,
    as_json: bool,
) -> None:
    """Published synapse devices, and fits of measured ones.

    WHAT is nothing (lists the catalogue), a device's name or .toml (shows its figures), or a .csv of pulses and
    conductances, which is fitted: levels, nonlinearities, noise, smallest and largest conductance with intervals.
    """
    from . import screen_devices
    from .errors import BadInput
    from .synapses import device_figures, devices_table, fit_file

    if what is not None and Path(what).suffix.lower() == ".csv":
        document = fit_file(Path(what), name, curve, read_volts, plot, out)
        finish(document, as_json, screen_devices.show_synapse)
        return
    options = {"--plot": plot, "--out": out, "--name": name, "--curve": curve or None, "--read-volts": read_volts}
    if given := [flag for flag, value in options.items() if value is not None]:
        raise BadInput(f"{given[0]}: belongs to a .csv of pulses; name one")
    if what is None:
        finish(devices_table(), as_json, screen_devices.show_synapses)
    else:
        finish(device_figures(what), as_json, screen_devices.show_synapse)


@click.command(
    epilog=examples(
        "offramp reproduce adaptive-learning-rule-synapse", "offramp reproduce adaptive-learning-rule-synapse --seeds 3"
    )
)
@click.argument("paper")
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="Runs of every condition.")
@click.option("--data", metavar="DATA", help="Other data than the bundled, as a folder with MNIST.")
@click.option("--effort", type=click.FloatRange(0, 1, min_open=True), default=1.0, help="Share of the full epochs.")
@flags.as_json
def reproduce(paper: str, seeds: int, data: str | None, effort: float, as_json: bool) -> None:
    """A paper's claims at small scale, and what holds.

    Each claim comes with its baseline, over several seeds. PAPER is a slug; a wrong one lists them. Leaves with 1 if a
    claim does not hold.
    """
    from . import screen_devices
    from .reproductions import Study, claims_of

    claims = claims_of(paper, Study(tuple(range(seeds)), data, effort, say))
    finish(claims, as_json, screen_devices.show_claims)
    if not all(claim["holds"] for claim in claims):
        sys.exit(1)
